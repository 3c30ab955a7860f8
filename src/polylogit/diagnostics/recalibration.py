"""Maps from logits to better probabilities, fitted on labelled rows that the model never saw.

    temperature   softmax(b z), b > 0: one number, leaves every decision as it is
    vector        softmax(b z + d * z + c): a slope and a bias for every class
    matrix        softmax(b z + D z + c): a softmax regression on the logits
    dirichlet     the same on log p, which also sees how sure the model is

with z less its mean over the classes, which softmax cannot see. b is fitted first; then D or d, on
columns divided by their standard deviation, and c under one ridge, which draws them towards
temperature scaling. Its strength is that of the least log loss on rows left out, and infinity,
which is temperature scaling, is among those tried (`polylogit.diagnostics.shrinkage`). Without
that, D overfits (Guo et al.).

Sources: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017
(arXiv:1706.04599); Kull et al., "Beyond temperature scaling", NeurIPS 2019 (arXiv:1910.12656);
Berta, Holzmueller, Jordan and Bach, "Structured matrix scaling" (arXiv:2511.03685), for shrinking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from polylogit import functional
from polylogit.data.arrays import from_arrays
from polylogit.data.dataset import Rows
from polylogit.data.targets import weights_of
from polylogit.diagnostics.shrinkage import MatrixForm, VectorForm, folds_of, shrunk
from polylogit.errors import ModelFileError, OptionError, SchemaError, TargetError, nearest
from polylogit.model import SoftmaxModel
from polylogit.schema import Label, Schema, listed

Method = Literal["temperature", "vector", "matrix", "dirichlet"]
Reads = Literal["logits", "probabilities"]

MOST_REMEMBERED = 128  # classes up to which a calibrated model keeps its map
FLOOR = float(np.finfo(np.float64).eps)  # added to probabilities before their logarithm
CONSTANT = 1e-12  # of the largest number: a deviation that is but rounding


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
        said = cast("dict[str, object]", model.record["calibrator"] if model.is_calibrator else {})
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
                f"method {self.method!r} on {self.reads} works on log p, which is not linear in "
                "the columns, so no softmax model can hold it; take matrix on logits"
            )
        if model.classes != self.model.classes:
            raise SchemaError(
                f"a calibrator of the classes {listed(self.model.classes)} cannot follow a model "
                f"of {listed(model.classes)}"
            )
        A, c = self.model.weight, self.model.bias
        said = dict(cast("dict[str, object]", self.model.record["calibrator"]))
        if model.n_classes <= MOST_REMEMBERED:
            _, (before, shift) = map_of(model)
            said["map"] = {"weight": (A @ before).tolist(), "bias": (A @ shift + c).tolist()}
        record = {**model.record, "calibration": said}
        return SoftmaxModel(A @ model.weight, A @ model.bias + c, model.schema, record)


def calibrate(
    scores: Any,
    targets: Any,
    *,
    classes: Sequence[Label] | None = None,
    method: Method = "matrix",
    reads: Reads = "logits",
    weights: Any = None,
) -> Calibrator:
    """Fit a map from `scores` (N, K) to probabilities that fit the labels `targets` (N,).

    The columns of `scores` stand for `classes`, by default the labels in rising order; what they
    are called makes no difference. `reads` of "probabilities" takes log(p + 2.2e-16) for logits.
    `weights` (N,) are copies: a row of weight 2 counts as two equal rows. Raises `TargetError`
    where no temperature exists: all rows right, so that the labels ask for an infinite one, or the
    scores point away from them.

    >>> z = [[2.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]
    >>> made = calibrate(z, ["a", "a", "b", "b"], method="temperature")
    >>> made.probabilities([[2.0, 0.0]]).round(decimals=4).tolist()
    [[0.6122, 0.3878]]
    """
    _check_word("method", method, get_args(Method))
    _check_word("reads", reads, get_args(Reads))
    logits = _logits(np.asarray(scores), reads)
    labels, codes = _encoded(logits, targets, classes)
    return _fitted(logits, codes, _weights(weights, len(codes)), labels, method, reads)


def cross_fitted(
    scores: np.ndarray,
    codes: np.ndarray,
    method: Method = "matrix",
    reads: Reads = "logits",
    *,
    weights: Any = None,
) -> np.ndarray:
    """Calibrated log-probabilities (N, K) of the same rows, each by a map fitted without its fold.

    What `polylogit.diagnostics.calibration.decomposed` asks for. Log-probabilities are logits, too.
    The copies that a weight stands for are all in one fold. Raises as `calibrate` does, also where
    the rows of one part are all right.
    """
    z, y = _logits(scores, reads), torch.from_numpy(codes)
    w = _weights(weights, len(y))
    answer, labels, folds = np.empty_like(z), tuple(range(z.shape[1])), folds_of(y)
    for fold in folds.unique():
        held = (folds == fold).numpy()
        made = _fitted(z[~held], y[~held], w[~held], labels, method, "logits")
        answer[held] = made.log_probabilities(z[held]).numpy()
    return answer


def log_scores(scores: Any, reads: Reads) -> np.ndarray:
    """The log-probabilities (N, K) that the scores stand for before any calibration."""
    logits = torch.from_numpy(np.ascontiguousarray(_logits(np.asarray(scores), reads)))
    return np.asarray(functional.log_softmax(logits, 1).numpy())


def map_of(model: SoftmaxModel) -> tuple[SoftmaxModel, tuple[Tensor, Tensor]]:
    """The model before it was calibrated, and the A (K, K) and c (K,) that calibrate it.

    A model that was not is itself, with the identity. What A does not see of the logits, their
    mean, is 0 in the model that comes back. Raises `ModelFileError` where the record of a
    calibrated model has no such map.
    """
    k = model.n_classes
    if "calibration" not in model.record:
        return model, (torch.eye(k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64))
    found = cast("Any", model.record["calibration"])
    try:
        A, c = (torch.tensor(found["map"][n], dtype=torch.float64) for n in ("weight", "bias"))
        back = torch.linalg.pinv(A, rtol=1e-9)
        base = SoftmaxModel(back @ model.weight, back @ (model.bias - c), model.schema, {})
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise ModelFileError(
            f"the model was calibrated, and of {k} classes it does not remember how; take the "
            "model before that"
        ) from None
    kept = {name: said for name, said in model.record.items() if name != "calibration"}
    return SoftmaxModel(base.weight, base.bias, model.schema, kept), (A, c)


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


def _weights(weights: Any, n_rows: int) -> Tensor:
    """Row weights (N,), ones where none are given."""
    if weights is None:
        return torch.ones(n_rows, dtype=torch.float64)
    return torch.from_numpy(weights_of(weights, n_rows, Rows()))


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
    logits: np.ndarray,
    codes: Tensor,
    weights: Tensor,
    labels: tuple[Label, ...],
    method: Method,
    reads: Reads,
) -> Calibrator:
    there = weights > 0
    columns = torch.from_numpy(np.ascontiguousarray(_features(logits, method)))[there]
    codes, weights = codes[there], weights[there]
    share = weights / weights.sum()
    z = columns - columns.mean(1, keepdim=True)
    b = _inverse_temperature(z, codes, share)
    said: dict[str, object] = {"method": method, "reads": reads, "temperature": 1 / b}
    weight, bias = b * torch.eye(z.shape[1], dtype=torch.float64), torch.zeros(z.shape[1])
    if method != "temperature":
        x = columns if method == "dirichlet" else z
        scale = (share @ (x - share @ x).square()).sqrt()
        scale[scale <= CONSTANT * x.abs().max()] = 1.0
        form = VectorForm if method == "vector" else MatrixForm
        found = shrunk(form(x / scale, b * z, codes, weights))
        weight, bias = weight + found.D / scale, found.c
        said["penalty"] = found.alpha if math.isfinite(found.alpha) else None
        said["chosen_by"] = found.judge
    if method != "dirichlet":
        weight = weight - weight.mean(1, keepdim=True)  # the mean of z is taken away within
    name = "log_p" if method == "dirichlet" or reads == "probabilities" else "logit"
    schema = Schema.for_array(z.shape[1], labels, names=[f"{name}_{label}" for label in labels])
    record = {"calibrator": {**said, "n_rows": len(codes)}}
    return Calibrator(SoftmaxModel(weight, bias, schema, record), method, reads)


def _inverse_temperature(z: Tensor, codes: Tensor, share: Tensor) -> float:
    """The b > 0 with the least mean log loss of softmax(b z): where the slope changes its sign."""
    truth = z.gather(1, codes[:, None])[:, 0]
    if bool((truth >= z.amax(1)).all()):
        raise TargetError(
            f"all {len(z)} rows are predicted right, so the least loss lies at temperature 0: the "
            "calibration rows are separable; take more rows, or rows the model was not fitted on"
        )

    def slope(log_b: float) -> float:
        p = functional.softmax(math.exp(log_b) * z, 1)
        return float(share @ ((p * z).sum(1) - truth))

    if not float(share @ truth) > 0:  # the slope at b = 0, for z has the mean 0 in each row
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


def _check_word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise OptionError(f"{name} {word!r} is not one of {', '.join(known)}{nearest(word, known)}")
