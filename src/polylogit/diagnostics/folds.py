"""Folds that leave every class in every training set, even in every class, and drawn by a seed."""

from __future__ import annotations

import numpy as np

NEVER = -1  # the fold of what is never held out, for a class would be gone with it


def folds_of_rows(classes: np.ndarray, n_folds: int, seed: int = 0) -> np.ndarray:
    """The fold (N,) of each row, by its class (N,): dealt out class by class.

    So the folds of a class differ by one row at most, and so do the folds as a whole. The row of a
    class of one row is in no fold.

    >>> folds_of_rows(np.array([0, 0, 0, 0, 1, 1, 2]), 2).tolist()
    [0, 1, 0, 1, 0, 1, -1]
    """
    order = drawn_by_class(classes, seed)
    alone = np.bincount(classes)[classes] < 2
    order = order[~alone[order]]
    folds = np.full(len(classes), NEVER)
    folds[order] = np.arange(len(order)) % n_folds
    return folds


def drawn_by_class(classes: np.ndarray, seed: int) -> np.ndarray:
    """The rows (N,) class by class, those of each class in an order that is drawn."""
    order = np.random.default_rng(seed).permutation(len(classes))
    return order[np.argsort(classes[order], kind="stable")]


def folds_of_groups(mass: np.ndarray, n_folds: int, seed: int = 0) -> np.ndarray:
    """The fold (U,) of each group, by its mass of every class (U, K): groups stay whole.

    The largest groups come first, each to the fold that holds least of what it brings, by shares of
    the classes, and to none that would then hold all of a class: where every fold would, it is
    never held out.
    """
    total = mass.sum(0)
    share = mass / np.where(total > 0, total, 1.0)
    order = np.random.default_rng(seed).permutation(len(mass))
    order = order[np.argsort(-share.sum(1)[order], kind="stable")]
    held = np.zeros((n_folds, mass.shape[1]))
    folds = np.full(len(mass), NEVER)
    for group in order:
        brought = share[group]
        everything = (held + brought >= 1 - 1e-9).any(1)
        if everything.all():
            continue
        crowded = held @ brought + 1e-6 * held.sum(1)
        folds[group] = np.where(everything, np.inf, crowded).argmin()
        held[folds[group]] += brought
    return folds
