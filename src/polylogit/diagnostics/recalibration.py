"""Maps from logits to better probabilities, fitted on labelled rows that the model never saw.

    temperature   softmax(b z), b > 0: one number, leaves every decision as it is
    vector        softmax(b z + d * z + c): a slope and a bias for every class
    matrix        softmax(b z + D z + c): a softmax regression on the logits
    dirichlet     the same on log p, which also sees how sure the model is

with z less its mean over the classes, which softmax cannot see. b is fitted first; then D or d, on
columns divided by their standard deviation, and c under one ridge, which draws them towards
temperature scaling. Its strength comes from 5-fold cross-validation of the log loss, and infinity,
which is temperature scaling, is among those tried. Without that, D overfits (Guo et al.).

Sources: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017
(arXiv:1706.04599); Kull et al., "Beyond temperature scaling", NeurIPS 2019 (arXiv:1910.12656);
Berta, Holzmueller, Jordan and Bach, "Structured matrix scaling" (arXiv:2511.03685), for shrinking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from polylogit import functional
from polylogit.data.arrays import from_arrays
from polylogit.design import design_of
from polylogit.diagnostics.vector_scaling import VectorScaling, solved
from polylogit.errors import ModelFileError, OptionError, SchemaError, TargetError, nearest
from polylogit.model import SoftmaxModel
from polylogit.optim.objective import Labels
from polylogit.optim.solve import Settings, solve
from polylogit.schema import Label, Schema, listed

Method = Literal["temperature", "vector", "matrix", "dirichlet"]
Reads = Literal["logits", "probabilities"]

FLOOR = float(np.finfo(np.float64).eps)  # added to probabilities before their logarithm
FOLDS = 5
STRENGTHS = tuple(np.logspace(0.5, -5, 12))  # of the ridge on the mean loss; and infinity
PATIENCE = 3  # strengths without a better loss before weaker ones are left untried
ABSENT = 1e-12  # of label smoothing, so that a class without rows has an optimum too
CHOOSING, FINAL = 1e-6, 1e-10  # nats per row of proven gap

Shift = tuple[Tensor, Tensor]  # D (K, K) and c (K,), on standardised columns


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Calibrated probabilities from `scores` (N, K), logits or probabilities of any model.

    `model` is the softmax regression that does it; its record says how it was found. It is a
    `SoftmaxModel`, so `polylogit.save` keeps it and `Calibrator.of` takes it up again.
    """

    model: SoftmaxModel
    method: Method
    reads: Reads

    @classmethod
    def of(cls, model: SoftmaxModel) -> Calibrator:
        """The calibrator in a model that was saved as one; `ModelFileError` for any other."""
        said = cast("dict[str, object]", model.record["calibrator"] if is_calibrator(model) else {})
        method, reads = said.get("method"), said.get("reads")
        if method not in get_args(Method) or reads not in get_args(Reads):
            raise ModelFileError(
                "this model is no calibrator: its record does not say what it reads; make one with "
                "polylogit calibrate --logits"
            )
        return cls(model, cast("Method", method), cast("Reads", reads))

    def columns(self, scores: Any) -> np.ndarray:
        """What `model` reads (N, K): the logits, or the logarithm of the probabilities."""
        return _features(_logits(np.asarray(scores), self.reads), self.method)

    def log_probabilities(self, scores: Any) -> Tensor:
        """Calibrated log-probabilities (N, K)."""
        return self.model.log_probabilities(self.columns(scores))

    def probabilities(self, scores: Any) -> Tensor:
        """Calibrated probabilities (N, K)."""
        return self.log_probabilities(scores).exp()

    def compose(self, model: SoftmaxModel) -> SoftmaxModel:
        """The calibrated `model`, as one softmax model of the same columns.

        A map A z + c of logits z = W x + b is (A W) x + (A b + c). Raises `OptionError` for the
        Dirichlet form and for a map that reads probabilities: log p is not linear in x.
        """
        if self.method == "dirichlet" or self.reads != "logits":
            raise OptionError(
                "method 'dirichlet' works on log p, which is not linear in the columns, so no "
                "softmax model can hold it; take matrix"
            )
        if model.classes != self.model.classes:
            raise SchemaError(
                f"a calibrator of the classes {listed(self.model.classes)} cannot follow a model "
                f"of {listed(model.classes)}"
            )
        record = {**model.record, "calibration": self.model.record["calibrator"]}
        weight, bias = self.model.weight @ model.weight, self.model.weight @ model.bias
        return SoftmaxModel(weight, bias + self.model.bias, model.schema, record)


