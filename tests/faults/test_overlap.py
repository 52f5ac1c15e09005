"""Batches at the same time, and one that sleeps past its lock: real processes."""

import signal
import time
from dataclasses import replace

import pytest

from tests.conftest import KEYS, wait_until
from tests.faults.batches import Place
from tests.faults.kills import LENGTHS, Site, asleep, content

pytestmark = pytest.mark.slow

LOCK_SECONDS = 2

AMID_LISTS = Place("batch.publishing.writers:RedisWriter.write", "after", 4)
SLEEPS = (
    AMID_LISTS,
    Place("batch.publishing.shared_keys:write_items", "before"),
    Place("batch.publishing.lock:Lock.make_current", "before"),
    Place("batch.publishing.lock:Lock.make_current", "after"),
)
"""Where one falls asleep."""


def other_length(site: Site) -> int:
    """Choose a length of lists that are not served yet, so that there is work."""
    return sum(LENGTHS) - site.length


def test_cron_comes_while_a_person_runs_it(site: Site) -> None:
    """One works, the other ends at once with 75, and says who is at it."""
    length = other_length(site)
    working = asleep(site.clone, AMID_LISTS, length)
    began_at = time.monotonic()
    said = site.clone.run("run", "--top-n", str(length), code=75)
    assert time.monotonic() - began_at < 15
    assert f":{working.pid}; wait for it, or 20 s if it was killed" in said
    assert site.served is not None
    site.check_served(sum(LENGTHS) - length)
    working.signal(signal.SIGCONT)
    assert working.wait() == 0
    site.check_served(length)
    site.check_swept()


def test_two_at_once(site: Site) -> None:
    """Whichever comes first; what one wrote is served."""
    for _ in range(3):
        length = other_length(site)
        both = [site.clone.start("run", "--top-n", str(length)) for _ in range(2)]
        codes = sorted(batch.wait() for batch in both)
        # on a busy machine the second may come after the first is done
        assert codes in ([0, 75], [0, 0])
        site.check_served(length)
        site.check_swept()


def test_the_lock_of_the_dead_expires(site: Site) -> None:
    """Without being removed."""
    clone, length = replace(site.clone, lock_seconds=LOCK_SECONDS), other_length(site)
    died = clone.start("run", "--top-n", str(length), place=AMID_LISTS)
    assert died.wait() == -signal.SIGKILL
    clone.run("run", "--top-n", str(length), code=75)
    wait_until(lambda: not site.client.exists(KEYS.lock), LOCK_SECONDS + 5)
    clone.run("run", "--top-n", str(length))
    site.check_served(length)
    site.check_swept()


@pytest.mark.parametrize("place", SLEEPS, ids=str)
def test_who_sleeps_past_its_lock_changes_nothing(site: Site, place: Place) -> None:
    """Neither by a flip nor by what it writes and removes, however late."""
    length = other_length(site)
    clone = replace(site.clone, lock_seconds=LOCK_SECONDS)
    sleeper = asleep(clone, place, length)
    wait_until(lambda: not site.client.exists(KEYS.lock), LOCK_SECONDS + 10)
    has_flipped = site.length == length
    # the same work again, except where it is done
    other = sum(LENGTHS) - length if has_flipped else length
    site.run(other)
    served, held = site.served, site.client.zrange(KEYS.generations, 0, -1)
    assert served is not None
    before = {str(name): content(site.client, str(name)) for name in held}
    sleeper.signal(signal.SIGCONT)
    code = sleeper.wait()
    assert code == (0 if has_flipped else 1), sleeper.said
    if not has_flipped:
        assert "another batch" in sleeper.said
        assert "the served lists have not changed" in sleeper.said
    assert site.served == served
    assert site.client.zrange(KEYS.generations, 0, -1) == held
    assert {name: content(site.client, name) for name in before} == before
    site.check_served(other)
    site.run(other)
    site.check_swept()
