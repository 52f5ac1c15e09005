"""Request metrics in the text format of Prometheus."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from lookup.store.generation import Generation
from lookup.telemetry.counters import Counters

CONTENT_TYPE = "text/plain; version=0.0.4"

OTHER = "other"
"""The label of requests that reach no route: an unknown path or a wrong key."""
STATUSES = (200, 204, 304, 400, 401, 404, 405, 422, 500, 503, 0)
"""The statuses of answers; 0 stands for any other, and for a client that left."""
BUCKETS = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5
)  # fmt: skip
NANOSECONDS = 1_000_000_000
FORERUNNER = (
    "ndcg_at_10", "hit_rate_at_10", "coverage_at_10", "fallback_share", "n_users"
)  # fmt: skip
"""What `/metrics` has of the generation that was served before."""


class Metrics:
    """Counts requests in numbers that all workers share.

    Each route has a row of numbers: requests by status, requests by latency bucket (the
    last is unbounded), and the sum of latencies in nanoseconds.
    """

    def __init__(self, routes: Sequence[str], folder: str | None = None) -> None:
        """Create the counters of all routes.

        Args:
            routes: the paths of all routes.
            folder: where workers share counters; None for a single process.
        """
        self._routes = (*routes, OTHER)
        width = len(STATUSES) + len(BUCKETS) + 2
        self._rows = {route: i * width for i, route in enumerate(self._routes)}
        self._column = {status: i for i, status in enumerate(STATUSES)}
        self._fallbacks = len(self._routes) * width
        self._redis_errors = self._fallbacks + 1
        self._counters = Counters(self._redis_errors + 1, folder)

    def request(
        self, route: str, status: int, seconds: float, *, is_fallback: bool
    ) -> None:
        """Count an answered request."""
        own = self._counters.own
        row = self._rows.get(route, self._rows[OTHER])
        own[row + self._column.get(status, len(STATUSES) - 1)] += 1
        buckets = row + len(STATUSES)
        own[buckets + bisect_left(BUCKETS, seconds)] += 1
        own[buckets + len(BUCKETS) + 1] += int(seconds * NANOSECONDS)
        if is_fallback:
            own[self._fallbacks] += 1

    def redis_error(self) -> None:
        """Count a failed call of Redis."""
        self._counters.own[self._redis_errors] += 1

    def text(self, generation: Generation | None) -> str:
        """Return all metrics in the text format of Prometheus."""
        total = self._counters.total()
        lines = [
            *_head("lookup_requests_total", "counter", "Requests answered."),
            *self._requests(total),
            *_head("lookup_request_seconds", "histogram", "Time until answered."),
            *self._latencies(total),
            *_head("lookup_fallbacks_total", "counter", "Popular instead of personal."),
            f"lookup_fallbacks_total {total[self._fallbacks]}",
            *_head("lookup_redis_errors_total", "counter", "Redis did not answer."),
            f"lookup_redis_errors_total {total[self._redis_errors]}",
            *(_of_generation(generation) if generation else ()),
        ]
        return "\n".join(lines) + "\n"

    def _requests(self, total: Sequence[int]) -> Iterator[str]:
        for route, row in self._rows.items():
            for status, column in self._column.items():
                if total[row + column]:
                    labels = _labels({"route": route, "status": str(status or OTHER)})
                    yield f"lookup_requests_total{labels} {total[row + column]}"

    def _latencies(self, total: Sequence[int]) -> Iterator[str]:
        name = "lookup_request_seconds"
        for route, row in self._rows.items():
            begin = row + len(STATUSES)
            n = 0
            for i, bound in enumerate((*map(str, BUCKETS), "+Inf")):
                n += total[begin + i]
                yield f"{name}_bucket{_labels({'route': route, 'le': bound})} {n}"
            seconds = total[begin + len(BUCKETS) + 1] / NANOSECONDS
            yield f"{name}_sum{_labels({'route': route})} {seconds}"
            yield f"{name}_count{_labels({'route': route})} {n}"


def _of_generation(generation: Generation) -> Iterator[str]:
    """Yield the name of the current generation, and its age if that is known."""
    labels = _labels(generation.origin)
    yield from _head("lookup_generation_info", "gauge", "The current generation.")
    yield f"lookup_generation_info{labels} 1"
    age = generation.age(datetime.now(UTC))
    if age is not None:
        name = "lookup_generation_age_seconds"
        yield from _head(name, "gauge", "Time since the lists were scored.")
        yield f"{name} {age}"
    if (former := generation.forerunner) is not None:
        for metric in FORERUNNER:
            name = f"lookup_forerunner_{metric}"
            yield from _head(name, "gauge", "The lists before, by what came after.")
            for of, figures in former.figures.items():
                labels = _labels({"generation": former.generation, "of": of})
                yield f"{name}{labels} {figures.get(metric, 0)}"


def _head(name: str, kind: str, what: str) -> tuple[str, str]:
    return f"# HELP {name} {what}", f"# TYPE {name} {kind}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
