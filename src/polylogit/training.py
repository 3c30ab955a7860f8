"""Where data meets optimisation: `fit(dataset)` gives a model and the proof that goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from polylogit.checkpoint import Checkpoint, fingerprint
from polylogit.data.dataset import Dataset, Rows
from polylogit.data.factors import factors_of
from polylogit.data.offsets import offsets_of
from polylogit.design import Design, design_of
from polylogit.errors import DataError, OptionError, SchemaError, TargetError
from polylogit.model import SoftmaxModel
from polylogit.optim.cost import Cost
from polylogit.optim.device import CPU, checked_device
from polylogit.optim.problem import Progress, Solution, Status
from polylogit.optim.row_span import RowSpan, fits
from polylogit.optim.run import Keep
from polylogit.optim.settings import Settings
from polylogit.optim.solve import solve
from polylogit.optim.targets import Distributions, Labels, Targets
from polylogit.optim.threads import threads_of_torch, threads_to_read
from polylogit.schema import Label, listed
from polylogit.storage import Path
from polylogit.stored import StoredRows
from polylogit.version import __version__

DEFAULT_C = 1.0  # where nothing chooses
SMALLEST_C, LARGEST_C = 1e-100, 1e100
MOST_REMEMBERED = 4096  # columns whose ranges and means a model remembers
MOST_THREADS = 1024  # far more end the whole process from within OpenMP
MANY_STEPS = 1000  # what a question about a fit may take: the span of the rows may take as long

_UNFINISHED = (Status.INTERRUPTED, Status.ITERATION_LIMIT)

ClassWeight = Literal["balanced"] | Mapping[Label, float] | None


@dataclass(frozen=True)
class Fit:
    """What a fit gives: the model, how it was found, and the strength of its penalty.

    `C` is the inverse penalty on the summed loss, `alpha` the same penalty on the mean loss.
    """

    model: SoftmaxModel
    solution: Solution
    C: float
    alpha: float


def fit(
    dataset: Dataset,
    *,
    C: float = DEFAULT_C,
    l1_ratio: float = 0.0,
    fit_intercept: bool = True,
    class_weight: ClassWeight = None,
    label_smoothing: float = 0.0,
    tol: float = 1e-6,
    max_iter: int = 1000,
    solver: str = "auto",
    start: SoftmaxModel | None = None,
    n_threads: int | None = None,
    offset: Any = None,
    penalty_factors: Any = None,
    device: Any = "auto",
    dtype: str = "auto",
    checkpoint: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit softmax classification to a data set, to a certified optimum.

    Minimised, over W (K, D) and b (K,), in nats per row:

        1/S sum_i s_i [lse(z_i) - t_i . z_i] + 1/(C S) [l1_ratio |W|_1 + (1 - l1_ratio)/2 |W|^2]

    with z_i = W x_i + b and S = sum_i s_i. For two classes the square counts double: there the
    optimum is the one of binary logistic regression with the single row w = W_1 - W_0 and the same
    penalty on w (see `penalty_of`). With `l1_ratio` > 0 weights of little use are exactly zero. The
    bias is never penalised, and no feature needs scaling. `polylogit.fit` can choose C as well.

    `offset` (N, K) is added to the logits; of two classes it may be (N,), added to the log odds of
    the second. `penalty_factors` f make the penalty alpha/2 sum_d f_d |W_d|^2: one number >= 0 for
    each encoded column, or a mapping from column names.

    `device` is where dense rows are multiplied ("auto": the CPU; "cuda" where there is one), and
    `dtype` the precision that steers ("auto": float32 for large problems); the certificate is
    computed in float64 on that device, whatever `dtype` is. The model comes back to the CPU.

    `checkpoint` names a file in which the fit is kept while it runs, at most every few seconds.
    Started again after it was killed or stopped, it goes on from there; done, it removes the file.

    The solution's certificate proves F - F* <= gap; the fit runs until gap <= `tol`. `start` is a
    model to set out from. Raises `OptionError` for an option outside its range, `TargetError`
    where no optimum exists (an empty class; separated classes with C = inf).

    >>> from polylogit.data.arrays import from_arrays
    >>> outcome = fit(from_arrays([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"]), C=1.0)
    >>> outcome.solution.certified, outcome.model.labels(np.array([[0.5], [2.5]])).tolist()
    (True, ['a', 'b'])
    """
    prepared = prepare(
        dataset,
        fit_intercept=fit_intercept,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        tol=tol,
        max_iter=max_iter,
        solver=solver,
        n_threads=n_threads,
        offset=offset,
        penalty_factors=penalty_factors,
        device=device,
        dtype=dtype,
        C=C,
        l1_ratio=l1_ratio,
    )
    return prepared.fit(checked_strength(C), start, progress, checkpoint)


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that a fit needs but the strength of its penalty, checked; see `fit` for the words."""

    dataset: Dataset
    design: Design
    targets: Targets
    weights: Tensor
    intercept: bool
    factors: Tensor | None
    offsets: Tensor | None
    settings: Settings
    l1_ratio: float = 0.0

    def fit(
        self,
        C: float,
        start: SoftmaxModel | None = None,
        progress: Callable[[Progress], None] | None = None,
        checkpoint: Path | None = None,
    ) -> Fit:
        """One fit, to a certified optimum; `checkpoint` as in `polylogit.fit`."""
        beginning = None if start is None else _start(start, self.dataset)
        if checkpoint is None:
            return self.outcome(C, self._solve(C, beginning, progress, None))
        file = Checkpoint(checkpoint, self.fingerprint(C))
        solution = self._solve(C, file.read() or beginning, progress, file.offer)
        if solution.status in _UNFINISHED:
            file.write(solution.weight, solution.bias)
        else:
            file.remove()
        return self.outcome(C, solution)

    def _solve(
        self,
        C: float,
        start: tuple[Tensor, Tensor] | None,
        progress: Callable[[Progress], None] | None,
        keep: Keep | None,
    ) -> Solution:
        return solve(
            self.design,
            self.targets,
            self.weights,
            n_classes=self.n_classes,
            alpha=self.alpha(C),
            l1_ratio=self.penalty(C)[1],
            intercept=self.intercept,
            factors=self.factors,
            offsets=self.offsets,
            settings=self.settings,
            start=start,
            progress=progress,
            keep=keep,
        )

    def on_cpu(self) -> Prepared:
        """The same with its rows on the CPU, where questions about a fit are answered."""
        if self.design.device == CPU:
            return self
        return replace(self, design=_design(self.dataset, self.intercept, CPU))

    @cached_property
    def in_the_span(self) -> Prepared:
        """The same in the span of the rows, if those are far fewer than the columns; see `RowSpan`.

        Models come from and go to the user's columns as ever. Needs a penalty on every column.
        """
        cost = Cost.of(self.design, self.n_classes)
        pays = 2 * cost.n_rows <= cost.n_features and cost.span <= MANY_STEPS * cost.step
        if not (pays and fits(self.design)):
            return self
        factors = 1.0 if self.factors is None else self.design.of_columns(self.factors)
        span = RowSpan(self.design, factors / self.design.scale.square())
        return replace(self, design=span, factors=None)

    def fingerprint(self, C: float) -> str:
        """A name for the problem: the same for the same optimum sought in the same data."""
        data = self.dataset
        return fingerprint(
            data.features,
            data.targets,
            self.weights,
            self.offsets,
            self.factors,
            getattr(self.targets, "smoothing", None),
            (C, self.l1_ratio, self.intercept, data.schema.classes, data.schema.names),
            self.targets.rows_of if isinstance(self.targets, Distributions) else None,
        )

    def outcome(self, C: float, solution: Solution) -> Fit:
        """The model of a solution under C, with its record."""
        alpha = self.alpha(C)
        record = _record(self.dataset, solution, C, self.l1_ratio, alpha) | self._given()
        model = SoftmaxModel(solution.weight, solution.bias, self.dataset.schema, record)
        return Fit(model, solution, C, alpha)

    @cached_property
    def columns(self) -> dict[str, list[float]] | None:
        """Smallest, largest and mean value of every column, for who asks how odd a row is.

        None for very many columns, and for rows that stay in a file.
        """
        features = self.dataset.features
        if isinstance(features, StoredRows) or self.dataset.n_features > MOST_REMEMBERED:
            return None
        seen = self.design.seen or _seen_in(features)
        return {name: of.tolist() for name, of in zip(("low", "high", "mean"), seen, strict=True)}

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.dataset.schema.classes)

    def alpha(self, C: float) -> float:
        """The penalty on the mean loss that C stands for."""
        alpha, _ = self.penalty(C)
        if alpha > 0 and self.factors is not None and not bool(self.factors.any()):
            raise OptionError(
                "penalty_factors are all 0, which leaves no penalty; say that with C = inf"
            )
        return alpha

    def penalty(self, C: float) -> tuple[float, float]:
        """alpha and the L1 part of it, for symmetric weights; see `penalty_of`."""
        return penalty_of(C, self.l1_ratio, self._total_weight, self.n_classes)

    @cached_property
    def _total_weight(self) -> float:
        """S."""
        return float(self.weights.sum())

    def _given(self) -> dict[str, object]:
        """What else the fit was given, for the record: nothing, most often."""
        said: dict[str, object] = {} if self.offsets is None else {"offset": True}
        said |= {} if self.columns is None else {"columns": self.columns}
        if self.factors is None:
            return said
        return {**said, "penalty_factors": self.factors.tolist()}


def prepare(
    dataset: Dataset,
    *,
    fit_intercept: bool = True,
    class_weight: ClassWeight = None,
    label_smoothing: float = 0.0,
    tol: float = 1e-6,
    max_iter: int = 1000,
    solver: str = "auto",
    n_threads: int | None = None,
    offset: Any = None,
    penalty_factors: Any = None,
    device: Any = "auto",
    dtype: str = "auto",
    C: object = "auto",
    l1_ratio: float = 0.0,
) -> Prepared:
    """Check all options and bring the data into the form of a solver; `C` is only checked."""
    smoothing, settings = training_options(
        C=C,
        l1_ratio=l1_ratio,
        label_smoothing=label_smoothing,
        tol=tol,
        max_iter=max_iter,
        solver=solver,
        n_threads=n_threads,
        dtype=dtype,
    )
    place = checked_device(device)
    targets = _targets(dataset, smoothing)
    weights = _row_weights(dataset, targets, class_weight)
    l1_ratio = _checked_ratio(l1_ratio)
    fit_intercept = _checked_switch(fit_intercept)
    with threads_of_torch(threads_to_read(dataset.n_rows * dataset.n_features, n_threads)):
        design = _design(dataset, fit_intercept, place)
    return Prepared(
        dataset,
        design,
        targets,
        weights,
        fit_intercept,
        _penalty_factors(penalty_factors, dataset),
        _offsets(offset, dataset),
        settings,
        l1_ratio,
    )


def training_options(
    *,
    C: object,
    l1_ratio: object,
    label_smoothing: float,
    tol: float,
    max_iter: int,
    solver: str,
    n_threads: int | None,
    dtype: str = "auto",
) -> tuple[float, Settings]:
    """Return smoothing and settings, checked, and check C; no data needed, so ask early.

    Raises `OptionError`, which names the option, what it was and what it may be.
    """
    settings = Settings(tol, max_iter, solver, n_threads, dtype)
    if n_threads is not None and n_threads > MOST_THREADS:
        raise OptionError(f"n_threads must be at most {MOST_THREADS}, not {n_threads!r}")
    if _checked_ratio(l1_ratio) > 0 and solver != "auto":
        raise OptionError(
            f"solver must be 'auto' where l1_ratio is above 0, not {solver!r}: the others cannot "
            "follow the kinks of |W|"
        )
    if not is_auto(C):
        checked_strength(C)
    return _checked_smoothing(label_smoothing), settings


def is_auto(C: object) -> bool:
    """Whether C is left to be chosen."""
    return isinstance(C, str) and C == "auto"


def checked_strength(option: object) -> float:
    """C as a number; `OptionError` for what is none or out of range."""
    C = _plain(option)
    if isinstance(C, bool) or not isinstance(C, (int, float)):
        raise OptionError(f"C must be 'auto' or a positive number, not {C!r} ({type(C).__name__})")
    if not (SMALLEST_C <= C <= LARGEST_C or C == math.inf):
        raise OptionError(
            f"C must be positive, between {SMALLEST_C:.0e} and {LARGEST_C:.0e}, or inf for no "
            f"penalty, not {C!r}; C is the inverse strength of the penalty, try 1.0"
        )
    return float(C)


def _checked_ratio(option: object) -> float:
    ratio = _plain(option)
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1:
        raise OptionError(
            f"l1_ratio must be a number from 0 (squares alone) to 1 (sizes alone), not {option!r}"
        )
    return float(ratio)


def _checked_smoothing(option: object) -> float:
    smoothing = _plain(option)
    if isinstance(smoothing, bool) or not isinstance(smoothing, (int, float)):
        raise OptionError(f"label_smoothing must be a number, not {smoothing!r}")
    if not 0 <= smoothing < 1:
        raise OptionError(f"label_smoothing must be at least 0 and below 1, not {smoothing!r}")
    return float(smoothing)


def _plain(option: object) -> object:
    """numpy's numbers as Python's: a float32 compared with 1e100 would overflow."""
    return option.item() if isinstance(option, np.generic) else option


def _checked_switch(fit_intercept: object) -> bool:
    if not isinstance(fit_intercept, bool):
        raise OptionError(f"fit_intercept must be True or False, not {fit_intercept!r}")
    return fit_intercept


def _seen_in(features: np.ndarray | sparse.csr_array) -> list[np.ndarray]:
    """Smallest, largest and mean value of every column."""
    each = features.min(axis=0), features.max(axis=0), features.mean(axis=0, dtype=np.float64)
    return [np.ravel(of.toarray() if sparse.issparse(of) else of) for of in each]


def _design(dataset: Dataset, centred: bool, device: torch.device) -> Design:
    names = dataset.schema.names
    try:
        return design_of(dataset.features, centred=centred, names=names, device=device)
    except DataError as error:  # it knows the column, not the file
        raise DataError(f"{dataset.source}: {error}") from error


def penalty_of(C: float, l1_ratio: float, total: float, n_classes: int) -> tuple[float, float]:
    """(alpha, share): the penalty alpha [share |W|_1 + (1 - share)/2 |W|^2] on the mean loss.

    With three classes or more alpha = 1 / (C S) and share = l1_ratio. Two classes share one binary
    weight w = W_1 - W_0, which stands as W_1 = w/2 = -W_0. There |W_0|^2 + |W_1|^2 = |w|^2 / 2, so
    the part of the squares must be doubled to be the penalty on w; but |W_0|_1 + |W_1|_1 = |w|_1
    already, and the part of the sizes must not:

        alpha share = l1_ratio / (C S),    alpha (1 - share) = 2 (1 - l1_ratio) / (C S)

    >>> penalty_of(1.0, 0.5, 10.0, 3), penalty_of(1.0, 0.0, 10.0, 2), penalty_of(1.0, 1.0, 10.0, 2)
    ((0.1, 0.5), (0.2, 0.0), (0.1, 1.0))
    """
    doubled = 2.0 - l1_ratio if n_classes == 2 else 1.0
    alpha = doubled / (C * total)
    if not math.isfinite(alpha):
        raise TargetError(
            f"all weights together are {total:.3g}, too small for C = {C:g}; multiply the weights "
            "by a constant"
        )
    return alpha, l1_ratio / doubled


def _penalty_factors(option: Any, dataset: Dataset) -> Tensor | None:
    return None if option is None else torch.from_numpy(factors_of(option, dataset.schema))


def _offsets(option: Any, dataset: Dataset) -> Tensor | None:
    if option is None:
        return None
    n_classes = len(dataset.schema.classes)
    return torch.from_numpy(offsets_of(option, dataset.n_rows, n_classes, Rows(dataset.source)))


def _targets(dataset: Dataset, smoothing: float) -> Targets:
    if dataset.targets is None:
        raise TargetError(f"{dataset.source} holds no targets; name the column with the labels")
    given, n_classes = torch.from_numpy(dataset.targets), len(dataset.schema.classes)
    if given.ndim == 1:
        return Labels(given, n_classes, smoothing)
    return Distributions((1 - smoothing) * given + smoothing / n_classes)


def _row_weights(dataset: Dataset, targets: Targets, class_weight: ClassWeight) -> Tensor:
    """s (N,): the rows' own weights times those of their classes."""
    if dataset.weights is None:
        weights = torch.ones(dataset.n_rows, dtype=torch.float64)
    else:
        weights = torch.from_numpy(dataset.weights)
    _refuse_empty_class(targets.mass(weights), dataset)
    if class_weight is None:
        return weights
    factors = _class_factors(class_weight, dataset.schema.classes, targets.mass(weights))
    of_rows = factors[targets.codes] if isinstance(targets, Labels) else targets.rows_of @ factors
    weights = weights * of_rows
    if not bool(torch.isfinite(weights.sum())):
        raise OptionError(f"class_weight {class_weight!r} makes weights beyond float64's range")
    _refuse_empty_class(targets.mass(weights), dataset)
    return weights


