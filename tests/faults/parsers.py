"""Every parser of the lookup, of requests and of Redis, with a check of its results.

Each takes bytes. It raises one of REFUSALS, as documented, or returns after it has
checked that the result has the contract's form. Any other exception is a mistake.
"""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from lookup.http import errors, query_params
from lookup.http.errors import ApiError
from lookup.http.listing import because_json, page_positions, rated_items
from lookup.http.query_params import Query
from lookup.http.recommend import SESSION, USERS
from lookup.shared import contract
from lookup.shared.contract import IdKind
from lookup.store.errors import CorruptGeneration
from lookup.store.generation import Generation, as_json, decoded
from tests.conftest import KEYS

REFUSALS = (ApiError, CorruptGeneration)
TOP_N = 10
META = {"model_version": "3", "scored_at": "2026-11-24T01:30:00Z", "top_n": str(TOP_N)}
ITEMS = {
    str(i): json.dumps({"title": f"Movie {i}", "genres": ["War"], "year": 1990})
    for i in range(1, 10)
}
GENERATION = Generation(KEYS.of("g"), META, ITEMS, [])
QUERY = Query(None, 0, frozenset(), frozenset({3}), (), (), True, True)


def no_constant(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def read_json(text: str) -> Any:
    """Parse JSON as strictly as clients do: no NaN, no Infinity, valid UTF-8."""
    return json.loads(text.encode(), parse_constant=no_constant)


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def parameters(data: bytes) -> None:
    """Parse a query for three kinds of routes."""
    for known in ((), query_params.PAGE, USERS):
        with suppress(ApiError):
            query_params.parse(data, known, TOP_N, IdKind.POSITIVE)
    found = query_params.parse(data, SESSION, TOP_N, IdKind.POSITIVE)
    assert 1 <= found.size(TOP_N, 5) <= TOP_N
    assert 0 <= found.offset < 10**18
    assert all(int(item_id) > 0 for item_id in (*found.exclude, *found.items))
    assert len(found.items) <= query_params.MAX_IDS
    assert "" not in found.genres


def ids(data: bytes) -> None:
    """Parse an id in a path, as the server decodes it."""
    text = text_of(data)
    number = query_params.parse_id("user_id", text, IdKind.POSITIVE)
    assert isinstance(number, int)
    assert number > 0
    assert text.isascii()
    assert text.isdigit()
    assert KEYS.of("g").user(number) == f"recs:g:user:{text.lstrip('0')}"


def entries(data: bytes) -> None:
    """Parse a list, one entry per line."""
    texts = text_of(data).split("\n")
    GENERATION.entries("key", texts)
    chosen = page_positions(GENERATION, "key", texts, QUERY, TOP_N)
    found = GENERATION.entries_json("key", [texts[i] for i in chosen], 1)
    for rank, text in enumerate(found, start=1):
        item = read_json(f"{{{text}}}")
        assert item["rank"] == rank
        assert math.isfinite(item["score"])
        assert str(item["item_id"]) in ITEMS


def because(data: bytes) -> None:
    """Parse explanations, one per line."""
    texts = text_of(data).split("\n")
    for item_ids in decoded(contract.decode_because, "key", texts):
        found = read_json(f"{{{because_json(GENERATION, item_ids)}}}")
        assert all(str(one["item_id"]) in ITEMS for one in found["because"])


def history(data: bytes) -> None:
    found = decoded(contract.decode_history, "key", text_of(data))
    rated = [rated_items(GENERATION, one) for one in (found.highest, found.last)]
    for one in read_json(as_json(rated)):
        assert all(math.isfinite(item["rating"]) for item in one)


def about(data: bytes) -> None:
    found = decoded(contract.decode_about, "key", text_of(data))
    encoded = read_json(contract.encode_about(found))
    assert encoded["protocol"] is None or isinstance(encoded["protocol"], str)
    for metrics in encoded["metrics"].values():
        assert all(math.isfinite(value) for value in metrics.values())


def forerunner(data: bytes) -> None:
    fields = META | {"forerunner": text_of(data)}
    found = Generation(KEYS.of("g"), fields, ITEMS, []).forerunner
    if found is not None:
        read_json(contract.encode_forerunner(found))
        for row in found.figures.values():
            assert all(map(math.isfinite, row.values()))


def items(data: bytes) -> None:
    generation = Generation(KEYS.of("g"), META, {"1": text_of(data)}, [])
    (text,) = generation.entries_json("key", ["1:0.5"], 1)
    fields = {"rank", "item_id", "title", "genres", "year", "score"}
    assert set(read_json(f"{{{text}}}")) == fields


def meta(data: bytes) -> None:
    """Parse the meta of a generation, one field per line."""
    fields = dict(zip(META, text_of(data).split("\n"), strict=False))
    generation = Generation(KEYS.of("g"), fields, ITEMS, [])
    assert generation.top_n >= 1
    read_json(as_json(generation.origin))


PARSERS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        parameters,
        ids,
        entries,
        because,
        history,
        about,
        forerunner,
        items,
        meta,
    )
}
SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "parameters": (b"k=5&offset=2&genre=War&exclude=1,2&fallback=none&because=1",),
    "ids": (b"42", b"0042", b"9" * 999),
    "entries": (b"1:3.1416\n2:-0.5000\n9:0.0000", b"1:1e2", b""),
    "because": (b"1,2,3\n\n4",),
    "history": (b'{"n_ratings": 2, "highest": [[1, 5.0]], "last": [[7, 3.5]]}',),
    "about": (
        b'{"n_users": 943, "n_items": 1682, "genres": ["War"], "examples": [1, 42], '
        b'"protocol": "the last", "metrics": {"model": {"ndcg_at_10": 0.28}}}',
    ),
    "forerunner": (
        b'{"generation": "g", "model_version": "3", "since": 880000000, "until": '
        b'880000009, "figures": {"all": {"n_users": 1, "ndcg_at_10": 0.5}}}',
    ),
    "items": (b'{"title": "Star Wars (1977)", "genres": ["War"], "year": 1977}',),
    "meta": (b"3\n2026-11-24T01:30:00Z\n100",),
}
"""Valid inputs, from which tests and the fuzzer begin."""


def is_accepted(name: str, data: bytes) -> bool:
    """Run a parser; check the form of a refusal of a request, whatever it quotes."""
    try:
        PARSERS[name](data)
    except REFUSALS as error:
        if isinstance(error, ApiError):
            response = errors.from_exception(error)
            assert response.status_code == 422
            found = read_json(bytes(response.body).decode())
            assert set(found) == {"error"}
            assert set(found["error"]) == {"code", "message"}
            assert found["error"]["code"] == "invalid_parameter"
            assert len(response.body) < 40 * 20_000
        return False
    return True
