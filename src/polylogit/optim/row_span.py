"""Fewer rows than columns: the same rows in N coordinates instead of D.

Under a ridge R(V) = 1/2 sum_d c_d |V_d|^2, c > 0, the optimal V diag(c)^1/2 lies in the span of the
rows of A = Z diag(c)^-1/2 (N, D): what is orthogonal to all of them costs, and no logit sees it
(Kimeldorf & Wahba, J. Math. Anal. Appl. 33 (1971); Hastie & Tibshirani, Biostatistics 5 (2004),
329-340, section 2). With A' = Q T, Q'Q = I and T (N, N) upper triangular,

    V = B Q' diag(c)^1/2^-1,    V z_i = B (T e_i),    R(V) = 1/2 |B|^2:

the rows of T' are a design of N columns with the same logits, the same F and, point by point, the
same gap. Where D is in the thousands, and N is not, Newton's method is then at hand.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polylogit.design import DenseDesign, Design

SPAN_BYTES = 2**30  # of the rows that are factored, in float64
LEAST = 1e-8  # of the largest scale: a smaller one, which may be rounding, counts as this


class RowSpan(DenseDesign):
    """The rows of `whole` in an orthonormal basis of their span, which Householder vectors keep.

    `costs` (D,) > 0 are those of the columns of `whole`, up to a factor; here all cost the same.

    >>> from polylogit.design import design_of
    >>> wide = design_of(torch.arange(21.0).sqrt().view(3, 7).numpy())
    >>> span = RowSpan(wide, torch.ones(wide.n_features, dtype=torch.float64))
    >>> (wide.n_rows, wide.n_features), (span.n_rows, span.n_features)
    ((3, 7), (3, 3))
    """

    def __init__(self, whole: Design, costs: Tensor) -> None:
        self._whole, self._size = whole, costs.rsqrt()
        rows = torch.cat([block.dense() for block in whole.blocks(torch.float64)])
        self._vectors, self._factors = torch.geqrf(rows.mul_(self._size).T)
        rows = self._vectors[: whole.n_rows].triu().T.contiguous()
        scale = rows.square().mean(0).sqrt()
        least = LEAST * float(scale.max()) or 1.0
        super().__init__(rows, torch.zeros_like(scale), scale.clamp_min(least))

    def to_user(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(V, b) on these coordinates to (W, a) on X."""
        spread = weight.new_zeros(len(self._vectors), len(weight))
        spread[: self.n_features] = (weight / self.scale).T
        return self._whole.to_user(self._turned(spread, back=False).T * self._size, bias)

    def from_user(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(W, a) on X to (V, b) on these coordinates; what no row sees of W is lost."""
        weight, bias = self._whole.from_user(weight, bias)
        spread = self._turned((weight / self._size).T, back=True)
        return spread[: self.n_features].T * self.scale, bias

    def _turned(self, columns: Tensor, *, back: bool) -> Tensor:
        """Q or, back, its transpose times columns (D, n)."""
        columns = columns.contiguous()
        turned: Tensor = torch.ormqr(self._vectors, self._factors, columns, transpose=back)
        return turned


def fits(design: Design) -> bool:
    """Whether there is memory for the factor of a design's rows."""
    size = 8.0 * design.n_rows * design.n_features
    return design.keeps_logits and size <= SPAN_BYTES
