"""Newton's decrement: how far from the lowest point, by the slope and the curvature at one point.

With lambda^2 = g'H^-1 g and kappa the largest spread of any row's logits along a direction of
length 1 in the norm of H, the third derivative along v is at most kappa |v|_H times the second, so

    F - F*  <=  [q + (1 - q) ln(1 - q)] / kappa^2,   q = kappa lambda < 1

about lambda^2 / 2. It also proves that an optimum exists. A matrix that is nowhere above H may
stand for it: lambda and kappa only grow. From phi'' (t) >= phi''(0) exp(-kappa t
|v|_H), integrated twice and minimised over |v|_H; the property is that of Bach, "Self-concordant
analysis for logistic regression", Electron. J. Statist. 4 (2010), section 2 and prop. 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from polylogit.optim.preconditioner import cholesky

WORST_CONDITION = 1e10  # of H with unit diagonal; beyond, its inverse proves nothing
ROUNDED = 16 * torch.finfo(torch.float64).eps  # of a row's residual, and so of the slope g'v
NEGLIGIBLE = 0.2  # for q: the bound is then within a tenth of lambda^2 / 2
HONEST = 1e-10  # of sqrt(H_ii H_jj): more between H and its factors, and they are not H's


@dataclass(frozen=True)
class Decrement:
    """H^-1 g in the shape of g, in contrast coordinates, with lambda and kappa."""

    step: Tensor
    size: float
    spread: float

    @property
    def bound(self) -> float:
        """F - F* in nats per row, at most; infinite where nothing is proven."""
        return decrement_bound(self.size, self.spread)

    @property
    def damped(self) -> float:
        """The share t = ln(1 + q) / q of the step with the lowest bound on F, for any q."""
        q = self.size * self.spread
        return math.log1p(q) / q if q > 0 else 1.0


def newton_decrement(
    hessian: Tensor, gradient: Tensor, rows: Iterable[Tensor], reach: Tensor | None = None
) -> Decrement | None:
    """Of F over n = m c parameters, m contrasts times the c columns of `rows`, blocks (B, c).

    `hessian` is H (n, n), for a `gradient` (n,); or M (c, c) with I_m x M nowhere above H, for one
    of (m, c). `reach` (c,) is the largest |x~_d| of each column, if known: where that says enough
    about kappa, no row is read. None where H is too badly conditioned for its inverse to say
    anything.
    """
    factor = cholesky(hessian)
    if not _well_conditioned(hessian, factor):
        return None
    inverse = torch.cholesky_inverse(factor)
    step = gradient @ inverse
    size = math.sqrt(max(0.0, float((gradient * step).sum())))
    most = math.inf if reach is None else _most_spread(inverse, reach)
    if (size + ROUNDED * most) * most <= NEGLIGIBLE:
        return Decrement(step, size, most)
    return Decrement(step, size, _spread(inverse, rows))


def decrement_bound(size: float, spread: float) -> float:
    """[q + (1 - q) ln(1 - q)] / kappa^2, with what rounding may have taken from lambda added.

    Along v of length 1 in H rounding is sum_i s_i eps |h_i| <= eps kappa. Where there is no optimum
    q is 1 or more, and only rounding could hide it.

    >>> f"{decrement_bound(1e-6, 2.0):.4g}", decrement_bound(1.0, 1.0)
    ('5e-13', inf)
    """
    size = size + ROUNDED * spread
    q = size * spread
    if q >= 1:
        return math.inf
    if q < 1e-3:  # the series; the closed form cancels there
        return size**2 * (0.5 + q / 6 + q * q)
    return (q + (1 - q) * math.log1p(-q)) / spread**2


def _well_conditioned(hessian: Tensor, factor: Tensor) -> bool:
    """Whether L L' is H and its pivots say something.

    An entry is judged in the sizes that bound it, |H_ij| <= sqrt(H_ii H_jj), and not in its own:
    the columns of one category never meet, so there H_ij = 0, and L L' has only its rounding.
    """
    diagonal = hessian.diagonal().sqrt()
    unit = factor / diagonal[:, None]
    left = ((factor @ factor.T - hessian) / diagonal / diagonal[:, None]).abs().max()
    honest = bool(left <= HONEST)
    smallest = float(unit.diagonal().min())
    return honest and smallest > 0 and smallest**-2 < WORST_CONDITION


def _spread(inverse: Tensor, rows: Iterable[Tensor]) -> float:
    """kappa <= sqrt(2 max_i x~_i' (sum_a [H^-1]_aa) x~_i), in contrast coordinates.

    The spread max_kl |h_k - h_l| of logits h = E u is at most sqrt(2) |u|.
    """
    shared, largest = None, 0.0
    for x in rows:
        shared = _over_contrasts(inverse, x.shape[1]) if shared is None else shared
        largest = max(largest, float((x @ shared).mul_(x).sum(1).max()))
    return math.sqrt(2 * largest)


def _most_spread(inverse: Tensor, reach: Tensor) -> float:
    """The same where no |x~_id| is above `reach` (c,)."""
    return math.sqrt(2 * float(reach @ _over_contrasts(inverse, len(reach)).abs() @ reach))


def _over_contrasts(inverse: Tensor, width: int) -> Tensor:
    """sum_a [H^-1]_aa (c, c) over its blocks for every contrast."""
    blocks = inverse.view(-1, width, len(inverse) // width, width)
    return torch.einsum("adae->de", blocks)
