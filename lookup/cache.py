"""What has been answered, as long as there is room for it."""

from collections import OrderedDict
from collections.abc import Hashable

from starlette.types import Scope

from lookup.answer import Answer, takes_gzip

OVERHEAD_BYTES = 700
"""What an answer takes beside its body, its key and headers included: measured."""


class Cache:
    """Answers by request, the least used of which are forgotten first."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._n_bytes = 0
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, request: Hashable) -> Answer | None:
        """Give what a request was answered, None if that is not known any more."""
        answer = self._answers.get(request)
        if answer is not None:
            self._answers.move_to_end(request)
        return answer

    def put(self, request: Hashable, answer: Answer) -> None:
        """Keep an answer, and forget others if there are too many."""
        if self._most == 0:
            return
        self._forget(self._answers.pop(request, None))
        self._answers[request] = answer
        self._n_bytes += _weight(answer)
        while self._n_bytes > self._most:
            self._forget(self._answers.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
        self._n_bytes = 0

    def _forget(self, answer: Answer | None) -> None:
        self._n_bytes -= _weight(answer) if answer else 0


def key_of(scope: Scope) -> Hashable:
    """Tell apart the requests that have different answers in a generation."""
    return (scope["path"], scope["query_string"], takes_gzip(scope))


def _weight(answer: Answer) -> int:
    return len(answer.body) + OVERHEAD_BYTES
