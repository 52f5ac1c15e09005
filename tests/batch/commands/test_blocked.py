"""`block`, `unblock` and `blocked` on a real Redis."""

import pytest
import redis

from batch.commands import admin, resources
from batch.errors import BatchError
from batch.publishing import generations
from batch.settings import Settings
from tests.conftest import KEYS, publish


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings.read({"REDIS_URL": redis_url})


def test_items_are_blocked_and_unblocked(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """Once or twice, and `status` shows them."""
    publish(redis_client)
    assert admin.show_blocked(settings) == {"blocked": []}
    assert admin.block(settings, item_ids=[181, 50])["blocked"] == [50, 181]
    assert admin.block(settings, item_ids=[50, 258])["blocked"] == [50, 181, 258]
    assert redis_client.smembers(KEYS.blocked) == {"50", "181", "258"}
    assert admin.status(settings)["blocked"] == [50, 181, 258]
    assert admin.unblock(settings, item_ids=[50, 181])["blocked"] == [258]
    assert admin.show_blocked(settings) == {"blocked": [258]}


def test_what_is_not_there_is_named_and_nothing_changes(
    settings: Settings, redis_client: redis.Redis
) -> None:
    with pytest.raises(BatchError, match="nothing is published"):
        admin.block(settings, item_ids=[50])
    publish(redis_client)
    with pytest.raises(BatchError, match="no item 51, 9: .*nothing was blocked"):
        admin.block(settings, item_ids=[50, 51, 9])
    admin.block(settings, item_ids=[50])
    with pytest.raises(BatchError, match="not blocked: 73 .*nothing was unblocked"):
        admin.unblock(settings, item_ids=[50, 73])
    assert admin.show_blocked(settings) == {"blocked": [50]}


def test_they_outlive_generations(
    settings: Settings, redis_client: redis.Redis
) -> None:
    publish(redis_client, "20260101T000000Z-aaaaaa", current=False)
    publish(redis_client, "20260102T000000Z-bbbbbb")
    admin.block(settings, item_ids=[50])
    with resources.open_redis(settings) as (_url, client):
        with generations.locked(client) as lock:
            generations.remove_unheld(client, lock, ["20260102T000000Z-bbbbbb"])
        assert generations.held(client) == ["20260102T000000Z-bbbbbb"]
    assert admin.show_blocked(settings) == {"blocked": [50]}
