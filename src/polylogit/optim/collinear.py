"""Columns that say nothing of their own: every category of a table beside a bias, a sum of others.

Where x_T = c'x_S in every row and no penalty is felt along it, whatever logits weights of S and T
make, weights of S alone make too: F has the same values over those, and the same lowest.

S is found by Cholesky with pivots (Higham, "Analysis of the Cholesky decomposition of a
semi-definite matrix", in Reliable Numerical Computation (1990)) of X'X, which sees columns apart
to half the digits only. So c is refined once, and row by row every x_T is held against c'x_S.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor

PIVOT = 1e-10  # of a column's square: what is left of it, where the others make the rest
SAME = 1e-11  # of the sum of the terms: rounding, of numbers that were standardised


def independent(rows: Callable[[], Iterable[Tensor]]) -> Tensor | None:
    """Which columns (r,) of `rows`, blocks (B, c) in float64, make all others; they rise.

    None where the others are nearly made by them, and not quite.

    >>> x = torch.arange(6, dtype=torch.float64)
    >>> rows = torch.stack([x % 2, 1 - x % 2, x, torch.ones(6)], 1)
    >>> len(independent(lambda: [rows])), independent(lambda: [rows + 1e-7 * x.diag()[:, :4]])
    (3, None)
    """
    gram = _total(x.T @ x for x in rows())
    kept, rest = _pivots(gram)
    if not len(rest):
        return kept
    factor = torch.linalg.cholesky(gram[kept[:, None], kept])
    made = torch.cholesky_solve(gram[kept[:, None], rest], factor)
    off = _total(x[:, kept].T @ (x[:, rest] - x[:, kept] @ made) for x in rows())
    made += torch.cholesky_solve(off, factor)
    same = all(_are_made(x[:, rest], x[:, kept], made) for x in rows())
    return kept if same else None


def _total(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)


def _pivots(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The columns with a pivot, and the others."""
    size = gram.diagonal().sqrt()
    unit = gram / torch.where(size > 0, size, 1.0) / torch.where(size > 0, size, 1.0)[:, None]
    _, order, rank, _ = dpstrf(unit.cpu().numpy(), tol=PIVOT)
    places = torch.from_numpy(order.astype("int64") - 1).to(gram.device)
    return places[:rank].sort().values, places[rank:].sort().values


def _are_made(rest: Tensor, kept: Tensor, made: Tensor) -> bool:
    """Whether `rest` (B, .) is `kept` (B, r) times `made` (r, .), up to rounding."""
    terms = rest.abs() + kept.abs() @ made.abs()
    return bool(((rest - kept @ made).abs() <= SAME * terms).all())
