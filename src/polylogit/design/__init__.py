"""Row blocks of standardised features, whatever holds the rows.

A fit never sees the user's matrix `X` (N, D). It sees

    Z = (X - 1 c') diag(1/s)          c: column means, s: column standard deviations

so that no user has to scale anything, and it sees `Z` only through row blocks that know four
products. Dense, sparse and stored rows differ in here and nowhere above. The optimum stays the
user's own: a penalty on the user's weights `W` is a penalty with its own strength per column on
`V = W diag(s)` (see `polylogit.optim.penalty`), and `Design.to_user` leads back exactly.

Without an intercept nothing could absorb the centre, so then `c = 0` and `s` is the root mean
square.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
import torch

from polylogit.design.base import Block, Design, row_slices
from polylogit.design.columns import column_pairs, lies_by_column, pair_places
from polylogit.design.dense import DenseDesign, StreamedDesign
from polylogit.design.sparse import SparseDesign
from polylogit.errors import OptionError
from polylogit.stored import StoredRows

__all__ = [
    "Block",
    "DenseDesign",
    "Design",
    "SparseDesign",
    "StreamedDesign",
    "column_pairs",
    "design_of",
    "lies_by_column",
    "pair_places",
    "row_slices",
]


def design_of(
    features: np.ndarray | scipy.sparse.csr_array | StoredRows,
    *,
    centred: bool = True,
    names: Sequence[str] | None = None,
    device: torch.device | None = None,
) -> Design:
    """The design over `features` (N, D), dense, CSR or stored in a file, with blocks on `device`.

    Raises `DataError` for a column whose scale squared leaves float64, `OptionError` for CSR rows
    on a device other than the CPU: scipy multiplies them.
    """
    place = device or torch.device("cpu")
    if isinstance(features, StoredRows):
        return StreamedDesign.over(features, centred, names, place)
    if isinstance(features, np.ndarray):
        return DenseDesign.over(features, centred, names, place)
    if place.type != "cpu":
        raise OptionError(f"sparse rows are multiplied on the CPU, not on {place}; omit device")
    return SparseDesign.over(features, centred, names)
