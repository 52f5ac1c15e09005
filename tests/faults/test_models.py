"""Versions in MLflow that are gone, damaged, hostile or other models than ours."""

import json
import os
import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.xgboost
import numpy as np
import pytest
import xgboost
import yaml
from mlflow import MlflowClient

from batch.errors import BatchError
from batch.features import columns
from batch.model import model_file
from batch.model.alias import MODEL_NAME
from batch.model.registry import (
    CHECKSUM,
    EVALUATED,
    EVALUATED_CHECKSUM,
    Registry,
    digest,
    is_within,
)
from tests.batch.model.test_registry import VALUES, register, trained
from tests.conftest import Tally

Change = Callable[[Path], object]


@dataclass(frozen=True)
class Store:
    """A store with one good version, and what others can be made of it."""

    registry: Registry
    folder: Path
    run_id: str

    @property
    def client(self) -> MlflowClient:
        """MLflow's own way in."""
        return MlflowClient(self.registry.tracking_uri)

    @property
    def good(self) -> Path:
        """The files of the good version's model."""
        location = self.registry._client.get_model_version_download_uri(MODEL_NAME, "1")
        return Path(location.removeprefix("file://"))

    def version(
        self, change: Change, tags: dict[str, str] | None = None, name: str = MODEL_NAME
    ) -> str:
        """Register a copy of the good version's files, changed."""
        copy = self.good.parents[1] / os.urandom(8).hex() / "artifacts"
        shutil.copytree(self.good, copy)
        change(copy)
        return self.named(copy.as_uri(), tags, name)

    def named(
        self, source: str, tags: dict[str, str] | None = None, name: str = MODEL_NAME
    ) -> str:
        """Register what is at an address."""
        made = self.client.create_model_version(name, source, self.run_id, tags=tags)
        return str(made.version)

    def refusal(self, version: str) -> str:
        """Load what must not be loaded; return the one line of why."""
        with pytest.raises(BatchError) as caught:
            self.registry.load(version)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"could not load version {version} of MovieLensXGB")
        assert len(message) < 900
        return message


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Store:
    """Make the store once: all that tests do is to add versions."""
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
def prod_stays(store: Store, tally: Tally) -> Iterator[None]:
    """Nothing that goes wrong may move the alias."""
    tally.faults()
    yield
    assert store.registry.prod_version() == "1"


def written(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def gone(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def enlarged(name: str) -> Change:
    return lambda folder: os.truncate(folder / name, 2**30)  # of holes


def linked(folder: Path) -> None:
    """Let the booster's name stand for a file elsewhere."""
    (folder / "model.ubj").unlink()
    (folder / "model.ubj").symlink_to("/etc/passwd")


def described(**changes: Any) -> Change:
    """Change what MLmodel says of the flavor."""

    def change(folder: Path) -> None:
        path = folder / "MLmodel"
        told = yaml.safe_load(path.read_bytes())
        told["flavors"]["xgboost"] |= changes
        path.write_text(yaml.safe_dump(told))

    return change


def grown(**parameters: Any) -> Change:
    """Put another booster into the place of the good one."""
    labels = np.array([0, 1, 2, 1])
    matrix = xgboost.DMatrix(VALUES, labels)
    found = xgboost.train({"nthread": 1, **parameters}, matrix, 2)
    return written("model.ubj", bytes(found.save_raw("ubj")))


def flip(folder: Path) -> None:
    """Turn a bit of a leaf around: another number, and all else is right."""
    path = folder / "model.ubj"
    content = bytearray(path.read_bytes())
    at = content.index(b"split_conditions") + len(b"split_conditions[$d#L") + 8 + 1
    content[at] ^= 1
    path.write_bytes(content)


RANDOM = bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8))

LISTS = "flavors: &l0 [x]\n" + "".join(
    f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 13)
)
"""YAML of a few hundred bytes that names a list of a million million texts."""


def exploding(flavor: str) -> Change:
    """Let something of the flavor be that list."""
    text = f"{LISTS}flavors: {{xgboost: {{{flavor}}}}}\n"
    return written("MLmodel", text.encode())


EMPTY = b"L" + (1).to_bytes(8) + b"a"
"""A name in UBJSON."""

