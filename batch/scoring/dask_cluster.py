"""Ranks on the workers of a Dask cluster, who need this package and nothing else.

They get arrays and give arrays: no raw files, no DuckDB, no MLflow, no Redis. What is
the same for all users goes to each of them once; blocks of users follow. A task whose
worker dies is done again by another one.
"""

import hashlib
import pickle
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batch.errors import BatchError
from batch.scoring import compiled, kernels
from batch.scoring.compiled import USERS_PER_BLOCK, Ranked, Scorer
from batch.scoring.kernels import Forest, Items, Users

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10.0
DESERTED_SECONDS = 60.0
"""How long a cluster may be without any worker."""

TASKS_PER_THREAD = 4
"""As many wait at a worker as keep it busy while others are on their way."""

LOOK_SECONDS = 2.0

Shared = tuple[Items, Forest]


class Cluster:
    """The workers that a scheduler has.

    Args:
        address: of the scheduler, such as `tcp://10.0.0.1:8786`.
        scorer: what they rank with.
    """

    users_per_task = 64

    def __init__(self, address: str, scorer: Scorer) -> None:
        self._address = address
        shared = scorer.moment.items, scorer.forest
        self._blob = pickle.dumps(shared, protocol=pickle.HIGHEST_PROTOCOL)
        self._name = hashlib.sha256(self._blob).hexdigest()

    def __enter__(self) -> Self:
        """Connect, and give the workers what is the same for all users.

        Raises:
            BatchError: nobody answers, there are no workers, or they have other code.
        """
        self._client = connect(self._address)
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            theirs = self._client.run(code_digest)
        except TimeoutError as error:
            self._client.close()
            raise BatchError(
                f"the Dask scheduler at {self._address} has no workers; start some: "
                f"dask worker {self._address}"
            ) from error
        others = [name for name, digest in theirs.items() if digest != code_digest()]
        if others:
            self._client.close()
            raise BatchError(
                f"{others[0]} and {len(others) - 1} more of {len(theirs)} workers of "
                f"{self._address} have another version of this package"
            )
        threads = sum(self._client.nthreads().values())
        n_users = TASKS_PER_THREAD * threads * self.users_per_task
        self.blocks_ahead = 1 + n_users // USERS_PER_BLOCK
        self._shared = self._client.scatter(self._blob, broadcast=True, hash=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def submit(self, users: Users, top_n: int) -> "Task":
        """Have users ranked by a worker."""
        packed = pickle.dumps(users, protocol=pickle.HIGHEST_PROTOCOL)
        future = self._client.submit(
            work, packed, self._shared, self._name, top_n, pure=False, retries=1
        )
        return Task(self._client, self._address, future)


class Task:
    """What a worker is to give."""

    def __init__(
        self, client: "Client", address: str, future: "Future[Ranked]"
    ) -> None:
        self._client = client
        self._address = address
        self._future = future

    def result(self) -> Ranked:
        """Wait for it.

        Raises:
            BatchError: the cluster lost all of its workers, or the task cannot be done.
        """
        from distributed import KilledWorker

        deserted = 0.0
        while True:
            try:
                return self._future.result(timeout=LOOK_SECONDS)
            except TimeoutError:
                is_deserted = not self._client.nthreads()
                deserted = deserted + LOOK_SECONDS if is_deserted else 0.0
                if deserted < DESERTED_SECONDS:
                    continue
                reason = f"has had no workers for {DESERTED_SECONDS:.0f} s"
            except (CancelledError, KilledWorker) as error:
                reason = f"lost what was sent to it: {error}"
            raise BatchError(
                f"the Dask cluster at {self._address} {reason}; nothing that is served "
                "has changed"
            )


def connect(address: str) -> "Client":
    """Connect to a scheduler.

    Raises:
        BatchError: Dask is not installed, or nobody answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise BatchError(
            "--scheduler needs Dask: pip install 'movielens-xgb[cluster]'"
        ) from error
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise BatchError(f"no Dask scheduler answers at {address}: {error}") from error


def code_digest() -> str:
    """Digest the code that decides what is ranked and how."""
    sources = (compiled.__file__, kernels.__file__)
    return hashlib.sha256(b"\0".join(map(read, sources))).hexdigest()


def read(path: str) -> bytes:
    """Read a source file."""
    return Path(path).read_bytes()


# --- on the workers ------------------------------------------------------------------

_lock = threading.Lock()
_unpacked: dict[str, Shared] = {}


def work(packed: bytes, shared: bytes, name: str, top_n: int) -> Ranked:
    """Rank for the users that were packed."""
    items, forest = unpacked(shared, name)
    return compiled.rank(pickle.loads(packed), items, forest, top_n)  # noqa: S301 - ours


def unpacked(shared: bytes, name: str) -> Shared:
    """Unpack what is the same for all users, once a process."""
    with _lock:
        if name not in _unpacked:
            _unpacked.clear()
            _unpacked[name] = pickle.loads(shared)  # noqa: S301 - from our batch
        return _unpacked[name]
