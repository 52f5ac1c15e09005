"""The endpoints of users and of sessions, and what stands in for unknown ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from lookup.http import catalogue, query_params
from lookup.http.errors import ApiError, invalid_parameter
from lookup.http.query_params import Query
from lookup.http.responses import GenerationResponse
from lookup.http.routes import Routes, StoredList
from lookup.http.session import N_REASONS, Scores, Session, blended, largest, read
from lookup.shared import contract
from lookup.shared.contract import ExternalId
from lookup.store.client import Command
from lookup.store.generation import Generation, decoded
from lookup.store.store import lrange

USERS = (*query_params.PAGE, "fallback", "because", "user_id")
SESSION = (*query_params.PAGE, "fallback", "because", "item_id")


class RecommendRoutes(Routes):
    """The endpoints of users and sessions, beside all others."""

    async def recommend(self, request: Request) -> GenerationResponse:
        """Return a user's list, blended with what the user did since the batch."""
        users, items = await self._kinds()
        text = request.path_params["user_id"]
        user_id = query_params.parse_id("user_id", text, users)
        query = self._query(request, SESSION, items)
        if query.items:
            return await self._session_response(request, query, user_id)
        generation, replies = await self._store.read(
            lambda generation: self._user_commands(generation, query, user_id)
        )
        found = self._user_list(generation, query, user_id, replies)
        return self._list_response(request, generation, query, found)

    async def recommend_many(self, request: Request) -> GenerationResponse:
        """Return the lists of several users, in the order asked."""
        users, items = await self._kinds()
        query = self._query(request, USERS, items, users)
        if not query.users:
            raise invalid_parameter("user_id is missing: expected 1 to 100 of them")
        generation, replies = await self._store.read(
            lambda generation: [
                command
                for user_id in query.users
                for command in self._user_commands(generation, query, user_id)
            ]
        )
        n = len(replies) // len(query.users)
        found = [
            self._user_list(generation, query, user_id, replies[i * n : (i + 1) * n])
            for i, user_id in enumerate(query.users)
        ]
        lists = [self._list_json(generation, query, one) for one in found]
        return self._response(
            request,
            generation,
            f'{{"users":[{",".join(lists)}]}}',
            is_private=True,
            is_fallback=any(one.fallback_reason for one in found),
        )

    async def session(self, request: Request) -> GenerationResponse:
        """Return what may follow the last items of somebody without a list."""
        _, items = await self._kinds()
        query = self._query(request, SESSION, items)
        if not query.items:
            raise invalid_parameter("item_id is missing: expected 1 to 100 of them")
        return await self._session_response(request, query)

    def _user_commands(
        self, generation: Generation, query: Query, user_id: ExternalId
    ) -> list[Command]:
        names = [generation.keys.user(user_id)]
        if query.because:
            names.append(generation.keys.because(user_id))
        if query.items:  # a blend needs all of the list
            reads = [lrange(name) for name in names]
        else:
            reads = [self._lrange(name, query, generation) for name in names]
        return reads + self._fallback_commands(generation, query)

    def _fallback_commands(self, generation: Generation, query: Query) -> list[Command]:
        if not query.fallback or not query.genres:
            return []
        return catalogue.reads(generation, catalogue.POPULAR, query)

    def _user_list(
        self,
        generation: Generation,
        query: Query,
        user_id: ExternalId,
        replies: Sequence[Any],
    ) -> StoredList:
        """Return a user's list, or what an unknown user gets."""
        texts, *others = replies
        ids = {"user_id": user_id}
        if not texts:  # a known user's list holds at least NO_ITEMS
            popular = others[query.because :]
            return self._fallback(generation, query, "unknown_user", ids, popular)
        key = generation.keys.user(user_id)
        found = StoredList(generation.source, key, texts, ids)
        found.fallback_reason = generation.fallback_reason
        if query.because:
            key = generation.keys.because(user_id)
            found.because = decoded(contract.decode_because, key, others[0])
        return found

    def _fallback(
        self,
        generation: Generation,
        query: Query,
        reason: str,
        ids: Mapping[str, ExternalId],
        replies: Sequence[Any],
    ) -> StoredList:
        """Return the popular list, or raise ApiError if nothing is to stand in."""
        self._size(query, generation)  # reports a bad k first
        if not query.fallback:
            what = f"user {ids['user_id']} is" if ids else "what follows the items is"
            message = f"{what} not in generation {generation.name}"
            raise ApiError(404, reason, message)
        because: list[list[ExternalId]] | None = [] if query.because else None
        key, texts = catalogue.found(generation, catalogue.POPULAR, query, replies)
        return StoredList("popular", key, texts, ids, because, reason)

    async def _session_response(
        self, request: Request, query: Query, user_id: ExternalId | None = None
    ) -> GenerationResponse:
        """Answer from the lists of a session's items, and from that of a user."""

        def commands(generation: Generation) -> list[Command]:
            if user_id is None:
                return self._fallback_commands(generation, query)
            return self._user_commands(generation, query, user_id)

        of, replies = await read(self._store, query.items, commands)
        scores, generation = of.scores(), of.generation
        ids = {} if user_id is None else {"user_id": user_id}
        if user_id is not None and (replies[0] or not scores):
            found = self._user_list(generation, query, user_id, replies)
        elif scores:
            found = StoredList("session", "session", [], ids)
        else:
            found = self._fallback(generation, query, "unknown_items", ids, replies)
        self._blend(of, scores, found, query)
        return self._list_response(request, generation, query, found)

    def _blend(
        self, of: Session, scores: Scores, found: StoredList, query: Query
    ) -> None:
        """Add a session's scores and reasons to a list, and leave out its items."""
        generation = of.generation
        stored = generation.entries(found.key, found.texts)
        if scores and stored:
            scores = blended(stored, scores, len(of.films))
        elif stored:
            scores = {str(item_id): score for item_id, score in stored}
        hidden = generation.with_films(map(str, query.exclude)) | generation.hidden
        for item_id in hidden.union(of.films):
            scores.pop(item_id, None)
        n = None if query.genres else query.offset + self._size(query, generation)
        best = largest(scores, n)
        if query.because:
            item_ids = (str(item_id) for item_id, _ in stored)
            former = dict(zip(item_ids, found.because or (), strict=False))
            found.because = [
                [*dict.fromkeys([*reasons, *former.get(item_id, ())])][:N_REASONS]
                for item_id, reasons in of.because([i for i, _ in best]).items()
            ]
        found.texts = contract.encode(best)