FAULTS: dict[str, tuple[Change, str]] = {
    "the folder": (shutil.rmtree, "its MLmodel is gone from file://"),
    "MLmodel": (gone("MLmodel"), "its MLmodel is gone"),
    "the booster": (gone("model.ubj"), "its model.ubj is gone"),
    "empty": (written("model.ubj", b""), "not in xgboost's own format"),
    "random": (written("model.ubj", RANDOM), "not in xgboost's own format"),
    "cut off": (
        lambda folder: os.truncate(folder / "model.ubj", 1000),
        "model.ubj is of no use: it is damaged: ",  # which place is cut, names decide
    ),
    "half of JSON": (written("model.ubj", b'{"learner": {'), "it is damaged"),
    "JSON of a thousand depths": (
        written("model.ubj", b'{"learner":' + b"[" * 100_000),
        "it is damaged",
    ),
    "JSON of nothing": (written("model.ubj", b"{}"), "it is damaged: it has no learn"),
    "huge": (enlarged("model.ubj"), "takes 1,073,741,824 bytes, at most 67,108,864"),
    "huge MLmodel": (enlarged("MLmodel"), "MLmodel takes 1,073,741,824 bytes"),
    "random MLmodel": (written("MLmodel", RANDOM), "its MLmodel is damaged"),
    "MLmodel of a list": (written("MLmodel", b"[1]"), "MLmodel names no flavors"),
    "MLmodel of a number": (written("MLmodel", b"flavors: 1"), "names no flavors"),
    "another flavor": (
        written("MLmodel", b"flavors: {sklearn: {pickled_model: model.pkl}}"),
        "it has no flavor xgboost, only: sklearn",
    ),
    "several classes": (
        grown(objective="multi:softprob", num_class=3),
        "it gives several scores a pair",
    ),
    "several targets": (
        grown(objective="reg:quantileerror", quantile_alpha=[0.1, 0.9]),
        "it gives several scores a pair",
    ),
    "a linear booster": (grown(booster="gblinear"), "its booster is 'gblinear'"),
    "a class that explodes": (exploding("model_class: *l12"), "it is a list, expect"),
    "a file that explodes": (exploding("data: *l12"), "'list' is no name of a file"),
    "flavors that explode": (
        written("MLmodel", f"{LISTS}flavors: {{? *l12 : 1}}".encode()),
        "is damaged",
    ),
    "JSON of empty lists": (
        written("model.ubj", b'{"a":[' + b"[]," * 2**21 + b"[]]}"),
        "it holds 2,097,155 lists and objects",
    ),
    "UBJSON of empty lists": (
        written("model.ubj", b"{" + EMPTY + b"[" + b"[]" * 2**21 + b"]}"),
        "it holds more than 1,048,576 values",
    ),
    "outside its folder": (described(data="../../model.ubj"), "no name of a file"),
    "an absolute path": (described(data="/etc/passwd"), "no name of a file"),
    "no file": (described(data=""), "no name of a file"),
    "a file of no name": (described(data=None), "its null is gone"),
    "MLmodel of numbers to the base of sixty": (
        written("MLmodel", b"flavors: {a: " + b"1:" * 2**10 + b"1.0}"),
        "it has no flavor xgboost, only: a",
    ),
    "a link to elsewhere": (linked, "one of its files is a link to elsewhere"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_version_whose_files_are_of_no_use_is_refused(
    store: Store, fault: str
) -> None:
    """With a line that says what is wrong with which file, and what to do."""
    change, expected = FAULTS[fault]
    message = store.refusal(store.version(change))
    assert expected in message
    assert message.endswith("or train a new one (python -m batch train)")
    assert "root:" not in message


def without_names() -> bytes:
    """Train on values that have no names."""
    values = VALUES.to_pandas().to_numpy()
    found = xgboost.train({"nthread": 1}, xgboost.DMatrix(values, [0, 1, 0, 1]), 1)
    return bytes(found.save_raw("ubj"))


def on_categories() -> bytes:
    """Train on a feature that stands for kinds."""
    frame = VALUES.to_pandas().astype({"second": "int"}).astype({"second": "category"})
    matrix = xgboost.DMatrix(frame, [0, 1, 0, 1], enable_categorical=True)
    return bytes(xgboost.train({"nthread": 1}, matrix, 2).save_raw("ubj"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (without_names, "its features have no names"),
        (on_categories, "it takes second for categories, not numbers"),
    ],
)
def test_features_that_cannot_be_matched_with_those_of_the_sql_are_refused(
    store: Store, content: Callable[[], bytes], expected: str
) -> None:
    assert expected in store.refusal(store.version(written("model.ubj", content())))


def test_features_that_the_sql_does_not_give_are_named() -> None:
    with pytest.raises(BatchError, match="gives no moon_phase, tide, which the model"):
        columns.require(["user_n_ratings", "moon_phase", "tide"])
    columns.require(columns.FEATURES[::-1])


@pytest.mark.parametrize("version", [[1, 6, 0], [3, 4, 0], [9, 0, 0]])
@pytest.mark.parametrize("form", ["ubj", "json"])
def test_models_of_other_versions_and_both_formats_of_xgboost_are_loaded(
    store: Store, form: str, version: list[int]
) -> None:
    found = json.loads(trained().save_raw("json"))
    found["version"] = version
    whole = xgboost.Booster(model_file=bytearray(json.dumps(found).encode()))
    content = bytes(whole.save_raw("ubj"))
    if form == "json":
        content = json.dumps(found).encode()
    name = f"model.{form}"

    def change(folder: Path) -> None:
        written(name, content)(folder)
        described(data=name)(folder)

    loaded = store.registry.load(store.version(change))
    expected = trained().inplace_predict(VALUES).tolist()
    assert loaded.inplace_predict(VALUES).tolist() == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"booster": "dart", "rate_drop": 0.5},
        {"tree_method": "exact", "gamma": 0.3},  # leaves holes where it pruned
        {"num_parallel_tree": 2, "subsample": 0.9},
        {"grow_policy": "lossguide", "max_depth": 0, "max_leaves": 3},
        {"objective": "binary:logistic"},
    ],
    ids=str,
)
def test_other_sums_of_trees_are_loaded(
    store: Store, parameters: dict[str, Any]
) -> None:
    """What the check is for is damage: whatever xgboost makes of trees is taken."""
    matrix = xgboost.DMatrix(VALUES, [0, 1, 0, 1])
    made = xgboost.train({"nthread": 1, **parameters}, matrix, 4)
    for form in ("ubj", "json"):
        loaded = model_file.read(bytes(made.save_raw(form)))
        assert (loaded.predict(matrix) == made.predict(matrix)).all()