def calibrate(
    scores: Any,
    targets: Any,
    *,
    classes: Sequence[Label] | None = None,
    method: Method = "matrix",
    reads: Reads = "logits",
) -> Calibrator:
    """Fit a map from `scores` (N, K) to probabilities that fit the labels `targets` (N,).

    The columns of `scores` stand for `classes`, by default the labels in rising order; what they
    are called makes no difference. `reads` of "probabilities" takes log(p + 2.2e-16) for logits.
    Raises `TargetError` where no temperature exists: all rows right, so that the labels ask for
    an infinite one, or the scores point away from them.

    >>> z = [[2.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]
    >>> made = calibrate(z, ["a", "a", "b", "b"], method="temperature")
    >>> made.probabilities([[2.0, 0.0]]).round(decimals=4).tolist()
    [[0.6122, 0.3878]]
    """
    _check_word("method", method, get_args(Method))
    _check_word("reads", reads, get_args(Reads))
    logits = _logits(np.asarray(scores), reads)
    labels, codes = _encoded(logits, targets, classes)
    return _fitted(logits, codes, labels, method, reads)


def cross_fitted(
    scores: np.ndarray, codes: np.ndarray, method: Method = "matrix", reads: Reads = "logits"
) -> np.ndarray:
    """Calibrated log-probabilities (N, K) of the same rows, each by a map fitted without its fold.

    What `polylogit.diagnostics.calibration.decomposed` asks for. Log-probabilities are logits, too.
    Raises as `calibrate` does, also where the rows of one part are all right.
    """
    z, y = _logits(scores, reads), torch.from_numpy(codes)
    answer, labels, folds = np.empty_like(z), tuple(range(z.shape[1])), _folds(y)
    for fold in folds.unique():
        held = (folds == fold).numpy()
        made = _fitted(z[~held], y[~held], labels, method, "logits")
        answer[held] = made.log_probabilities(z[held]).numpy()
    return answer


def log_scores(scores: Any, reads: Reads) -> np.ndarray:
    """The log-probabilities (N, K) that the scores stand for before any calibration."""
    logits = torch.from_numpy(np.ascontiguousarray(_logits(np.asarray(scores), reads)))
    return np.asarray(functional.log_softmax(logits, 1).numpy())


def is_calibrator(model: SoftmaxModel) -> bool:
    """Whether its columns are the scores of another model; see `Calibrator`."""
    return isinstance(model.record.get("calibrator"), dict)


# ------------------------------------------------------------------------------------- the scores


def _logits(scores: np.ndarray, reads: Reads) -> np.ndarray:
    """Logits (N, K) of logits or probabilities."""
    if reads == "logits":
        return np.asarray(scores, dtype=np.float64)
    p = np.asarray(scores, dtype=np.float64)
    if not ((p >= 0) & (p <= 1 + 1e-6)).all():
        raise OptionError("reads is 'probabilities', but the scores hold numbers outside 0..1")
    return np.log(p + FLOOR)


def _features(logits: np.ndarray, method: Method) -> np.ndarray:
    """What the regression reads: logits, or for the Dirichlet form floored log p."""
    if method != "dirichlet":
        return logits
    p = functional.softmax(torch.from_numpy(np.ascontiguousarray(logits)), 1).numpy()
    return np.asarray(np.log(p + FLOOR))


def _encoded(
    logits: np.ndarray, targets: Any, classes: Sequence[Label] | None
) -> tuple[tuple[Label, ...], Tensor]:
    """The classes (K) and the code of each row (N,); what is wrong with either is said."""
    width = logits.shape[1] if logits.ndim == 2 else 0
    schema = None if classes is None else Schema.for_array(width, tuple(classes))
    dataset = from_arrays(logits, np.asarray(targets), schema=schema)
    labels, codes = dataset.schema.classes, cast("np.ndarray", dataset.targets)
    if len(labels) != width:
        raise TargetError(
            f"the scores have {width} columns but the targets {len(labels)} classes "
            f"({listed(labels)}); say with classes=[...] which class each column is"
        )
    if codes.ndim != 1:
        raise TargetError("targets must be labels (N,), not rows of probabilities")
    return labels, torch.from_numpy(codes)


# ---------------------------------------------------------------------------------------- the fit


def _fitted(
    logits: np.ndarray, codes: Tensor, labels: tuple[Label, ...], method: Method, reads: Reads
) -> Calibrator:
    columns = torch.from_numpy(np.ascontiguousarray(_features(logits, method)))
    z = columns - columns.mean(1, keepdim=True)
    b = _inverse_temperature(z, codes)
    said: dict[str, object] = {"method": method, "reads": reads, "temperature": 1 / b}
    weight, bias = b * torch.eye(z.shape[1], dtype=torch.float64), torch.zeros(z.shape[1])
    if method != "temperature":
        x = columns if method == "dirichlet" else z
        scale = x.std(0, correction=0)
        scale[scale == 0] = 1.0
        (D, bias), alpha = _shrunk(method, x / scale, b * z, codes)
        weight = weight + D / scale
        said["penalty"] = alpha if math.isfinite(alpha) else None
    if method != "dirichlet":
        weight = weight - weight.mean(1, keepdim=True)  # the mean of z is taken away within
    name = "log_p" if method == "dirichlet" or reads == "probabilities" else "logit"
    schema = Schema.for_array(z.shape[1], labels, names=[f"{name}_{label}" for label in labels])
    record = {"calibrator": {**said, "n_rows": len(codes)}}
    return Calibrator(SoftmaxModel(weight, bias, schema, record), method, reads)


