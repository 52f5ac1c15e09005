from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from batch import warehouse
from batch.features import base_scores, item_models, tables
from batch.features.base_scores import (
    EASE,
    ITEM,
    KERNELS,
    STATES,
    Base,
    Histories,
)
from tests import worlds
from tests.worlds import Connection, Cutoff, World

Doubles = npt.NDArray[np.float64]

RAGGED = worlds.ragged()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Build the tables of a ragged world as of the hold-out."""
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, RAGGED)
        tables.build(connection, n_cuts=1)
        yield connection


def read(connection: Connection, user_ids: Sequence[int]) -> tuple[Base, Histories]:
    base = Base.read(connection)
    return base, base_scores.read_histories(connection, base.item_ids, user_ids)


def votes(base: Base, user_id: int, history: Sequence[int], kernel: Doubles) -> Doubles:
    """Sum votes by the definition, over the prefixes of every other user."""
    fade, sharpness, slow_fade, slow_sharpness, gain = kernel
    found = np.zeros((2, len(base.n_ratings)))
    for voter in range(len(base.voter_ids)):
        if base.voter_ids[voter] == user_id:
            continue
        items = base.items[base.starts[voter] : base.starts[voter + 1]].tolist()
        later = 0.0
        for n in range(1, len(items)):
            x = 0.0
            for weight, faded in ((sharpness, fade), (slow_sharpness, slow_fade)):
                own = {item: faded**at for at, item in enumerate(history)}
                other = {item: faded**at for at, item in enumerate(items[:n][::-1])}
                product = sum(own.get(item, 0) * of for item, of in other.items())
                lengths = [sum(w * w for w in s.values()) for s in (own, other)]
                x += weight * product / np.sqrt(lengths[0] * lengths[1])
            vote = (1 + x / 16) ** 16 - 1
            later = gain * later + vote
            found[0, items[n]] += vote
            found[1, items[n]] += later
    return found


def test_state_kernels_are_sums_over_the_prefixes_of_others(built: Connection) -> None:
    user_ids = warehouse.user_ids(built)[::6]
    base, histories = read(built, user_ids)
    found = base_scores.scores(base, histories)
    for row, user_id in enumerate(user_ids):
        own = slice(histories.starts[row], histories.starts[row + 1])
        for k, kernel in enumerate(KERNELS):
            expected = votes(base, user_id, histories.items[own].tolist(), kernel)
            shares = expected / expected.sum(axis=1, keepdims=True) * expected.shape[1]
            # weights below a ten-thousandth are left out of a state
            assert np.allclose(
                found[row, 2 * k : 2 * k + 2], np.log1p(shares), rtol=0.01, atol=0.002
            )
            assert shares.max() > 2


def test_pairs_have_the_scores_of_their_users_and_items(
    built: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever blocks of users they are computed."""
    monkeypatch.setattr(base_scores, "USERS_AT_ONCE", 7)
    user_ids = warehouse.user_ids(built)[::2]
    base, histories = read(built, user_ids)
    found = base_scores.scores(base, histories)
    pairs = [(row, item) for row in range(len(user_ids)) for item in (3 + row % 5, 1)]
    rows, items = np.array(pairs).T
    strong = base_scores.of_pairs(built, np.array(user_ids)[rows], base.item_ids[items])
    assert np.array_equal(strong.scores, found[rows, :, items])
    assert np.array_equal(strong.n_history, np.diff(histories.starts)[rows])
    some = strong.take(np.array([4, 1]))
    assert np.array_equal(some.scores, found[rows[[4, 1]], :, items[[4, 1]]])
    assert some.n_history.tolist() == strong.n_history[[4, 1]].tolist()


def test_ease_sums_the_weights_of_fading_states(built: Connection) -> None:
    """In all four states; of liked items only in the last."""
    base, histories = read(built, warehouse.user_ids(built)[:10])
    found = base_scores.scores(base, histories)
    model = item_models.read(built)
    covered = np.isin(base.item_ids, model.item_ids)
    assert 0 < covered.sum() < len(covered)
    place_of = {item_id: i for i, item_id in enumerate(model.item_ids.tolist())}
    for row in range(10):
        own = slice(histories.starts[row], histories.starts[row + 1])
        expected = np.zeros((len(STATES), len(place_of)))
        for n_back, item in enumerate(histories.items[own].tolist()):
            place = place_of.get(int(base.item_ids[item]))
            if place is None:
                continue
            factors = STATES**n_back
            factors[-1] *= histories.is_liked[own][n_back]
            expected += factors[:, None] * model.ease[place] * item_models.UNIT
        scores = found[row, EASE:ITEM]
        assert np.allclose(scores[:, covered], expected, rtol=1e-6, atol=1e-9)
        assert (scores[:, ~covered] == 0).all()
        assert np.abs(expected).max() > 0.001


def test_scores_do_not_depend_on_who_else_is_asked_for(built: Connection) -> None:
    """To the last bit, in blocks that cross the lanes of the kernels."""
    user_ids = warehouse.user_ids(built)
    assert len(user_ids) > 20
    base, histories = read(built, user_ids)
    together = base_scores.scores(base, histories)
    for row, user_id in enumerate(user_ids[::3]):
        alone = base_scores.scores(*read(built, [user_id]))
        assert np.array_equal(alone[0], together[3 * row])


def of_world(
    connection: Connection, world: World, cutoff: Cutoff
) -> base_scores.Floats:
    """Return the scores of all users of a world, as of a cutoff."""
    worlds.stage(connection, world)
    tables.build(connection, *cutoff)
    base, histories = read(connection, warehouse.user_ids(connection))
    return base_scores.scores(base, histories)


def test_the_future_moves_no_score(connection: Connection, cutoff: Cutoff) -> None:
    other = worlds.change(RAGGED, cutoff, worlds.rewrite_future)
    before = of_world(connection, RAGGED, cutoff)
    after = of_world(connection, other, cutoff)
    assert np.array_equal(before, after)
    past = worlds.change(RAGGED, cutoff, worlds.rewrite_past)
    assert not np.array_equal(before, of_world(connection, past, cutoff))


LEAK = (
    "from int_item_counts",
    "from (select item_id, count(*) as n_sampled, "
    "count(*) as n_ratings, 1 as popularity_rank "
    "from int_ratings group by all)",
)


def test_a_model_that_sees_the_future_is_caught(
    connection: Connection, cutoff: Cutoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items of all ratings in EASE fail the test above."""
    read_model = warehouse.read

    def leaking(name: str) -> str:
        query = read_model(name)
        if name.endswith("int_modelled_items"):
            assert LEAK[0] in query
            return query.replace(*LEAK)
        return query

    monkeypatch.setattr(warehouse, "read", leaking)
    other = worlds.change(RAGGED, cutoff, worlds.rewrite_future)
    before = of_world(connection, RAGGED, cutoff)
    after = of_world(connection, other, cutoff)
    assert not np.array_equal(before, after)
