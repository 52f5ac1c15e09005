"""Versions in MLflow that are gone, damaged, hostile or not ours."""

import os
import pickle
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.xgboost
import pytest
import yaml
from mlflow import MlflowClient

from batch.errors import BatchError
from batch.model import model_file
from batch.model.alias import CHECKSUM
from batch.model.artifacts import is_within, sha256
from batch.model.registry import EVALUATED, EVALUATED_CHECKSUM, Registry
from batch.settings import MODEL_NAME
from tests.batch.model.test_model_file import TREE, changed, grown
from tests.batch.model.test_registry import VALUES, register, trained

Change = Callable[[Path], object]


@dataclass(frozen=True)
class Store:
    """A store with one good version, and ways to register bad copies of it."""

    registry: Registry
    folder: Path
    run_id: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.registry.tracking_uri)

    @property
    def good(self) -> Path:
        """The folder of the good version's files."""
        location = self.client.get_model_version_download_uri(MODEL_NAME, "1")
        return Path(location.removeprefix("file://"))

    def copy(
        self, change: Change, tags: dict[str, str] | None = None, name: str = MODEL_NAME
    ) -> str:
        """Register a changed copy of the good version's files."""
        copy = self.good.parents[1] / os.urandom(8).hex() / "artifacts"
        shutil.copytree(self.good, copy)
        change(copy)
        return self.register(copy.as_uri(), tags, name)

    def register(
        self, source: str, tags: dict[str, str] | None = None, name: str = MODEL_NAME
    ) -> str:
        made = self.client.create_model_version(name, source, self.run_id, tags=tags)
        return str(made.version)

    def refusal(self, version: str) -> str:
        """Return the one line with which a version is refused."""
        with pytest.raises(BatchError) as caught:
            self.registry.load(version)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"could not load version {version} of MovieLensXGB")
        assert len(message) < 900
        return message


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Store:
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, folder)
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    registry.promote(register(registry))
    client = MlflowClient(registry.tracking_uri)
    run_id = client.get_model_version(MODEL_NAME, "1").run_id
    assert run_id is not None
    client.create_registered_model("Another")
    return Store(registry, folder, run_id)


@pytest.fixture(autouse=True)
def prod_stays(store: Store) -> Iterator[None]:
    yield
    assert store.registry.prod_version() == "1"


# --- damaged -------------------------------------------------------------------------


