r"""`summarize(dataset)`: coefficients, their errors, tests, fit statistics and marginal effects.

Three ways to estimate, and every table says which it is from:

    unpenalised   maximum likelihood, C = inf: the default, and the only one with a valid test
    firth         Firth's penalised likelihood: where classes are separated, or on request
    penalised     a given C: errors are those of the shrunken estimate about its own mean, the
                  sandwich H^-1 I H^-1 with H the curvature with the penalty; no p-values, because
                  the bias of the shrinkage is in none of them

and three covariances: the inverse information I^-1, "hc0" I^-1 (sum_i w_i s_i s_i') I^-1 with the
score s_i of one row, and "cluster" with the scores summed over each group first, times
G/(G-1) (n-1)/(n - number of coefficients).

Weights are frequency weights: a row of weight 3 is three equal rows, and n is the sum of weights.

Sources: Greene, Econometric Analysis (2018), 14.8 and 18.2; Huber, Proc. 5th Berkeley Symposium
(1967); Cameron & Miller, Journal of Human Resources 50 (2015); McFadden (1974). See also
`likelihood` (Firth), `effects` and `polylogit.optim.separation`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import scipy.linalg
import scipy.stats
from scipy import sparse

from polylogit.data.dataset import Dataset
from polylogit.diagnostics.inference.ascent import maximise
from polylogit.diagnostics.inference.columns import (
    INTERCEPT,
    Coordinates,
    Left,
    coordinates,
    extreme,
    identified,
    orthonormal,
)
from polylogit.diagnostics.inference.effects import Change, changes, effect
from polylogit.diagnostics.inference.likelihood import Likelihood, State, inverted
from polylogit.diagnostics.inference.limit import Limit, limit_of
from polylogit.errors import DataError, OptionError, SolveError, TargetError
from polylogit.schema import Label, Schema, listed, shown
from polylogit.stored import StoredRows
from polylogit.training import checked_strength, penalty_of

Method = Literal["unpenalised", "firth", "penalised"]
Covariance = Literal["information", "hc0", "cluster"]
Contrasts = Literal["reference", "sum-to-zero"]

MOST_COEFFICIENTS = 3000  # their covariance is a dense matrix
OPEN = 1e-6  # in a direction of length 1: less is rounding


@dataclass(frozen=True)
class Estimate:
    """One number with its error. `z` and `p` are None where no test is valid."""

    estimate: float
    error: float
    low: float
    high: float
    z: float | None
    p: float | None


@dataclass(frozen=True)
class Coefficient(Estimate):
    """Of one column in one class. `separated`: the likelihood rises for ever in its direction."""

    label: Label
    column: str
    separated: bool


@dataclass(frozen=True)
class Effect(Estimate):
    """The average change in the probability of a class; `change` is "derivative" or "step"."""

    label: Label
    column: str
    change: str


@dataclass(frozen=True)
class ChiSquare:
    """A chi-square test; all None where there is no valid one."""

    name: str
    statistic: float | None
    df: int
    p: float | None


@dataclass(frozen=True, eq=False)
class Summary:
    """What the rows say about the coefficients; `summarize` tells the words.

    `covariance_matrix` belongs to `coefficients`, in their order: class by class, and within a
    class `columns`. `reference` is None for sum-to-zero. `parameters` counts free coefficients,
    of a penalised fit the effective ones, tr(H^-1 I). `separated` names (column, class);
    `separation_checked` is False where the question was too large: then nothing is tested.
    Losses are in nats, summed.
    """

    source: str
    classes: tuple[Label, ...]
    columns: tuple[str, ...]
    reference: Label | None
    method: Method
    C: float
    covariance: Covariance
    n_clusters: int | None
    level: float
    n: float
    whole_weights: bool
    loglik: float
    loglik_null: float | None
    parameters: float
    aic: float
    bic: float
    mcfadden: float | None
    likelihood_ratio: ChiSquare
    coefficients: tuple[Coefficient, ...]
    covariance_matrix: np.ndarray
    wald: tuple[ChiSquare, ...]
    effects: tuple[Effect, ...]
    left_out: tuple[Left, ...]
    separation_checked: bool

    @property
    def separated(self) -> tuple[tuple[str, Label], ...]:
        """Every (column, class) without a finite maximum likelihood estimate."""
        return tuple((c.column, c.label) for c in self.coefficients if c.separated)

    def matrix(self, what: str = "estimate") -> np.ndarray:
        """A field of the coefficients as rows of classes (K - 1, q), or (K, q) for sum-to-zero."""
        found = [getattr(c, what) for c in self.coefficients]
        values = [np.nan if value is None else value for value in found]
        return np.array(values).reshape(-1, len(self.columns))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; each table says what it is from, and what is unknown is null."""
        origin = {"method": self.method, "covariance": self.covariance, "level": self.level}
        return {
            "source": self.source,
            "n": self.n,
            "whole_weights": self.whole_weights,
            "classes": list(self.classes),
            "reference": self.reference,
            "contrasts": "sum-to-zero" if self.reference is None else "reference",
            "C": self.C if math.isfinite(self.C) else None,
            "n_clusters": self.n_clusters,
            "fit": {
                "method": self.method,
                "log_likelihood": self.loglik,
                "log_likelihood_null": self.loglik_null,
                "parameters": self.parameters,
                "aic": self.aic,
                "bic": self.bic,
                "mcfadden": self.mcfadden,
                "likelihood_ratio": vars(self.likelihood_ratio),
            },
            "coefficients": origin | {"rows": [vars(c) for c in self.coefficients]},
            "wald": origin | {"rows": [vars(test) for test in self.wald]},
            "effects": origin | {"rows": [vars(e) for e in self.effects]},
            "left_out": [vars(left) for left in self.left_out],
            "separated": [{"column": name, "label": label} for name, label in self.separated],
            "separation_checked": self.separation_checked,
        }


