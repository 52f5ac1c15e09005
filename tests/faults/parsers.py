"""What the lookup reads of requests and of Redis, and what must come of any bytes.

Each takes bytes and returns whether they were taken; any exception but the ones that
are documented, and any result that is not in the contract's form, comes through.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lookup.http import errors, query_params
from lookup.http.errors import ApiError
from lookup.http.listing import because_json, page_positions, rated_items
from lookup.http.query_params import Query
from lookup.http.routes import RECOMMEND
from lookup.shared import contract
from lookup.store.errors import CorruptGeneration
from lookup.store.generation import Generation, as_json, decoded

TOP_N = 10
META = {"model_version": "3", "scored_at": "2026-11-24T01:30:00Z", "top_n": str(TOP_N)}
ITEMS = {
    str(i): json.dumps({"title": f"Movie {i}", "genres": ["War"], "year": 1990})
    for i in range(1, 10)
}
WANTED = Query(None, 0, frozenset(), frozenset({3}), fallback=True, because=True)


def no_constant(text: str) -> None:
    """Refuse NaN and Infinity, which are no JSON."""
    raise AssertionError(f"{text} is no JSON")


def read_json(text: str) -> Any:
    """Read what is told to clients, as strictly as those do."""
    return json.loads(text.encode(), parse_constant=no_constant)


def is_refused(error: ApiError) -> None:
    """See that a refusal is a 422 in the contract's form, whatever it quotes."""
    answer = errors.from_exception(error)
    assert answer.status_code == 422
    told = read_json(bytes(answer.body).decode())
    assert set(told) == {"error"}
    assert set(told["error"]) == {"code", "message"}
    assert told["error"]["code"] == "invalid_parameter"
    assert len(answer.body) < 40 * 20_000


def parameters(data: bytes) -> bool:
    """Read all that may stand behind a question mark."""
    return [_are_taken(data, known) for known in ((), query_params.PAGE, RECOMMEND)][-1]


def _are_taken(data: bytes, known: Sequence[str]) -> bool:
    """Read them as a route does that knows some."""
    try:
        found = query_params.parse(data, known, TOP_N)
        size = found.size(TOP_N, 5)
    except ApiError as error:
        is_refused(error)
        return False
    assert 1 <= size <= TOP_N
    assert 0 <= found.offset < 10**18
    assert all(item_id > 0 for item_id in found.exclude)
    assert "" not in found.genres
    return True


def ids(data: bytes) -> bool:
    """Read what stands in a path, as the server decodes it."""
    text = data.decode("utf-8", "replace")
    try:
        number = query_params.positive_integer("user_id", text)
    except ApiError as error:
        is_refused(error)
        return False
    assert number > 0
    assert text.isascii()
    assert text.isdigit()
    assert contract.user_key("g", number) == f"recs:g:user:{text.lstrip('0')}"
    return True


def entries(data: bytes) -> bool:
    """Read lists of entries, of which each stands on a line."""
    texts = data.decode("utf-8", "replace").split("\n")
    generation = Generation("g", META, ITEMS, [])
    try:
        generation.entries("key", texts)
        chosen = page_positions(generation, "key", texts, WANTED, TOP_N)
        written = generation.entries_json("key", [texts[i] for i in chosen], 1)
    except CorruptGeneration:
        return False
    for rank, text in enumerate(written, start=1):
        item = read_json(f"{{{text}}}")
        assert item["rank"] == rank
        assert math.isfinite(item["score"])
        assert str(item["item_id"]) in ITEMS
    return True


def reasons(data: bytes) -> bool:
    """Read what stands beside the entries of a list."""
    texts = data.decode("utf-8", "replace").split("\n")
    generation = Generation("g", META, ITEMS, [])
    try:
        for item_ids in decoded(contract.decode_because, "key", texts):
            found = read_json(f"{{{because_json(generation, item_ids)}}}")
            assert all(str(one["item_id"]) in ITEMS for one in found["because"])
    except CorruptGeneration:
        return False
    return True


def history(data: bytes) -> bool:
    """Read what a user rated."""
    generation = Generation("g", META, ITEMS, [])
    try:
        text = data.decode("utf-8", "replace")
        found = decoded(contract.decode_history, "key", text)
        shown = [rated_items(generation, one) for one in (found.highest, found.last)]
    except CorruptGeneration:
        return False
    for one in read_json(as_json(shown)):
        assert all(math.isfinite(item["rating"]) for item in one)
    return True


def about(data: bytes) -> bool:
    """Read what is told of a generation as a whole."""
    try:
        text = data.decode("utf-8", "replace")
        found = decoded(contract.decode_about, "key", text)
    except CorruptGeneration:
        return False
    told = read_json(contract.encode_about(found))
    assert told["protocol"] is None or isinstance(told["protocol"], str)
    for metrics in told["metrics"].values():
        assert all(math.isfinite(value) for value in metrics.values())
    return True


def items(data: bytes) -> bool:
    """Read an item."""
    generation = Generation("g", META, {"1": data.decode("utf-8", "replace")}, [])
    try:
        (text,) = generation.entries_json("key", ["1:0.5"], 1)
    except CorruptGeneration:
        return False
    assert set(read_json(f"{{{text}}}")) == {
        *("rank", "item_id", "title", "genres", "year", "score")
    }
    return True


def meta(data: bytes) -> bool:
    """Read how a generation was made, of which each field stands on a line."""
    fields = data.decode("utf-8", "replace").split("\n")
    try:
        generation = Generation("g", dict(zip(META, fields, strict=False)), ITEMS, [])
    except CorruptGeneration:
        return False
    assert generation.top_n >= 1
    with suppress(KeyError):
        read_json(as_json(generation.origin))
    return True


PARSERS: Mapping[str, Callable[[bytes], bool]] = {
    one.__name__: one
    for one in (parameters, ids, entries, reasons, history, about, items, meta)
}
SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "parameters": (b"k=5&offset=2&genre=War&exclude=1,2&fallback=none&because=1",),
    "ids": (b"42", b"0042", b"9" * 999),
    "entries": (b"1:3.1416\n2:-0.5000\n9:0.0000", b"1:1e2", b""),
    "reasons": (b"1,2,3\n\n4",),
    "history": (b'{"n_ratings": 2, "highest": [[1, 5.0]], "last": [[7, 3.5]]}',),
    "about": (
        b'{"n_users": 943, "n_items": 1682, "genres": ["War"], "examples": [1, 42], '
        b'"protocol": "the last", "metrics": {"model": {"ndcg_at_10": 0.28}}}',
    ),
    "items": (b'{"title": "Star Wars (1977)", "genres": ["War"], "year": 1977}',),
    "meta": (b"3\n2026-11-24T01:30:00Z\n100",),
}
"""What is right, to begin with."""
