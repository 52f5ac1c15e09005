"""A byte-bounded LRU cache of responses."""

from collections import OrderedDict

from starlette.types import Scope

from lookup.http.responses import GenerationResponse, accepts_gzip
from lookup.store.generation import Generation

OVERHEAD_BYTES = 700
"""The measured size of an entry without its body, path and query."""

CacheKey = tuple[str, bytes, bool]
"""The path, the query and whether the client accepts gzip."""


class ResponseCache:
    """Responses of one generation; the least recently used are evicted first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._generation: Generation | None = None
        self._responses: OrderedDict[CacheKey, GenerationResponse] = OrderedDict()

    def __len__(self) -> int:
        return len(self._responses)

    def get(self, key: CacheKey) -> GenerationResponse | None:
        """Return the cached response, which may be of the generation before."""
        response = self._responses.get(key)
        if response is not None:
            self._responses.move_to_end(key)
        return response

    def put(self, key: CacheKey, response: GenerationResponse) -> None:
        """Cache a response; the first one of another generation clears the cache."""
        if self._max_bytes == 0:
            return
        if response.generation is not self._generation:
            self._generation = response.generation
            self._responses.clear()
            self._n_bytes = 0
        replaced = self._responses.pop(key, None)
        if replaced is not None:
            self._n_bytes -= _size(key, replaced)
        self._responses[key] = response
        self._n_bytes += _size(key, response)
        while self._n_bytes > self._max_bytes:
            self._n_bytes -= _size(*self._responses.popitem(last=False))


def cache_key(scope: Scope) -> CacheKey:
    """Return the key of a request."""
    return (scope["path"], scope["query_string"], accepts_gzip(scope))


def _size(key: CacheKey, response: GenerationResponse) -> int:
    path, query, _ = key
    return len(path) + len(query) + len(response.body) + OVERHEAD_BYTES
