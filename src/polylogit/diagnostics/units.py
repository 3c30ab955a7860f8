"""Who leaves together when rows are left out: single rows, or whole groups of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polylogit.data.dataset import Dataset
from polylogit.errors import OptionError
from polylogit.training import Prepared

ALONE = 1e-9  # of the weight of a class: nothing is left of it


@dataclass(frozen=True, eq=False)
class Units:
    """What leaves together: the unit of every row (N,), and how much of its weight leaves (N,)."""

    of: Tensor
    count: int
    removed: Tensor
    grouped: bool

    def of_one_size(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Chosen units (B,) that have equally many rows, and those rows (B, n)."""
        sizes = torch.bincount(self.of)
        starts, order = sizes.cumsum(0) - sizes, torch.argsort(self.of, stable=True)
        for size in sizes[chosen].unique().tolist():
            same = chosen[sizes[chosen] == size]
            yield same, order[starts[same, None] + torch.arange(size)]

    def total(self, values: Tensor) -> Tensor:
        """sum_(i in u) v_i (U, .) of every unit, for `values` (N, .)."""
        sums = values.new_zeros(self.count, *values.shape[1:])
        return sums.index_add_(0, self.of, values)


def units_of(prepared: Prepared, groups: Any) -> Units:
    """Single rows, or the groups that N labels name.

    A weight of 2 stands for two equal rows, of which one leaves. Raises as `group_codes` does.
    """
    share = prepared.weights / prepared.weights.sum()
    n_rows = prepared.dataset.n_rows
    if groups is not None:
        codes, count = group_codes(groups, prepared.dataset)
        return Units(codes, count, share, True)
    copies = prepared.dataset.weights
    if copies is not None:
        share = share / torch.from_numpy(copies).clamp_min(1.0)
    return Units(torch.arange(n_rows), n_rows, share, False)


def group_codes(groups: Any, dataset: Dataset) -> tuple[Tensor, int]:
    """The number of each row's group (N,), and how many groups there are.

    Raises `OptionError` for a wrong length, a missing label, or fewer than two groups.
    """
    labels = np.asarray(groups)
    if labels.shape != (dataset.n_rows,):
        raise OptionError(
            f"groups must hold one label for each of the {dataset.n_rows} rows, not an array of "
            f"shape {labels.shape}"
        )
    missing = np.array([label is None or label != label for label in labels.tolist()])
    if missing.any():
        raise OptionError(f"groups has no label in row {int(missing.argmax())}; give every row one")
    different, codes = np.unique(labels.astype(str), return_inverse=True)
    if len(different) < 2:
        raise OptionError("groups names only one group, and without it no row would be left")
    return torch.from_numpy(codes), len(different)


def lonely(prepared: Prepared, units: Units) -> Tensor:
    """Which units (U,) take all that is left of a class."""
    mass = prepared.targets.mass(prepared.weights / prepared.weights.sum())
    taken = class_mass(prepared, units)
    return (mass - taken <= ALONE * mass).any(1)


def class_mass(prepared: Prepared, units: Units) -> Tensor:
    """The weight of each class that every unit takes away (U, K)."""
    aims = prepared.targets.written_out()
    return units.total(aims * units.removed[:, None])