def summarize(
    dataset: Dataset,
    *,
    reference: Label | None = None,
    contrasts: Contrasts = "reference",
    C: float = math.inf,
    firth: bool = False,
    fit_intercept: bool = True,
    robust: Literal["hc0"] | None = None,
    cluster: Any = None,
    level: float = 0.95,
) -> Summary:
    """Refit `dataset` for inference and say what its coefficients are worth.

    Coefficients are log odds against the class `reference`, by default the first, or with
    `contrasts="sum-to-zero"` against the mean of all classes. Of a categorical column the first
    category is the baseline. The refit has no penalty unless a finite `C` is asked for. Where
    classes are separated, and with `firth=True`, Firth's penalised likelihood is used instead:
    everything is finite, and a coefficient without a finite maximum likelihood estimate is marked,
    with neither z nor p.

    `robust="hc0"` and `cluster`, a group for each row (N,), choose the covariance. `level` is that
    of the confidence intervals, estimate -+ quantile times error.

    Raises `OptionError` for an option out of its range, `TargetError` for rows of probabilities,
    `DataError` where there is nothing to estimate or the covariance would be too large,
    `SolveError` where it is singular.

    >>> from polylogit.data.arrays import from_arrays
    >>> data = from_arrays([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], list("aababb"))
    >>> summary = summarize(data)
    >>> summary.method, summary.columns, [round(c.estimate, 4) for c in summary.coefficients]
    ('unpenalised', ('(intercept)', 'x0'), [-3.0351, 1.214])
    """
    problem = _problem(dataset, C, fit_intercept, cluster)
    options = _options(problem, reference, contrasts, C, firth, robust, level)
    return _summary(problem, options)


@dataclass(frozen=True, eq=False)
class _Problem:
    """The rows that count, and the columns that can be told apart."""

    dataset: Dataset
    matrix: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None
    kept: np.ndarray
    left_out: tuple[Left, ...]
    intercept: bool
    penalised: bool

    @property
    def schema(self) -> Schema:
        return self.dataset.schema

    @property
    def n_classes(self) -> int:
        return len(self.schema.classes)

    @property
    def n(self) -> float:
        return float(self.weights.sum())

    @property
    def columns(self) -> tuple[str, ...]:
        names = tuple(self.schema.names[d] for d in self.kept)
        return (INTERCEPT, *names) if self.intercept else names

    @cached_property
    def plain(self) -> Coordinates:
        """In which separation is asked for: what a column opens is not spread over others."""
        return coordinates(self.matrix, self.weights, self.intercept)

    @cached_property
    def coordinates(self) -> Coordinates:
        """Those of the fit; a penalty makes do with columns that repeat each other."""
        return self.plain if self.penalised else orthonormal(self.plain, self.weights)

    @cached_property
    def likelihood(self) -> Likelihood:
        hits = np.eye(self.n_classes)[self.codes][:, 1:]
        return Likelihood(self.coordinates.rows, hits, self.weights)

    @cached_property
    def transform(self) -> np.ndarray:
        """From flat coefficients of the shifted columns to those of the original ones."""
        return np.kron(np.eye(self.n_classes - 1), self.coordinates.to_user)


