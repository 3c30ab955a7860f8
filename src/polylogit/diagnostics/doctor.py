"""What is wrong with how a loss is used: misuses that torch takes without a word, found in arrays.

`doctor(scores, targets)` looks at what is about to be handed to `F.cross_entropy`, or at a model
and a batch, and returns findings as data: what was seen, what it does to the loss on these very
numbers, and the line to write instead. It draws nothing and changes nothing.

The misuses are those that people report again and again; each has its own small detective below.
Where none of them has anything to say, the diagnosis is healthy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polylogit.errors import InputError, OptionError

Severity = Literal["error", "warning", "note"]
Number = float | int | str

SUM_SLACK = 1e-3  # by which rows of probabilities may miss one, rounded to three digits
FLAT = 0.01  # relative: so close to ln K, or to the floor of two softmaxes, a loss counts as there
BOUNDARY = 0.02  # a probability that is as good as 0
EVIDENCE = 4  # rows from which a pattern is no accident


@dataclass(frozen=True)
class Finding:
    """One misuse: `code` names it, `fix` is the line to write instead.

    `seen` is what gave it away, `effect` what it does to the loss of these numbers, in nats.
    """

    code: str
    severity: Severity
    fix: str
    seen: Mapping[str, Number] = field(default_factory=dict)
    effect: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; a number that is not finite is null."""
        effect = {name: x if math.isfinite(x) else None for name, x in self.effect.items()}
        head = {"code": self.code, "severity": self.severity, "fix": self.fix}
        return head | {"seen": dict(self.seen), "effect": effect}


