"""What is fitted: real tables, embeddings and text, each with its C. Nothing is scaled.

The real image tables come from `../shared/data` where that exists and from OpenML otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse
from sklearn import datasets

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

Rows = Any  # ndarray or CSR
Loaded = tuple[Rows, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A named problem: N rows of D features in K classes, and the C to fit it with.

    Those `beside` the others were chosen after the solver was made to fit them well: they are
    raced and shown, and no mean counts them.
    """

    name: str
    load: Callable[[], Loaded]
    C: float
    about: str
    beside: bool = False


def _bundled(loader: Callable[..., Any]) -> Callable[[], Loaded]:
    return lambda: loader(return_X_y=True)


def _table(name: str, openml: dict[str, Any], rows: int | None = None) -> Callable[[], Loaded]:
    def load() -> Loaded:
        path = SHARED / f"{name}.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as file:
                return file["X"].astype(np.float64), file["y"].astype(np.int64)
        X, y = datasets.fetch_openml(**openml, return_X_y=True, as_frame=False, parser="auto")
        return X[:rows].astype(np.float64), np.unique(y[:rows], return_inverse=True)[1]

    return load


def _mnist(scale: float) -> Callable[[], Loaded]:
    load = _table("mnist10k", {"name": "mnist_784", "version": 1}, 10_000)

    def scaled() -> Loaded:
        X, y = load()
        return X * scale, y

    return scaled


