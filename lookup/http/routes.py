"""What each route answers."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lookup.http import errors, listing, openapi, query_params
from lookup.http.cache import key_of
from lookup.http.query_params import Query
from lookup.http.responses import Answer, takes_gzip
from lookup.settings import Settings
from lookup.shared import contract
from lookup.store.client import Command
from lookup.store.generation import Generation, as_json
from lookup.store.store import CODES, Store, first
from lookup.telemetry.metrics import CONTENT_TYPE, Metrics

RECOMMEND = (*query_params.PAGE, "fallback", "because")


class Routes:
    """The endpoints, which answer from a store."""

    def __init__(self, store: Store, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics

    async def health(self, _: Request) -> JSONResponse:
        """Answer while the process lives, Redis or not."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> JSONResponse:
        """Say which generation is served, or why there is none."""
        generation = await self._store.generation()
        return JSONResponse({"status": "ready", **generation.origin})

    async def recommend(self, request: Request) -> Answer:
        """Give a user's list, or the popular one for a user who is not known."""
        user_id = query_params.positive_integer(
            "user_id", request.path_params["user_id"]
        )
        wanted = self._query(request, RECOMMEND)
        length = self._length(wanted)

        def commands(name: str) -> list[Command]:
            keys = [contract.user_key(name, user_id)]
            if wanted.because:
                keys.append(contract.because_key(name, user_id))
            return [first(key, length) for key in keys]

        generation, (texts, *reasons) = await self._store.read(commands)
        head = {"user_id": user_id}
        if texts:
            key = contract.user_key(generation.name, user_id)
            why = self._because(generation, user_id, *reasons)
            return self._listed(
                request, generation, key, texts, wanted, head, "personal", why
            )
        self._size(wanted, generation)  # of two mistakes a bad k is told first
        if not wanted.fallback:
            raise _unknown("user", user_id, generation)
        key, why = contract.popular_key(generation.name), [] if wanted.because else None
        return self._listed(
            request, generation, key, generation.popular, wanted, head, "popular", why
        )

    async def popular(self, request: Request) -> Answer:
        """Give the list that is the same for everybody."""
        wanted = self._query(request, query_params.PAGE)
        generation = await self._store.generation()
        key = contract.popular_key(generation.name)
        return self._listed(
            request, generation, key, generation.popular, wanted, {}, "popular"
        )

    async def similar(self, request: Request) -> Answer:
        """Give the items that are most like one item."""
        item_id = query_params.positive_integer(
            "item_id", request.path_params["item_id"]
        )
        wanted = self._query(request, query_params.PAGE)
        length = self._length(wanted)
        generation, (texts,) = await self._store.read(
            lambda name: [first(contract.similar_key(name, item_id), length)]
        )
        if not generation.knows(item_id):
            raise _unknown("item", item_id, generation)
        key, head = contract.similar_key(generation.name, item_id), {"item_id": item_id}
        return self._listed(request, generation, key, texts, wanted, head, "similar")

    async def item(self, request: Request) -> Answer:
        """Give one item."""
        item_id = query_params.positive_integer(
            "item_id", request.path_params["item_id"]
        )
        self._query(request, ())
        generation = await self._store.generation()
        if not generation.knows(item_id):
            raise _unknown("item", item_id, generation)
        shown = {"item_id": item_id, **generation.item(item_id), **generation.origin}
        return self._answered(request, generation, as_json(shown).encode())

    async def user(self, request: Request) -> Answer:
        """Tell what a user rated highest and last."""
        user_id = query_params.positive_integer(
            "user_id", request.path_params["user_id"]
        )
        self._query(request, ())
        generation, (text,) = await self._store.read(
            lambda name: [("GET", contract.history_key(name, user_id))]
        )
        if text is None:
            raise _unknown("user", user_id, generation)
        key = contract.history_key(generation.name, user_id)
        history = generation.history(key, text)
        shown = {
            "user_id": user_id,
            **generation.origin,
            "n_ratings": history.n_ratings,
            "highest": listing.rated(generation, history.highest),
            "last": listing.rated(generation, history.last),
        }
        return self._answered(
            request, generation, as_json(shown).encode(), is_private=True
        )

    async def about(self, request: Request) -> Answer:
        """Tell of the generation as a whole, and how good its model is."""
        self._query(request, ())
        generation, (text,) = await self._store.read(
            lambda name: [("GET", contract.about_key(name))]
        )
        if text is None:
            message = f"generation {generation.name} was published without"
            raise errors.Problem(404, "unknown_about", message)
        about = generation.about(contract.about_key(generation.name), text)
        shown = {**generation.origin, "top_n": generation.top_n, **asdict(about)}
        return self._answered(request, generation, as_json(shown).encode())

    async def metrics(self, _: Request) -> Response:
        """Count for Prometheus what all workers did."""
        with suppress(*CODES):
            await self._store.generation()
        # without Redis the age of what was served still tells that nothing came after
        text = self._metrics.text(self._store.latest)
        return Response(text, media_type=CONTENT_TYPE)

    async def schema(self, _: Request) -> JSONResponse:
        """Describe the API to programs, and how long lists are if that is known."""
        with suppress(*CODES):
            await self._store.generation()
        return JSONResponse(openapi.document(self._store.top_n, self._settings))

    def _listed(
        self,
        request: Request,
        generation: Generation,
        key: str,
        texts: Sequence[str],
        wanted: Query,
        head: Mapping[str, int],
        source: str,
        reasons: Sequence[Sequence[int]] | None = None,
    ) -> Answer:
        """Cut the wanted part out of a list and put it into the form of the contract.

        The reasons, if they are wanted, are beside the list; some may be missing.
        """
        size = self._size(wanted, generation)
        chosen = listing.positions(generation, key, texts, wanted, size)
        places = generation.written(key, [texts[i] for i in chosen], wanted.offset + 1)
        if reasons is not None:
            drove = (reasons[i] if i < len(reasons) else () for i in chosen)
            whys = (listing.because(generation, item_ids) for item_ids in drove)
            places = [",".join(both) for both in zip(places, whys, strict=True)]
        is_fallback = source == "popular" and "user_id" in head
        why = ',"fallback_reason":"unknown_user"' if is_fallback else ""
        ids = "".join(f'"{name}":{number},' for name, number in head.items())
        items = f"{{{'},{'.join(places)}}}" if places else ""
        body = (
            f'{{{ids}"k":{size},{generation.origin_written},"source":"{source}"{why},'
            f'"items":[{items}]}}'
        ).encode()
        is_private = "user_id" in head
        return self._answered(
            request, generation, body, is_private=is_private, is_fallback=is_fallback
        )

    def _answered(
        self,
        request: Request,
        generation: Generation,
        body: bytes,
        *,
        is_private: bool = False,
        is_fallback: bool = False,
    ) -> Answer:
        """Make an answer, and keep it for the next who asks the same."""
        scope = request.scope
        answer = Answer(
            generation,
            body,
            route=scope["route"].path,
            is_private=is_private,
            is_fallback=is_fallback,
            takes_gzip=takes_gzip(scope),
        )
        if generation is self._store.latest:
            self._store.cache.put(key_of(scope), answer)
        return answer

    def _because(
        self, generation: Generation, user_id: int, *reasons: Sequence[str]
    ) -> list[list[int]] | None:
        """Decode what was read of reasons, if it was."""
        key = contract.because_key(generation.name, user_id)
        return generation.because(key, reasons[0]) if reasons else None

    def _query(self, request: Request, known: Sequence[str]) -> Query:
        return query_params.parse(
            request.scope["query_string"], known, self._store.top_n
        )

    def _length(self, wanted: Query) -> int | None:
        """Say how much of a list has to be read: None for all of it.

        Always from its start: an empty answer then means that there is no such list.
        """
        k = wanted.k or self._settings.k_default
        return None if wanted.filters else wanted.offset + k

    def _size(self, wanted: Query, generation: Generation) -> int:
        return wanted.page(generation.top_n, self._settings.k_default)


def _unknown(what: str, number: int, generation: Generation) -> errors.Problem:
    message = f"{what} {number} is not in generation {generation.name}"
    return errors.Problem(404, f"unknown_{what}", message)
