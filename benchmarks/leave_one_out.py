"""Leave-one-out from one fit against exact refits of every row, and what it costs.

    python -m benchmarks.leave_one_out            # iris, wine, digits: several minutes
    python -m benchmarks.leave_one_out iris wine
    python -m benchmarks.leave_one_out path embeddings-20 mnist

A line for each penalty 1/C: the exact leave-one-out loss, the errors of the formula alone and of
the hybrid, how many rows it refitted, and its time as a multiple of one fit and of 5-fold
cross-validation at the same C. Features are standardised, for digits divided by 16 (digits-std is
digits standardised).

With `path` a line for each C of the path on which C is chosen, for raw workloads of
`benchmarks.workloads`: leave-one-out with its error, and how many rows were refitted; then the
seconds of choosing C so, of 5-fold cross-validation on the same path, and of one fit at that C.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import datasets

from benchmarks.workloads import WORKLOADS
from polylogit.choice import choose_C, fit
from polylogit.cross_validation import cross_validate
from polylogit.data.arrays import from_arrays
from polylogit.diagnostics.leave_one_out import leave_one_out
from polylogit.training import Prepared, prepare

PENALTIES = {
    "iris": (100.0, 10.0, 1.0, 0.1, 0.01, 0.001),
    "wine": (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001),
    "digits": (100.0, 10.0, 1.0, 0.1, 0.01),
    "digits-std": (1000.0, 100.0, 10.0, 1.0, 0.1),
}
FOLDS = 5
REPEATS = 3  # of which the fastest counts
PATIENT = 20.0  # seconds of a choice, up to which it is made again


def rows_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """X and y of a data set of scikit-learn, scaled."""
    X, y = getattr(datasets, f"load_{name.split('-')[0]}")(return_X_y=True)
    return (
        X / 16 if name == "digits" else (X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1)
    ), y


def seconds(work: Callable[[], Any]) -> float:
    """The fastest of a few runs."""
    best = np.inf
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return float(best)


def compare(name: str) -> None:
    """Print the table of one data set."""
    X, y = rows_of(name)
    whole = prepare(from_arrays(X, y))
    folds = [_without(X, y, fold) for fold in range(FOLDS)]
    for penalty in PENALTIES[name]:
        C = 1 / penalty
        whole_fit = whole.fit(C)
        exact = leave_one_out(whole, whole_fit, refits="all").loss
        formula = leave_one_out(whole, whole_fit, refits="none").loss
        hybrid = leave_one_out(whole, whole_fit)
        cost = seconds(lambda fitted=whole_fit: leave_one_out(whole, fitted))
        once = seconds(lambda C=C: whole.fit(C))
        crossed = seconds(lambda C=C: [fold.fit(C) for fold in folds])
        print(
            f"{name:7s} {penalty:8g} {exact:9.5f} {formula / exact - 1:+9.2%} "
            f"{hybrid.loss / exact - 1:+9.3%} {hybrid.n_refitted:6d} {cost:8.3f} "
            f"{cost / once:8.1f} {cost / crossed:8.1f}",
            flush=True,
        )


def _without(X: np.ndarray, y: np.ndarray, fold: int) -> Prepared:
    kept = np.random.default_rng(0).permutation(len(X)) % FOLDS != fold
    return prepare(from_arrays(X[kept], y[kept]))


def along_the_path(name: str) -> None:
    """What choosing C costs on a workload, against cross-validation and one fit."""
    X, y = WORKLOADS[name].load()
    dataset = from_arrays(X, y)

    def choose() -> Any:
        return choose_C(dataset)

    def fold() -> Any:
        return cross_validate(dataset, [line.C for line in choice.table], folds=FOLDS)

    def once() -> Any:
        return fit(dataset, C=choice.C)

    choice, choosing = timed(choose)
    for line in choice.table:
        print(
            f"{name:10} {line.C:8.3g} {line.loss:9.5f} +- {line.standard_error:.5f} "
            f"{line.n_refitted:6d} refits",
            flush=True,
        )
    folded, folding = timed(fold)
    seconds = [choosing, folding, timed(once)[1]]
    for _ in range(REPEATS - 1 if choosing < PATIENT else 0):  # in turns, and the fastest counts
        seconds = [min(seconds[i], timed(work)[1]) for i, work in enumerate((choose, fold, once))]
    choosing, folding, fitting = seconds
    print(
        f"{name:10} C = {choice.C:.3g} in {choosing:.2f} s; {FOLDS}-fold C = {folded.C:.3g} in "
        f"{folding:.2f} s, ratio {choosing / folding:.2f}; one fit {fitting:.3f} s, "
        f"ratio {choosing / fitting:.0f}",
        flush=True,
    )


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and its seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def main() -> None:
    """Print the tables of the data sets named, or of all."""
    if sys.argv[1:2] == ["path"]:
        choose_C(from_arrays(*WORKLOADS["iris"].load()))  # loads what it needs
        for name in sys.argv[2:]:
            along_the_path(name)
        return
    print("data     penalty     exact   formula    hybrid refits  seconds    x fit  x 5-fold")
    for name in sys.argv[1:] or PENALTIES:
        compare(name)


if __name__ == "__main__":
    main()