@dataclass(frozen=True)
class _Options:
    reference: int | None
    C: float
    firth: bool
    covariance: Covariance
    level: float

    def contrast(self, n_classes: int) -> np.ndarray:
        """From coefficients against class 0 (J,) to those that are shown."""
        identity = np.eye(n_classes)
        if self.reference is None:
            return (identity - 1 / n_classes)[:, 1:]
        against = identity - identity[self.reference]
        shown_ones: np.ndarray = np.delete(against, self.reference, axis=0)[:, 1:]
        return shown_ones


# ----------------------------------------------------------------------------------------- input


def _problem(dataset: Dataset, C: float, intercept: bool, cluster: Any) -> _Problem:
    codes = _codes_of(dataset)
    groups = None if cluster is None else _groups_of(cluster, dataset.n_rows)
    weights = np.ones(dataset.n_rows) if dataset.weights is None else dataset.weights
    used = weights > 0
    if not isinstance(intercept, bool):
        raise OptionError(f"fit_intercept must be True or False, not {intercept!r}")
    matrix = _dense(dataset)[used]
    _refuse_extreme(dataset, matrix)
    kept, left_out = np.arange(matrix.shape[1]), cast("tuple[Left, ...]", ())
    penalised = checked_strength(C) != math.inf
    if not penalised:
        kept, left_out = identified(matrix, dataset.schema, intercept)
    _refuse_empty(dataset, codes[used], len(kept))
    groups = None if groups is None else _used_groups(groups[used])
    return _Problem(
        dataset,
        matrix[:, kept],
        codes[used],
        weights[used],
        groups,
        kept,
        left_out,
        intercept,
        penalised,
    )


def _codes_of(dataset: Dataset) -> np.ndarray:
    if dataset.targets is None:
        raise TargetError(f"{dataset.source} holds no targets; name the column with the labels")
    if dataset.targets.ndim != 1:
        raise TargetError(
            f"{dataset.source}: the targets are rows of probabilities {dataset.targets.shape}; "
            "inference needs one label a row, for a probability has no sampling error of a label"
        )
    return dataset.targets


def _groups_of(cluster: Any, n_rows: int) -> np.ndarray:
    groups = np.asarray(cluster)
    if groups.shape != (n_rows,):
        raise OptionError(
            f"cluster must name a group for each of the {n_rows} rows, not {groups.shape}"
        )
    if groups.dtype.kind == "f" and np.isnan(groups).any():
        raise OptionError(
            f"cluster has no group in row {int(np.isnan(groups).argmax())}: it is nan"
        )
    codes = np.unique(
        groups.astype(str) if groups.dtype.kind == "O" else groups, return_inverse=True
    )[1]
    return np.asarray(codes)


def _used_groups(groups: np.ndarray) -> np.ndarray:
    """Numbered again from 0: (N,) of the rows of positive weight."""
    found, codes = np.unique(groups, return_inverse=True)
    if len(found) == 1:
        raise OptionError(
            "cluster puts all rows of positive weight into one group; at least two are needed"
        )
    return np.asarray(codes)


def _dense(dataset: Dataset) -> np.ndarray:
    """(N, D) float64."""
    K, D = len(dataset.schema.classes), dataset.n_features
    if (K - 1) * (D + 1) > MOST_COEFFICIENTS:
        raise DataError(
            f"{dataset.source}: {D} columns and {K} classes have {(K - 1) * (D + 1)} coefficients; "
            f"inference takes at most {MOST_COEFFICIENTS}: leave out columns or join classes"
        )
    features = dataset.features
    if isinstance(features, StoredRows):
        features = np.concatenate([np.asarray(part) for _, part in features.blocks()])
    dense = cast("Any", features).toarray() if sparse.issparse(features) else features
    return np.asarray(dense, dtype=np.float64)


def _refuse_extreme(dataset: Dataset, matrix: np.ndarray) -> None:
    d = extreme(matrix)
    if d is not None:
        raise DataError(
            f"{dataset.source}: the largest number of column {dataset.schema.names[d]!r} is "
            f"{np.abs(matrix[:, d]).max():.3g}, whose square is beyond float64; express the "
            f"column in another unit"
        )


