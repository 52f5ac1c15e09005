"""What MLflow says of a model, in its file `MLmodel`; nothing named there is imported.

`mlflow.xgboost.load_model` would import the class that it names, from a folder `code`
of the model's own: whoever can write a model could run anything here.
"""

import re

import yaml

from batch.model.model_file import UnfitError

NAME = "MLmodel"
LARGEST_FILE = 2**18
"""Bytes; for sixty features it takes 10,000. So many brackets take 20 s."""

BOOSTER = "xgboost.core.Booster"
FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def file_of(description: bytes) -> str:
    """Return the name of the booster's file.

    Raises:
        UnfitError: it is no booster that `mlflow.xgboost` has logged.
    """
    try:
        # all scalars are texts: numbers such as 1:1:1 take minutes, and older versions
        # of PyYAML write out what mappings that are merged share
        flavors = yaml.load(description, yaml.BaseLoader)["flavors"]  # noqa: S506
        flavor = flavors.get("xgboost")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UnfitError(f"its {NAME} is damaged: {reason}") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise UnfitError(f"its {NAME} names no flavors") from error
    if not isinstance(flavor, dict):
        found = ", ".join(map(told, flavors)) or "none"
        raise UnfitError(f"it has no flavor xgboost, only: {found[:100]}")
    kind, name = flavor.get("model_class", BOOSTER), flavor.get("data")
    if kind != BOOSTER:
        raise UnfitError(
            f"it is a {told(kind).rpartition('.')[2][:60]}, expected a native xgboost "
            "Booster; log it with mlflow.xgboost"
        )
    if not isinstance(name, str) or not FILE_NAME.fullmatch(name):
        raise UnfitError(f"{told(name)[:60]!r} is no name of a file beside its {NAME}")
    return name


def told(value: object) -> str:
    """Tell a text, and of anything else its type.

    A few hundred bytes of YAML can name lists of lists that share their parts, and take
    gigabytes when they are written out.
    """
    return value if isinstance(value, str) else type(value).__name__
