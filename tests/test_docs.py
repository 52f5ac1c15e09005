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
from batch.ingest import release, validate
from batch.model import train
from batch.settings import Settings as BatchSettings
from lookup.app import create_app
from lookup.settings import Settings as LookupSettings
from lookup.shared.keys import CATALOGUE, ITEM_KINDS, GenerationKeys
from lookup.store.store import Store
from tests.conftest import KEYS
from tests.test_cron import LINE, WEEKLY

ROOT = Path(__file__).resolve().parent.parent
DOCS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("README.md"),
        *ROOT.glob("*/README.md"),
    )
}
ALL = "\n".join(DOCS.values())
CONSOLE = "\n".join(re.findall(r"```console\n(.*?)```", ALL, re.DOTALL))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

SETTINGS = (
    "MOVIELENS_RAW",
    "MOVIELENS_URL",
    "REDIS_URL",
    "REDIS_PREFIX",
    "MLFLOW_TRACKING_URI",
    "TOP_N",
    "STAGING",
    "RATING_SCALE",
    "LIKED_FROM",
    "DISLIKED_TO",
    "DUCKDB_MEMORY",
    "DUCKDB_THREADS",
    "MAX_SHRINK",
    "KEEP_GENERATIONS",
    "MODEL_NAME",
    "PAGE_TITLE",
    "NOTIFY_URL",
    "NOTIFY_ALWAYS",
    "K_DEFAULT",
    "LOOKUP_API_KEY",
    "LOOKUP_CACHE_MB",
    "LOOKUP_CORS_ORIGINS",
    "LOOKUP_LOG",
    "LOOKUP_ROOT_PATH",
)


@pytest.mark.parametrize("command", cli.batch.commands)
def test_every_command_is_documented(command: str) -> None:
    assert f"`python -m batch {command}" in ALL


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search("@[A-Z]+@|TODO|FIXME", ALL)