def _refuse_empty(dataset: Dataset, codes: np.ndarray, n_kept: int) -> None:
    classes = dataset.schema.classes
    empty = np.flatnonzero(np.bincount(codes, minlength=len(classes)) == 0)
    if len(empty):
        raise TargetError(
            f"{dataset.source}: the class {listed([classes[k] for k in empty])} has no row of "
            "positive weight, so its coefficients cannot be estimated; leave the class out"
        )
    if n_kept == 0:
        raise DataError(f"{dataset.source}: every column is constant; there is nothing to estimate")


def _options(
    problem: _Problem,
    reference: Label | None,
    contrasts: str,
    C: float,
    firth: bool,
    robust: str | None,
    level: float,
) -> _Options:
    if contrasts not in ("reference", "sum-to-zero"):
        raise OptionError(f"contrasts must be 'reference' or 'sum-to-zero', not {contrasts!r}")
    if robust not in (None, "hc0"):
        raise OptionError(f"robust must be None or 'hc0', not {robust!r}")
    if robust and problem.groups is not None:
        raise OptionError("robust and cluster are two covariances; ask for one of them")
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise OptionError(f"level must lie between 0 and 1, such as 0.95, not {level!r}")
    strength = checked_strength(C)
    if firth and strength != math.inf:
        raise OptionError(f"firth=True is a penalty of its own; leave out C, which is {C!r}")
    covariance: Covariance = "information" if problem.groups is None else "cluster"
    return _Options(
        _reference(reference, contrasts, problem.schema.classes),
        strength,
        bool(firth),
        "hc0" if robust else covariance,
        float(level),
    )


def _reference(reference: Label | None, contrasts: str, classes: tuple[Label, ...]) -> int | None:
    if contrasts == "sum-to-zero":
        if reference is not None:
            raise OptionError(f"sum-to-zero contrasts have no reference; leave out {reference!r}")
        return None
    if reference is None:
        return 0
    if reference not in classes:
        raise OptionError(
            f"reference {shown(reference)} is no class of the data; they are {listed(classes)}"
        )
    return classes.index(reference)


# -------------------------------------------------------------------------------------- estimates


@dataclass(frozen=True, eq=False)
class _Found:
    """Estimates against class 0: `covariance` (Jq, Jq) of the original columns' coefficients."""

    method: Method
    state: State
    coefficients: np.ndarray
    covariance: np.ndarray
    parameters: float
    basis: np.ndarray | None

    @property
    def tested(self) -> bool:
        """Whether a test is valid where nothing is separated, and it is known where that is."""
        return self.method != "penalised" and self.basis is not None


def _found(problem: _Problem, options: _Options) -> _Found:
    penalised = options.C != math.inf
    limit = None if penalised else _limit(problem)
    method = _method(options, limit)
    likelihood = _likelihood(problem, options, method)
    state = _estimated(problem, likelihood, method, limit)
    inverse = inverted(likelihood.curvature(state))
    inner = _bread(problem, options, method, state, inverse)
    T = problem.transform
    return _Found(
        method,
        state,
        state.coefficients @ problem.coordinates.to_user.T,
        T @ inner @ T.T,
        float(np.trace(inverse @ state.information)) if penalised else float(len(inverse)),
        None if limit is None else limit.basis,
    )


def _limit(problem: _Problem) -> Limit:
    return limit_of(problem.likelihood, problem.codes, problem.plain.rows)


def _method(options: _Options, limit: Limit | None) -> Method:
    if limit is None:
        return "penalised"
    return "firth" if options.firth or limit.separated else "unpenalised"


def _likelihood(problem: _Problem, options: _Options, method: Method) -> Likelihood:
    if method == "firth":
        return replace(problem.likelihood, firth=True)
    if method == "unpenalised":
        return problem.likelihood
    alpha, _ = penalty_of(options.C, 0.0, problem.n, problem.n_classes)
    J = problem.n_classes - 1
    weights = problem.coordinates.to_user[int(problem.intercept) :]
    # |W|^2 of the symmetric weights whose differences to class 0 these are
    shared = np.eye(J) - 1 / problem.n_classes
    return replace(
        problem.likelihood, penalty=alpha * problem.n * np.kron(shared, weights.T @ weights)
    )


