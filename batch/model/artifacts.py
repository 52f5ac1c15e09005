"""Fetch a model's files from MLflow, but only from its experiment's folder."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

import mlflow.artifacts

from batch.model import model_file
from batch.model.model_file import UnfitError
from lookup.shared.env import without_password

if TYPE_CHECKING:
    import xgboost


def read_booster(location: str, root: str, checksum: str | None) -> "xgboost.Booster":
    """Return the booster of a logged model.

    Args:
        location: the folder of the model's files.
        root: the folder of its experiment.
        checksum: the sha256 of the booster's file; None for models that other tools
            registered, whose file a child process tries out first.

    Raises:
        UnfitError: the files are elsewhere, damaged, or not a booster to score with.
    """
    if not is_within(location, root):
        raise UnfitError(
            f"its files are at {without_password(location)}, those of its run below "
            f"{without_password(root)}; register a model that a run has logged"
        )
    listed = mlflow.artifacts.list_artifacts(artifact_uri=location)
    sizes = {PurePosixPath(file.path).name: file.file_size or 0 for file in listed}
    mlmodel = fetch(location, model_file.MLMODEL, sizes, model_file.MAX_MLMODEL_BYTES)
    name = model_file.booster_name(mlmodel)
    content = fetch(location, name, sizes, model_file.MAX_BOOSTER_BYTES)
    if checksum is not None and sha256(content) != checksum:
        raise UnfitError(
            f"its {name} of {len(content):,} bytes is damaged: its sha256 is not the "
            "registered one"
        )
    try:
        if checksum is None:
            model_file.try_out(content)
        return model_file.load(content)
    except UnfitError as error:
        raise UnfitError(f"its {name} cannot be used: {error}") from error


def is_within(location: str, root: str) -> bool:
    """Return whether an artifact's address is below a folder's."""
    inner, outer = (
        unquote(uri.removeprefix("file://")).rstrip("/") for uri in (location, root)
    )
    return inner.startswith(f"{outer}/") and ".." not in PurePosixPath(inner).parts


def fetch(location: str, name: str, sizes: Mapping[str, int], max_bytes: int) -> bytes:
    """Return the content of a model's file, unless it is missing or too large."""
    if name not in sizes:
        raise UnfitError(f"its {name} is gone from {without_password(location)}")
    if sizes[name] > max_bytes:
        raise UnfitError(f"its {name} has {sizes[name]:,} bytes, over {max_bytes:,}")
    with tempfile.TemporaryDirectory(prefix="movielens-xgb-") as folder:
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=f"{location.rstrip('/')}/{name}", dst_path=folder
        )
        # a server may send more than it lists
        if Path(path).stat().st_size > max_bytes:
            raise UnfitError(f"its {name} has over {max_bytes:,} bytes")
        return Path(path).read_bytes()


def sha256(content: bytes | bytearray) -> str:
    """Return the checksum of a file's content."""
    return hashlib.sha256(content).hexdigest()
