"""A book shop's purchases, from its files to the answers, with its own ids."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import redis

from batch import warehouse
from batch.commands import Result, admin
from batch.commands import run as command
from batch.commands.forget import forget
from batch.errors import BatchError
from batch.features import candidates, tables
from batch.ingest import load, release
from batch.model import train
from batch.model.registry import Record, Registry
from batch.settings import Settings
from lookup.shared import contract
from lookup.shared.contract import IdKind
from lookup.shared.keys import CATALOGUE, ITEM_KINDS
from tests import shop
from tests.conftest import KEYS
from tests.lookup.serving import serving

UNLISTED = {shop.book_id(book) for book in (0, 1, 2)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Make the shop, whose three most sold books are not listed, and a small model."""
    folder = tmp_path_factory.mktemp("own")
    home = shop.write(folder / "shop")
    listed = [book for book in shop.books() if book[0] not in UNLISTED]
    text = shop.text("item_id,title,genres,year", listed)
    (home / "items.csv").write_text(text, encoding="utf-8")
    with warehouse.connect(folder / "spill") as connection:
        load.read(connection, release.find(home, folder / "unpacked"))
        tables.build(connection, n_cuts=1)
        pairs = candidates.pairs(connection, warehouse.user_ids(connection))
    booster = train.train([pairs], None, {"nthread": 1}, n_rounds=10).booster
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    registry = Registry(f"sqlite:///{folder / 'mlflow.db'}")
    record = Record({}, {}, {}, {}, {})
    example = pairs.values.slice(0, 5)
    registry.promote(registry.register(booster, booster, example, record))
    return folder


