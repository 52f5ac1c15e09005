"""Damages a model's file in many ways, and reads each as the batch does.

`python -m tests.faults.models --corruptions 1000` counts what is refused, what is taken
all the same (such as another number in a leaf, of which the sha256 of a version tells),
and what crashes the process: nothing may. With `--unchecked` xgboost reads by itself.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xgboost

from batch.features.columns import FEATURES
from batch.model import model_file
from batch.scoring import forest

SECONDS = 60
"""For one file; a reader that does not come back is as bad as one that dies."""

VALUES: Sequence[Any] = (
    *(-1, 0, 1, 7, 2**31 - 1, 2**31, 2**63, -(2**40), 1e308, 0.5, True, None, [], {}),
    *("", "x", "-1", "4294967295", "nan", "9" * 400, "\0", [0] * 99, {"a": 1}),
)
"""Wrong ones, for a place in a file that is right otherwise."""


def train(path: Path) -> None:
    """Train a ranker of the real features, and write it down in both formats."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(2000, len(FEATURES))).astype(np.float32)
    labels, users = draw.integers(0, 5, 2000), np.repeat(np.arange(50), 40)
    matrix = xgboost.QuantileDMatrix(
        values, labels, qid=users, feature_names=list(FEATURES)
    )
    parameters = {"objective": "rank:ndcg", "max_depth": 4, "nthread": 1}
    trained = xgboost.train(parameters, matrix, 20)
    for form in ("ubj", "json"):
        path.joinpath(f"model.{form}").write_bytes(trained.save_raw(form))


def damaged(contents: Sequence[bytes], draw: random.Random) -> bytes:
    """Damage one of the files in one way."""
    how = draw.choice((cut_off, flipped, overwritten, cut_out, put_in, wrong_value))
    content = contents[1] if how is wrong_value else draw.choice(contents)
    return how(content, draw)


def cut_off(content: bytes, draw: random.Random) -> bytes:
    """Leave the beginning."""
    return content[: draw.randrange(len(content))]


def flipped(content: bytes, draw: random.Random) -> bytes:
    """Turn one bit around."""
    at, changed = draw.randrange(len(content)), bytearray(content)
    changed[at] ^= 1 << draw.randrange(8)
    return bytes(changed)


def overwritten(content: bytes, draw: random.Random) -> bytes:
    """Write something else over some bytes."""
    at, n = draw.randrange(len(content)), draw.randrange(1, 64)
    return content[:at] + draw.randbytes(n) + content[at + n :]


def cut_out(content: bytes, draw: random.Random) -> bytes:
    """Leave some bytes out."""
    at, n = draw.randrange(len(content)), draw.randrange(1, 64)
    return content[:at] + content[at + n :]


def put_in(content: bytes, draw: random.Random) -> bytes:
    """Write some bytes between others."""
    at = draw.randrange(len(content))
    return content[:at] + draw.randbytes(draw.randrange(1, 64)) + content[at:]


def wrong_value(content: bytes, draw: random.Random) -> bytes:
    """Put a wrong value in one place of valid JSON, near the root as often as not."""
    model = json.loads(content)
    node, key = model, "learner"
    while isinstance(node[key], dict | list) and node[key] and draw.random() < 0.85:
        node = node[key]
        key = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
    if draw.random() < 0.2:
        del node[key]
    else:
        node[key] = draw.choice(VALUES)
    return json.dumps(model).encode()


def unchecked(content: bytes) -> xgboost.Booster:
    """Let xgboost read by itself, as MLflow does."""
    return xgboost.Booster(model_file=bytearray(content))


def outcome(read: Callable[[bytes], xgboost.Booster], content: bytes) -> str:
    """Read a file and score with it, in both ways."""
    values = np.zeros((64, len(FEATURES)), np.float32)
    values[1::2] = np.nan
    try:
        found = read(content)
        scores = found.inplace_predict(values, validate_features=False)
        if scores.shape != (64,):
            return f"scores of shape {scores.shape}"
        forest.lay_out(found, FEATURES)
    except model_file.UnfitError:
        return "refused"
    except forest.UnsupportedError:
        return "taken"
    except Exception as error:
        return f"{type(error).__name__}"
    return "taken"


def work(folder: Path, seeds: range, *, is_checked: bool) -> Iterator[str]:
    """Try damaged files one after the other, each made of its own seed."""
    contents = [
        folder.joinpath(f"model.{form}").read_bytes() for form in ("ubj", "json")
    ]
    read = model_file.read if is_checked else unchecked
    for seed in seeds:
        signal.alarm(SECONDS)
        yield outcome(read, damaged(contents, random.Random(seed)))  # noqa: S311


def run(n: int, seed: int, *, is_checked: bool) -> Counter[str]:
    """Try so many, in a process that another takes the place of when it dies."""
    counts, at = Counter[str](), seed
    with TemporaryDirectory() as folder:
        train(Path(folder))
        while at < seed + n:
            command = [sys.executable, "-m", "tests.faults.models", "--work", folder]
            command += ["--seed", str(at), "--corruptions", str(seed + n - at)]
            command += [] if is_checked else ["--unchecked"]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            told = done.stdout.splitlines()
            counts.update(told)
            at += len(told)
            if at < seed + n:
                name = signal.Signals(-done.returncode).name
                print(f"seed {at}: died of {name}", file=sys.stderr)
                counts[name] += 1
                at += 1
    return counts


def main() -> int:
    """Tell what became of the files; 1 if one of them did harm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corruptions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unchecked", action="store_true")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    is_checked = not given.unchecked
    if given.work:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        seeds = range(given.seed, given.seed + given.corruptions)
        for told in work(given.work, seeds, is_checked=is_checked):
            os.write(1, f"{told}\n".encode())
        return 0
    counts = run(given.corruptions, given.seed, is_checked=is_checked)
    print(json.dumps(dict(counts.most_common())))
    return int(not set(counts) <= {"refused", "taken"})


if __name__ == "__main__":
    sys.exit(main())
