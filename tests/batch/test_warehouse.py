import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from batch import console, warehouse
from batch.errors import BatchError
from batch.features import candidates, item_models, tables
from batch.ingest import rules
from tests import worlds
from tests.sql import raw
from tests.worlds import Connection, Cutoff, World, moved, ordered

RAGGED = worlds.ragged()


def test_a_model_becomes_the_table_of_its_name(connection: Connection) -> None:
    worlds.stage(connection, RAGGED)
    for _ in range(2):
        warehouse.build(connection, "intermediate/int_ratings", {})
    assert warehouse.count(connection, "int_ratings") == len(RAGGED.ratings)
    parameters = {"n_cuts": 1, "n_next": 0, "short_share": 0.0}
    warehouse.fetch(connection, "intermediate/int_cutoffs", parameters)
    tables = {name for (name,) in connection.sql("show tables").fetchall()}
    assert tables == {"stg_ratings", "stg_items", "stg_users", "int_ratings"}


def test_a_query_is_given_the_parameters_that_it_names() -> None:
    """DuckDB refuses any others."""
    query = "select $b, $a_share, $b"
    given = {"a_share": 1, "b": 2, "c": 3}
    assert warehouse.used(query, given) == {"a_share": 1, "b": 2}


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (b"selct 1", "bad.sql: Parser Error: .*selct"),
        (b"select x", "bad.sql: Binder Error: .*x"),
        (b"select 'x'::integer", "bad.sql: Conversion Error: .*x"),
        (b"select $nobody, $known", "bad.sql: .*nobody"),
        (b"-- caf\xe9\nselect 1", "bad.sql, byte 6: expected UTF-8"),
    ],
)
def test_an_error_names_the_sql_that_it_is_about(
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sql: bytes,
    said: str,
) -> None:
    monkeypatch.setattr(warehouse, "SQL", tmp_path)
    (tmp_path / "bad.sql").write_bytes(sql)
    for run in (warehouse.build, warehouse.fetch):
        with pytest.raises((duckdb.Error, BatchError)) as caught:
            run(connection, "bad", {"known": 1})
        assert re.search(said, console.explain(caught.value))


def test_a_cutoff_replaces_the_one_before(connection: Connection) -> None:
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    wanted = {
        name: sorted(connection.table(name).fetchall(), key=repr)
        for name in ("int_history", "int_future", "item_features", "user_features")
    }
    tables.build(connection, n_cuts=0)
    assert connection.table("int_future").fetchall() == []
    tables.build(connection, n_cuts=1)
    for name, rows in wanted.items():
        assert sorted(connection.table(name).fetchall(), key=repr) == rows


def test_unseen_pairs_are_counted_as_they_are_scored(connection: Connection) -> None:
    worlds.stage(connection, RAGGED)
    worlds.name_alike(connection)
    for n_cuts, merges_films in ((0, False), (0, True), (1, False)):
        tables.build(connection, n_cuts, merges_films=merges_films)
        user_ids = warehouse.user_ids(connection)
        assert user_ids == list(range(1, 31))
        parameters = {"user_ids": user_ids, "negative_share": 1.0}
        warehouse.build(connection, "marts/candidate_pairs", parameters)
        n_pairs = warehouse.count(connection, "candidate_pairs")
        assert candidates.n_unseen(connection) == n_pairs


def test_a_check_that_finds_a_row_says_which(connection: Connection) -> None:
    worlds.stage(connection, RAGGED)
    rules.check(connection)
    connection.execute("update stg_ratings set rating = 6 where user_id = 1")
    with pytest.raises(BatchError, match=r"from 0\.5 to 5; found .*rating 6\.0"):
        rules.check(connection)


def test_staging_reads_a_release_without_users(
    connection: Connection, tmp_path: Path
) -> None:
    """Its users are those who rated."""
    folder = raw.csv(tmp_path / "raw")
    files = {
        "ratings_path": str(folder / "ratings.csv"),
        "items_path": str(folder / "movies.csv"),
        "encoding": "utf-8",
    }
    warehouse.build_staging(connection, "csv", {**files, "highest": 5})
    users = sorted(connection.table("stg_users").fetchall())
    assert users == [(1, None, None, None, "1"), (2, None, None, None, "2")]


def test_comments_and_strings_name_no_parameters() -> None:
    query = "select $n, '$text', \"$column\" -- $comment\n/* $more */ where a < $n"
    assert warehouse.used(query, {"n": 1}) == {"n": 1}


