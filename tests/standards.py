"""Columns of very different sizes, in every way that holds them, and what standardising is."""

from fractions import Fraction

import numpy as np
import scipy.sparse
import torch
from oracle import stored

from polylogit.stored import StoredRows

DTYPES = (torch.float32, torch.float64)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)) * [1, 1e-12, 1e12, 1, 5, 1] + [0, 0, 0, 7.0, -3, 2]
X[:, 3] = 4.25  # constant
X[RNG.uniform(size=X.shape) < 0.5] *= 0  # sparse
X[:, 3] = 4.25


def standardised(X, centred=True):
    X = X.astype(np.float64)
    centre = X.mean(0) if centred else np.zeros(X.shape[1])
    scale = np.sqrt(np.square(X - centre).mean(0))
    constant = np.ptp(X, 0) == 0 if centred else np.zeros(X.shape[1], bool)
    Z = (X - centre) / np.where(constant, 1, scale)
    Z[:, constant] = 0
    return Z


def variants():
    yield "dense", X
    yield "float32", X.astype(np.float32)
    yield "fortran", np.asfortranarray(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    yield "reversed", X[::-1][::-1]
    yield "big-endian", X.astype(">f8")
    yield "stored", stored(X)
    yield "stored float32", stored(X.astype(np.float32))
    yield "stored big-endian", stored(X.astype(">f8"))
    yield "picked from stored", stored(np.repeat(X, 3, 0)).take(np.arange(1, 150, 3))
    yield "csr", scipy.sparse.csr_array(X)
    fixed = scipy.sparse.csr_array(X)
    for part in (fixed.data, fixed.indices, fixed.indptr):
        part.flags.writeable = False
    yield "csr read-only", fixed
    yield "csr float32", scipy.sparse.csr_array(X.astype(np.float32))


def in_memory(features):
    if isinstance(features, StoredRows):
        return features[:]
    return features.toarray() if scipy.sparse.issparse(features) else features


def used(design, each):
    """Of what belongs to the 6 columns: that of the columns which are used."""
    return each[:, [0, 1, 2, 4, 5]] if design.n_features == 5 else each


def deviations(rows, centred):
    """Root mean squares about the means, or about zero, by exact arithmetic."""
    exact = np.array([[Fraction(v) for v in row] for row in rows])
    about = exact - (exact.sum(0) / len(exact) if centred else 0)
    return np.sqrt([float(v) for v in (about**2).sum(0) / len(exact)])
