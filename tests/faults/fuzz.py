"""Fuzzes the parsers of the lookup, guided by coverage.

`python -m tests.faults.fuzz --runs 200000` tries so many inputs on each parser. It
needs atheris, which has wheels for some Pythons only: `pip install -e ".[fuzz]"`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

NO_ATHERIS = 'error: atheris is not installed; get it: pip install -e ".[fuzz]"'
WORDS = ("NaN", "Infinity", "1e999", "null", "true", "[]", "{}", "%00", "%ff", "&", "0")
"""Words that chance would not put together."""


def fuzz(name: str, n_runs: int) -> None:
    """Fuzz one parser; ends the process, with 77 after a mistake."""
    import atheris

    with atheris.instrument_imports(include=["lookup"]):
        from tests.faults.parsers import SEEDS, is_accepted

    with tempfile.TemporaryDirectory() as folder:
        seeds, words = Path(folder) / "seeds", Path(folder) / "words"
        seeds.mkdir()
        for i, seed in enumerate(SEEDS[name]):
            (seeds / str(i)).write_bytes(seed)
        words.write_text("".join(f'"{word}"\n' for word in WORDS))
        flags = [f"-runs={n_runs}", "-max_len=512", "-print_final_stats=1"]
        flags += ["-timeout=10", f"-dict={words}", str(seeds)]
        atheris.Setup([sys.argv[0], *flags], lambda data: is_accepted(name, data))
        atheris.Fuzz()


def fuzz_in_a_process(name: str, n_runs: int) -> tuple[int, str]:
    """Fuzz one parser; return the number of inputs, and the report of a mistake."""
    options = ("--runs", str(n_runs), "--parser", name)
    with tempfile.TemporaryDirectory() as folder:  # atheris writes the input there
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.fuzz", *options],
            cwd=folder,
            env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": ""},
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
        n, report = fuzz_in_a_process(name, flags.runs)
        print(f"{name:12} {n:10,} inputs {'MISTAKEN' if report else 'none mistaken'}")
        print(report, end="")
        n_tried, n_mistaken = n_tried + n, n_mistaken + bool(report)
    print(f"{n_tried:,} inputs tried, {n_mistaken} parsers mistaken")
    return int(n_mistaken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
