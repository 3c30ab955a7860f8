"""Does an unpenalised optimum exist at all?

Without a penalty, weights that separate the classes can be scaled up for ever: F has an infimum
and no minimum (Albert & Anderson, Biometrika 71 (1984)). Direction (V, b) separates when

    z_i,y_i - z_ik >= 0  for all i and k,   and > 0 for one of them.

Weights with every margin positive are a witness. Without one, the direction that maximises the
sum of the margins, with |V|, |b| <= 1, is found by a linear program (Konis, 2007, ch. 4): its
value is positive if and only if some direction separates.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.sparse
import torch
from torch import Tensor

from polylogit.design import Design

LARGEST_PROGRAM = 5_000_000  # nonzeros; a larger question is left open
POSITIVE = 1e-7  # of the largest possible margin sum per row


def separates(logits: Tensor, codes: Tensor) -> bool:
    """Whether these logits (N, K) rank the true class of every row first.

    >>> separates(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 1]))
    True
    """
    truth = logits.gather(1, codes[:, None])
    others = logits.scatter(1, codes[:, None], -torch.inf)
    return bool((truth.squeeze(1) > others.amax(1)).all())


def is_separable(
    design: Design, codes: Tensor, n_classes: int, intercept: bool, free: Tensor | None = None
) -> bool | None:
    """Whether any direction separates, even only some rows; None where it is too large to ask.

    `free` (D,) marks the columns without a penalty, by default all: no other grows for ever.
    """
    columns = (design.n_features if free is None else int(free.sum())) + intercept
    if columns == intercept:
        return False  # a bias alone separates nothing, where every class has rows
    if design.n_rows * n_classes * columns * 2 > LARGEST_PROGRAM:
        return None
    margins = _margin_rows(design, codes, n_classes, intercept, free)
    total = np.asarray(margins.sum(0)).ravel()
    answer = scipy.optimize.linprog(
        -total, A_ub=-margins, b_ub=np.zeros(margins.shape[0]), bounds=(-1, 1), method="highs"
    )
    if answer.status != 0:
        return None
    return bool(-answer.fun > POSITIVE * np.abs(total).sum().clip(min=1.0))


def _margin_rows(
    design: Design, codes: Tensor, n_classes: int, intercept: bool, free: Tensor | None
) -> scipy.sparse.csr_array:
    """The matrix that maps a flat (K, D~) direction to the margins of all wrong classes."""
    parts = [block.dense() for block in design.blocks(torch.float64)]
    whole = torch.cat(parts)
    rows = (whole if free is None else whole[:, free]).cpu().numpy()
    if intercept:
        rows = np.hstack([rows, np.ones((len(rows), 1))])
    labels, identity = codes.cpu().numpy(), np.eye(n_classes)
    wrong = [(identity[labels] - identity[k])[labels != k] for k in range(n_classes)]
    features = [rows[labels != k] for k in range(n_classes)]
    pairs = (
        np.einsum("ik,id->ikd", w, f).reshape(len(f), -1)
        for w, f in zip(wrong, features, strict=True)
    )
    return scipy.sparse.csr_array(np.vstack(list(pairs)))
