"""Does an unpenalised optimum exist at all?

Without a penalty, weights that separate the classes can be scaled up for ever: F has an infimum
and no minimum (Albert & Anderson, Biometrika 71 (1984)). Direction (V, b) separates when

    z_i,y_i - z_ik >= 0  for all i and k,   and > 0 for one of them.

Weights with every margin positive are a witness. Without one, the direction that maximises the
sum of the margins, with |V|, |b| <= 1, is found by a linear program (Konis, 2007, ch. 4): its
value is positive if and only if some direction separates.

Which coefficients have no finite estimate, `undetermined` tells: the margins that some direction
makes positive drop out of the likelihood in the limit, and what the others do not determine has
none (Geyer, Electronic Journal of Statistics 3 (2009), section 3).
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
SEEN = 1e-6  # the margin of a direction of size 1 that counts as positive
FLAT = 1e-12  # of the squared margins along the longest coordinate


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
    margins = _margin_rows(_dense_rows(design, intercept, free), codes.cpu().numpy(), n_classes)
    found = _steepest(margins)
    return None if found is None else bool(found.any())


def _steepest(margins: scipy.sparse.csr_array) -> np.ndarray | None:
    """The direction that maximises the sum of the margins, none being negative.

    Zero where no direction makes one of them positive; None where the program fails.
    """
    total = np.asarray(margins.sum(0)).ravel()
    answer = scipy.optimize.linprog(
        -total, A_ub=-margins, b_ub=np.zeros(margins.shape[0]), bounds=(-1, 1), method="highs"
    )
    if answer.status != 0:
        return None
    rises = -answer.fun > POSITIVE * np.abs(total).sum().clip(min=1.0)
    return np.asarray(answer.x if rises else np.zeros_like(total))


def undetermined(rows: np.ndarray, codes: np.ndarray, n_classes: int) -> np.ndarray | None:
    """A basis (m, K, q) of the directions that the likelihood leaves open in its limit.

    `rows` (N, q) with a column of ones for the bias, columns of about one size. A difference of
    coefficients has a finite estimate if and only if it is 0 in every direction of the basis. At
    least the shifts shared by all classes are in it; where nothing is separated, nothing else is.
    None where the program is too large to ask.

    >>> rows = np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> [len(undetermined(rows, np.array(codes), 2)) for codes in ([0, 1, 0], [0, 0, 1])]
    [2, 4]
    """
    n_rows, q = rows.shape
    if n_rows * n_classes * q * 2 > LARGEST_PROGRAM:
        return None
    margins = _margin_rows(rows, codes, n_classes)
    positive = _can_be_positive(margins)
    if positive is None:
        return None
    held = margins[~positive]
    values, vectors = np.linalg.eigh((held.T @ held).toarray())
    largest = max(float(margins.power(2).sum(0).max()), 1.0)
    return vectors[:, values <= FLAT * largest].T.reshape(-1, n_classes, q)


def _can_be_positive(margins: scipy.sparse.csr_array) -> np.ndarray | None:
    """Which margins some direction makes positive while none is negative.

    Directions that separate may be added up, the first many times over: so a margin that one of
    them makes positive binds the next no more, and leaves the program.
    """
    held = np.arange(margins.shape[0])
    while len(held):
        direction = _steepest(margins[held])
        if direction is None:
            return None
        risen = margins[held] @ direction > SEEN
        if not risen.any():
            break
        held = held[~risen]
    return ~np.isin(np.arange(margins.shape[0]), held)


def _dense_rows(design: Design, intercept: bool, free: Tensor | None) -> np.ndarray:
    whole = torch.cat([block.dense() for block in design.blocks(torch.float64)])
    rows = (whole if free is None else whole[:, free]).cpu().numpy()
    return np.hstack([rows, np.ones((len(rows), 1))]) if intercept else rows


def _margin_rows(rows: np.ndarray, labels: np.ndarray, n_classes: int) -> scipy.sparse.csr_array:
    """The matrix that maps a flat (K, D~) direction to the margins of all wrong classes."""
    identity = np.eye(n_classes)
    wrong = [(identity[labels] - identity[k])[labels != k] for k in range(n_classes)]
    features = [rows[labels != k] for k in range(n_classes)]
    pairs = (
        np.einsum("ik,id->ikd", w, f).reshape(len(f), -1)
        for w, f in zip(wrong, features, strict=True)
    )
    return scipy.sparse.csr_array(np.vstack(list(pairs)))
