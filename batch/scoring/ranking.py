"""The result of scoring."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Ranking:
    """One user's best unseen items.

    Attributes:
        user_id: the user.
        item_ids: of shape (n,), best first.
        scores: of shape (n,), descending; among equal scores the lower item_id comes
            first.
    """

    user_id: int
    item_ids: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