def test_every_command_line_parses() -> None:
    lines = re.findall(r"`python -m batch([^`]*)`", ALL)
    lines += re.findall(r"^\$ python -m batch(.*)$", CONSOLE, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        line = line.partition("#")[0].replace("HOST:PORT", "host:8786")
        line = line.replace("DIR_OR_ZIP", "x").replace("--version N", "--version 1")
        line = line.replace("ITEM_ID…", "50").replace("USER_ID", "42")
        name, *words = line.split() or ["run"]
        cli.batch.commands[name].make_context(name, words)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_in_the_table_with_its_default(name: str) -> None:
    rows = re.findall(rf"^\| `{name}` \| (.*?) \|", ALL, re.MULTILINE)
    assert {
        "MOVIELENS_RAW": str(BatchSettings.read({}).raw),
        "MOVIELENS_URL": "GroupLens' ml-100k.zip",
        "MLFLOW_TRACKING_URI": BatchSettings.read({}).tracking_uri,
        "REDIS_PREFIX": BatchSettings.read({}).redis_prefix,
        "MODEL_NAME": BatchSettings.read({}).model_name,
        "PAGE_TITLE": LookupSettings.from_environ({}).page_title,
        "TOP_N": str(BatchSettings.read({}).top_n),
        "RATING_SCALE": "0.5-5",
        "LIKED_FROM": f"{BatchSettings.read({}).scale.liked_from:g}",
        "DISLIKED_TO": f"{BatchSettings.read({}).scale.disliked_to:g}",
        "DUCKDB_MEMORY": "a quarter, 512 MiB to 1.5 GiB",
        "DUCKDB_THREADS": "its cores",
        "MAX_SHRINK": str(BatchSettings.read({}).max_shrink),
        "KEEP_GENERATIONS": str(BatchSettings.read({}).keep_generations),
        "K_DEFAULT": str(LookupSettings.from_environ({}).k_default),
        "LOOKUP_CACHE_MB": str(LookupSettings.from_environ({}).cache_mb),
        "LOOKUP_LOG": "errors",
    }.get(name, "unset") in [row.strip("`") for row in rows]


def test_every_variable_that_the_code_reads_is_a_setting() -> None:
    sources = [*ROOT.glob("batch/**/*.py"), *ROOT.glob("lookup/**/*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    read = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', code))
    assert read <= set(SETTINGS)
    # data, is_raw_named, scorer and scheduler have no variable
    assert len(dataclasses.fields(BatchSettings)) == 17


def test_every_route_is_documented() -> None:
    app = create_app(Store("redis://127.0.0.1:1"), LookupSettings.from_environ({}))
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    assert len(paths) >= 4
    for path in paths:
        assert f"| `{path}` |" in ALL


def test_every_key_is_documented() -> None:
    g = "{generation}"
    of_generation = KEYS.of(g)
    values = [*vars(KEYS).values(), *vars(of_generation).values()]
    keys = [value for value in values if re.fullmatch("recs:.*[a-z]", value)]
    of = {name: ["{item_id}"] for name in ITEM_KINDS}
    of["catalogue"] = ["popular", "{genre}"]
    keys += map(of_generation.catalogue, CATALOGUE)
    for name in vars(GenerationKeys):
        if not name.startswith("_"):
            key = getattr(of_generation, name)
            keys.append(key(*of.get(name, ["{user_id}"])))
    assert len(keys) > 10
    for key in keys:
        assert f"| `{key}` |" in ALL


def test_every_json_shown_is_json_and_answers_have_the_contracts_fields() -> None:
    objects = [json.loads(line) for line in CONSOLE.splitlines() if line[:2] == '{"']
    answers = [shown for shown in objects if "source" in shown]
    assert answers
    for answer in answers:
        if answer["source"] == "personal":
            fields = "user_id k generation model_version scored_at source items"
            assert list(answer) == fields.split()
        for item in answer["items"]:
            fields = "rank item_id title genres year score"
            assert [name for name in item if name != "because"] == fields.split()


def test_every_program_of_the_tests_that_is_named_is_there() -> None:
    for name in set(re.findall(r"python -m (tests\.[a-z_.]*[a-z])(?![.\w])", ALL)):
        path = ROOT / f"{name.replace('.', '/')}.py"
        assert "__main__" in path.read_text(encoding="utf-8"), name


def test_every_target_of_make_that_is_named_is_there() -> None:
    named = re.findall(r"^\$ make ([\w-]+)", CONSOLE, re.MULTILINE)
    assert {"run", "test"} <= set(named)
    for target in named:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("name", DOCS)
def test_every_link_into_the_repository_leads_somewhere(name: str) -> None:
    text = DOCS[name]
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            heading = target[1:].replace("-", "[ -]")
            assert re.search(rf"^#+ {heading}$", text, re.MULTILINE | re.IGNORECASE)
        elif not target.startswith("http"):
            path = target.partition("#")[0]
            assert (ROOT / name).parent.joinpath(path).exists(), target


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    for wanted in (project["dependencies"], *project["optional-dependencies"].values()):
        for dependency in wanted:
            above = text.partition(f'    "{dependency}",\n')[0].splitlines()[-1]
            assert above.startswith("    # "), dependency


def test_the_crontab_lines_are_those_that_are_tried() -> None:
    assert f"```crontab\n{LINE}\n{WEEKLY}\n```" in DOCS["README.md"]


def test_what_the_table_of_changes_names_is_there() -> None:
    assert {*train.PARAMETERS, train.N_ROUNDS, *release.FORMATS, *columns.FEATURES}
    assert warehouse.MODELS
    assert validate.LINE_FORMATS


def test_nothing_else_is_at_the_top() -> None:
    allowed = {"batch", "lookup", "sql", "data", "mlruns", "tests", "README.md"}
    allowed |= {"docker-compose.yml", "pyproject.toml", "Dockerfile", "Makefile"}
    allowed |= {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
    made = {"build", "movielens_xgb.egg-info"}  # by installing; git ignores them
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert there - made <= allowed
