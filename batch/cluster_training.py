"""Grows trees on the workers of a Dask cluster, by way of xgboost's own."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch.cluster import CONNECT_SECONDS, connect
from batch.errors import BatchError
from batch.features import Pairs

if TYPE_CHECKING:
    import xgboost

Parameters = Mapping[str, str | int | float | bool]

FEWEST_PAIRS = 1_000_000
"""Of all windows, from which on training goes to the cluster: fewer are learned from
sooner than they are sent."""


class Growth:
    """Grows trees on a cluster.

    Args:
        address: of its scheduler, such as `tcp://10.0.0.1:8786`.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(
        self,
        parameters: Parameters,
        pairs: Pairs,
        labels: npt.NDArray[np.float32],
        n_rounds: int,
        former: "xgboost.Booster | None",
    ) -> "xgboost.Booster":
        """Grow `n_rounds` trees after those of `former`, as `xgboost.train` would.

        Sums of gradients are added up in another order than on one machine, so that
        trees are alike but not the same.

        Args:
            parameters: of xgboost.
            pairs: in order.
            labels: of shape (n_pairs,), the gains.
            n_rounds: how many.
            former: those to go on from.

        Raises:
            BatchError: the cluster does not answer, or has no workers.
        """
        import dask.array
        from xgboost import dask as distributed_xgboost

        client = connect(self._address)
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            cuts = between_users(pairs.user_ids, len(client.nthreads()))
            names = pairs.values.column_names
            columns = [pairs.values[name].to_numpy() for name in names]
            values, graded, ids = (
                dask.array.from_array(some, chunks=(tuple(cuts), *some.shape[1:]))
                for some in (np.column_stack(columns), labels, pairs.user_ids)
            )
            with client.as_current():
                matrix = distributed_xgboost.DaskQuantileDMatrix(
                    client, values, graded, qid=ids, feature_names=names
                )
                grown = distributed_xgboost.train(
                    client, dict(parameters), matrix, n_rounds, xgb_model=former
                )
        except TimeoutError as error:
            raise BatchError(
                f"the Dask scheduler at {self._address} has no workers"
            ) from error
        finally:
            client.close()
        booster: xgboost.Booster = grown["booster"]
        return booster


def between_users(user_ids: Sequence[int] | npt.NDArray[np.int32], n: int) -> list[int]:
    """Cut sorted pairs into at most n parts of whole users; return the parts' sizes.

    A ranking is learned from all pairs of a user at once.
    """
    ids = np.asarray(user_ids)
    firsts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    wanted = np.linspace(0, len(ids), n + 1)[1:-1]
    starts = firsts[np.minimum(np.searchsorted(firsts, wanted), len(firsts) - 1)]
    edges = np.unique(np.r_[0, starts, len(ids)])
    sizes: list[int] = np.diff(edges).tolist()
    return sizes
