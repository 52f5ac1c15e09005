"""Looks for bytes that a parser of the lookup mistakes, led by what they cover.

`python -m tests.faults.fuzz --runs 200000` tries so many on each parser. It needs
atheris, which has wheels for some Pythons only: `pip install -e ".[fuzz]"`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

NO_ATHERIS = 'error: there is no atheris here; get it: pip install -e ".[fuzz]"'
LONGEST = 512
"""Bytes; what is wrong with long ones is wrong with short ones."""
WORDS = ("NaN", "Infinity", "1e999", "null", "true", "[]", "{}", "%00", "%ff", "&", "0")
"""What chance would not put together."""
PATIENCE_SECONDS = 10
"""For one input."""


def fuzz(name: str, n_runs: int) -> None:
    """Try inputs on one parser; ends the process, with 77 where one is mistaken."""
    import atheris

    with atheris.instrument_imports(include=["lookup"]):
        from tests.faults import parsers

    parse = parsers.PARSERS[name]
    with tempfile.TemporaryDirectory() as folder:
        seeds, words = Path(folder) / "seeds", Path(folder) / "words"
        seeds.mkdir()
        for i, seed in enumerate(parsers.SEEDS[name]):
            (seeds / str(i)).write_bytes(seed)
        words.write_text("".join(f'"{word}"\n' for word in WORDS))
        flags = (f"-runs={n_runs}", f"-max_len={LONGEST}", "-print_final_stats=1")
        more = (f"-timeout={PATIENCE_SECONDS}", f"-dict={words}", str(seeds))
        atheris.Setup([sys.argv[0], *flags, *more], lambda data: parse(data))
        atheris.Fuzz()


def fuzz_in_a_process(name: str, n_runs: int) -> tuple[int, str]:
    """Do so in a process of its own; return how many it tried, and what went wrong."""
    words = ("--runs", str(n_runs), "--parser", name)
    command = [sys.executable, "-m", "tests.faults.fuzz", *words]
    with tempfile.TemporaryDirectory() as folder:  # what was mistaken is written there
        environ_path = str(Path(__file__).resolve().parents[2])
        done = subprocess.run(
            command,
            cwd=folder,
            env={"PYTHONPATH": environ_path, "PATH": ""},
            capture_output=True,
            text=True,
        )
    tried = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    return int(tried[1]) if tried else 0, done.stderr if done.returncode else ""


def main(argv: Sequence[str]) -> int:
    """Fuzz all parsers, or one; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200_000)
    parser.add_argument("--parser", help="one of them alone, in this process")
    flags = parser.parse_args(argv)
    if find_spec("atheris") is None:
        print(NO_ATHERIS, file=sys.stderr)
        return 1
    if flags.parser:
        fuzz(flags.parser, flags.runs)
    from tests.faults.parsers import PARSERS

    n_tried = n_mistaken = 0
    for name in PARSERS:
        n, what = fuzz_in_a_process(name, flags.runs)
        print(f"{name:12} {n:10,} inputs {'MISTAKEN' if what else 'none mistaken'}")
        print(what, end="")
        n_tried, n_mistaken = n_tried + n, n_mistaken + bool(what)
    print(f"{n_tried:,} inputs tried, {n_mistaken} parsers mistaken")
    return int(n_mistaken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
