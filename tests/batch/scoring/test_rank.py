from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from batch import warehouse
from batch.features import candidates, columns, tables
from batch.model import train
from batch.scoring import compiled, rank, tested_sql
from batch.scoring.ranking import Ranking
from tests import renew_digest, worlds
from tests.batch.scoring.conftest import SEEN_ALL, lists
from tests.worlds import Connection


def test_every_user_is_ranked_every_unseen_item(
    ragged: Connection, booster: xgboost.Booster
) -> None:
    seen: dict[int, set[int]] = {}
    query = "select user_id, item_id from stg_ratings"
    for user, item in ragged.sql(query).fetchall():
        seen.setdefault(user, set()).add(item)
    rankings = lists(ragged, booster, top_n=1000)
    assert list(rankings) == [*range(1, 31), SEEN_ALL]
    for user, ranked in rankings.items():
        items = [item for item, _ in ranked]
        assert sorted(items) == sorted(set(range(1, 51)) - seen[user])
        assert ranked == sorted(ranked, key=lambda pair: (-pair[1], pair[0]))
    for top_n in (1, 5, 20):
        short = lists(ragged, booster, top_n=top_n)
        assert short == {user: ranked[:top_n] for user, ranked in rankings.items()}


@pytest.mark.parametrize("scorer", ["compiled", "xgboost"])
def test_users_without_unseen_items_and_no_users(
    ragged: Connection, booster: xgboost.Booster, scorer: str
) -> None:
    alone = lists(ragged, booster, 5, [SEEN_ALL], scorer)
    assert alone == {SEEN_ALL: []}
    assert lists(ragged, booster, 5, [], scorer) == {}


@pytest.mark.parametrize("top_n", [1, 10, 1000])
def test_both_scorers_give_the_same_lists(
    ragged: Connection, booster: xgboost.Booster, top_n: int
) -> None:
    """Items, order and scores, to the last bit."""
    plain = lists(ragged, booster, top_n, scorer="xgboost")
    assert lists(ragged, booster, top_n) == plain


@pytest.fixture(scope="module", params=[False, True], ids=["eligible", "one is not"])
def alike(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """Build features of a ragged world in which films have several ids."""
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, worlds.ragged())
        worlds.name_alike(connection)
        if request.param:
            connection.execute(
                "update stg_items set is_listed = false where item_id = 21"
            )
        tables.build(connection, n_cuts=0)
        yield connection


@pytest.mark.parametrize("scorer", rank.SCORERS)
def test_a_film_is_listed_once_and_not_if_it_was_rated_under_another_id(
    alike: Connection,
    booster: xgboost.Booster,
    caplog: pytest.LogCaptureFixture,
    scorer: str,
) -> None:
    """All else is listed as before, with the same scores, and fills lists up."""
    before = lists(alike, booster, 1000, scorer=scorer)
    warehouse.build(alike, "marts/films", {"merges_films": True})
    query = "select film_id, list(item_id) from films group by film_id"
    ids_of = dict(alike.sql(query).fetchall())
    assert sorted(map(len, ids_of.values())) == [1] * 20 + [3] * 10
    listed = alike.table("stg_items").filter("is_listed").select("item_id")
    eligible = {i for (i,) in listed.fetchall()}
    seen = alike.table("int_history").select("user_id, item_id").fetchall()
    wanted = {
        user: [
            (item, score)
            for item, score in ranked
            if all(
                i in eligible and (user, i) not in seen for i in ids_of.get(item, [0])
            )
        ]
        for user, ranked in before.items()
    }
    assert sum(map(len, wanted.values())) == candidates.n_unseen(alike)
    for top_n in (1, 10, 1000):
        cut = {user: ranked[:top_n] for user, ranked in wanted.items()}
        assert lists(alike, booster, top_n, scorer=scorer) == cut
    warehouse.build(alike, "marts/films", {"merges_films": False})
    assert lists(alike, booster, 1000, scorer=scorer) == before
    assert not caplog.messages  # each scorer has answered itself


