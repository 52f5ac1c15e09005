import re
from pathlib import Path

import numpy as np
import pytest

from batch import warehouse
from batch.features import item_models, tables
from batch.features.columns import FEATURES
from batch.ingest import own_data
from batch.publishing import explanations
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.sql.given import TYPES, Connection, given

BUILT = (*warehouse.MODELS, *warehouse.ON_DEMAND)
FILES = sorted(
    path.relative_to(warehouse.SQL).with_suffix("").as_posix()
    for path in warehouse.SQL.rglob("*.sql")
)
STAGING = [model for model in FILES if model.startswith("staging/")]
CHECKS = [model for model in FILES if model.startswith(("checks/", "repairs/"))]
MADE_OF = {explanations.RANKED_TABLE: "marts/pair_features"}
"""A table that Python makes → the last model that it reads for it."""


def code(model: str) -> str:
    """Return a model without its comments."""
    return re.sub(r"--.*", "", warehouse.read(model))


def read_by(model: str) -> set[str]:
    """Name the tables that a model reads."""
    query = code(model)
    named = set(re.findall(r"\b(?:from|join)\s+([a-z_]+)", query))
    return named - set(re.findall(r"\b([a-z_]+) as \(", query)) - {"unnest"}


def table(model: str) -> str:
    """Name the table that a model is kept as."""
    return model.rpartition("/")[2]


def test_every_file_is_a_model_and_every_model_a_file() -> None:
    assert len(set(BUILT)) == len(BUILT)
    assert sorted((*BUILT, *STAGING, *CHECKS)) == FILES
    assert {path.parent.name for path in map(Path, STAGING)} == set(warehouse.LAYOUTS)
    typed = {f"typed_{name}" for name in own_data.COLUMNS}
    named = {table(model) for model in STAGING}
    assert named == {*warehouse.STAGING, *typed, "numbered_keys", "line_faults"}
    for layout in ("tab", "dat", "csv"):
        for name in ("stg_ratings", "stg_items"):
            assert f"staging/{layout}/{name}" in STAGING


def test_models_are_named_for_their_layer() -> None:
    """Two tables of one name would overwrite each other."""
    for model in BUILT:
        assert table(model).startswith("int_") == model.startswith("intermediate/")
    names = [table(model) for model in BUILT]
    assert len(set(names)) == len(names)
    assert not set(names) & set(warehouse.STAGING)


@pytest.mark.parametrize("model", BUILT)
def test_a_model_reads_only_what_is_built_before_it(model: str) -> None:
    """Staging, then intermediate, then marts; a layer in the order of its tuple."""
    earlier = BUILT[: BUILT.index(model)]
    made = {name for name, last in MADE_OF.items() if last in earlier}
    before = {*warehouse.STAGING, *map(table, earlier), *made}
    assert read_by(model) <= before
    assert read_by(model), "reads nothing at all"


@pytest.mark.parametrize("model", CHECKS)
def test_checks_read_the_staging_tables(model: str) -> None:
    """They run before anything else is built."""
    assert read_by(model) <= set(warehouse.STAGING)


@pytest.mark.parametrize("model", STAGING)
def test_staging_reads_raw_files(model: str) -> None:
    """Own data through a view; only `ratings_only` takes users from the ratings."""
    if "ratings_only" in model:
        assert read_by(model) == {"stg_ratings"}
    elif "keyed/typed_" in model:
        assert read_by(model) == {table(model).replace("typed_", "source_")}
    elif "keyed/" in model:
        assert {name[:4] for name in read_by(model)} <= {"type", "stg_", "numb"}
    else:
        assert read_by(model) == {"read_csv"}


@pytest.mark.parametrize("model", [*BUILT, *CHECKS])
def test_only_staging_knows_files(model: str) -> None:
    assert not re.search(r"\b(read_\w+|glob|parquet_scan|_path)\b", code(model))


@pytest.mark.parametrize("model", FILES)
def test_the_first_line_says_what_a_row_is(model: str) -> None:
    """The grain of a model, the rule of a check."""
    first = warehouse.read(model).partition("\n")[0]
    assert first.startswith("-- " if model in CHECKS else "-- one row per ")