def written(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def enlarged(name: str) -> Change:
    return lambda folder: os.truncate(folder / name, 2**30)  # a sparse file


def linked(folder: Path) -> None:
    (folder / "model.json").unlink()
    (folder / "model.json").symlink_to("/etc/passwd")


def described(**changes: Any) -> Change:
    """Change the flavor in MLmodel."""

    def change(folder: Path) -> None:
        path = folder / "MLmodel"
        mlmodel = yaml.safe_load(path.read_bytes())
        mlmodel["flavors"]["xgboost"] |= changes
        path.write_text(yaml.safe_dump(mlmodel))

    return change


SEVERAL = bytes(grown(objective="multi:softprob", num_class=3).save_raw("json"))
FAULTS: dict[str, tuple[Change, str]] = {
    "no folder": (shutil.rmtree, "its MLmodel is gone from file://"),
    "no MLmodel": (removed("MLmodel"), "its MLmodel is gone"),
    "no booster": (removed("model.json"), "its model.json is gone"),
    "huge": (enlarged("model.json"), "has 1,073,741,824 bytes, over 67,108,864"),
    "huge MLmodel": (enlarged("MLmodel"), "MLmodel has 1,073,741,824 bytes, over"),
    "outside its folder": (described(data="../../model.json"), "outside its folder"),
    "a link": (linked, "outside the artifact directory"),
    "empty": (written("model.json", b""), "xgboost crashes on loading it (signal 6)"),
    "several classes": (written("model.json", SEVERAL), "several scores a pair"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_useless_files_are_refused_with_what_to_do(store: Store, fault: str) -> None:
    change, expected = FAULTS[fault]
    message = store.refusal(store.copy(change))
    assert expected in message
    assert message.endswith("or train a new one (python -m batch train)")
    assert "root:" not in message


def as_ubjson(folder: Path) -> None:
    """Store the booster as versions did before they were JSON."""
    (folder / "model.json").unlink()
    (folder / "model.ubj").write_bytes(trained().save_raw("ubj"))
    described(data="model.ubj", model_format="ubj")(folder)


@pytest.mark.parametrize("is_ours", [True, False])
def test_ubjson_is_loaded(
    store: Store, monkeypatch: pytest.MonkeyPatch, is_ours: bool
) -> None:
    """Without a child process if its checksum matches."""
    tags = {CHECKSUM: sha256(trained().save_raw("ubj"))} if is_ours else {}
    if is_ours:
        monkeypatch.setattr(model_file, "try_out", pytest.fail)
    loaded = store.registry.load(store.copy(as_ubjson, tags))
    expected = trained().inplace_predict(VALUES).tolist()
    assert loaded.inplace_predict(VALUES).tolist() == expected


def test_another_number_is_found_by_its_checksum(store: Store) -> None:
    tags = store.client.get_model_version(MODEL_NAME, "1").tags
    assert tags[CHECKSUM] == sha256((store.good / "model.json").read_bytes())
    other = written("model.json", changed(*TREE, "split_conditions", 0, value=0.25))
    message = store.refusal(store.copy(other, {CHECKSUM: tags[CHECKSUM]}))
    assert re.search("model.json of .* bytes is damaged: its sha256 is not", message)
    # without a checksum nothing gives it away
    assert store.registry.load(store.copy(other)).num_boosted_rounds() == 2
    tags = {EVALUATED: tags[EVALUATED], EVALUATED_CHECKSUM: "0" * 64}
    version = store.copy(lambda _: None, tags)
    with pytest.raises(BatchError, match="evaluated model of version .* is damaged"):
        store.registry.load_evaluated(version)


# --- hostile ones --------------------------------------------------------------------


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def hostile(marker: Path) -> dict[str, Change]:
    """Return changes that make MLflow's own loader run something."""
    code = f"open({str(marker)!r}, 'w').close()\nclass Model: pass\n"
    pickled = pickle.dumps(Bomb(marker))
    function = {"loader_module": "evil", "code": "code", "data": "model.json"}

    def with_code(change: Change) -> Change:
        def changed(folder: Path) -> None:
            (folder / "code").mkdir()
            for name in ("evil", "xgboost", "sitecustomize"):
                (folder / "code" / f"{name}.py").write_text(code)
            change(folder)

        return changed

    def as_pickle(folder: Path) -> None:
        (folder / "model.pkl").write_bytes(pickled)
        described(data="model.pkl")(folder)

    tag = f"!!python/object/apply:os.system [\"touch '{marker}'\"]"
    as_function = yaml.safe_dump({"flavors": {"python_function": function}}).encode()
    return {
        "imported": with_code(described(model_class="evil.Model", code="code")),
        "as function": with_code(written("MLmodel", as_function)),
        "as pickle": as_pickle,
        "instead of the booster": written("model.json", pickled),
        "in YAML": written("MLmodel", f"flavors: {{xgboost: {tag}}}".encode()),
        "next to the booster": with_code(described(code="code")),
    }


@pytest.mark.parametrize("how", hostile(Path()))
def test_a_model_cannot_run_anything(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Neither by pickles nor by modules."""
    marker = tmp_path / "marker"
    version = store.copy(hostile(marker)[how])
    if how == "next to the booster":  # which is a good one
        path = list(sys.path)
        assert store.registry.load(version).num_boosted_rounds() == 2
        assert sys.path == path
    else:
        store.refusal(version)
    assert not marker.exists()
    assert "evil" not in sys.modules
    if how == "imported":  # proves that the attack would work
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(AttributeError):
            mlflow.xgboost.load_model(f"models:/{MODEL_NAME}/{version}")
        assert marker.exists()
        del sys.modules["evil"]


# --- elsewhere -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1:9/model",
        "s3://bucket/model",
        "file:///etc",
        "/etc",
        "{root}/../../etc",
        "{root}/%2e%2e/%2e%2e/etc",
        "{root}",
    ],
)
def test_files_elsewhere_are_not_requested(store: Store, source: str) -> None:
    """A version can name any address; a request would fail with another message."""
    root = store.good.parents[2].as_uri()
    message = store.refusal(store.register(source.format(root=root)))
    assert "those of its run below file://" in message


def test_what_is_below_a_folder() -> None:
    assert is_within("file:///a%20b/c", "/a b")
    assert is_within("mlflow-artifacts:/1/models/m-2/artifacts", "mlflow-artifacts:/1")
    assert not is_within("mlflow-artifacts:/12/models", "mlflow-artifacts:/1")
    assert not is_within("file:///a/../c", "file:///a")


def test_another_model_under_this_name_is_refused(store: Store) -> None:
    other = store.copy(lambda _: None, name="Another")
    copied = store.client.copy_model_version(f"models:/Another/{other}", MODEL_NAME)
    assert "it is a copy of models:/Another/1" in store.refusal(str(copied.version))
    again = store.client.copy_model_version(f"models:/{MODEL_NAME}/1", MODEL_NAME)
    assert store.registry.load(str(again.version)).num_boosted_rounds() == 2


@pytest.mark.parametrize(
    "uri", ["models:/Another/1", "http://127.0.0.1:9/m", "models:/m-1/../2", "/etc"]
)
def test_an_unlogged_evaluated_model_is_refused(store: Store, uri: str) -> None:
    version = store.copy(lambda _: None, {EVALUATED: uri})
    with pytest.raises(BatchError, match="is not the address of a logged model"):
        store.registry.load_evaluated(version)


def test_a_version_that_has_no_run_or_is_not_ready_is_refused(store: Store) -> None:
    made = store.client.create_model_version(MODEL_NAME, store.good.as_uri())
    assert "it has no run" in store.refusal(str(made.version))
    version = store.copy(lambda _: None)
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        query = "update model_versions set status = 'DELETING' where version = ?"
        database.execute(query, (version,))
    database.close()
    assert "its status is DELETING, expected READY" in store.refusal(version)


def test_a_version_deleted_between_resolving_and_loading(store: Store) -> None:
    """MLflow removes the alias with it, so the next run trains a version."""
    version = store.copy(lambda _: None)
    store.registry.promote(version)
    resolved = store.registry.prod_version()
    assert resolved == version
    store.client.delete_model_version(MODEL_NAME, version)
    assert re.search(f"version={version}.* not found", store.refusal(resolved))
    assert store.registry.prod_version() is None
    store.registry.promote("1")
