"""Metrics, read as Prometheus does."""

import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
import redis
import yaml
from prometheus_client.parser import text_string_to_metric_families

import lookup
from lookup.app import create_app, new_metrics
from lookup.settings import Settings
from lookup.store.store import Store
from lookup.telemetry.metrics import BUCKETS, Metrics
from tests.conftest import free_port, publish
from tests.lookup.serving import error, serving

pytestmark = pytest.mark.anyio

Samples = Mapping[tuple[str, str, str], float]


async def samples(api: httpx.AsyncClient) -> Samples:
    """Ask for the metrics: by name, route, and status or bound."""
    answer = await api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (
            sample.name,
            sample.labels.get("route", ""),
            sample.labels.get("status") or sample.labels.get("le", ""),
        ): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_requests_by_route_and_status(
    api: httpx.AsyncClient, published: None
) -> None:
    """Cached or not; a path is never a label."""
    for user_id in (42, 7, 42, 42):
        await api.get(f"/recommend/{user_id}")
    tag = (await api.get("/popular")).headers["etag"]
    await api.get("/popular", headers={"If-None-Match": tag})
    for path in ("/recommend/x", "/nothing", "/a/b/c", "/fail"):
        await api.get(path)
    await api.post("/popular")
    found = await samples(api)
    assert {
        key[1:]: n for key, n in found.items() if key[0] == "lookup_requests_total"
    } == {
        ("/recommend/{user_id}", "200"): 4,
        ("/recommend/{user_id}", "422"): 1,
        ("/popular", "200"): 1,
        ("/popular", "304"): 1,
        ("/popular", "405"): 1,
        ("other", "404"): 2,
        ("other", "500"): 1,
    }


async def test_latencies_are_a_histogram(
    api: httpx.AsyncClient, published: None
) -> None:
    for _ in range(5):
        await api.get("/recommend/42")
    found = await samples(api)
    route, name = "/recommend/{user_id}", "lookup_request_seconds"
    bounds = [*map(str, BUCKETS), "+Inf"]
    counts = [found[f"{name}_bucket", route, bound] for bound in bounds]
    assert counts == sorted(counts)
    assert counts[-1] == found[f"{name}_count", route, ""] == 5
    assert 0 < found[f"{name}_sum", route, ""] < 5


async def test_fallbacks(api: httpx.AsyncClient, published: None) -> None:
    for path in ("/recommend/999", "/recommend/999", "/recommend/42", "/popular"):
        await api.get(path)
    assert (await samples(api))["lookup_fallbacks_total", "", ""] == 2


async def test_generation_and_its_age(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    name = "lookup_generation_age_seconds"
    assert (name, "", "") not in await samples(api)
    publish(redis_client)
    assert (await samples(api))[name, "", ""] > 0
    assert 'generation="g1",model_version="3"' in (await api.get("/metrics")).text


async def test_redis_errors() -> None:
    """The metrics are there while Redis is gone."""
    metrics = Metrics(["/popular"])
    url = f"redis://127.0.0.1:{free_port()}/0"
    store = Store(url, on_error=metrics.redis_error)
    app = create_app(store, Settings(), metrics)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        for _ in range(3):
            assert (await api.get("/popular")).status_code == 503
        found = await samples(api)
    assert found["lookup_redis_errors_total", "", ""] == 4  # /metrics asks, too
    assert found["lookup_requests_total", "/popular", "503"] == 3


async def test_the_alerts_of_the_readme_fit_the_metrics(
    redis_url: str, published: None
) -> None:
    """Each name and label that a rule selects is there, and the key is accepted."""
    readme = (Path(lookup.__file__).parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    scraping, alerting = map(yaml.safe_load, blocks)
    (job,) = scraping["scrape_configs"]
    assert job["authorization"].keys() == {"credentials_file"}  # its type is Bearer
    async with serving(redis_url, Settings(api_key="key")) as api:
        api.headers["Authorization"] = "Bearer key"
        await api.get("/recommend/42")
        await api.get("/recommend/99")
        found = await samples(api)
    names = {name for name, _, _ in found}
    rules = [rule for group in alerting["groups"] for rule in group["rules"]]
    assert len(rules) == 2
    for rule in rules:
        selected = set(re.findall(r"lookup_\w+", rule["expr"]))
        assert selected
        assert selected <= names
        for route, statuses in re.findall(
            r'route="(.*?)", status=~"(.*?)"', rule["expr"]
        ):
            counted = [found["lookup_requests_total", route, statuses.split("|")[0]]]
            assert counted == [2]
    assert found["lookup_fallbacks_total", "", ""] == 1


@pytest.mark.parametrize(
    ("path", "key", "kind"),
    [
        ("/recommend/42", "recs:current", "string"),
        ("/recommend/42", "recs:g1:meta", "hash"),
        ("/recommend/42", "recs:g1:items", "hash"),
        ("/recommend/42", "recs:g1:popular", "list"),
        ("/recommend/42", "recs:g1:user:42", "list"),
        ("/recommend/42?because=1", "recs:g1:because:42", "list"),
        ("/users/42", "recs:g1:history:42", "string"),
        ("/similar/50", "recs:g1:similar:50", "list"),
        ("/about", "recs:g1:about", "string"),
    ],
)
async def test_a_key_of_another_type_is_named_and_no_error_of_redis(
    redis_url: str, redis_client: "redis.Redis", path: str, key: str, kind: str
) -> None:
    publish(redis_client)
    redis_client.delete(key)
    redis_client.sadd(key, "x")
    metrics = new_metrics()
    store = Store(redis_url, on_error=metrics.redis_error)
    transport = httpx.ASGITransport(create_app(store, Settings(), metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        message = await error(api, path, 503, "corrupt_generation")
        assert f"{key} is not a {kind}" in message
        assert (await samples(api))["lookup_redis_errors_total", "", ""] == 0
    await store.close()


def test_labels_are_escaped() -> None:
    """A generation has any name that is written to Redis."""
    text = Metrics(['/a"b\\c\nd']).text(None)
    assert r'route="/a\"b\\c\nd"' in text
    assert list(text_string_to_metric_families(text))