def _estimated(
    problem: _Problem, likelihood: Likelihood, method: Method, limit: Limit | None
) -> State:
    """The maximum; from zero, unless the likelihood led there already."""
    if limit is not None and method == "unpenalised":
        if limit.proven:
            return limit.state
        if limit.basis is None:
            raise SolveError(_unknown(problem))
    return maximise(likelihood)


def _unknown(problem: _Problem) -> str:
    rows, q = problem.likelihood.rows.shape
    return (
        f"{problem.dataset.source}: no maximum of the likelihood is proven, so the classes may be "
        f"separated; and {rows} rows, {q} columns and {problem.n_classes} classes are too many for "
        "the linear program that would tell; try firth=True or a finite C, or fewer columns"
    )


def _bread(
    problem: _Problem, options: _Options, method: Method, state: State, inverse: np.ndarray
) -> np.ndarray:
    """The covariance in the coordinates of the fit."""
    if options.covariance == "information":
        inner = inverse @ state.information @ inverse if method == "penalised" else inverse
        return np.asarray(inner)
    likelihood = problem.likelihood
    scores = np.einsum("ij,id->ijd", likelihood.hits - state.probabilities, likelihood.rows)
    flat = scores.reshape(len(scores), -1)
    if problem.groups is None:
        return np.asarray(inverse @ (flat.T @ (problem.weights[:, None] * flat)) @ inverse)
    G, spare = int(problem.groups.max()) + 1, problem.n - flat.shape[1]
    if spare <= 0:
        raise DataError(
            f"{problem.dataset.source}: {problem.n:g} rows and {flat.shape[1]} coefficients leave "
            "the factor (n-1)/(n-q) of cluster without meaning; leave out columns, or cluster"
        )
    sums = np.zeros((G, flat.shape[1]))
    np.add.at(sums, problem.groups, problem.weights[:, None] * flat)
    correction = G / (G - 1) * (problem.n - 1) / spare
    return np.asarray(correction * inverse @ (sums.T @ sums) @ inverse)


# ----------------------------------------------------------------------------------------- tables


