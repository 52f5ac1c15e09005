"""Lists that are looked at before they are served: run --stage, compare, serve."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from batch import console
from batch.commands import admin
from batch.commands import run as command
from batch.commands.compare import compare
from batch.errors import BatchError
from batch.evaluation.overlap import overlap, rank_biased_overlap
from batch.settings import Settings
from tests.batch.commands.test_run import check_held, forced
from tests.conftest import KEYS


def staged(settings: Settings) -> str:
    """Run with --stage; return the generation, whose figures the result has."""
    result = command.run(settings, force=True, accept_changes=False, stage=True)
    assert result["staged"] is True
    assert result["n_users"] == 40
    return str(result["generation"])


@pytest.mark.parametrize("keep", [2, 3])
def test_a_staged_generation_is_served_when_asked_for(
    settings: Settings, redis_client: redis.Redis, keep: int
) -> None:
    """It is one of those held; rollback leads to what was served, never to another."""
    settings = replace(settings, keep_generations=keep)
    names = [forced(settings) for _ in range(keep)]
    dropped = staged(settings)
    check_held(settings, redis_client, [*names[-2:], dropped])
    assert redis_client.get(KEYS.current) == names[-1]
    one = staged(settings)
    check_held(settings, redis_client, [*names[-2:], one])
    assert admin.rollback(settings)["generation"] == names[-2]
    admin.serve(settings, generation=names[-1])
    served = admin.serve(settings, generation=one)
    assert served == {"generation": one, "former_generation": names[-1]}
    assert redis_client.get(KEYS.current) == one
    assert admin.rollback(settings)["generation"] == names[-1]
    later = forced(settings)
    check_held(settings, redis_client, [*names, later][-keep:])


def test_only_what_is_held_and_whole_is_served(
    settings: Settings, redis_client: redis.Redis
) -> None:
    former, served = forced(settings), forced(settings)
    with pytest.raises(BatchError) as raised:
        admin.serve(settings, generation="yesterday")
    assert str(raised.value) == (
        f"no generation 'yesterday' is held, only: {former}, {served}"
    )
    redis_client.delete(KEYS.of(former).because(7))
    with pytest.raises(BatchError, match="holds 39 of 40 because; the served lists"):
        admin.serve(settings, generation=former)
    redis_client.delete(KEYS.of(served).popular)
    with pytest.raises(BatchError, match="not whole"):
        admin.serve(settings, generation=served)
    assert redis_client.get(KEYS.current) == served


def test_two_generations_are_compared(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """One user has other lists; the figures are those of the lists, as shown."""
    first = forced(settings)
    own = replace(settings, raw=Path("own"), is_raw_named=True)
    own.raw.mkdir()
    for name in ("u.item", "u.user", "u.data"):
        (own.raw / name).write_bytes((settings.raw / name).read_bytes())
    second = staged(own)
    same = compare(own, first=first, second=second)
    assert (same["overlap_at_10"], same["unchanged_share"]) == (1, 1)
    assert same["rank_biased_overlap"] == pytest.approx(1)
    keys = KEYS.of(second)
    texts = redis_client.lrange(keys.user(7), 0, -1)
    redis_client.delete(keys.user(7))
    redis_client.rpush(keys.user(7), *texts[::-1])
    blocked = str(texts[0]).split(":")[0]
    admin.block(own, item_ids=[blocked])
    other = compare(own, first=first, second=second)
    before, after = (
        [str(t).split(":")[0] for t in some] for some in (texts, texts[::-1])
    )
    shown = [[i for i in ids if i != blocked] for ids in (before, after)]
    assert other["unchanged_share"] == pytest.approx(39 / 40)
    assert other["overlap_at_10"] == pytest.approx(1 - (1 - overlap(*shown)) / 40)
    [worst, *_] = list(json.loads(json.dumps(other))["changed_most"].items())
    assert worst[0] == "7"
    assert worst[1]["rank_biased_overlap"] == rank_biased_overlap(*shown)
    for name, side in ((first, other["first"]), (second, other["second"])):
        assert isinstance(side, dict)
        lists = [
            [
                str(t).split(":")[0]
                for t in redis_client.lrange(KEYS.of(name).user(u), 0, 10)
            ]
            for u in range(1, 41)
        ]
        places = [i for ids in lists for i in [i for i in ids if i != blocked][:10]]
        popular = redis_client.lrange(KEYS.of(name).popular, 0, -1)
        known = {str(text).split(":")[0] for text in popular}
        assert side["coverage_at_10"] == len(set(places)) / 60
        share = sum(i in known for i in places) / len(places)
        assert side["popular_share_at_10"] == pytest.approx(share)
    with pytest.raises(BatchError, match=f"is held, only: {first}, {second}"):
        compare(own, first=first, second="tomorrow")


def test_a_status_says_what_is_held(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """And how much memory it takes, as Redis counts it key by key."""
    names = [forced(settings), forced(settings), staged(settings)]
    found = admin.status(settings)
    held = found["held"]
    assert isinstance(held, dict)
    assert {name: held[name]["state"] for name in held} == dict(
        zip(names, ("older", "served", "newer"), strict=True)
    )
    for name, row in held.items():
        keys = redis_client.scan_iter(f"recs:{name}:*", count=1000)
        n_bytes = sum(redis_client.memory_usage(key) or 0 for key in keys)
        assert row["memory_bytes"] == pytest.approx(n_bytes, rel=0.01)
        assert (row["model_version"], row["n_users"]) == ("1", 40)
    text = console.readable(found)
    assert re.search(
        rf"\n{names[2]} +newer +1 +40 +1997-.*Z +0:00:\d\d +0\.\d MB\n", text
    )
    redis_client.delete(KEYS.of(names[0]).meta)
    redis_client.execute_command("ACL SETUSER seer on >secret ~* +@all -memory")
    url = str(settings.redis_url).replace("//", "//seer:secret@")
    held = admin.status(replace(settings, redis_url=url))["held"]
    assert isinstance(held, dict)
    assert [row["memory_bytes"] for row in held.values()] == [None] * 3
    redis_client.execute_command("ACL DELUSER seer")


def test_overlap_of_two_rankings() -> None:
    """By hand, from the definition."""
    assert overlap("abc", "cdb") == 2 / 3
    assert overlap("", "") == rank_biased_overlap("", "") == 1
    assert overlap("a", "") == rank_biased_overlap("a", "") == 0
    # agreements 0, 1/2 and 2/3, then 2/3 at every depth
    expected = 0.1 * (0.9 / 2 + 0.81 * 2 / 3) + 0.9**3 * 2 / 3
    assert rank_biased_overlap("abc", "cad") == pytest.approx(expected)
    assert rank_biased_overlap("abc", "abc") == pytest.approx(1)