@pytest.fixture
def settings(
    made: Path, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Give the shop's settings, with a Redis and a data folder of this test's own."""
    monkeypatch.chdir(tmp_path)
    return Settings.read(
        {
            "MOVIELENS_RAW": str(made / "shop"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{made / 'mlflow.db'}",
            "REDIS_URL": redis_url,
        }
    )


def run(settings: Settings) -> Result:
    """Run as the command does."""
    return command.run(settings, force=False, accept_changes=False)


def lists(client: redis.Redis, form: str = "user") -> dict[str, list[str]]:
    """Return the item_ids of each list of one form."""
    start = f"recs:{client.get(KEYS.current)!s}:{form}:"
    return {
        str(key).removeprefix(start): [
            str(item_id)
            for item_id, _ in contract.decode(
                map(str, client.lrange(str(key), 0, -1)), IdKind.TEXT
            )
        ]
        for key in client.scan_iter(f"{start}*", count=1000)
    }


@pytest.mark.anyio
async def test_the_shops_ids_are_in_redis_in_files_and_in_answers(
    settings: Settings, redis_client: redis.Redis, redis_url: str
) -> None:
    run(settings)
    bought: dict[str, set[str]] = {}
    for user_id, item_id, _ in shop.purchases():
        bought.setdefault(user_id, set()).add(item_id)
    found = lists(redis_client)
    assert found.keys() == bought.keys()
    books = {book[0] for book in shop.books()} - UNLISTED
    for user_id, item_ids in found.items():
        assert len(item_ids) == 100
        assert set(item_ids) <= books - bought[user_id]
    generation = redis_client.get(KEYS.current)
    path = settings.recommendations / f"{generation!s}.parquet"
    rows = pq.read_table(path).to_pylist()
    assert {row["user_id"] for row in rows} == bought.keys()
    assert [r["item_id"] for r in rows if r["user_id"] == "cust-0007"] == found[
        "cust-0007"
    ]
    features = pq.read_table(settings.processed / "item_features.parquet")
    assert set(features["item_id"].to_pylist()) == books | UNLISTED
    async with serving(redis_url) as api:
        answer = (await api.get("/recommend/cust-0007?k=100&because=1")).json()
        assert answer["user_id"] == "cust-0007"
        assert [item["item_id"] for item in answer["items"]] == found["cust-0007"]
        reasons = [r["item_id"] for item in answer["items"] for r in item["because"]]
        assert set(reasons) <= bought["cust-0007"]
        assert reasons
        about = (await api.get("/about")).json()
        assert about["examples"][0] == "cust-0001"
        popular = (await api.get("/recommend/nobody?k=100")).json()
        assert not UNLISTED & {item["item_id"] for item in popular["items"]}
        for item_id in UNLISTED:
            found = (await api.get(f"/search?q={item_id}")).json()["items"]
            assert not UNLISTED & {item["item_id"] for item in found}
        user = (await api.get("/users/cust-0007")).json()
        assert {item["item_id"] for item in user["last"]} <= bought["cust-0007"]
    for form in (*ITEM_KINDS, *CATALOGUE):
        found = lists(redis_client, form)
        assert found
        assert not UNLISTED & {other for others in found.values() for other in others}


def test_a_customer_is_forgotten(settings: Settings, redis_client: redis.Redis) -> None:
    run(settings)
    result = forget(settings, user="cust-0007")
    assert int(str(result["keys"])) >= 3
    assert int(str(result["rows"])) >= 100
    assert "cust-0007" not in lists(redis_client)
    assert list(redis_client.scan_iter("*cust-0007*", count=1000)) == []
    for path in settings.processed.rglob("*.parquet"):
        table = pq.read_table(path)
        ids = table["user_id"].to_pylist() if "user_id" in table.column_names else []
        assert "cust-0007" not in ids
    with pytest.raises(BatchError, match="user_id is '', expected an id of kind text"):
        forget(settings, user="")


def test_both_scorers_leave_out_what_is_not_listed(
    settings: Settings, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    run(settings)
    compiled = lists(redis_client)
    redis_client.flushall()
    run(replace(settings, scorer="xgboost"))
    assert lists(redis_client) == compiled
    assert "differs from the one by SQL" not in caplog.text


def test_a_source_is_read_again_only_when_it_gives_other_rows(
    settings: Settings,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a digest of the staging tables."""
    monkeypatch.setattr(warehouse, "SQL", staged(tmp_path, settings.raw))
    own = replace(settings, staging="books")
    first = run(own)
    assert (first["skipped"], first["n_users"]) == (False, shop.N_CUSTOMERS)
    assert run(own)["skipped"] is True
    path = tmp_path / "interactions.csv"
    path.write_text(path.read_text(encoding="utf-8") + "new,B01X,1600000000\n")
    again = run(own)
    assert (again["skipped"], again["n_users"]) == (False, shop.N_CUSTOMERS + 1)
    assert len(lists(redis_client)["new"]) == 100
    assert admin.status(own)["n_users"] == shop.N_CUSTOMERS + 1
    awkward = shop.book_id(0)
    assert admin.block(own, item_ids=[awkward])["blocked"] == [awkward]
    assert admin.unblock(own, item_ids=[awkward])["blocked"] == []


def test_lists_that_would_all_be_empty_are_refused(
    settings: Settings,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(settings)
    monkeypatch.setattr(warehouse, "SQL", staged(tmp_path, settings.raw))
    rule = warehouse.SQL / "marts" / "eligible_items.sql"
    rule.write_text("-- one row per item\nselect item_id from stg_items where false")
    with pytest.raises(BatchError, match=r"no item may .* none of 197 items; to go on"):
        run(settings)
    assert all(lists(redis_client).values())
    command.run(settings, force=False, accept_changes=True)
    assert not any(lists(redis_client).values())


def staged(folder: Path, home: Path) -> Path:
    """Return a copy of the SQL with a source that reads the shop's files."""
    sql = folder / "sql"
    shutil.copytree(warehouse.SQL, sql)
    (folder / "interactions.csv").write_bytes((home / "interactions.csv").read_bytes())
    source = sql / "staging" / "books"
    source.mkdir()
    (source / "stg_ratings.sql").write_text("from read_csv('interactions.csv')")
    items = f"select item_id, title from read_csv('{home}/items.csv')"  # noqa: S608
    (source / "stg_items.sql").write_text(items)
    return sql