@dataclass(frozen=True)
class Diagnosis:
    """What was found in N rows of K classes; `loss` is what torch makes of them, if it does."""

    findings: tuple[Finding, ...]
    n_rows: int
    n_classes: int
    loss: float | None

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong; notes tell of what is merely worth knowing."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def codes(self) -> tuple[str, ...]:
        """The names of what was found, in order."""
        return tuple(finding.code for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        loss = self.loss if self.loss is not None and math.isfinite(self.loss) else None
        return {
            "healthy": self.healthy,
            "n_rows": self.n_rows,
            "n_classes": self.n_classes,
            "chance": math.log(self.n_classes),
            "loss": loss,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True, eq=False)
class _Case:
    """What the detectives look at: scores (N, K) float64, raw targets, and the loss's options."""

    scores: Tensor
    targets: Tensor | None
    probabilities: bool
    weight: Tensor | None
    label_smoothing: float
    ignore_index: int
    bias: Tensor | None
    losses: tuple[float, ...]

    @property
    def n_rows(self) -> int:
        return self.scores.shape[0]

    @property
    def n_classes(self) -> int:
        return self.scores.shape[1]

    @property
    def labels(self) -> Tensor | None:
        """Class numbers (N,) where the targets are whole numbers that all fit, else None."""
        t = self.targets
        if t is None or t.ndim != 1 or len(t) != self.n_rows or t.is_floating_point():
            return None
        t = t.long()
        valid = (t >= 0) & (t < self.n_classes) | (t == self.ignore_index)
        return t if bool(valid.all()) else None

    @property
    def finite(self) -> bool:
        return bool(self.scores.isfinite().all())

    def loss(self, **changes: Any) -> float | None:
        """What F.cross_entropy gives in float64, or None where it refuses."""
        options: dict[str, Any] = {
            "weight": self.weight,
            "label_smoothing": self.label_smoothing,
            "ignore_index": self.ignore_index,
        } | changes
        scores = options.pop("scores", self.scores)
        target = self.labels
        if target is None and self.targets is not None and self.targets.is_floating_point():
            target = self.targets.double()
        if target is None:
            return None
        try:
            return float(F.cross_entropy(scores, target, **options))
        except (RuntimeError, ValueError, IndexError):
            return None


def doctor(
    scores: Any,
    targets: Any = None,
    *,
    kind: str = "logits",
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    bias: Any = None,
    losses: Sequence[float] = (),
) -> Diagnosis:
    """Examine scores (N, K) that go into `F.cross_entropy`, or a model with a batch.

    `scores` is an array, a tensor or nested lists; or a `torch.nn.Module` or any callable from
    features to scores, and `targets` then a batch (x, y). `targets` are class numbers (N,) or rows
    (N, K). With kind="probabilities" the scores are meant to be probabilities. `weight`,
    `label_smoothing` and `ignore_index` are those of the loss, `bias` is the model's, `losses` the
    history of a training that does not go on.

    Raises `InputError` for scores that are no numbers in two dimensions, `OptionError` for an
    unknown kind.

    >>> p = torch.softmax(torch.tensor([[4.0, 0.0, 0.0], [0.0, 5.0, 0.0]]), 1)
    >>> found = doctor(p, [0, 1]).findings[0]
    >>> found.code, found.fix, round(found.effect["loss"], 3), round(found.effect["right"], 3)
    ('probabilities_as_logits', 'F.cross_entropy(logits, y)  # no softmax before it', 0.567, 0.025)
    """
    if kind not in ("logits", "probabilities"):
        raise OptionError(f"kind must be 'logits' or 'probabilities', not {kind!r}")
    options = (weight, label_smoothing, ignore_index, bias, losses)
    if callable(scores) and not isinstance(scores, Tensor):
        return _examined_model(scores, targets, kind, *options)
    return _diagnosis(_case(scores, targets, kind, *options))


def _case(
    scores: Any,
    targets: Any,
    kind: str,
    weight: Any,
    label_smoothing: float,
    ignore_index: int,
    bias: Any,
    losses: Sequence[float],
) -> _Case:
    return _Case(
        _matrix(scores),
        None if targets is None else _tensor(targets, "targets"),
        kind == "probabilities",
        None if weight is None else _tensor(weight, "weight").double(),
        label_smoothing,
        ignore_index,
        None if bias is None else _tensor(bias, "bias").double(),
        tuple(float(loss) for loss in losses),
    )


def _tensor(values: Any, name: str) -> Tensor:
    try:
        given = values if isinstance(values, Tensor) else torch.tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers: {error}") from error
    return given.detach().cpu()


def _matrix(scores: Any) -> Tensor:
    z = _tensor(scores, "scores")
    if z.ndim == 1:
        z = z[None]
    if z.ndim != 2 or 0 in z.shape or z.is_complex():
        raise InputError(
            f"scores must be (N, K), a row of numbers for each example, not of shape "
            f"{tuple(z.shape)} and {z.dtype}"
        )
    if z.shape[1] < 2:
        raise InputError(
            "scores of a single column leave softmax no choice: it is 1 for every row; give two "
            "columns, or use binary_cross_entropy_with_logits"
        )
    return z.double()


def _diagnosis(case: _Case, more: Sequence[Finding] = ()) -> Diagnosis:
    found = [*more]
    for detective in _DETECTIVES:
        found.extend(detective(case))
    unique = {finding.code: finding for finding in reversed(found)}
    ordered = tuple(finding for finding in found if unique[finding.code] is finding)
    return Diagnosis(ordered, case.n_rows, case.n_classes, case.loss())


# ------------------------------------------------------------------------------------- the scores


def _not_finite(case: _Case) -> Iterator[Finding]:
    bad = (~case.scores.isfinite()).nonzero()
    if not len(bad):
        return
    row, column = bad[0].tolist()
    value = float(case.scores[row, column])
    seen: dict[str, Number] = {"row": row, "class": column, "value": str(value), "count": len(bad)}
    log_of_zero = value == -math.inf and bool((case.scores <= 0).all())
    if log_of_zero:
        fix = "torch.log_softmax(z, 1)  # instead of torch.log(torch.softmax(z, 1))"
        yield Finding("log_of_zero", "error", fix, seen, _effect(case))
    elif math.isnan(value):
        fix = "torch.autograd.set_detect_anomaly(True)  # and look where the first nan is made"
        yield Finding("nan", "error", fix, seen, _effect(case))
    else:
        fix = "z = z - z.max(1, keepdim=True).values  # before any exp"
        yield Finding("infinite", "error", fix, seen, _effect(case))


def _effect(case: _Case) -> dict[str, float]:
    loss = case.loss()
    return {} if loss is None else {"loss": loss}


def _are_probabilities(case: _Case, dim: int) -> bool:
    z = case.scores
    if not case.finite or float(z.min()) < 0 or float(z.max()) > 1 + SUM_SLACK:
        return False
    slack = max(SUM_SLACK, 1e-6 * z.shape[dim])
    return bool(((z.sum(dim) - 1).abs() <= slack).all())


def _probabilities_as_logits(case: _Case) -> Iterator[Finding]:
    if case.probabilities or not _are_probabilities(case, 1):
        return
    effect = {"floor": floor(case.n_classes)}
    loss, right = case.loss(), case.loss(scores=case.scores.clamp_min(1e-300).log())
    if loss is not None and right is not None:
        effect |= {"loss": loss, "right": right}
    seen: dict[str, Number] = {"rows": case.n_rows, "sum": float(case.scores.sum(1)[0])}
    fix = "F.cross_entropy(logits, y)  # no softmax before it"
    yield Finding("probabilities_as_logits", "error", fix, seen, effect)


def _softmax_twice(case: _Case) -> Iterator[Finding]:
    """Probabilities that are themselves the softmax of probabilities: none is ever sure.

    If p = softmax(q) with sum q = 1, then q = log p - mean(log p) + 1/K. All rows must give a q of
    the simplex, and most a sure one: of a hesitant model the q are far from its edges.
    """
    if not case.probabilities or not _are_probabilities(case, 1) or case.n_rows < EVIDENCE:
        return
    logs = case.scores.clamp_min(1e-300).log()
    q = logs - logs.mean(1, keepdim=True) + 1 / case.n_classes
    if float(q.min()) < -SUM_SLACK:
        return
    sure = float((q.max(1).values >= 1 - BOUNDARY * case.n_classes).double().mean())
    if sure < 0.5:
        return
    effect = {"floor": floor(case.n_classes), "most": math.e / (math.e + case.n_classes - 1)}
    seen: dict[str, Number] = {"rows": case.n_rows, "largest": float(case.scores.max())}
    yield Finding("softmax_twice", "error", "p = torch.softmax(logits, 1)  # once", seen, effect)


def _log_probabilities(case: _Case) -> Iterator[Finding]:
    z = case.scores
    if case.probabilities or not case.finite or float(z.max()) > 1e-6:
        return
    if bool((torch.logsumexp(z, 1).abs() <= SUM_SLACK).all()):
        seen: dict[str, Number] = {"rows": case.n_rows}
        fix = "F.nll_loss(log_p, y)  # or F.cross_entropy(logits, y)"
        yield Finding("log_probabilities_as_logits", "note", fix, seen, _effect(case))


def _wrong_dim(case: _Case) -> Iterator[Finding]:
    """Columns that sum to one where rows should."""
    if case.n_rows < 2 or not _are_probabilities(case, 0) or _are_probabilities(case, 1):
        return
    row = float(case.scores.sum(1)[0])
    seen: dict[str, Number] = {"row_sum": row, "column_sum": float(case.scores.sum(0)[0])}
    yield Finding("wrong_dim", "error", "torch.softmax(z, dim=1)", seen)


def _transposed(case: _Case) -> Iterator[Finding]:
    t = case.targets
    if t is None or t.ndim != 1 or len(t) == case.n_rows or len(t) != case.n_classes:
        return
    seen: dict[str, Number] = {"shape": str(tuple(case.scores.shape)), "targets": len(t)}
    yield Finding("transposed", "error", "F.cross_entropy(z.T, y)  # z is (N, K)", seen)


def _rows_alike(case: _Case) -> Iterator[Finding]:
    """Every row says the same: the model does not look at its input."""
    if case.n_rows < EVIDENCE or not case.finite:
        return
    centred = case.scores - case.scores.mean(1, keepdim=True)
    if float((centred - centred[0]).abs().max()) > 1e-9 * max(1.0, float(centred.abs().max())):
        return
    seen: dict[str, Number] = {"rows": case.n_rows, "chance": math.log(case.n_classes)}
    fix = "print(x.std(0), model.weight.grad)  # does the input vary, does a gradient arrive?"
    yield Finding("rows_alike", "warning", fix, seen, _effect(case))


# ------------------------------------------------------------------------------------ the targets


def _targets_of_other_kind(case: _Case) -> Iterator[Finding]:
    t = case.targets
    if t is None:
        return
    if t.ndim == 2 and t.shape == (case.n_rows, 1):
        seen: dict[str, Number] = {"shape": str(tuple(t.shape))}
        yield Finding("column_of_labels", "error", "F.cross_entropy(z, y.squeeze(1))", seen)
    elif t.shape == case.scores.shape and not t.is_floating_point():
        one_hot = bool(((t == 0) | (t == 1)).all()) and bool((t.sum(1) == 1).all())
        if one_hot:
            seen = {"dtype": str(t.dtype).removeprefix("torch.")}
            fix = "F.cross_entropy(z, y_one_hot.argmax(1))  # or y_one_hot.float()"
            yield Finding("integer_one_hot", "error", fix, seen)
    elif t.ndim == 1 and len(t) == case.n_rows and t.is_floating_point():
        seen = {"dtype": str(t.dtype).removeprefix("torch.")}
        yield Finding("float_labels", "error", "F.cross_entropy(z, y.long())", seen)


def _labels_out_of_range(case: _Case) -> Iterator[Finding]:
    t = case.targets
    if t is None or t.ndim != 1 or len(t) != case.n_rows or t.is_complex():
        return
    whole = t if not t.is_floating_point() else t[t.isfinite()].round()
    used = whole.long()[whole.long() != case.ignore_index]
    if not len(used) or (0 <= int(used.min()) and int(used.max()) < case.n_classes):
        return
    low, high = int(used.min()), int(used.max())
    outside = ((used < 0) | (used >= case.n_classes)).sum()
    seen: dict[str, Number] = {
        "smallest": low, "largest": high, "classes": case.n_classes, "count": int(outside)
    }  # fmt: skip
    if low == 1 and high == case.n_classes:
        right = _Case(case.scores, used - 1, False, None, 0.0, case.ignore_index, None, ())
        loss = right.loss()
        effect = {} if loss is None or len(used) < case.n_rows else {"right": loss}
        yield Finding("labels_from_one", "error", "F.cross_entropy(z, y - 1)", seen, effect)
    else:
        fix = "classes, y = torch.unique(labels, return_inverse=True)"
        yield Finding("labels_out_of_range", "error", fix, seen)


def _all_ignored(case: _Case) -> Iterator[Finding]:
    labels = case.labels
    if labels is not None and bool((labels == case.ignore_index).all()):
        seen: dict[str, Number] = {"ignore_index": case.ignore_index, "rows": case.n_rows}
        fix = "loss = F.cross_entropy(z, y, reduction='sum') / (y != ignore_index).sum().clamp(1)"
        yield Finding("all_ignored", "error", fix, seen, _effect(case))


def _rows_that_sum_wrong(case: _Case) -> Iterator[Finding]:
    t = case.targets
    if t is None or not t.is_floating_point() or t.shape != case.scores.shape:
        return
    wrong = ((t.sum(1) - 1).abs() > SUM_SLACK) | (t < 0).any(1)
    if not bool(wrong.any()):
        return
    row = int(wrong.nonzero()[0])
    seen: dict[str, Number] = {"row": row, "sum": float(t[row].sum()), "least": float(t[row].min())}
    fix = "t = t / t.sum(1, keepdim=True)"
    yield Finding("targets_are_no_distributions", "error", fix, seen, _effect(case))


# ------------------------------------------------------------------------------ the loss's options


def _weighted_mean(case: _Case) -> Iterator[Finding]:
    """With class numbers torch divides by the weights of the rows, with probabilities by N."""
    labels, loss = case.labels, case.loss()
    if case.weight is None or labels is None or loss is None or case.label_smoothing:
        return
    total = case.loss(reduction="sum")
    used = labels[labels != case.ignore_index]
    if total is None or not len(used):
        return
    by_rows = total / len(used)
    if abs(by_rows - loss) <= 1e-6 * max(1.0, abs(loss)):
        return
    seen: dict[str, Number] = {"weights": float(case.weight[used].sum()), "rows": len(used)}
    fix = (
        "F.cross_entropy(z, y, weight=w, reduction='sum') / len(y)  # if a mean over rows is meant"
    )
    yield Finding("weighted_mean", "note", fix, seen, {"loss": loss, "by_rows": by_rows})


def _smoothing_with_weights(case: _Case) -> Iterator[Finding]:
    """torch weighs every class's share of the smoothed target; most people mean to weigh rows."""
    labels, loss = case.labels, case.loss()
    if case.weight is None or not case.label_smoothing or labels is None or loss is None:
        return
    used = labels != case.ignore_index
    rows = F.cross_entropy(
        case.scores[used], labels[used], label_smoothing=case.label_smoothing, reduction="none"
    )
    share = case.weight[labels[used]]
    by_rows = float((rows * share).sum() / share.sum())
    if abs(by_rows - loss) <= 1e-6 * max(1.0, abs(loss)):
        return
    fix = (
        "rows = F.cross_entropy(z, y, label_smoothing=e, reduction='none'); "
        "loss = (rows * w[y]).sum() / w[y].sum()"
    )
    seen: dict[str, Number] = {"label_smoothing": case.label_smoothing}
    yield Finding(
        "smoothing_with_weights", "warning", fix, seen, {"loss": loss, "by_rows": by_rows}
    )


def _unseen_bias(case: _Case) -> Iterator[Finding]:
    """A bias that shifts all logits alike."""
    bias = case.bias
    if bias is None:
        return
    if bias.numel() == 1:
        seen: dict[str, Number] = {"shape": str(tuple(bias.shape)), "classes": case.n_classes}
        fix = f"b = torch.zeros({case.n_classes}, requires_grad=True)"
        yield Finding("shared_bias", "error", fix, seen)


# ------------------------------------------------------------------------------------ the training


def _stuck(case: _Case) -> Iterator[Finding]:
    if len(case.losses) < EVIDENCE:
        return
    late = case.losses[-max(EVIDENCE, len(case.losses) // 2) :]
    chance, least = math.log(case.n_classes), floor(case.n_classes)
    seen: dict[str, Number] = {"last": late[-1], "losses": len(late)}
    if all(abs(loss - chance) <= FLAT * chance for loss in late):
        fix = "print([(n, p.grad.norm()) for n, p in model.named_parameters()])  # and try lr x 10"
        yield Finding("stuck_at_chance", "warning", fix, seen, {"chance": chance})
    elif all(least <= loss <= least * (1 + 5 * FLAT) for loss in late):
        fix = "F.cross_entropy(logits, y)  # no softmax before it"
        yield Finding("stuck_at_floor", "error", fix, seen, {"floor": least})


def floor(n_classes: int) -> float:
    """The least loss behind two softmaxes: ln(e + K - 1) - 1, in nats."""
    return math.log(math.e + n_classes - 1) - 1


_DETECTIVES: tuple[Callable[[_Case], Iterator[Finding]], ...] = (
    _not_finite,
    _transposed,
    _wrong_dim,
    _probabilities_as_logits,
    _softmax_twice,
    _log_probabilities,
    _targets_of_other_kind,
    _labels_out_of_range,
    _rows_that_sum_wrong,
    _all_ignored,
    _unseen_bias,
    _weighted_mean,
    _smoothing_with_weights,
    _stuck,
    _rows_alike,
)


# --------------------------------------------------------------------------------- a model, a batch


def _examined_model(model: Any, batch: Any, kind: str, *options: Any) -> Diagnosis:
    """The same of what a model makes of a batch (x, y), and a look at the model itself."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise InputError("a model is examined with a batch: doctor(model, (x, y))")
    x, y = batch
    scores = _answers(model, x)
    case = _case(scores, y, kind, *options)
    more = _of_module(model, x, case) if isinstance(model, torch.nn.Module) else ()
    return _diagnosis(case, tuple(more))


def _answers(model: Any, x: Any) -> Any:
    """The scores, without a trace: no gradient is kept, no running mean moves."""
    training = isinstance(model, torch.nn.Module) and model.training
    if training:
        model.eval()
    try:
        with torch.no_grad():
            return model(x)
    finally:
        if training:
            model.train()


def _of_module(model: torch.nn.Module, x: Any, case: _Case) -> Iterator[Finding]:
    last = [layer for layer in model.modules() if not list(layer.children())]
    if last and isinstance(last[-1], torch.nn.Softmax) and not case.probabilities:
        seen: dict[str, Number] = {"layer": repr(last[-1])}
        effect = {"floor": floor(case.n_classes)}
        fix = "drop the layer; F.cross_entropy takes softmax itself"
        yield Finding("softmax_in_model", "error", fix, seen, effect)
    for name, parameter in model.named_parameters():
        lone = "bias" in name.rsplit(".", 1)[-1] and parameter.numel() == 1
        if lone and _without_gradient(model, name, x, case):
            shape = str(tuple(parameter.shape))
            fix = f"b = torch.zeros({case.n_classes}, requires_grad=True)"
            yield Finding("shared_bias", "error", fix, {"shape": shape, "name": name})


def _without_gradient(model: torch.nn.Module, name: str, x: Any, case: _Case) -> bool:
    """Whether the loss does not feel a parameter: it shifts all logits alike."""
    labels = case.labels
    if labels is None:
        return False
    whole = dict(model.named_parameters())

    def loss(parameter: Tensor) -> Tensor:
        scores = torch.func.functional_call(model, whole | {name: parameter}, (x,))
        return F.cross_entropy(scores, labels, ignore_index=case.ignore_index)

    slope = torch.func.grad(loss)(whole[name].detach())
    return float(slope.detach().abs().max()) <= 1e-6