def test_a_normalized_query_has_no_comments_but_its_strings() -> None:
    query = "-- é\nselect 'it''s  -- é', $n /* a\n b */\n  from t  -- last"
    assert warehouse.normalized(query) == "select 'it''s  -- é' ,$n from t "
    assert warehouse.normalized("select a b") != warehouse.normalized("select ab")
    assert warehouse.normalized("'a'\n'b'") != warehouse.normalized("'a''b'")


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a copy of the SQL to edit."""
    copy = Path(shutil.copytree(warehouse.SQL, tmp_path / "sql"))
    monkeypatch.setattr(warehouse, "SQL", copy)
    return copy


def test_the_fingerprint_is_of_names_and_contents(sql: Path) -> None:
    """A changed, moved or new file changes it; a comment and a line end do not."""
    one, two = sql / "checks" / "one.sql", sql / "checks" / "two.sql"
    one.write_text("select 1, 2")
    first = tables.fingerprint()
    one.write_text("-- only documented\nselect 1,\n    2")
    assert tables.fingerprint() == first
    one.write_text("select 2")
    second = tables.fingerprint()
    two.write_text("")
    third = tables.fingerprint()
    two.unlink()
    one.rename(two)
    assert len({first, second, third, tables.fingerprint()}) == 4


@pytest.mark.parametrize(
    ("model", "is_of_features"),
    [
        ("marts/pair_features", True),
        ("marts/candidate_pairs", True),
        ("marts/scorer_histories", True),  # of the base margin
        ("intermediate/int_item_pairs", True),  # of EASE
        ("intermediate/int_voters", True),  # of the base margin
        ("intermediate/int_cutoffs", True),
        ("marts/explanations", False),
        ("marts/catalogue_lists", False),
        ("marts/films", False),
        ("intermediate/int_item_neighbours", False),
        ("marts/scorer_items", False),
        ("staging/tab/stg_items", False),
    ],
)
def test_the_features_fingerprint_is_of_what_computes_them(
    sql: Path, model: str, is_of_features: bool
) -> None:
    """Of the SQL that pair_features reads, however far; comments do not count."""
    path, former = sql / f"{model}.sql", tables.features_fingerprint()
    path.write_text("-- documented\n" + path.read_text().replace("\n", "\n  "))
    assert tables.features_fingerprint() == former
    path.write_text(path.read_text() + " limit 7")
    assert (tables.features_fingerprint() != former) == is_of_features


def test_the_features_fingerprint_is_of_the_strong_scores_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, source = tables.features_fingerprint(), Path(item_models.__file__)
    shutil.copytree(source.parent, tmp_path, dirs_exist_ok=True)
    other = tmp_path / "item_models.py"
    monkeypatch.setattr(item_models, "__file__", str(other))
    code = source.read_text()
    other.write_text("# documented\n" + code.replace("\nUNIT", '\n"""Too."""\nUNIT'))
    assert tables.features_fingerprint() == former
    quoted = f'{code}SQL = """ # no comment """\n'
    edits = (
        code.replace("linalg.inv", "linalg.pinv"),
        quoted,
        quoted.replace("# no", "# a"),
    )
    found = {former}
    for edit in edits:
        other.write_text(edit)
        found.add(tables.features_fingerprint())
    assert len(found) == 1 + len(edits)


def every_table(connection: Connection, world: World) -> dict[str, pa.Table]:
    """Build all models of the hold-out's cutoff, with their rows in one order."""
    pairs = worlds.features(connection, world, Cutoff(1))
    weights = connection.table("int_item_weights").to_arrow_table()
    tables = {"pair_features": pairs, "int_item_weights": weights.sort_by("item_id")}
    for model in warehouse.MODELS:
        name = model.rpartition("/")[2]
        table = connection.table(name).to_arrow_table()
        tables[name] = table.sort_by([(n, "ascending") for n in table.column_names])
    user_ids = warehouse.user_ids(connection)
    for model, parameters in (
        ("marts/catalogue_lists", {"top_n": 20}),
        ("marts/baseline_lists", {"user_ids": user_ids}),
    ):
        tables[model] = warehouse.fetch(connection, model, parameters)
    return tables


@pytest.mark.parametrize(("threads", "seed"), [(1, None), (2, 0), (4, 1), (1, 2)])
def test_the_same_ratings_give_the_same_tables(
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    seed: int | None,
) -> None:
    """In any order of the raw files' rows, with any number of threads."""
    monkeypatch.setattr(warehouse, "SCAFFOLDING", ())
    connection.execute("set threads = 2")
    expected = every_table(connection, RAGGED)
    connection.execute(f"set threads = {threads}")
    world = RAGGED if seed is None else RAGGED.shuffled(seed)
    for name, table in every_table(connection, world).items():
        assert moved(expected[name], table) == [], name


@pytest.mark.slow
def test_the_same_real_ratings_give_the_same_features(
    connection: Connection, tmp_path: Path
) -> None:
    """Sums over a hundred thousand ratings do not depend on their order."""
    world = worlds.real(tmp_path)
    found = []
    for threads, read in ((2, world), (1, world.shuffled(0))):
        connection.execute(f"set threads = {threads}")
        found.append(worlds.features(connection, read, Cutoff(1), every=3))
        user_ids = {"user_ids": warehouse.user_ids(connection)}
        lists = warehouse.fetch(connection, "marts/baseline_lists", user_ids)
        found.append(lists)
    assert moved(found[0], found[2]) == []
    assert moved(found[1], found[3]) == []
    assert ordered(found[0]).num_rows > 100_000


def test_what_does_not_fit_into_memory_spills(tmp_path: Path) -> None:
    """Into a folder that it creates."""
    spill = tmp_path / "not" / "there yet"
    with warehouse.connect(spill) as connection:
        connection.execute("set memory_limit = '60MiB'")
        connection.execute("set threads = 1")
        connection.execute(
            "create table numbers as select hash(i) as h, i from range(4000000) r (i)"
        )
        spilled = sum(path.stat().st_size for path in spill.rglob("*.tmp"))
        assert warehouse.count(connection, "numbers") == 4_000_000
    assert spilled > 0
    assert list(spill.iterdir()) == []


def test_spilled_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    """But not those of one that lives, nor what is not ours."""
    code = (
        "import sys, pathlib, time; from batch import warehouse\n"
        "with warehouse.own_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'spilled').touch(); print(folder, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    (tmp_path / "duckdb_temp_storage_DEFAULT-0.tmp").touch()  # of an older version
    (tmp_path / "other").touch()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        theirs = Path(child.stdout.readline().strip())
        with warehouse.own_folder(tmp_path) as ours:
            assert set(tmp_path.iterdir()) == {tmp_path / "other", theirs, ours}
        assert (theirs / "spilled").exists()
        child.kill()
    with warehouse.own_folder(tmp_path) as ours:
        assert set(tmp_path.iterdir()) == {tmp_path / "other", ours}
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
