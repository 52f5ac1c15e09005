"""The description of the API is true: schemathesis tries it on a live one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from lookup.shared import contract
from lookup.shared.contract import About, History
from tests.benchmarks.load import served
from tests.conftest import ITEMS, KEYS, publish

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "key"])
def test_schemathesis_finds_nothing(
    tmp_path: Path, redis_url: str, redis_client: "redis.Redis", key: str
) -> None:
    """Whatever it makes up, right or wrong, is answered as described."""
    publish(redis_client, items={**ITEMS, **dict.fromkeys(range(1, 10), ITEMS[50])})
    history = contract.encode_history(History(1, [(50, 5.0)], [(50, 5.0)]))
    for user_id in range(1, 10):
        redis_client.set(KEYS.of("g1").history(user_id), history)
    about = About(3, 9, ["Action"], [7, 42], None, {"model": {"ndcg_at_10": 0.25}})
    redis_client.set(KEYS.of("g1").about, contract.encode_about(about))
    similar = contract.encode([(181, 0.5)])
    redis_client.rpush(KEYS.of("g1").similar(1), *similar)
    environ = {**os.environ, "REDIS_URL": redis_url, "LOOKUP_API_KEY": key}
    with served("lookup", "--port", "PORT", environ=environ) as server:
        url = f"http://127.0.0.1:{server.port}"
        headers = ["--header", f"X-API-Key: {key}"] if key else []
        options = ["--checks", "all", "--max-examples", "25", "--seed", "1"]
        done = subprocess.run(
            [SCHEMATHESIS, "run", f"{url}/openapi.json", *headers, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "14 passed" in done.stdout
