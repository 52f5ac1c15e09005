"""What has been answered, as long as there is room for it."""

from collections import OrderedDict

from starlette.types import Scope

from lookup.http.responses import Answer, takes_gzip

OVERHEAD_BYTES = 700
"""What an answer takes beside its body, a short key and headers included: measured."""

Request = tuple[str, bytes, bool]
"""The path, the query and whether gzip is taken."""


class Cache:
    """Answers by request, the least used of which are forgotten first."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._n_bytes = 0
        self._answers: OrderedDict[Request, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, request: Request) -> Answer | None:
        """Give what a request was answered, None if that is not known any more."""
        answer = self._answers.get(request)
        if answer is not None:
            self._answers.move_to_end(request)
        return answer

    def put(self, request: Request, answer: Answer) -> None:
        """Keep an answer, and forget others if there are too many."""
        if self._most == 0:
            return
        known = self._answers.pop(request, None)
        if known is not None:
            self._n_bytes -= _weight(request, known)
        self._answers[request] = answer
        self._n_bytes += _weight(request, answer)
        while self._n_bytes > self._most:
            self._n_bytes -= _weight(*self._answers.popitem(last=False))

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
        self._n_bytes = 0


def key_of(scope: Scope) -> Request:
    """Tell apart the requests that have different answers in a generation."""
    return (scope["path"], scope["query_string"], takes_gzip(scope))


def _weight(request: Request, answer: Answer) -> int:
    """Say how much room it takes, whatever of the request is long."""
    path, query, _ = request
    return len(path) + len(query) + len(answer.body) + OVERHEAD_BYTES
