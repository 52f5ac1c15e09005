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

COUNTS = (ROUNDS, "seed")
"""The numbers that xgboost does not check."""

MOST_ROUNDS = 10_000
COUNT, NUMBER = "[0-9]{1,9}", r"-?[0-9]{0,9}\.?[0-9]{1,9}"

Value = str | int | float | bool


def read(settings: Sequence[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE` texts as keyword arguments of `batch.model.train.train`.

    Raises:
        BatchError: a name is unknown, or xgboost refuses a value; says what is known.
    """
    chosen: dict[str, Value] = {}
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign or name not in SETTABLE:
            defaults = ", ".join(f"{known}={of}" for known, of in SETTABLE.items())
            raise BatchError(
                f"{text!r} sets no parameter: expected NAME=VALUE, where the names and "
                f"their defaults are {defaults}"
            )
        chosen[name] = parse(name, value)
    if not chosen:
        return {}
    check(chosen)
    n_rounds = chosen.pop(ROUNDS, None)
    found: dict[str, Any] = {"parameters": chosen} if chosen else {}
    return found if n_rounds is None else found | {ROUNDS: n_rounds}


def parse(name: str, text: str) -> Value:
    """Return a value of the kind that the default has.

    Raises:
        BatchError: it is of another kind.
    """
    default = SETTABLE[name]
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise BatchError(f"{name}={text}: expected true or false, such as {default}")
    if not re.fullmatch(COUNT if name in COUNTS else NUMBER, text):
        raise BatchError(f"{name}={text}: expected a number, such as {default}")
    return float(text) if "." in text else int(text)


def check(chosen: Mapping[str, Value]) -> None:
    """Try parameters out on two rows.

    Raises:
        BatchError: xgboost refuses one of them.
    """
    n_rounds = int(chosen.get(ROUNDS, 1))
    if not 1 <= n_rounds <= MOST_ROUNDS:
        raise BatchError(f"{ROUNDS}={n_rounds}: expected 1 to {MOST_ROUNDS}")
    rows = xgboost.QuantileDMatrix(np.array([[0.0], [1.0]]), label=[0, 1], qid=[1, 1])
    others = {name: value for name, value in chosen.items() if name != ROUNDS}
    try:
        xgboost.train(PARAMETERS | others, rows, 1)
    except xgboost.core.XGBoostError as error:
        lines = [line for line in str(error).splitlines() if not line.startswith("  [")]
        reason = lines[0].rpartition("] ")[2] if lines else "no reason given"
        words = " ".join(f"{name}={value}" for name, value in others.items())
        raise BatchError(f"xgboost refuses {words}: {reason}") from error