def _inverse_temperature(z: Tensor, codes: Tensor) -> float:
    """The b > 0 with the least mean log loss of softmax(b z): where the slope changes its sign."""
    truth = z.gather(1, codes[:, None])[:, 0]
    if bool((truth >= z.amax(1)).all()):
        raise TargetError(
            f"all {len(z)} rows are predicted right, so the least loss lies at temperature 0: the "
            "calibration rows are separable; take more rows, or rows the model was not fitted on"
        )

    def slope(log_b: float) -> float:
        p = functional.softmax(math.exp(log_b) * z, 1)
        return float(((p * z).sum(1) - truth).mean())

    if not float(truth.mean()) > 0:  # the slope at b = 0, for z has the mean 0 in each row
        raise TargetError(
            "the scores point away from the labels, so no temperature above 0 helps; check that "
            "the columns of the scores stand in the order of the classes"
        )
    low = high = -math.log(float(z.abs().max()))
    while slope(low) > 0:
        low -= 2
    while slope(high) < 0:
        high += 2
    return math.exp(brentq(slope, low, high, xtol=1e-13))


def _shrunk(method: Method, x: Tensor, offsets: Tensor, codes: Tensor) -> tuple[Shift, float]:
    """(D, c) on the columns `x` under the best strength, and that strength."""
    fit = _vector if method == "vector" else _matrix
    alpha = _strength(fit, x, offsets, codes)
    k = x.shape[1]
    nothing = torch.zeros(k, k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)
    if alpha == math.inf:
        return nothing, alpha
    share = torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    return fit(x, offsets, codes, share, alpha, nothing, FINAL), alpha


Fitter = Callable[[Tensor, Tensor, Tensor, Tensor, float, Shift, float], Shift]


def _strength(fit: Fitter, x: Tensor, offsets: Tensor, codes: Tensor) -> float:
    """The strength of the least log loss in 5-fold cross-validation; infinity is temperature.

    b is one number for all N rows and was fitted with all of them; only D and c are left out.
    """
    k, folds = x.shape[1], _folds(codes)
    kept = [(folds != fold).double() for fold in range(FOLDS)]
    shares = [rows / rows.sum() for rows in kept]
    nothing = torch.zeros(k, k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)
    shifts = [nothing] * FOLDS
    best, least, since = math.inf, float(_losses(offsets, codes).mean()), 0
    for alpha in STRENGTHS:
        losses = torch.empty(len(x), dtype=torch.float64)
        for fold, share in enumerate(shares):
            held = folds == fold
            shifts[fold] = D, c = fit(x, offsets, codes, share, alpha, shifts[fold], CHOOSING)
            losses[held] = _losses(offsets[held] + x[held] @ D.T + c, codes[held])
        loss, since = float(losses.mean()), since + 1
        if loss < least:
            best, least, since = float(alpha), loss, 0
        if since >= PATIENCE and best < math.inf:
            break
    return best


def _matrix(
    x: Tensor, offsets: Tensor, codes: Tensor, share: Tensor, alpha: float, start: Shift, tol: float
) -> Shift:
    """D and c by the project's solver: c is the weight of a column of ones, so it is shrunk too."""
    ones = torch.ones(len(x), 1, dtype=torch.float64)
    k = x.shape[1]
    solution = solve(
        design_of(torch.cat([x, ones], 1).numpy(), centred=False),
        Labels(codes, k, ABSENT),
        share,
        n_classes=k,
        alpha=alpha,
        intercept=False,
        offsets=offsets,
        settings=Settings(tol=tol),
        start=(torch.cat([start[0], start[1][:, None]], 1), torch.zeros(k, dtype=torch.float64)),
    )
    return solution.weight[:, :-1], solution.weight[:, -1]


def _vector(
    x: Tensor, offsets: Tensor, codes: Tensor, share: Tensor, alpha: float, start: Shift, tol: float
) -> Shift:
    problem = VectorScaling(x, offsets, codes, share, alpha)
    point = solved(problem, torch.stack([start[0].diagonal(), start[1]]), tol)
    return torch.diag(point[0]), point[1]


def _losses(logits: Tensor, codes: Tensor) -> Tensor:
    return functional.cross_entropy(logits, codes, reduction="none")


def _folds(codes: Tensor) -> Tensor:
    """The fold (N,) of each row: drawn, and even within every class."""
    order = np.random.default_rng(0).permutation(len(codes))
    order = order[np.argsort(codes.numpy()[order], kind="stable")]
    folds = np.empty(len(codes), dtype=np.int64)
    folds[order] = np.arange(len(codes)) % FOLDS
    return torch.from_numpy(folds)


def _check_word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise OptionError(f"{name} {word!r} is not one of {', '.join(known)}{nearest(word, known)}")
