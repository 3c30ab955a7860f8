"""Small data, and the same fits again by scikit-learn: leave-one-out's other witness."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from polylogit.data.arrays import from_arrays
from polylogit.training import prepare


def data(seed=0, n=30, d=2, k=3, spread=1.5):
    """X (N, D) in units that differ, and codes (N,) of which every class has three or more."""
    rng = np.random.default_rng(seed)
    codes = np.r_[np.repeat(np.arange(k), 3), rng.integers(k, size=n - 3 * k)]
    X = rng.normal(size=(n, d)) + spread * rng.normal(size=(k, d))[codes]
    return X * 2.0 ** np.arange(d) + 1, codes


def prepared(X, codes, weights=None, **options):
    return prepare(from_arrays(X, codes, sample_weight=weights), **options)


def logits_of(X, codes, C, weights, rows, intercept=True):
    """Logits (n, K), less their mean, of `rows` after scikit-learn's fit with these weights."""
    kept = weights > 0
    model = LogisticRegression(C=C, tol=1e-12, max_iter=5000, fit_intercept=intercept)
    model.fit(X[kept], codes[kept], sample_weight=weights[kept])
    z = model.decision_function(X[rows])
    z = np.stack([-z / 2, z / 2], 1) if z.ndim == 1 else z
    return z - z.mean(1, keepdims=True)


def left_out_logits(X, codes, C, weights=None, intercept=True):
    """Logits (N, K) of every row after a fit in which a unit of its weight is missing."""
    weights = np.ones(len(X)) if weights is None else weights
    rows = []
    for row in range(len(X)):
        without = weights.copy()
        without[row] -= min(1.0, without[row])
        rows.append(logits_of(X, codes, C, without, [row], intercept)[0])
    return np.array(rows)


def log_losses(logits, codes):
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return -logs[np.arange(len(codes)), codes]