@pytest.mark.parametrize("model", FILES)
def test_a_file_is_one_select(model: str) -> None:
    """It names its steps and ends with the last one."""
    query = code(model).strip()
    assert query.startswith("with ")
    assert re.fullmatch(r"select \* from [a-z_]+", query.rpartition("\n")[2])
    assert ";" not in query


@pytest.mark.parametrize("model", FILES)
def test_the_same_files_give_the_same_tables(model: str) -> None:
    """No clock, no randomness, no hash, no aggregate that depends on rows' order."""
    query = code(model)
    clocks = r"\b(now|today|current_\w+|get_current_\w+|localtime\w*|age)\s*\("
    random = r"\b(random|setseed|hash|uuid|gen_random_uuid|uuidv\d)\s*\(|\bsample\b"
    orders = r"\b(first|last|arg_min|arg_max|min_by|max_by|mode|list|array_agg|"
    orders += r"string_agg|stddev\w*|var_\w+|variance|approx_\w+|median|fsum)\s*\("
    for forbidden in (clocks, r"\bcurrent_(date|time\w*)\b", random, orders):
        assert not re.search(forbidden, query)


@pytest.mark.parametrize("model", [*BUILT, *CHECKS])
def test_parameters_are_not_pasted_in(model: str) -> None:
    """No braces or percent signs to format."""
    assert not set("{}%") & set(warehouse.read(model))


def test_python_pastes_no_value_into_a_query() -> None:
    """Its one f-string of SQL names a table, which is a constant."""
    sources = [Path(str(module.__file__)) for module in (warehouse, item_models)]
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    pasted = re.findall(r'f"[^"]*\b(?:select|from|create)\b[^"]*"', source)
    assert pasted == ['f"create or replace table {name} as {query}"']


WINDOW = re.compile(
    r"\b(?:row_number|rank|sum|dense_rank|ntile|lag|lead|first_value|last_value)"
    r"\([^()]*\) over \(([^()]*)\)"
)
RANKED = [
    (model, window)
    for model in FILES
    for window in WINDOW.findall(code(model))
    if window  # numbers the lines as the file has them
]


@pytest.mark.parametrize(("model", "window"), RANKED)
def test_ranks_break_ties_by_an_id(model: str, window: str) -> None:
    last = window.partition("order by")[2].rpartition(",")[2].split()
    assert last
    ids = {"user_id", "item_id", "other_item_id", "row_id", "external_key"}
    assert last[0].rpartition(".")[2] in ids


def test_no_rank_escapes_the_test_above() -> None:
    over = sum(
        len(re.findall(r"over \([^()]*order by", code(model))) for model in FILES
    )
    assert over == len(RANKED) > 0


def test_the_features_are_the_floats_of_the_pairs(connection: Connection) -> None:
    """In the order in which the model takes them."""
    for name in TYPES:
        given(connection, name, "", [])
    pairs = warehouse.fetch(connection, "marts/pair_features", {})
    floats = [field.name for field in pairs.schema if str(field.type) == "float"]
    assert tuple(floats) == FEATURES
    assert pairs.column_names == ["user_id", "item_id", "label", *FEATURES]


def test_the_literal_tables_have_the_types_of_the_warehouse(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "SCAFFOLDING", ())
    worlds.stage(connection, worlds.ragged())
    tables.build(connection, n_cuts=1)
    parameters = {"user_ids": [1], "negative_share": 1.0}
    warehouse.build(connection, "marts/candidate_pairs", parameters)
    ranking = Ranking(1, np.array([2], np.int32), np.array([0.5], np.float32))
    rows = explanations.as_table([ranking])
    connection.from_arrow(rows).create(explanations.RANKED_TABLE)
    for name in TYPES:
        built = described(connection, name)
        given(connection, name, "", [])
        assert described(connection, name) == built


def described(connection: Connection, name: str) -> list[tuple[str, str]]:
    """Return the columns of a table with their types."""
    found = connection.table(name)
    return [(n, str(t)) for n, t in zip(found.columns, found.types, strict=True)]
