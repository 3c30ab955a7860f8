"""What L-BFGS remembers: its last steps s_j, and the changes y_j of the gradient over them.

They are rows of two matrices S and Y (m, n), so that all of them are multiplied at once. With U the
upper triangle of S Y', oldest first, whose diagonal D holds the s_j'y_j > 0, what the two-loop
recursion makes of a first inverse M^-1, pair by pair (Nocedal & Wright, Numerical Optimization
(2006), algorithm 7.4), is

    U a = S g,      r = M^-1 (g - Y'a),      U'c = D a - Y r,      H g = r + S'c

for the first loop solves the one triangle from its last row up, the second the other from its
first row down. (Byrd, Nocedal & Schnabel, Math. Programming 63 (1994), has H as one matrix.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg.lapack import dtrtrs
from torch import Tensor

from polylogit.optim.problem import dot


class Pairs:
    """The last `most` pairs, as long as s'y > 0: F curves upwards along a step that says something.

    >>> pairs = Pairs(most=5)
    >>> pairs.add(torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]]))
    >>> pairs.times_inverse(torch.tensor([[8.0, 3.0]]), torch.clone)
    tensor([[2., 3.]])
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.steps = self.changes = torch.empty(0, 0)  # S and Y, in the order that `_rows` tells
        self._rows = np.empty(0, dtype=np.intp)  # of them, from the oldest pair to the last
        self._upper = np.empty((0, 0))  # U

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def last(self) -> tuple[Tensor, float]:
        """The last y (n,), and its s'y."""
        return self.changes[self._rows[-1]], float(self._upper[-1, -1])

    def add(self, step: Tensor, change: Tensor) -> None:
        """Remember a pair, if F curves upwards along it, in the precision of those that are here.

        The first one decides on the precision, and on how many numbers a point has.
        """
        step, change = step.reshape(-1), change.reshape(-1)
        if not dot(step, change) > 0:
            return
        row = self._free_row(step)
        self.steps[row], self.changes[row] = step, change
        self._rows = np.append(self._rows, row)
        products = self._along(self.steps, self.changes[row])
        upper = np.zeros([len(self)] * 2)
        upper[:-1, :-1], upper[:, -1] = self._upper, products
        self._upper = upper

    def _free_row(self, like: Tensor) -> int:
        """Where the next pair goes: a new row, or that of the oldest pair, which is forgotten."""
        if len(self) == self.most:
            oldest, self._rows, self._upper = self._rows[0], self._rows[1:], self._upper[1:, 1:]
            return int(oldest)
        if not len(self):
            self.steps, self.changes = (like.new_empty(self.most, len(like)) for _ in range(2))
        return len(self)

    def times_inverse(self, gradient: Tensor, first: Callable[[Tensor], Tensor]) -> Tensor:
        """H g for the inverse Hessian H that the pairs make of the `first` one; a new tensor."""
        if not len(self):
            return first(gradient)
        shares = _solved(self._upper, self._along(self.steps, gradient.reshape(-1)))
        rest = torch.addmv(gradient.reshape(-1), *self._combined(self.changes, -shares))
        result = first(rest.view_as(gradient)).reshape(-1)
        pull = self._upper.diagonal() * shares - self._along(self.changes, result)
        found = _solved(self._upper, pull, transposed=True)
        return result.addmv_(*self._combined(self.steps, found)).view_as(gradient)

    def repenalise(self, extra: Tensor) -> None:
        """Adapt the pairs to F + 1/2 sum extra x^2, `extra` broadcast over a point (., n').

        Each change of the gradient grows by extra * step, exactly; a pair that loses s'y > 0 goes.
        """
        if len(self):
            steps = self.steps[: len(self)].view(len(self), -1, len(extra))
            grown = self.changes[: len(self)].view_as(steps)
            grown.addcmul_(steps, extra.to(steps.dtype))
            self._multiply_anew()
            self._forget(self._upper.diagonal() <= 0)

    def recast(self, dtype: torch.dtype) -> None:
        """The pairs in another precision."""
        if len(self) and self.steps.dtype != dtype:
            self.steps, self.changes = self.steps.to(dtype), self.changes.to(dtype)
            self._multiply_anew()

    def _multiply_anew(self) -> None:
        used = slice(len(self))
        every = (self.steps[used] @ self.changes[used].T).double().cpu().numpy()
        self._upper = np.triu(every[self._rows[:, None], self._rows])

    def _forget(self, which: np.ndarray) -> None:
        """Pairs, counted from the oldest, go."""
        if which.any():
            kept = self._rows[~which]
            self.steps[: len(kept)] = self.steps[kept]
            self.changes[: len(kept)] = self.changes[kept]
            self._rows = np.arange(len(kept))
            self._upper = self._upper[~which][:, ~which]

    def _along(self, matrix: Tensor, vector: Tensor) -> np.ndarray:
        """Products of rows with a vector (m,), the oldest pair first."""
        products = matrix[: len(self)] @ vector
        return products.double().cpu().numpy()[self._rows]

    def _combined(self, matrix: Tensor, shares: np.ndarray) -> tuple[Tensor, Tensor]:
        """The factors of a sum of rows, each times its share."""
        by_row = np.empty_like(shares)
        by_row[self._rows] = shares
        return matrix[: len(self)].T, torch.from_numpy(by_row).to(matrix)


def _solved(upper: np.ndarray, right: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    """U^-1 b, or U'^-1 b."""
    solution: np.ndarray = dtrtrs(upper, right, trans=int(transposed))[0]
    return solution