def _summary(problem: _Problem, options: _Options) -> Summary:
    found, q = _found(problem, options), len(problem.columns)
    contrast = options.contrast(problem.n_classes)
    turn = np.kron(contrast, np.eye(q))
    covariance = turn @ found.covariance @ turn.T
    open_ones = _open(problem, found, options)
    classes, n = problem.schema.classes, problem.n
    reference = None if options.reference is None else classes[options.reference]
    labels = tuple(label for label in classes if label != reference or reference is None)
    null, ratio = _against_null(problem, found)
    return Summary(
        source=problem.dataset.source,
        classes=classes,
        columns=problem.columns,
        reference=reference,
        method=found.method,
        C=options.C,
        covariance=options.covariance,
        n_clusters=None if problem.groups is None else int(problem.groups.max()) + 1,
        level=options.level,
        n=n,
        whole_weights=bool((problem.weights == np.round(problem.weights)).all()),
        loglik=found.state.loglik,
        loglik_null=null,
        parameters=found.parameters,
        aic=2 * found.parameters - 2 * found.state.loglik,
        bic=math.log(n) * found.parameters - 2 * found.state.loglik,
        mcfadden=None if null is None else 1 - found.state.loglik / null,
        likelihood_ratio=ratio,
        coefficients=tuple(
            Coefficient(
                **vars(one), label=labels[at // q], column=problem.columns[at % q], separated=gone
            )
            for at, (one, gone) in enumerate(
                _estimates(contrast @ found.coefficients, covariance, open_ones, found, options)
            )
        ),
        covariance_matrix=covariance,
        wald=tuple(_wald_tests(problem, found)),
        effects=tuple(_effects(problem, found, options)),
        left_out=problem.left_out,
        separation_checked=found.method == "penalised" or found.basis is not None,
    )


def _open(problem: _Problem, found: _Found, options: _Options) -> np.ndarray:
    """Which of the coefficients shown have no finite maximum likelihood estimate (R, q)."""
    contrast = options.contrast(problem.n_classes)
    if found.basis is None:
        return np.zeros((len(contrast), len(problem.columns)), dtype=bool)
    differences = (found.basis[:, 1:] - found.basis[:, :1]) @ problem.plain.to_user.T
    moves = np.einsum("rj,mjd->mrd", contrast, differences)
    sizes = np.abs(problem.plain.to_user).max(1)
    return np.asarray((np.abs(moves) > OPEN * sizes).any(0))


def _estimates(
    values: np.ndarray,
    covariance: np.ndarray,
    without_test: np.ndarray,
    found: _Found,
    options: _Options,
) -> Iterator[tuple[Estimate, bool]]:
    """Numbers with their errors, and whether each is without a test."""
    errors = np.sqrt(np.diag(covariance).clip(min=0.0))
    reach = float(scipy.stats.norm.ppf((1 + options.level) / 2)) * errors
    for value, error, far, barred in zip(
        values.ravel(), errors, reach, without_test.ravel(), strict=True
    ):
        z = value / error if found.tested and not barred and error > 0 else None
        p = None if z is None else float(2 * scipy.stats.norm.sf(abs(z)))
        plain = None if z is None else float(z)
        one = Estimate(float(value), float(error), float(value - far), float(value + far), plain, p)
        yield one, bool(barred)


def _against_null(problem: _Problem, found: _Found) -> tuple[float | None, ChiSquare]:
    """The log-likelihood of the class shares alone, and the test of everything against it."""
    df = (problem.n_classes - 1) * len(problem.kept)
    name = "all coefficients but the intercepts"
    if not problem.intercept:  # then the model of shares is not a special case of this one
        return None, ChiSquare(name, None, df, None)
    mass = np.bincount(problem.codes, problem.weights)
    null = float(mass @ np.log(mass / mass.sum()))
    if found.method != "unpenalised":
        return null, ChiSquare(name, None, df, None)
    statistic = 2 * (found.state.loglik - null)
    return null, ChiSquare(name, statistic, df, float(scipy.stats.chi2.sf(statistic, df)))


def _wald_tests(problem: _Problem, found: _Found) -> Iterator[ChiSquare]:
    """For each column of the schema: are all coefficients of all its columns 0?"""
    J, q = found.coefficients.shape
    lost = _lost_columns(problem, found)
    for name, columns in _columns_of_features(problem):
        at = (np.arange(J)[:, None] * q + np.array(columns)).ravel()
        if not found.tested or lost[columns].any():
            yield ChiSquare(name, None, len(at), None)
            continue
        values, part = found.coefficients.ravel()[at], found.covariance[np.ix_(at, at)]
        # fewer groups than coefficients leave a covariance of lower rank
        inverse, df = scipy.linalg.pinvh(part, return_rank=True)
        statistic = float(values @ inverse @ values)
        yield ChiSquare(name, statistic, int(df), float(scipy.stats.chi2.sf(statistic, df)))


def _columns_of_features(problem: _Problem) -> Iterator[tuple[str, list[int]]]:
    place = {d: at + problem.intercept for at, d in enumerate(problem.kept.tolist())}
    start = 0
    for feature in problem.schema.features:
        stop = start + len(feature.names)
        columns = [place[d] for d in range(start, stop) if d in place]
        if columns:
            yield feature.name, columns
        start = stop


def _lost_columns(problem: _Problem, found: _Found) -> np.ndarray:
    """Columns (q,) with a separated coefficient in some class, whatever the reference."""
    against_first = _Options(0, math.inf, False, "information", 0.95)
    return np.asarray(_open(problem, found, against_first).any(0))


def _effects(problem: _Problem, found: _Found, options: _Options) -> Iterator[Effect]:
    rows = problem.matrix
    if problem.intercept:
        rows = np.hstack([np.ones((len(rows), 1)), rows])
    lost = _lost_columns(problem, found)
    for change in changes(problem.schema, problem.kept.tolist(), problem.intercept):
        yield from _effect_rows(change, rows, problem, found, options, bool(lost[change.column]))


def _effect_rows(
    change: Change,
    rows: np.ndarray,
    problem: _Problem,
    found: _Found,
    options: _Options,
    lost: bool,
) -> Iterator[Effect]:
    values, slope = effect(change, rows, problem.weights, found.coefficients)
    covariance = slope @ found.covariance @ slope.T
    kind = "derivative" if change.off is None else "step"
    barred = np.full(len(values), lost)
    estimates = _estimates(values, covariance, barred, found, options)
    for label, (one, _) in zip(problem.schema.classes, estimates, strict=True):
        yield Effect(**vars(one), label=label, column=change.name, change=kind)
