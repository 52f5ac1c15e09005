"""The routes."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookup import contract, listing, openapi, problem, query
from lookup.answer import Answer, takes_gzip
from lookup.generation import Entry, Generation, as_json
from lookup.hot import key_of
from lookup.metrics import CONTENT_TYPE, Metrics
from lookup.pipeline import Command
from lookup.query import Query
from lookup.settings import Settings
from lookup.store import CODES, Store, first


async def health(_: Request) -> JSONResponse:
    """Answer while the process lives, Redis or not."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> JSONResponse:
    """Say which generation is served, or why there is none."""
    generation = await _store(request).generation()
    return JSONResponse({"status": "ready", **generation.origin})


async def recommend(request: Request) -> Answer:
    """Give a user's list, or the popular one for a user who is not known."""
    user_id = query.positive_integer("user_id", request.path_params["user_id"])
    wanted = _query(request, (*query.PAGE, "fallback", "because"))
    length = _length(wanted, request)

    def commands(name: str) -> list[Command]:
        lists = [contract.user_key(name, user_id)]
        if wanted.because:
            lists.append(contract.because_key(name, user_id))
        return [first(key, length) for key in lists]

    generation, (texts, *reasons) = await _store(request).read(commands)
    head = {"user_id": user_id}
    if texts:
        entries = generation.entries(contract.user_key(generation.name, user_id), texts)
        because = _because(generation, user_id, reasons[0]) if wanted.because else None
        return _listed(request, generation, entries, wanted, head, "personal", because)
    _size(wanted, generation, request)  # of two mistakes a bad k is told first
    if not wanted.fallback:
        raise _unknown("user", user_id, generation)
    because = [] if wanted.because else None
    popular = generation.popular
    return _listed(request, generation, popular, wanted, head, "popular", because)


async def popular(request: Request) -> Answer:
    """Give the list that is the same for everybody."""
    wanted = _query(request, query.PAGE)
    generation = await _store(request).generation()
    return _listed(request, generation, generation.popular, wanted, {}, "popular")


async def similar(request: Request) -> Answer:
    """Give the items that are most like one item."""
    item_id = query.positive_integer("item_id", request.path_params["item_id"])
    wanted = _query(request, query.PAGE)
    length = _length(wanted, request)
    generation, (texts,) = await _store(request).read(
        lambda name: [first(contract.similar_key(name, item_id), length)]
    )
    if not generation.knows(item_id):
        raise _unknown("item", item_id, generation)
    entries = generation.entries(contract.similar_key(generation.name, item_id), texts)
    head = {"item_id": item_id}
    return _listed(request, generation, entries, wanted, head, "similar")


async def item(request: Request) -> Answer:
    """Give one item."""
    item_id = query.positive_integer("item_id", request.path_params["item_id"])
    _query(request, ())
    generation = await _store(request).generation()
    if not generation.knows(item_id):
        raise _unknown("item", item_id, generation)
    shown = {"item_id": item_id, **generation.item(item_id), **generation.origin}
    return _answered(request, generation, as_json(shown).encode())


async def user(request: Request) -> Answer:
    """Tell what a user rated highest and last."""
    user_id = query.positive_integer("user_id", request.path_params["user_id"])
    _query(request, ())
    generation, (text,) = await _store(request).read(
        lambda name: [("GET", contract.history_key(name, user_id))]
    )
    if text is None:
        raise _unknown("user", user_id, generation)
    history = generation.history(contract.history_key(generation.name, user_id), text)
    shown = {
        "user_id": user_id,
        **generation.origin,
        "n_ratings": history.n_ratings,
        "highest": listing.rated(generation, history.highest),
        "last": listing.rated(generation, history.last),
    }
    return _answered(request, generation, as_json(shown).encode(), is_private=True)


async def metrics(request: Request) -> Response:
    """Count for Prometheus what all workers did."""
    counted: Metrics = request.app.state.metrics
    store = _store(request)
    try:
        generation: Generation | None = await store.generation()
    except tuple(CODES):
        generation = store.latest  # its age tells as well that nothing came after it
    return Response(counted.text(generation), media_type=CONTENT_TYPE)


async def schema(request: Request) -> JSONResponse:
    """Describe the API to programs."""
    return JSONResponse(openapi.document(_store(request).top_n, _settings(request)))


def _listed(
    request: Request,
    generation: Generation,
    entries: Sequence[Entry],
    wanted: Query,
    head: Mapping[str, object],
    source: str,
    reasons: Sequence[Sequence[int]] | None = None,
) -> Answer:
    """Cut the wanted part out of a list and put it into the form of the contract."""
    size = _size(wanted, generation, request)
    chosen = listing.positions(generation, entries, wanted, size)
    is_fallback = source == "popular" and "user_id" in head
    why = {"fallback_reason": "unknown_user"} if is_fallback else {}
    head = {**head, "k": size, **generation.origin, "source": source, **why}
    written = listing.items(generation, entries, chosen, wanted.offset, reasons)
    return _answered(
        request,
        generation,
        listing.body(head, written),
        is_private="user_id" in head,
        is_fallback=is_fallback,
    )


def _answered(
    request: Request,
    generation: Generation,
    body: bytes,
    *,
    is_private: bool = False,
    is_fallback: bool = False,
) -> Answer:
    """Make an answer, and keep it for the next who asks the same."""
    scope, store = request.scope, _store(request)
    answer = Answer(
        generation,
        body,
        route=scope["route"].path,
        is_private=is_private,
        is_fallback=is_fallback,
        takes_gzip=takes_gzip(scope),
    )
    if generation is store.latest:
        store.cache.put(key_of(scope), answer)
    return answer


def _because(
    generation: Generation, user_id: int, texts: Sequence[str]
) -> list[list[int]]:
    return generation.because(contract.because_key(generation.name, user_id), texts)


def _unknown(what: str, number: int, generation: Generation) -> problem.Problem:
    message = f"{what} {number} is not in generation {generation.name}"
    return problem.Problem(404, f"unknown_{what}", message)


def _query(request: Request, known: Sequence[str]) -> Query:
    return query.parse(request.query_params, known, _store(request).top_n)


def _length(wanted: Query, request: Request) -> int | None:
    """Say how much of a list has to be read: None for all of it.

    Always from its start: an empty answer then means that there is no such list.
    """
    k = wanted.k or _settings(request).k_default
    return None if wanted.filters else wanted.offset + k


def _size(wanted: Query, generation: Generation, request: Request) -> int:
    return wanted.page(generation.top_n, _settings(request).k_default)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings
