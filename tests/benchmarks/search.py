"""Measures the search index of titles: memory, and processor time a query.

    python -m tests.benchmarks.search [--titles 62000] [--queries 1000] [--json]

Titles are made of one to six words, the n-th as often as 1/n, and a year; ml-25m has
62,000. Queries are the first three words of a title, a beginning of them, them with a
letter changed, and beginnings of one or two letters, the hardest to bound.
"""

import gc
import json
import random
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from statistics import mean, quantiles

from lookup.http.routes import MAX_FOUND
from lookup.store.search import SearchIndex
from tests.benchmarks import frame

N_WORDS = 30_000
PARTS = "ka.ro.ti.men.lo.sha.de.vi.po.an.er.ous.th.ing.st.ra.be.mu.fi.gre.a.o.s"
K = 10


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    arguments = frame.parsed(__doc__, {"titles": 62_000, "queries": 1_000})
    draw = random.Random(1)  # noqa: S311 - not secret
    titles = made(draw, arguments.titles)
    items = {
        str(i): json.dumps({"title": title, "year": None, "n_ratings": i})
        for i, title in enumerate(titles)
    }
    gc.collect()
    before, began = resident(), time.process_time()
    index = SearchIndex(items)
    built = {"seconds": time.process_time() - began, "megabytes": resident() - before}
    frame.header("", "mean ms", "99th percentile ms")
    results: dict[str, object] = dict(built)
    for name, make in QUERIES.items():
        asked = [make(draw, draw.choice(titles)) for _ in range(arguments.queries)]
        for label, n in ((name, K), (f"{name}, with a filter", MAX_FOUND)):
            ms = [milliseconds(index, text, n) for text in asked]
            results[label] = mean(ms), quantiles(ms, n=100)[98]
            frame.row(label, mean(ms), quantiles(ms, n=100)[98])
    print(f"{len(titles)} titles: {built['seconds']:.1f} s to build, ", end="")
    print(f"{built['megabytes']:.0f} MB of memory")
    frame.finish(arguments, results)


def made(draw: random.Random, n: int) -> list[str]:
    """Make titles of invented words."""
    words = [
        "".join(draw.choices(PARTS.split("."), k=draw.randint(1, 4)))
        for _ in range(N_WORDS)
    ]
    words.sort(key=len)  # short ones come often, as in any language
    weights = list(accumulate(1 / place for place in range(1, N_WORDS + 1)))
    some = (
        draw.choices(words, cum_weights=weights, k=draw.randint(1, 6)) for _ in range(n)
    )
    return [f"{' '.join(title)} ({draw.randint(1930, 2019)})" for title in some]


def start(title: str) -> str:
    return " ".join(title.split()[:3])


def beginning(draw: random.Random, title: str) -> str:
    return start(title)[: draw.randint(1, len(start(title)))]


def mistyped(draw: random.Random, title: str) -> str:
    text, place = start(title), draw.randrange(len(start(title)))
    return f"{text[:place]}{draw.choice('aeioustr')}{text[place + 1 :]}"


def letters(draw: random.Random, title: str) -> str:
    return " ".join(word[: draw.randint(1, 2)] for word in title.split()[:-1])


QUERIES: dict[str, Callable[[random.Random, str], str]] = {
    "three words": lambda _, title: start(title),
    "a beginning": beginning,
    "with a typo": mistyped,
    "one or two letters a word": letters,
}


def milliseconds(index: SearchIndex, text: str, n: int) -> float:
    """Return the processor time of one search."""
    began = time.process_time()
    index.find(text, n)
    return 1000 * (time.process_time() - began)


def resident() -> float:
    """Return the memory of this process, in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