def _refuse_empty_class(mass: Tensor, dataset: Dataset) -> None:
    """Without weight in any row a class has the probability 0, which no finite weights give."""
    empty = [
        label
        for label, weight in zip(dataset.schema.classes, mass.tolist(), strict=True)
        if weight <= 0
    ]
    if empty:
        raise TargetError(
            f"{dataset.source}: the class {listed(empty)} has no row of positive weight, so there "
            "is no optimum; leave the class out, or give its rows weight"
        )


def _class_factors(
    class_weight: Literal["balanced"] | Mapping[Label, float],
    classes: tuple[Label, ...],
    mass: Tensor,
) -> Tensor:
    """One factor per class; "balanced" gives every class the same total weight."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        return mass.sum() / (len(classes) * mass)
    if not isinstance(class_weight, Mapping):
        raise OptionError(
            f"class_weight must be 'balanced', None or a mapping from labels to factors, not "
            f"{class_weight!r}"
        )
    for label in class_weight:
        if label not in classes:
            raise OptionError(
                f"class_weight names {label!r}, which is no class of the data; the classes are "
                f"{listed(classes)}"
            )
    factors = [_checked_factor(label, class_weight.get(label, 1.0)) for label in classes]
    return torch.tensor(factors, dtype=torch.float64)


def _checked_factor(label: Label, option: object) -> float:
    factor = _plain(option)
    number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
    if not number or not 0 <= cast("float", factor) < math.inf:
        raise OptionError(
            f"the class weight of {label!r} must be a finite number >= 0, not {factor!r}"
        )
    return float(cast("float", factor))


def _start(model: SoftmaxModel, dataset: Dataset) -> tuple[Tensor, Tensor]:
    if model.classes != dataset.schema.classes or model.n_features != dataset.n_features:
        raise SchemaError(
            f"cannot start from a model of {len(model.classes)} classes and {model.n_features} "
            f"features: the data have {len(dataset.schema.classes)} and {dataset.n_features}"
        )
    return model.weight, model.bias


def _record(
    dataset: Dataset, solution: Solution, C: float, l1_ratio: float, alpha: float
) -> dict[str, object]:
    """What the model file remembers of the fit; JSON has no infinity, so that becomes null."""
    return {
        "polylogit": __version__,
        "source": dataset.source,
        "n_rows": dataset.n_rows,
        "C": C if math.isfinite(C) else None,
        "l1_ratio": l1_ratio,
        "alpha": alpha,
        "objective": solution.objective,
        "gap": solution.certificate.gap if solution.certificate.proven else None,
        "certified": solution.certified,
        "status": solution.message,
        "solver": solution.statistics.solver,
    }
