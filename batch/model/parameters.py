"""Parameters of training that a command line sets in place of those in the code."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xgboost

from batch.errors import BatchError
from batch.model.train import N_ROUNDS, PARAMETERS

ROUNDS = "n_rounds"
FIXED = ("objective", "eval_metric")
"""What the learning curve and the scorers rely on."""

SETTABLE = {name: v for name, v in PARAMETERS.items() if name not in FIXED}
SETTABLE[ROUNDS] = N_ROUNDS
"""Each parameter that can be set, with its default."""

FORMS = {ROUNDS: "[1-9][0-9]{0,4}", "seed": "[0-9]{1,9}"}
"""The forms of those numbers that xgboost does not check."""


def read(settings: Sequence[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE` texts as keyword arguments of `batch.model.train.train`.

    Raises:
        BatchError: a name is unknown, or a value cannot be used; says what is known.
    """
    chosen: dict[str, str] = {}
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign or name not in SETTABLE:
            defaults = ", ".join(f"{known}={of}" for known, of in SETTABLE.items())
            raise BatchError(
                f"{text!r} sets no parameter: expected NAME=VALUE, where the names and "
                f"their defaults are {defaults}"
            )
        if not re.fullmatch(FORMS.get(name, "(?!-?(nan|inf)).+"), value.lower()):
            raise BatchError(f"{text}: expected a value such as {SETTABLE[name]}")
        chosen[name] = value
    n_rounds = chosen.pop(ROUNDS, None)
    check(chosen)
    found: dict[str, Any] = {"parameters": chosen} if chosen else {}
    return found | ({ROUNDS: int(n_rounds)} if n_rounds else {})


def check(chosen: Mapping[str, str]) -> None:
    """Try parameters out on two rows.

    Raises:
        BatchError: xgboost refuses one of them.
    """
    rows = xgboost.QuantileDMatrix(np.array([[0.0], [1.0]]), label=[0, 1], qid=[1, 1])
    try:
        xgboost.train({**PARAMETERS, **chosen}, rows, 1)
    except xgboost.core.XGBoostError as error:
        lines = [line for line in str(error).splitlines() if not line.startswith("  [")]
        reason = lines[0].rpartition("] ")[2] if lines else "no reason given"
        words = " ".join(f"{name}={value}" for name, value in chosen.items())
        raise BatchError(f"xgboost refuses {words}: {reason}") from error