@pytest.mark.parametrize("pairs_per_block", [1, 4 * 50, 30 * 50, 31 * 50])
def test_blocks_of_the_plain_scorer_change_nothing(
    ragged: Connection,
    booster: xgboost.Booster,
    monkeypatch: pytest.MonkeyPatch,
    pairs_per_block: int,
) -> None:
    at_once = lists(ragged, booster, 10, scorer="xgboost")
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", pairs_per_block)
    assert lists(ragged, booster, 10, scorer="xgboost") == at_once


def test_blocks_and_tasks_of_the_compiled_scorer_change_nothing(
    ragged: Connection, booster: xgboost.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = lists(ragged, booster, 10)
    monkeypatch.setattr(compiled, "USERS_PER_BLOCK", 7)
    monkeypatch.setattr(compiled.Threads, "users_per_task", 3)
    assert lists(ragged, booster, 10) == at_once


def test_a_booster_is_given_the_features_that_it_names(ragged: Connection) -> None:
    """They may be fewer than all, in another order."""
    names = ["next_similarity", "item_n_ratings", "user_n_ratings"]
    pairs = candidates.pairs(ragged, [1, 2, 3], names=names)
    target = pairs.values["item_n_ratings"].to_numpy()
    matrix = xgboost.QuantileDMatrix(pairs.values, label=target, feature_names=names)
    fewer = xgboost.train({"max_depth": 6, "eta": 1.0, "nthread": 1}, matrix, 5)
    popular = candidates.pairs(ragged, [1], names=["item_n_ratings"])
    counts = popular.values["item_n_ratings"].to_pylist()
    by_item = dict(zip(popular.item_ids.tolist(), counts, strict=True))
    ranked = [by_item[item] for item, _ in lists(ragged, fewer, 50, [1])[1]]
    assert ranked[0] == max(counts)
    assert ranked[-1] == min(counts)


# --- when the compiled scorer answers ------------------------------------------------

EDITS = {
    "a condition that few users meet": (
        "sequences.next_similarity::float",
        "if(users.n_ratings <= 7, sequences.next_similarity, null)::float",
    ),
    "another sign": (
        "items.n_ratings::float as item_n_ratings",
        "(-items.n_ratings)::float as item_n_ratings",
    ),
    "another span": ("where history.n_back < 30", "where history.n_back < 3"),
}
"""What is edited → a part of pair_features.sql, and what replaces it."""


def edit(monkeypatch: pytest.MonkeyPatch, former: str, new: str) -> None:
    """Replace a part of pair_features.sql."""
    read = warehouse.read
    assert former in read("marts/pair_features")
    monkeypatch.setattr(warehouse, "read", lambda m: read(m).replace(former, new))


@pytest.fixture(autouse=True)
def unexplained() -> None:
    """Let each test see the line that a process logs once."""
    rank.explain.cache_clear()


@pytest.mark.parametrize("what", EDITS)
def test_sql_that_the_compiled_scorer_was_not_tested_with(
    ragged: Connection,
    booster: xgboost.Booster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    """The lists are those of the changed SQL, and one line says why it took so long."""
    edit(monkeypatch, *EDITS[what])
    monkeypatch.setattr(rank, "N_COMPARED", 0)  # the sample might notice, too
    plain = lists(ragged, booster, 10, scorer="xgboost")
    for scheduler in (None, "tcp://127.0.0.1:1"):
        assert lists(ragged, booster, 10, scheduler=scheduler) == plain
    (line,) = caplog.messages
    assert "ten times as slow" in line
    assert "not been tested with this sql/marts/pair_features.sql" in line
    assert "tests.renew_digest" in line


def test_comments_and_white_space_need_no_other_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tested_sql.untested() == [], "run: python -m tests.renew_digest"
    edit(monkeypatch, "\n", " \n  -- documented, for $nobody\n")
    assert tested_sql.untested() == []


@pytest.mark.parametrize(
    "group",
    [
        ("SEQUENCE", columns.SEQUENCE[::-1]),
        ("FEATURES", (*columns.FEATURES, "of_mine")),
    ],
    ids=["other order", "one more"],
)
def test_other_features_are_not_tested(
    monkeypatch: pytest.MonkeyPatch, group: tuple[str, tuple[str, ...]]
) -> None:
    monkeypatch.setattr(columns, *group)
    assert tested_sql.untested() == [tested_sql.COLUMNS]


def test_without_its_file_nothing_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested_sql, "FILE", tmp_path / "tested_sql.json")
    assert tested_sql.untested() == sorted(tested_sql.digests())
    tested_sql.FILE.write_text("<<<<<<< ours\n{}\n")  # a merge that is not resolved
    assert tested_sql.untested() == sorted(tested_sql.digests())


def renewed(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> int:
    """Test the compiled scorer in one world, and write the digests if it passes."""
    monkeypatch.setattr(
        renew_digest, "tested_worlds", lambda: iter([("ragged", connection)])
    )
    return renew_digest.main()


def test_the_digests_are_renewed_after_a_test_only(
    ragged: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tested_sql, "FILE", tmp_path / "tested_sql.json")
    with monkeypatch.context() as patch:
        edit(patch, *EDITS["a condition that few users meet"])
        assert renewed(ragged, patch) == 1
        assert "next_similarity in " in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(columns, "USER", (*columns.USER, "user_of_mine"))
        assert renewed(ragged, patch) == 1
        assert "of_mine" in capsys.readouterr().err
    assert not tested_sql.FILE.exists()
    with monkeypatch.context() as patch:  # an edit that leaves all values as they are
        edit(patch, "where history.n_back < 30", "where history.n_back <= 29")
        assert tested_sql.untested() != []
        assert renewed(ragged, patch) == 0
        assert tested_sql.untested() == []
    assert tested_sql.untested() == ["sql/marts/pair_features.sql"]


def test_a_sample_of_users_is_ranked_both_ways(
    ragged: Connection,
    booster: xgboost.Booster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It notices what no digest knows of."""
    monkeypatch.setattr(tested_sql, "untested", list)
    edit(monkeypatch, *EDITS["another sign"])
    plain = lists(ragged, booster, 10, scorer="xgboost")
    assert lists(ragged, booster, 10) == plain
    assert "batch/scoring/kernels.py" in caplog.text


def test_the_sample_compares_scores(
    ragged: Connection, booster: xgboost.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same order, too."""
    ranked = compiled.Scorer.rank_users

    def shifted(*arguments: Any) -> Iterator[list[Ranking]]:
        for block in ranked(*arguments):
            yield [replace(one, scores=one.scores + np.float32(1e-3)) for one in block]

    monkeypatch.setattr(compiled.Scorer, "rank_users", shifted)
    plain = lists(ragged, booster, 10, scorer="xgboost")
    assert lists(ragged, booster, 10) == plain


def test_the_sample_is_spread_over_lengths_of_histories(ragged: Connection) -> None:
    """From the shortest to the longest."""
    query = "select user_id, n_history from int_cutoffs"
    lengths = dict(ragged.sql(query).fetchall())
    found = rank.some_users(ragged, sorted(lengths))
    assert found == sorted(found)
    assert len(set(found)) == rank.N_COMPARED
    of_found = sorted(lengths[user_id] for user_id in found)
    assert of_found[0] == min(lengths.values())
    assert of_found[-1] == max(lengths.values())
    assert rank.some_users(ragged, [3, 9]) == [3, 9]


def test_a_booster_that_cannot_be_compiled_is_scored_by_xgboost(
    ragged: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = candidates.pairs(ragged, warehouse.user_ids(ragged))
    labelled = candidates.Pairs(
        pairs.user_ids, pairs.item_ids, np.sign(pairs.item_ids % 3), pairs.values
    )
    matrix = train.to_matrix(labelled.in_order())
    parameters = {"booster": "dart", "objective": "rank:ndcg", "rate_drop": 0.5}
    dart = xgboost.train(parameters, matrix, 3)
    assert lists(ragged, dart, 10) == lists(ragged, dart, 10, scorer="xgboost")
    assert "its booster is dart" in caplog.text
