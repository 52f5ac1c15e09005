"""The README is true: what it names is there, and what is there it names."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest
from starlette.routing import Route

from batch import cli, warehouse
from batch.features import columns
from batch.settings import Settings as BatchSettings
from lookup.app import create_app
from lookup.settings import Settings as LookupSettings
from lookup.shared import contract
from lookup.store.store import Store
from tests.test_cron import LINE

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONSOLE = "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))

SETTINGS = (
    "MOVIELENS_RAW",
    "MOVIELENS_URL",
    "REDIS_URL",
    "MLFLOW_TRACKING_URI",
    "TOP_N",
    "K_DEFAULT",
    "LOOKUP_API_KEY",
    "LOOKUP_CACHE_MB",
    "LOOKUP_CORS_ORIGINS",
    "LOOKUP_LOG",
)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`python -m batch {command}" in README


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search("@[A-Z]+@|TODO|FIXME", README + CONTRIBUTING)


def test_every_command_line_in_the_readme_parses() -> None:
    lines = re.findall(r"`python -m batch([^`]*)`", README)
    lines += re.findall(r"^\$ python -m batch(.*)$", CONSOLE, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        words = line.replace("DIR_OR_ZIP", "x").replace("--version N", "--version 1")
        cli.parse(words.split())


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_in_the_table_with_its_default(name: str) -> None:
    row = re.search(rf"^\| `{name}` \| (.*?) \|", README, re.MULTILINE)
    assert row, f"{name} has no row in the README"
    assert row[1].strip("`") in {
        "MOVIELENS_RAW": str(BatchSettings.read({}).raw),
        "MOVIELENS_URL": "GroupLens' ml-100k.zip",
        "MLFLOW_TRACKING_URI": BatchSettings.read({}).tracking_uri,
        "TOP_N": str(BatchSettings.read({}).top_n),
        "K_DEFAULT": str(LookupSettings.from_environ({}).k_default),
        "LOOKUP_CACHE_MB": str(LookupSettings.from_environ({}).cache_mb),
        "LOOKUP_LOG": "errors",
    }.get(name, "unset")


def test_every_variable_that_the_code_reads_is_a_setting() -> None:
    sources = [*ROOT.glob("batch/**/*.py"), *ROOT.glob("lookup/**/*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    read = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', code))
    assert read <= set(SETTINGS)
    # data, scorer and scheduler have no variable
    assert len(dataclasses.fields(BatchSettings)) == 8


def test_every_route_is_in_the_readme() -> None:
    app = create_app(Store("redis://127.0.0.1:1"), LookupSettings.from_environ({}))
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    assert len(paths) >= 4
    for path in paths:
        assert f"| `{path}` |" in README


def test_every_key_is_in_the_readme() -> None:
    g = "{generation}"
    keys = [contract.CURRENT, contract.GENERATIONS, contract.LOCK]
    keys += [contract.meta_key(g), contract.popular_key(g), contract.items_key(g)]
    keys.append(contract.about_key(g))
    for of_user in (contract.user_key, contract.because_key, contract.history_key):
        keys.append(of_user(g, 42).replace("42", "{user_id}"))
    keys.append(contract.similar_key(g, 42).replace("42", "{item_id}"))
    for key in keys:
        assert f"| `{key}` |" in README


def test_every_json_shown_is_json_and_answers_have_the_contracts_fields() -> None:
    objects = [json.loads(line) for line in CONSOLE.splitlines() if line[:2] == '{"']
    answers = [shown for shown in objects if "source" in shown]
    assert answers
    for answer in answers:
        if answer["source"] == "personal":
            assert list(answer) == [
                "user_id",
                "k",
                "generation",
                "model_version",
                "scored_at",
                "source",
                "items",
            ]
        for item in answer["items"]:
            assert [name for name in item if name != "because"] == [
                "rank",
                "item_id",
                "title",
                "genres",
                "year",
                "score",
            ]


def test_every_target_of_make_that_is_named_is_there() -> None:
    shown = re.findall(r"```console\n(.*?)```", README + CONTRIBUTING, re.DOTALL)
    named = re.findall(r"^\$ make (\w+)", "\n".join(shown), re.MULTILINE)
    assert {"run", "test"} <= set(named)
    for target in named:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_link_into_the_repository_leads_somewhere(text: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            heading = target[1:].replace("-", "[ -]")
            assert re.search(rf"^#+ {heading}$", text, re.MULTILINE | re.IGNORECASE)
        elif not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        wanted = wanted + extra
    for dependency in wanted:
        name = re.split(r"[^a-z0-9-]", dependency)[0]
        assert f"`{name}`" in CONTRIBUTING, name


def test_the_crontab_line_is_the_one_that_is_tried() -> None:
    assert f"```crontab\n{LINE}\n```" in README


def test_what_the_table_of_changes_names_is_there() -> None:
    assert "PARAMETERS" in (ROOT / "batch/model/train.py").read_text(encoding="utf-8")
    assert "N_ROUNDS" in (ROOT / "batch/model/train.py").read_text(encoding="utf-8")
    assert "FORMATS" in (ROOT / "batch/ingest/release.py").read_text(encoding="utf-8")
    assert columns.FEATURES
    assert warehouse.MODELS


def test_nothing_else_is_at_the_top() -> None:
    allowed = {"batch", "lookup", "sql", "data", "mlruns", "tests", "README.md"}
    allowed |= {"docker-compose.yml", "pyproject.toml", "Dockerfile", "Makefile"}
    allowed |= {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
    made = {"build", "movielens_xgb.egg-info"}  # by installing; git ignores them
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert there - made <= allowed
