"""Read a booster from an MLflow model's files without running code that they name.

`mlflow.xgboost.load_model` unpickles, and imports the class that the file `MLmodel`
names from the model's own folder. This module reads only xgboost's own formats.

`python -m batch.model.model_file < FILE` loads a file, scores with it and exits.
"""

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import yaml

from batch.model import base_margin

if TYPE_CHECKING:
    import xgboost

MLMODEL = "MLmodel"
MAX_MLMODEL_BYTES = 2**16
MAX_BOOSTER_BYTES = 2**26
"""A model of 60 features and 200 trees of depth 4 takes 5,000 and 420,000 bytes."""

BOOSTER = "xgboost.core.Booster"
FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
TRIAL_SECONDS = 60


class UnfitError(Exception):
    """The reason why the batch cannot score with a version."""


def booster_name(mlmodel: bytes) -> str:
    """Return the name of the booster's file, which the file `MLmodel` states."""
    try:
        flavor = yaml.safe_load(mlmodel)["flavors"]["xgboost"]
        kind, name = flavor.get("model_class", BOOSTER), flavor["data"]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UnfitError(f"its {MLMODEL} is damaged: {reason}") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise UnfitError(f"its {MLMODEL} describes no xgboost model") from error
    if kind != BOOSTER:
        # show only text: YAML can describe lists that print as gigabytes
        found = kind.rpartition(".")[2][:60] if isinstance(kind, str) else "?"
        raise UnfitError(
            f"it is a {found}, expected a native xgboost Booster; log it with "
            "mlflow.xgboost"
        )
    if not (isinstance(name, str) and FILE_NAME.fullmatch(name)):
        raise UnfitError(f"its {MLMODEL} names a booster outside its folder")
    return name


def load(content: bytes) -> "xgboost.Booster":
    """Load a booster from a file in JSON or UBJSON.

    A damaged file can crash xgboost: compare its checksum or call `try_out` first.
    """
    import xgboost  # takes a second

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(content))
    except (xgboost.core.XGBoostError, ValueError) as error:
        reason = str(error).partition("\n")[0]  # a stack trace follows
        raise UnfitError(f"xgboost refuses it: {reason}") from error
    return booster


def try_out(content: bytes) -> None:
    """Load a file and score with it in a child process, which may crash."""
    command = [sys.executable, "-m", __name__]
    try:
        child = subprocess.run(  # noqa: S603
            command, input=content, capture_output=True, timeout=TRIAL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise UnfitError(f"xgboost needs over {TRIAL_SECONDS} s for it") from error
    if child.returncode < 0:
        raise UnfitError(f"xgboost crashes on loading it (signal {-child.returncode})")
    if child.returncode:
        lines = child.stderr.decode(errors="replace").splitlines()
        raise UnfitError(lines[-1][:300] if lines else "xgboost cannot load it")


def check(booster: "xgboost.Booster") -> None:
    """Check that a booster takes named numbers and gives one score per pair."""
    names, kinds = booster.feature_names, list(booster.feature_types or ())
    if not names:
        raise UnfitError("its features have no names")
    if "c" in kinds:
        raise UnfitError(f"{names[kinds.index('c')]} is a category, not a number")
    pairs = np.array([[0.0] * len(names), [np.nan] * len(names)], np.float32)
    scores = booster.inplace_predict(pairs, validate_features=False)
    if scores.shape != (2,):
        raise UnfitError("it gives several scores a pair")
    if not np.isfinite(scores).all():
        raise UnfitError("its scores are not finite")
    try:
        base_margin.read(booster)
    except ValueError as error:
        raise UnfitError(str(error)) from error


if __name__ == "__main__":
    try:
        check(load(sys.stdin.buffer.read()))
    except Exception as error:
        sys.exit(str(error).partition("\n")[0])