def test_a_wrong_bit_that_nobody_would_see_is_found_by_its_checksum(
    store: Store,
) -> None:
    client = store.client
    tags = client.get_model_version(MODEL_NAME, "1").tags
    assert tags[CHECKSUM] == digest((store.good / "model.ubj").read_bytes())
    message = store.refusal(store.version(flip, {CHECKSUM: tags[CHECKSUM]}))
    assert "its model.ubj is damaged: of its" in message
    assert "the sha256 is not that of what was registered" in message
    # without it there is nothing to tell it by
    assert store.registry.load(store.version(flip)).num_boosted_rounds() == 2
    tags = {EVALUATED: tags[EVALUATED], EVALUATED_CHECKSUM: "0" * 64}
    version = store.version(lambda _: None, tags)
    with pytest.raises(BatchError, match="evaluated model of version .* is damaged"):
        store.registry.load_evaluated(version)


@pytest.mark.parametrize(
    "path",
    [
        ("trees", 0, "left_children"),
        ("trees", 0, "split_type"),
        ("tree_info",),
        ("iteration_indptr",),
    ],
    ids=str,
)
def test_a_text_among_numbers_takes_no_more_than_itself(
    path: tuple[str | int, ...],
) -> None:
    """To numpy all of an array are as wide as its widest."""
    found = json.loads(trained().save_raw("json"))
    at = found["learner"]["gradient_booster"]["model"]
    for step in path[:-1]:
        at = at[step]
    tree = found["learner"]["gradient_booster"]["model"]["trees"][0]
    n = len(tree["left_children"]) if "trees" in path else 2
    at[path[-1]] = ["x" * 2**21, *[""] * (n - 1)]
    content = json.dumps(found).encode()
    tracemalloc.start()
    try:
        with pytest.raises(model_file.UnfitError, match="it is damaged"):
            model_file.read(content)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(content)
    finally:
        tracemalloc.stop()


# --- hostile ones --------------------------------------------------------------------


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def hostile(marker: Path) -> dict[str, Change]:
    """Lay out models that run something when loaded by what they name."""
    code = f"open({str(marker)!r}, 'w').close()\nclass Model: pass\n"
    pickled = pickle.dumps(Bomb(marker))
    function = {"loader_module": "evil", "code": "code", "data": "model.ubj"}

    def with_code(folder: Path) -> None:
        (folder / "code").mkdir()
        for name in ("evil", "xgboost", "sitecustomize"):
            (folder / "code" / f"{name}.py").write_text(code)

    def imported(folder: Path) -> None:
        with_code(folder)
        described(model_class="evil.Model", code="code")(folder)

    def beside_the_booster(folder: Path) -> None:
        with_code(folder)
        described(code="code")(folder)

    def as_function(folder: Path) -> None:
        with_code(folder)
        told = yaml.safe_dump({"flavors": {"python_function": function}})
        (folder / "MLmodel").write_text(told)

    def as_pickle(folder: Path) -> None:
        (folder / "model.pkl").write_bytes(pickled)
        described(data="model.pkl")(folder)

    tag = f"!!python/object/apply:os.system [\"touch '{marker}'\"]"
    return {
        "imported": imported,
        "as function": as_function,
        "as pickle": as_pickle,
        "in the place of the booster": written("model.ubj", pickled),
        "in YAML": written("MLmodel", f"flavors: {{xgboost: {tag}}}".encode()),
        "beside the booster": beside_the_booster,
    }


@pytest.mark.parametrize("how", hostile(Path()))
def test_a_model_cannot_run_anything(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Neither by pickles nor by modules; MLflow's own loader would import these."""
    marker = tmp_path / "marker"
    version = store.version(hostile(marker)[how])
    if how == "beside the booster":  # which is a good one: the code is not looked at
        path = list(sys.path)
        assert store.registry.load(version).num_boosted_rounds() == 2
        assert sys.path == path
    else:
        store.refusal(version)
    assert not marker.exists()
    assert "evil" not in sys.modules
    if how == "imported":  # what is tried here is no blank cartridge
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
        "https://example.invalid/model",
        "s3://bucket/model",
        "ftp://127.0.0.1:9/model",
        "dbfs:/model",
        "file:///etc",
        "/etc",
        "{root}/../../etc",
        "{root}/%2e%2e/%2e%2e/etc",
        "{root}",
    ],
)
def test_files_that_are_not_where_a_run_keeps_them_are_not_asked_for(
    store: Store, source: str
) -> None:
    """A version may be made to name any address, which is not to be reached from here.

    Nobody listens at these: to have asked would say otherwise.
    """
    root = store.good.parents[2].as_uri()
    message = store.refusal(store.named(source.format(root=root)))
    assert "and its run's are below file://" in message


def test_what_is_below_a_folder() -> None:
    assert is_within("file:///a%20b/c", "/a b")
    assert is_within("mlflow-artifacts:/1/models/m-2/artifacts", "mlflow-artifacts:/1")
    assert not is_within("mlflow-artifacts:/12/models", "mlflow-artifacts:/1")
    assert not is_within("file:///a/../c", "file:///a")


def test_another_model_under_this_name_is_refused(store: Store) -> None:
    """What is scored with was registered as MovieLensXGB itself."""
    other = store.version(lambda _: None, name="Another")
    copied = store.client.copy_model_version(f"models:/Another/{other}", MODEL_NAME)
    assert "it is a copy of models:/Another/1" in store.refusal(str(copied.version))
    again = store.client.copy_model_version(f"models:/{MODEL_NAME}/1", MODEL_NAME)
    assert store.registry.load(str(again.version)).num_boosted_rounds() == 2


@pytest.mark.parametrize(
    "uri", ["models:/Another/1", "http://127.0.0.1:9/m", "models:/m-1/../2", "/etc"]
)
def test_an_evaluated_model_that_was_not_logged_is_refused(
    store: Store, uri: str
) -> None:
    version = store.version(lambda _: None, {EVALUATED: uri})
    with pytest.raises(BatchError, match="is no model that was logged"):
        store.registry.load_evaluated(version)


def test_a_version_of_no_run_is_refused(store: Store) -> None:
    made = store.client.create_model_version(MODEL_NAME, store.good.as_uri())
    assert "it is of no run" in store.refusal(str(made.version))


def test_a_version_that_is_not_ready_is_refused(store: Store) -> None:
    version = store.version(lambda _: None)
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        database.execute(
            "update model_versions set status = 'PENDING_REGISTRATION' "
            "where version = ?",
            (version,),
        )
    database.close()
    message = store.refusal(version)
    assert "its status is PENDING_REGISTRATION, expected READY" in message


def test_a_version_deleted_between_resolving_and_loading(store: Store) -> None:
    """MLflow takes the alias away with it, so that the next run trains anew."""
    version = store.version(lambda _: None)
    store.registry.promote(version)
    resolved = store.registry.prod_version()
    assert resolved == version
    store.client.delete_model_version(MODEL_NAME, version)
    assert re.search(f"version={version}.* not found", store.refusal(resolved))
    assert store.registry.prod_version() is None
    store.registry.promote("1")


@pytest.mark.slow
def test_damaged_files_neither_crash_nor_hang_whoever_reads_them(tally: Tally) -> None:
    """By hundreds: `python -m tests.faults.models --corruptions 1000` tries more."""
    command = [sys.executable, "-m", "tests.faults.models", "--corruptions", "400"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout)
    assert counts["refused"] > 300
    assert sum(counts.values()) == 400
    tally.inputs(400)
