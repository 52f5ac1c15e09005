"""Runs that would replace good lists by doubtful ones, on the real command line."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from mlflow import MlflowClient

from batch.commands import guards
from batch.commands.inputs import Inputs
from batch.model.registry import Record, Registry
from batch.settings import MODEL_NAME
from lookup.shared import contract
from tests.batch.ingest.file_server import Reply, serving
from tests.conftest import KEYS, RedisServer
from tests.faults.batches import Clone
from tests.lookup.programs import ROOT, environment
from tests.movielens import write_world
from tests.sql import raw

Keys = dict[bytes, Any]
"""Key → value, as DUMP gives it."""


@dataclass(frozen=True)
class Site:
    """A clone that has trained and published, and what its Redis holds."""

    clone: Clone
    client: redis.Redis

    @property
    def served(self) -> str:
        """The generation that is served."""
        return str(self.client.get(KEYS.current))

    @property
    def meta(self) -> dict[str, str]:
        """Its meta."""
        found = self.client.hgetall(KEYS.of(self.served).meta)
        return {str(name): str(value) for name, value in found.items()}

    def refusal(self, *words: str, clone: Clone | None = None) -> str:
        """Run what must fail and change nothing; return its one line."""
        before = self.content()
        line = (clone or self.clone).failure(*words)
        assert self.content() == before
        return line

    def content(self) -> Keys:
        """Dump all keys."""
        return dump(self.clone.variables["REDIS_URL"])


def dump(url: str) -> Keys:
    """Dump all keys of a Redis."""
    with redis.Redis.from_url(url) as client:
        return {key: client.dump(key) for key in client.scan_iter()}


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, server: RedisServer
) -> tuple[Clone, Keys]:
    """A clone that has made its first run, and the keys that it wrote."""
    folder = tmp_path_factory.mktemp("clone")
    write_world(folder / "world")
    clone = Clone(
        folder,
        {
            "REDIS_URL": server.url,
            "MOVIELENS_RAW": "world",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlruns/mlflow.db",
        },
    )
    clone.run("run")
    return clone, dump(server.url)


@pytest.fixture
def site(
    trained: tuple[Clone, Keys], server: RedisServer, tmp_path: Path
) -> Iterator[Site]:
    """The state after the first run, which each test may change."""
    clone, keys = trained
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        for key, value in keys.items():
            client.restore(key, 0, value)
    store = clone.folder / "mlruns" / "mlflow.db"
    shutil.copy(store, tmp_path / "mlflow.db")
    shutil.copytree(clone.folder / "world", tmp_path / "world")
    variables = {
        **clone.variables,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield Site(Clone(tmp_path, variables), client)


def cut(folder: Path, n_lines: int) -> None:
    """Leave the first lines of u.data."""
    path = folder / "u.data"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:n_lines]))


# --- raw files -----------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "train", "evaluate", "features"])
def test_nothing_is_downloaded_where_prod_is_trained(site: Site, command: str) -> None:
    """As in a job without its MOVIELENS_RAW."""
    release = raw.zipped(raw.tab(site.clone.folder / "x"), site.clone.folder / "x.zip")
    with serving(Reply(release.read_bytes())) as web:
        variables = {**site.clone.variables, "MOVIELENS_URL": web.url}
        variables |= {"MOVIELENS_RAW": "", "no_proxy": "127.0.0.1"}
        clone = replace(site.clone, variables=variables)
        line = site.refusal(command, clone=clone)
        assert web.requests == []
        assert "data/raw is empty or missing, and nothing is downloaded" in line
        assert "version 1 of MovieLensXGB is prod already (trained on ml-100k)" in line
        assert not (clone.folder / "data/raw").exists()
        clone.run("download")  # asked for by name, it is
    assert len(list(clone.folder.glob("data/raw/*/u.data"))) == 1


def test_a_first_command_that_names_nothing_downloads(tmp_path: Path) -> None:
    body = raw.zipped(write_world(tmp_path / "x"), tmp_path / "x.zip").read_bytes()
    with serving(Reply(body)) as web:
        clone = Clone(tmp_path, {"MOVIELENS_URL": web.url, "no_proxy": "127.0.0.1"})
        clone.run("features")
        clone.run("features")
        assert len(web.requests) == 1
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("command", ["run", "train", "features"])
@pytest.mark.parametrize("name", ["wrold", "wrold.zip", "empty"])
def test_a_named_folder_that_is_missing_or_empty_ends_a_command(
    tmp_path: Path, command: str, name: str
) -> None:
    """Before anything is made: no download, no store, no Redis."""
    (tmp_path / "empty").mkdir()
    line = Clone(tmp_path, {"MOVIELENS_URL": "http://127.0.0.1:9/x.zip"}).failure(
        command, "--raw", name
    )
    assert ("found nothing" if name == "empty" else f"{name} does not exist") in line
    made = {path.name for path in tmp_path.iterdir() if "batch-" not in path.name}
    assert made == {"empty"}


# --- release -------------------------------------------------------------------------


def write_csv(folder: Path) -> Path:
    """Write a release of the CSV family, larger than the world."""
    rows = [
        (user, 1 + (7 * user + step) % 80, 1 + (user + step) % 5, 10_000 * step + user)
        for user in range(1, 61)
        for step in range(20)
    ]
    items = [(i, f"Other {i} (1999)", ["Drama"]) for i in range(1, 81)]
    return raw.csv(folder, rows, items)


def test_a_model_of_another_release_does_not_score(site: Site) -> None:
    """But when that is accepted, and then without the figures of its own data."""
    write_csv(site.clone.folder / "ml-latest-small")
    words = ("run", "--raw", "ml-latest-small")
    line = site.refusal(*words)
    assert "raw files are ml-latest-small, but version 1, which is prod, was" in line
    assert "trained on ml-100k" in line
    assert line.endswith("to go on all the same: --accept-changes")
    about = contract.decode_about(str(site.client.get(f"recs:{site.served}:about")))
    assert set(about.metrics) == {"model", "popularity", "item_knn", "ease"}
    said = site.clone.run(*words, "--accept-changes")
    assert "--accept-changes: the raw files are ml-latest-small" in said
    about = contract.decode_about(str(site.client.get(f"recs:{site.served}:about")))
    assert (about.protocol, about.metrics) == (None, {})
    assert (site.meta["release"], site.meta["n_ratings"]) == ("ml-latest-small", "1200")
    # back again, what is served and what prod was trained on are others
    assert "skipped" in site.clone.run(*words)
    site.clone.run("train", "--raw", "ml-latest-small")
    site.clone.run("promote", "--version", "2")
    assert site.clone.json(*words)["model_version"] == "2"
    assert "but version 2, which is prod, was trained on ml-l" in site.refusal("run")


def test_without_a_prod_what_is_served_counts(site: Site) -> None:
    """As in a job without its MLFLOW_TRACKING_URI: nothing is trained."""
    write_csv(site.clone.folder / "csv")
    variables = {**site.clone.variables, "MLFLOW_TRACKING_URI": "sqlite:///new.db"}
    clone = replace(site.clone, variables=variables)
    line = site.refusal("run", "--raw", "csv", clone=clone)
    assert f"raw files are ml-csv, but {site.served}, which is served, is from" in line
    assert not (clone.folder / "new.db").exists()


# --- size ----------------------------------------------------------------------------


def test_lists_of_far_fewer_ratings_are_not_published(site: Site) -> None:
    """Nor is a smaller loss, after it, measured by what was served before."""
    folder, first = site.clone.folder / "world", site.served
    n_ratings = int(site.meta["n_ratings"])
    assert (site.meta["n_users"], site.meta["release"]) == ("40", "ml-100k")
    cut(folder, n_ratings * 7 // 10)
    line = site.refusal("run")
    assert f"ratings fell from {n_ratings} to {n_ratings * 7 // 10} (-30%)" in line
    assert "users fell from 40 to " in line
    assert f"{first}, which is served (ml-100k, version 1), to these raw files" in line
    assert "more than MAX_SHRINK=0.2" in line
    assert line.endswith("to go on all the same: --accept-changes")
    site.refusal("run", "--force")
    relaxed = replace(site.clone, variables={**site.clone.variables, "MAX_SHRINK": "1"})
    assert relaxed.json("run")["skipped"] is False
    fewer = int(site.meta["n_ratings"])
    assert fewer == n_ratings * 7 // 10
    cut(folder, fewer * 9 // 10)
    assert site.clone.json("run")["skipped"] is False  # a tenth less than is served
    site.clone.run("rollback")
    cut(folder, fewer * 7 // 10)
    assert f"ratings fell from {fewer} to " in site.refusal("run")
    site.clone.run("run", "--accept-changes")
    assert int(site.meta["n_ratings"]) == fewer * 7 // 10


@pytest.mark.parametrize(
    ("name", "n", "is_refused"),
    [
        *((name, 800, False) for name in ("n_users", "n_items", "n_ratings")),
        *((name, 799, True) for name in ("n_users", "n_items", "n_ratings")),
    ],
)
def test_each_count_may_fall_by_a_fifth(name: str, n: int, is_refused: bool) -> None:
    counts = {"n_users": 1000, "n_items": 1000, "n_ratings": 1000}
    served = "g", {key: str(value) for key, value in counts.items()}
    inputs = Inputs(None, {"release": "ml-1m"}, 10)
    assert bool(guards.shrinks(counts | {name: n}, inputs, served, 0.2)) == is_refused
    # a generation of an older version lacks it; without any there is nothing to lose
    del served[1][name]
    assert not guards.shrinks(counts | {name: n}, inputs, served, 0.2)
    assert not guards.shrinks(counts | {name: n}, inputs, None, 0.2)


# --- SQL and model -------------------------------------------------------------------


def test_another_scale_of_the_ratings_wants_another_training(site: Site) -> None:
    variables = {**site.clone.variables, "LIKED_FROM": "3.5"}
    line = site.refusal("run", clone=replace(site.clone, variables=variables))
    assert "ratings are 0.5-5, liked from 3.5, disliked to 2 stars" in line
    assert "was trained with 0.5-5, liked from 4, disliked to 2 stars" in line


def test_other_sql_wants_another_training(site: Site) -> None:
    """Edited as users do, in a copy of the project; comments do not count."""
    copy = site.clone.folder / "project"
    for name in ("batch", "lookup", "sql"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    path = copy / "sql" / "intermediate" / "int_history.sql"
    query = path.read_text()
    path.write_text(query + "\n\n-- a comment")
    done = python_m_batch(copy, site.clone, "run")
    assert (done.returncode, "nothing changed" in done.stderr) == (0, True), done.stderr
    path.write_text(query.rstrip() + "\nwhere rated_at > 0\n")
    before = site.content()
    done = python_m_batch(copy, site.clone, "run")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: the SQL of the features (")
    assert "version 1, which is prod, was trained with" in line
    assert "(python -m batch train, then promote --version N)" in line
    assert line.endswith("--accept-changes")
    assert site.content() == before


def python_m_batch(
    project: Path, clone: Clone, *words: str
) -> "subprocess.CompletedProcess[str]":
    """Run a copy of the project in a clone's folder."""
    return subprocess.run(
        [sys.executable, "-m", "batch", *words],
        cwd=clone.folder,
        env=environment(**clone.variables) | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_another_model_under_the_same_number_scores(site: Site) -> None:
    """And the same model under another number does not."""
    registry = Registry(site.clone.variables["MLFLOW_TRACKING_URI"])
    booster, first = registry.load("1"), site.served
    prod = registry.prod()
    assert prod is not None
    record = Record({}, {}, dict(prod.tags), {}, {})
    example = pa.table({name: [0.0] for name in booster.feature_names or ()})
    registry.promote(registry.register(booster, booster, example, record))
    result = site.clone.json("run")
    assert (result["skipped"], result["model_version"]) == (True, "2")
    client = MlflowClient(registry.tracking_uri)
    client.delete_registered_model(MODEL_NAME)
    other = booster[:5]
    registry.promote(registry.register(other, other, example, record))
    result = site.clone.json("run")
    assert (result["skipped"], result["model_version"]) == (False, "1")
    assert site.served != first
