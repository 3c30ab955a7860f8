"""Is it scikit-learn's optimum? Against newton-cholesky at tol 1e-10, on raw data.

    python -m benchmarks.agreement

Prints, for each table, the objective above the better of the two optima, the certificate (which may
not be smaller) and the largest difference of a coefficient, relative to the largest coefficient.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.contenders import both_rows
from benchmarks.speed import objective
from benchmarks.workloads import WORKLOADS
from polylogit import SoftmaxClassifier

TABLES = ("wine", "cancer", "iris", "digits", "letter")


def main() -> None:
    """Print a line for each table; fail where the certificate is not a bound."""
    for name in TABLES:
        X, y = WORKLOADS[name].load()
        ours = SoftmaxClassifier(C=1.0).fit(X, y)
        theirs = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=10_000).fit(X, y)
        here = objective(X, y, 1.0, ours.model_.weight.numpy(), ours.model_.bias.numpy())
        there = objective(X, y, 1.0, *both_rows(theirs.coef_, theirs.intercept_))
        excess, gap = here - min(here, there), ours.certificate_.gap
        apart = np.abs(ours.coef_ - theirs.coef_).max() / np.abs(theirs.coef_).max()
        print(f"{name:8} excess {excess:.1e}  gap {gap:.1e}  coefficients apart {apart:.1e}")
        if gap + 1e-14 < excess:
            raise SystemExit(f"{name}: the certificate is no bound")


if __name__ == "__main__":
    main()
