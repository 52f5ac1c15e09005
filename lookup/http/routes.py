"""The endpoints, but those of users' lists and of sessions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookup.http import catalogue, listing, openapi, query_params
from lookup.http.cache import ResponseCache, cache_key
from lookup.http.errors import ApiError
from lookup.http.query_params import Query
from lookup.http.responses import GenerationResponse, accepts_gzip
from lookup.settings import Settings
from lookup.shared import contract
from lookup.shared.contract import ExternalId, IdKind
from lookup.shared.keys import GenerationKeys
from lookup.store.client import Command
from lookup.store.errors import NoGeneration, StoreError
from lookup.store.generation import Generation, as_json, decoded
from lookup.store.store import Store, lrange
from lookup.telemetry.metrics import CONTENT_TYPE, Metrics

MAX_FOUND = 500
"""Matches of a search that pages and filters choose from."""


@dataclass(slots=True)
class StoredList:
    """A list as Redis holds it, and how the response describes it."""

    source: str
    key: str
    texts: Sequence[str]
    ids: Mapping[str, ExternalId]
    because: Sequence[Sequence[ExternalId]] | None = None
    """The explanation of each entry, if requested; some may be missing."""
    fallback_reason: str | None = None


class Routes:
    """The endpoints, which answer from a store and fill a cache."""

    def __init__(
        self, store: Store, cache: ResponseCache, settings: Settings, metrics: Metrics
    ) -> None:
        self._store = store
        self._cache = cache
        self._settings = settings
        self._metrics = metrics

    async def health(self, _: Request) -> JSONResponse:
        """Answer as long as the process runs, with or without Redis."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> JSONResponse:
        """Return which generation is served."""
        generation = await self._store.generation()
        fields = {"status": "ready", **generation.origin, "source": generation.source}
        return JSONResponse(fields)

    async def popular(self, request: Request) -> GenerationResponse:
        """Return the most rated items."""
        return await self._catalogue(request, "popular")

    async def trending(self, request: Request) -> GenerationResponse:
        """Return the items with the most ratings of late."""
        return await self._catalogue(request, "trending")

    async def new(self, request: Request) -> GenerationResponse:
        """Return the items that came last."""
        return await self._catalogue(request, "new")

    async def _catalogue(self, request: Request, name: str) -> GenerationResponse:
        _, items = await self._kinds()
        query = self._query(request, query_params.PAGE, items)
        generation, replies = await self._store.generation(), list[Any]()
        if catalogue.reads(generation, name, query):
            generation, replies = await self._store.read(
                lambda generation: catalogue.reads(generation, name, query)
            )
        found = _shared(generation, name, query, replies, {})
        return self._list_response(request, generation, query, found)

    async def search(self, request: Request) -> GenerationResponse:
        """Return the items whose titles match a text."""
        _, items = await self._kinds()
        query = self._query(request, query_params.SEARCH, items)
        generation = await self._store.generation()
        n = query.offset + self._size(query, generation) + len(generation.blocked)
        index = await generation.search.get()
        matches = index.find(query.q, MAX_FOUND if query.filters else min(n, MAX_FOUND))
        texts = [f"{item_id}:{score}" for item_id, score in matches]
        found = StoredList("search", generation.keys.items, texts, {"q": query.q})
        return self._list_response(request, generation, query, found)

    async def similar(self, request: Request) -> GenerationResponse:
        """Return the items most similar to one item."""
        _, items = await self._kinds()
        item_id = _path_id(request, "item_id", items)
        query = self._query(request, query_params.PAGE, items)

        def commands(generation: Generation) -> list[Command]:
            return [self._lrange(generation.keys.similar(item_id), query, generation)]

        generation, (texts,) = await self._store.read(commands)
        if not generation.has_item(item_id):
            raise _unknown("item", item_id, generation)
        key = generation.keys.similar(item_id)
        ids = {"item_id": item_id}
        found = StoredList("similar", key, texts, ids)
        return self._list_response(request, generation, query, found)

    async def item(self, request: Request) -> GenerationResponse:
        """Return one item."""
        _, items = await self._kinds()
        item_id = _path_id(request, "item_id", items)
        self._query(request, (), items)
        generation = await self._store.generation()
        if not generation.has_item(item_id):
            raise _unknown("item", item_id, generation)
        fields = {"item_id": item_id, **generation.item(item_id), **generation.origin}
        return self._response(request, generation, as_json(fields))

    async def user(self, request: Request) -> GenerationResponse:
        """Return a user's highest and last ratings."""
        users, items = await self._kinds()
        user_id = _path_id(request, "user_id", users)
        self._query(request, (), items)
        generation, key, text = await self._get(lambda keys: keys.history(user_id))
        if text is None:
            raise _unknown("user", user_id, generation)
        history = decoded(contract.decode_history, key, text)
        fields = {
            "user_id": user_id,
            **generation.origin,
            "n_ratings": history.n_ratings,
            "highest": listing.rated_items(generation, history.highest),
            "last": listing.rated_items(generation, history.last),
        }
        return self._response(request, generation, as_json(fields), is_private=True)

    async def about(self, request: Request) -> GenerationResponse:
        """Return the generation's size, its model's metrics and its forerunner's."""
        self._query(request, (), IdKind.POSITIVE)
        generation, key, text = await self._get(lambda keys: keys.about)
        if text is None:
            message = f"generation {generation.name} has no description"
            raise ApiError(404, "unknown_about", message)
        about = decoded(contract.decode_about, key, text)
        former = generation.forerunner
        fields = {
            **generation.origin,
            "top_n": generation.top_n,
            **asdict(about),
            "forerunner": asdict(former) if former else None,
        }
        return self._response(request, generation, as_json(fields))

    async def metrics(self, _: Request) -> Response:
        """Return the metrics of all workers for Prometheus."""
        with suppress(StoreError):
            await self._store.generation()
        # without Redis, the age of the last known generation keeps rising
        text = self._metrics.text(self._store.latest)
        return Response(text, media_type=CONTENT_TYPE)

    async def schema(self, _: Request) -> JSONResponse:
        """Return the description of the API."""
        with suppress(StoreError):
            await self._store.generation()
        latest = self._store.latest
        kinds = (latest.user_ids, latest.item_ids) if latest else ()
        document = openapi.document(self._store.top_n, self._settings, *kinds)
        return JSONResponse(document)

    def _list_response(
        self, request: Request, generation: Generation, query: Query, found: StoredList
    ) -> GenerationResponse:
        """Return the requested part of a list as a response."""
        return self._response(
            request,
            generation,
            self._list_json(generation, query, found),
            is_private="user_id" in found.ids,
            is_fallback=found.fallback_reason is not None,
        )

    def _list_json(
        self, generation: Generation, query: Query, found: StoredList
    ) -> str:
        """Return the requested part of a list as JSON."""
        size = self._size(query, generation)
        chosen = listing.page_positions(generation, found.key, found.texts, query, size)
        texts = [found.texts[i] for i in chosen]
        entries = generation.entries_json(found.key, texts, query.offset + 1)
        because = found.because
        if because is not None:
            item_ids = (because[i] if i < len(because) else () for i in chosen)
            whys = (listing.because_json(generation, ids) for ids in item_ids)
            entries = [",".join(both) for both in zip(entries, whys, strict=True)]
        ids = "".join(f'"{name}":{as_json(of)},' for name, of in found.ids.items())
        reason = found.fallback_reason
        why = f',"fallback_reason":"{reason}"' if reason else ""
        items = f"{{{'},{'.join(entries)}}}" if entries else ""
        return (
            f'{{{ids}"k":{size},{generation.origin_json},"source":"{found.source}"{why}'
            f',"items":[{items}]}}'
        )

    def _response(
        self,
        request: Request,
        generation: Generation,
        body: str,
        *,
        is_private: bool = False,
        is_fallback: bool = False,
    ) -> GenerationResponse:
        """Return a response, and cache it."""
        scope = request.scope
        response = GenerationResponse(
            generation,
            body.encode(),
            route=scope["route"].path,
            is_private=is_private,
            is_fallback=is_fallback,
            gzipped=accepts_gzip(scope),
        )
        if generation is self._store.latest:
            self._cache.put(cache_key(scope), response)
        return response

    async def _get(
        self, key_of: Callable[[GenerationKeys], str]
    ) -> tuple[Generation, str, Any]:
        """Read a key of the served generation; return the generation, key and value."""
        generation, (text,) = await self._store.read(
            lambda generation: [("GET", key_of(generation.keys))]
        )
        return generation, key_of(generation.keys), text

    async def _kinds(self) -> tuple[IdKind, IdKind]:
        """Return what the ids of users and of items are."""
        try:
            generation = self._store.latest or await self._store.generation()
        except NoGeneration:  # a bad parameter is a 422 all the same
            return IdKind.POSITIVE, IdKind.POSITIVE
        return generation.user_ids, generation.item_ids

    def _query(
        self,
        request: Request,
        known: Sequence[str],
        items: IdKind,
        users: IdKind = IdKind.POSITIVE,
    ) -> Query:
        query = request.scope["query_string"]
        return query_params.parse(query, known, self._store.top_n, items, users)

    def _lrange(self, key: str, query: Query, generation: Generation) -> Command:
        """Return the command that reads as much of a list as a query may need.

        Reads begin at its start, so that an empty reply means that it does not exist.
        """
        k = query.k or self._settings.k_default
        length = query.offset + k + len(generation.blocked)
        return lrange(key, None if query.filters else length)

    def _size(self, query: Query, generation: Generation) -> int:
        return query.size(generation.top_n, self._settings.k_default)


def _path_id(request: Request, name: str, kind: IdKind) -> ExternalId:
    return query_params.parse_id(name, request.path_params[name], kind)


def _shared(
    generation: Generation,
    name: str,
    query: Query,
    replies: Sequence[Sequence[str]],
    ids: Mapping[str, ExternalId],
) -> StoredList:
    key, texts = catalogue.found(generation, name, query, replies)
    return StoredList(name, key, texts, ids)


def _unknown(what: str, which: ExternalId, generation: Generation) -> ApiError:
    message = f"{what} {which} is not in generation {generation.name}"
    return ApiError(404, f"unknown_{what}", message)