def embeddings(n: int, d: int, k: int, seed: int = 0, *, balanced: bool = False) -> Loaded:
    """Unit rows (n, d) in float32 around k class means, with a spectrum that decays as 1/j."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, d + 1) ** -0.5
    means = 0.2 * rng.normal(size=(k, d)) * spread
    y = np.arange(n) % k if balanced else rng.integers(k, size=n)
    X = means[y] + rng.normal(size=(n, d)) * spread
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32), y


def text(n: int, d: int, per_row: int, k: int, seed: int = 0) -> Loaded:
    """Tf-idf rows: words by Zipf's law, k topics with words of their own, class sizes by 1/rank."""
    rng = np.random.default_rng(seed)
    sizes = 1.0 / np.arange(1, k + 1) ** 0.7
    y = np.r_[np.arange(k), rng.choice(k, size=n - k, p=sizes / sizes.sum())]
    lengths = 1 + rng.poisson(1.1 * per_row - 1, size=n)
    row = np.repeat(np.arange(n), lengths)
    common = _zipf(rng, d, len(row))
    own = (_zipf(rng, d // 10, len(row)) + 997 * (1 + y[row])) % d  # a topic's own vocabulary
    word = np.where(rng.uniform(size=len(row)) < 0.35, own, common)
    places = row.astype(np.int32), word.astype(np.int32)  # sag and saga read no others
    counts = scipy.sparse.csr_array((np.ones(len(row)), places), shape=(n, d))
    counts.sum_duplicates()
    return _tf_idf(counts), y


def _zipf(rng: np.random.Generator, d: int, size: int) -> np.ndarray:
    share = 1.0 / np.arange(1, d + 1)
    return rng.choice(d, size=size, p=share / share.sum())


def _tf_idf(counts: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    seen = np.bincount(counts.indices, minlength=counts.shape[1])
    weighted = counts.copy()
    weighted.data = (1 + np.log(counts.data)) * (np.log((1 + counts.shape[0]) / (1 + seen)) + 1)[
        counts.indices
    ]
    norms = np.sqrt(weighted.power(2).sum(1))
    weighted.data /= np.repeat(norms, np.diff(weighted.indptr))
    return weighted.astype(np.float32)


def badly_scaled(n: int = 5000, d: int = 30, k: int = 5, seed: int = 0) -> Loaded:
    """Columns whose sizes span a factor of 1e6, shifted, in five classes of very unequal size."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, d))
    logits = 0.5 * Z @ rng.normal(size=(d, k)) + np.log([0.6, 0.25, 0.1, 0.03, 0.02])
    y = (logits + rng.gumbel(size=(n, k))).argmax(1)
    sizes = 10.0 ** np.linspace(-3, 3, d)
    return (Z + rng.normal(size=d)) * sizes, y


def rotated(n: int, d: int, k: int) -> Loaded:
    """The same with the spectrum spread over all columns, by an orthogonal transform."""
    X, y = embeddings(n, d, k)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=d)
    return scipy.fft.dct(X * signs, norm="ortho").astype(np.float32), y


def factors(n: int, d: int, k: int, seed: int = 0) -> Loaded:
    """Columns that share d/5 factors, of sizes that spread by e^2 and about means of their own."""
    rng = np.random.default_rng(seed)
    shared = max(2, d // 5)
    Z = 0.5 * rng.normal(size=(n, shared)) @ rng.normal(size=(shared, d)) + rng.normal(size=(n, d))
    X = Z * np.exp(2 * rng.normal(size=d)) + 10 * rng.normal(size=d)
    unit = (X - X.mean(0)) / X.std(0)
    y = (0.5 * unit @ rng.normal(size=(d, k)) + rng.gumbel(size=(n, k))).argmax(1)
    return X, y


def indicators(n: int, columns: int, levels: int, k: int, seed: int = 0) -> Loaded:
    """One-hot CSR rows of categories with unequal levels, each of which speaks for some classes."""
    rng = np.random.default_rng(seed)
    level = np.minimum((levels * rng.uniform(size=(n, columns)) ** 3).astype(np.int32), levels - 1)
    places = level + levels * np.arange(columns, dtype=np.int32)
    d = columns * levels
    logits = 0.5 * rng.normal(size=(d, k))[places].sum(1)
    y = (logits + rng.gumbel(size=(n, k))).argmax(1)
    ends = np.arange(0, n * columns + 1, columns, dtype=np.int32)
    return scipy.sparse.csr_array((np.ones(n * columns), places.ravel(), ends), shape=(n, d)), y


WORKLOADS: dict[str, Workload] = {
    work.name: work
    for work in (
        Workload("iris", _bundled(datasets.load_iris), 1.0, "150 x 4 x 3"),
        Workload("wine", _bundled(datasets.load_wine), 1.0, "178 x 13 x 3, raw"),
        Workload("cancer", _bundled(datasets.load_breast_cancer), 1.0, "569 x 30 x 2, raw"),
        Workload("digits", _bundled(datasets.load_digits), 1.0, "1797 x 64 x 10, raw"),
        Workload("scales", badly_scaled, 1.0, "5000 x 30 x 5, columns of size 1e-3 to 1e3"),
        Workload(
            "letter",
            _table("letter", {"name": "letter", "version": 1}),
            1.0,
            "20000 x 16 x 26",
        ),
        Workload("mnist", _mnist(1 / 255), 1.0, "10000 x 784 x 10, pixels 0 to 1"),
        Workload("mnist-raw", _mnist(1.0), 1.0, "10000 x 784 x 10, pixels 0 to 255: separable"),
        Workload(
            "embeddings-20", lambda: embeddings(20_000, 384, 20), 100.0, "20000 x 384 x 20, float32"
        ),
        Workload(
            "embeddings-100",
            lambda: embeddings(50_000, 384, 100),
            100.0,
            "50000 x 384 x 100, float32",
        ),
        Workload(
            "text-6",
            lambda: text(60_000, 10_000, 6, 58),
            1.0,
            "60000 x 10000 x 58, CSR, 6 non-zeros a row",
        ),
        Workload(
            "text-60",
            lambda: text(60_000, 10_000, 60, 58),
            1.0,
            "60000 x 10000 x 58, CSR, 60 non-zeros a row",
        ),
        Workload(
            "two-classes",
            lambda: factors(100_000, 100, 2),
            1.0,
            "100000 x 100 x 2, correlated columns of unequal size",
            beside=True,
        ),
        Workload(
            "indicators",
            lambda: indicators(100_000, 20, 5, 12),
            10.0,
            "100000 x 100 x 12, CSR, 20 one-hot categories",
            beside=True,
        ),
        Workload(
            "embeddings-wide",
            lambda: rotated(10_000, 4096, 10),
            1.0,
            "10000 x 4096 x 10, float32",
            beside=True,
        ),
        Workload(
            "few-shot",
            lambda: embeddings(500, 1024, 100, balanced=True),
            100.0,
            "500 x 1024 x 100, float32, 5 rows of each class",
            beside=True,
        ),
        Workload(
            "genes", lambda: factors(100, 20_000, 4), 1.0, "100 x 20000 x 4, raw", beside=True
        ),
    )
}
