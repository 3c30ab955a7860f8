"""Memory that is used again: new memory comes from the system page by page.

That takes as long as a softmax of what is put there, and a fit needs as much in every step.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor


class Rooms:
    """Memory that is lent anew once nobody holds what was made in it.

    >>> rooms = Rooms()
    >>> one, other = (rooms.lend(8, torch.float32) for _ in range(2))
    >>> where = one.data_ptr()
    >>> del one
    >>> rooms.lend(8, torch.float32).data_ptr() == where != other.data_ptr()
    True
    """

    def __init__(self) -> None:
        self._every: list[np.ndarray] = []

    def lend(self, size: int, dtype: torch.dtype) -> Tensor:
        """`size` numbers side by side, not yet written.

        Where torch puts new tensors on another device, it sees to memory itself.
        """
        if torch.get_default_device().type != "cpu":
            return torch.empty(size, dtype=dtype)
        return torch.from_numpy(self._free(size * dtype.itemsize)).view(dtype)

    def _free(self, size: int) -> np.ndarray:
        """Bytes that no tensor refers to: the last used, which may still be in cache, or new ones.

        Free ones of another size are given back.
        """
        lent: list[np.ndarray] = []
        free: list[np.ndarray] = []
        for each in self._every:  # a free one is known to the list, to the loop and to the call
            (lent if sys.getrefcount(each) > 3 else free).append(each)
        fitting = [each for each in free if each.nbytes == size]
        # torch's memory begins at a line of the cache, and is none of numpy's huge pages: to be
        # given one of those for the first time takes some virtual machines ten times as long
        chosen = fitting.pop() if fitting else torch.empty(size, dtype=torch.uint8).numpy()
        self._every = [*fitting, *lent, chosen]
        return chosen
