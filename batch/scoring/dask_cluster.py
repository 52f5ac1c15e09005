"""Workers that are processes of a Dask cluster.

They need this package and nothing else: no raw files, DuckDB, MLflow or Redis. They
receive arrays and return arrays. Each worker receives the items and the model once,
then blocks of users. Dask repeats the tasks of a worker that dies.
"""

import hashlib
import pickle
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batch.errors import BatchError
from batch.features import base_scores
from batch.model import base_margin
from batch.scoring import compiled, kernels
from batch.scoring.compiled import USERS_PER_BLOCK, Ranked, Scorer, Start
from batch.scoring.kernels import Forest, Items, Users

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10.0
DESERTED_SECONDS = 60.0
"""How long a cluster may be without workers before the run fails."""

TASKS_PER_THREAD = 4
"""How many tasks to queue for each thread, so that none waits for the network."""

POLL_SECONDS = 2.0

Shared = tuple[Items, Forest, Start | None]


class Cluster:
    """The workers of a Dask scheduler.

    Args:
        address: of the scheduler, such as `tcp://10.0.0.1:8786`.
        scorer: the model and the items to rank with.
    """

    users_per_task = 64

    def __init__(self, address: str, scorer: Scorer) -> None:
        self._address = address
        shared = scorer.catalogue.items, scorer.forest, scorer.start
        self._pickled = pickle.dumps(shared, protocol=pickle.HIGHEST_PROTOCOL)
        self._name = hashlib.sha256(self._pickled).hexdigest()

    def __enter__(self) -> Self:
        """Connect, and send the items and the model to the workers.

        Raises:
            BatchError: the scheduler does not answer, has no workers, or has workers
                with another version of this package.
        """
        self._client = connect(self._address)
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            digests = self._client.run(code_digest)
        except TimeoutError as error:
            self._client.close()
            raise BatchError(
                f"the Dask scheduler at {self._address} has no workers; start some: "
                f"dask worker {self._address}"
            ) from error
        others = [name for name, digest in digests.items() if digest != code_digest()]
        if others:
            self._client.close()
            raise BatchError(
                f"{len(others)} of {len(digests)} workers of {self._address} have "
                f"another version of this package, such as {others[0]}"
            )
        threads = sum(self._client.nthreads().values())
        n_users = TASKS_PER_THREAD * threads * self.users_per_task
        self.blocks_ahead = 1 + n_users // USERS_PER_BLOCK
        self._shared = self._client.scatter(self._pickled, broadcast=True, hash=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def submit(self, users: Users, top_n: int) -> "Task":
        """Start to rank users on a worker."""
        packed = pickle.dumps(users, protocol=pickle.HIGHEST_PROTOCOL)
        future = self._client.submit(
            work, packed, self._shared, self._name, top_n, pure=False, retries=1
        )
        return Task(self._client, self._address, future)


class Task:
    """The pending rankings of some users on a worker."""

    def __init__(
        self, client: "Client", address: str, future: "Future[Ranked]"
    ) -> None:
        self._client = client
        self._address = address
        self._future = future

    def result(self) -> Ranked:
        """Wait for the rankings and return them.

        Raises:
            BatchError: the cluster lost all of its workers, or the task failed.
        """
        from distributed import KilledWorker

        deserted = 0.0
        while True:
            try:
                return self._future.result(timeout=POLL_SECONDS)
            except TimeoutError:
                has_workers = bool(self._client.nthreads())
                deserted = 0.0 if has_workers else deserted + POLL_SECONDS
                if deserted < DESERTED_SECONDS:
                    continue
                reason = f"has had no workers for {DESERTED_SECONDS:.0f} s"
            except (CancelledError, KilledWorker) as error:
                reason = f"lost a task: {error}"
            raise BatchError(
                f"the Dask cluster at {self._address} {reason}; the published lists "
                "have not changed"
            )


def connect(address: str) -> "Client":
    """Connect to a scheduler.

    Raises:
        BatchError: Dask is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise BatchError(
            "--scheduler needs Dask: pip install '.[batch,cluster]' in the clone"
        ) from error
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise BatchError(f"no Dask scheduler answers at {address}: {error}") from error


def code_digest() -> str:
    """Return a digest of the code that runs on the workers."""
    modules = (compiled, kernels, base_scores, base_margin)
    sources = (Path(str(module.__file__)).read_bytes() for module in modules)
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


# --- on the workers ------------------------------------------------------------------

_lock = threading.Lock()
_unpickled: dict[str, Shared] = {}


def work(packed: bytes, shared: bytes, name: str, top_n: int) -> Ranked:
    """Unpickle users and rank the unseen items for them."""
    users = pickle.loads(packed)  # noqa: S301 - ours
    return compiled.rank(users, *unpickled(shared, name), top_n)


def unpickled(shared: bytes, name: str) -> Shared:
    """Unpickle the items and the model, once per process."""
    with _lock:
        if name not in _unpickled:
            _unpickled.clear()
            _unpickled[name] = pickle.loads(shared)  # noqa: S301 - from our batch
        return _unpickled[name]
