"""CSR matrices: other numbers in the same places, and products with all of them turned round."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from polylogit.design.base import row_slices

SHORTEST_STRIP = 4096  # rows of a sparse block that are turned round together
ENTRIES_A_ROW = 3  # of what a strip is turned round to, at least


def with_values(matrix: scipy.sparse.csr_array, values: np.ndarray) -> scipy.sparse.csr_array:
    """Other numbers in the same places, which take no more memory."""
    return scipy.sparse.csr_array((values, matrix.indices, matrix.indptr), matrix.shape)


def as_torch(matrix: scipy.sparse.csr_array) -> Tensor:
    """The same numbers for torch, which multiplies them on all of its threads."""
    _hear_that_csr_is_in_beta()
    rows, columns, values = (
        torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data)
    )
    # they were checked where they came in (`polylogit.data.features`)
    return torch.sparse_csr_tensor(rows, columns, values, matrix.shape, check_invariants=False)


@lru_cache(maxsize=1)
def _hear_that_csr_is_in_beta() -> None:
    """torch says so once in a process: to us, and not to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.zeros(1, 1).to_sparse_csr()


@dataclass(frozen=True)
class Strip:
    """Consecutive rows of a CSR matrix S, turned round."""

    rows: slice
    turned: Tensor  # CSR (D, b)

    def squared(self) -> Strip:
        """The same of S entry by entry squared."""
        return self._with_values(self.turned.values().square())

    def rounded(self) -> Strip:
        """The same in float32."""
        return self._with_values(self.turned.values().float())

    def _with_values(self, values: Tensor) -> Strip:
        """Other numbers in the same places, which take no more memory."""
        turned = self.turned
        places = turned.crow_indices(), turned.col_indices()
        other = torch.sparse_csr_tensor(*places, values, turned.shape, check_invariants=False)
        return replace(self, turned=other)


def in_strips(matrix: scipy.sparse.csr_array) -> list[Strip]:
    """A matrix in strips as short as their products allow: D rows of a result are read for each."""
    n_rows, n_features = matrix.shape
    step = max(SHORTEST_STRIP, ENTRIES_A_ROW * n_features * n_rows // max(1, matrix.nnz))
    slices = row_slices(n_rows, step)
    return [Strip(rows, as_torch(scipy.sparse.csr_array(matrix[rows].T))) for rows in slices]


def transposed_product(strips: list[Strip], dense: Tensor, start: Tensor | None = None) -> Tensor:
    """S' R (D, K) for R (B, K), on all of torch's threads; added to `start`, in place, if given.

    A row of S' picks rows of R from all over. Those of one strip stay in cache meanwhile.
    """
    n_features = strips[0].turned.shape[0]
    total = dense.new_zeros(n_features, dense.shape[1]) if start is None else start
    for strip in strips:
        torch.addmm(total, strip.turned, dense[strip.rows], out=total)
    return total
