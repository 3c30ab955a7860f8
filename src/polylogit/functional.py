"""The functions of softmax classification, by torch's own kernels under the field's names.

`polylogit.formulas` has the same names, spelled out in exp, log, sum and max with gradients by
hand. Neither module knows the other: they are two witnesses, who ask for the same.

Shapes: logits Z (N, K, ...) with classes in dimension 1, targets y (N, ...) class numbers or T
(N, K, ...) rows of the probability simplex; a single row (K,) goes with one number (). Everything
is in nats.
"""

from __future__ import annotations

from typing import Literal, NoReturn, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from polylogit.errors import InputError, OptionError, TargetError, nearest

__all__ = [
    "argmax",
    "cross_entropy",
    "distribution_cross_entropy",
    "entropy",
    "kl_divergence",
    "log_softmax",
    "logsumexp",
    "naive_cross_entropy",
    "nll_loss",
    "one_hot",
    "one_hot_cross_entropy",
    "softmax",
]

Reduction = Literal["mean", "sum", "none"]


def softmax(logits: Tensor, dim: int = -1) -> Tensor:
    """p_k = exp(z_k) / sum_j exp(z_j) along `dim`: positive, summing to one, softer than argmax.

    >>> softmax(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.0900, 0.2447, 0.6652])
    """
    _check_float(logits, "logits")
    return torch.softmax(logits, dim)


def log_softmax(logits: Tensor, dim: int = -1) -> Tensor:
    """log p_k = z_k - lse(z) along `dim`; finite where softmax itself has become 0.

    >>> log_softmax(torch.tensor([0.0, 200.0]))
    tensor([-200.,    0.])
    """
    _check_float(logits, "logits")
    return torch.log_softmax(logits, dim)


def logsumexp(logits: Tensor, dim: int = -1) -> Tensor:
    """lse(z) = log sum_k exp(z_k) along `dim`, without overflow.

    >>> logsumexp(torch.tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    _check_float(logits, "logits")
    return torch.logsumexp(logits, dim)


def argmax(logits: Tensor, dim: int = -1) -> Tensor:
    """The number of the largest entry along `dim`, the first of equals; softmax never moves it.

    >>> argmax(torch.tensor([1.0, 3.0, 2.0]))
    tensor(1)
    """
    return torch.argmax(logits, dim)


def one_hot(targets: Tensor, n_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Class numbers y (N, ...) to rows of zeros with a single one, (N, K, ...), by `scatter_`.

    A single number () gives a single row (K,). Raises `TargetError` for a number outside 0..K-1.

    >>> one_hot(torch.tensor([0, 2]), 3)
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    labels = _checked_labels(targets, n_classes)
    axis = min(1, labels.ndim)
    shape = (*labels.shape[:axis], n_classes, *labels.shape[axis:])
    zeros = torch.zeros(shape, dtype=dtype, device=labels.device)
    return zeros.scatter_(axis, labels.unsqueeze(axis), 1)


def entropy(p: Tensor, dim: int = -1) -> Tensor:
    """H(P) = -sum_k p_k log p_k of a distribution along `dim`, with 0 log 0 = 0.

    Raises `InputError` where P is not a distribution.

    >>> entropy(torch.full((6,), 1 / 6))  # a fair die: ln 6
    tensor(1.7918)
    """
    _check_distribution(p, dim, "P")
    result: Tensor = torch.special.entr(p).sum(dim)
    return result


def distribution_cross_entropy(p: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    """H(P, Q) = -sum_k p_k log q_k, with 0 log q = 0 and infinity where q = 0 < p.

    Raises `InputError` where P or Q is not a distribution, or their outcomes differ in number.

    >>> P, Q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    >>> distribution_cross_entropy(P, Q), entropy(P) + kl_divergence(P, Q)
    (tensor(1.3045), tensor(1.3045))
    """
    _check_pair(p, q, dim)
    result: Tensor = -torch.special.xlogy(p, q).sum(dim)
    return result


def kl_divergence(p: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    """KL(P || Q) = sum_k p_k log(p_k / q_k) = H(P, Q) - H(P) >= 0, infinite where q = 0 < p.

    It is computed as that difference, and may end a few roundings below 0 where P is next to Q.

    >>> kl_divergence(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5]))
    tensor(0.2749)
    """
    _check_pair(p, q, dim)
    result: Tensor = (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(dim)
    return result


def naive_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The lesson's first low-level loss: `(one_hot * -log(softmax(z))).sum(1).mean()`.

    As it stands in the lesson, with its flaw: where softmax underflows, log gives -inf and
    0 * inf gives nan, even for a row that is predicted perfectly.

    >>> naive_cross_entropy(torch.tensor([[0.0, 200.0]]), torch.tensor([1]))
    tensor(nan)
    >>> cross_entropy(torch.tensor([[0.0, 200.0]]), torch.tensor([1]))
    tensor(0.)
    """
    axis, labels = _class_axis(logits), _checked_targets(logits, targets)
    truth = one_hot(labels, logits.shape[axis], logits.dtype)
    return (truth * -torch.log(softmax(logits, axis))).sum(axis).mean()


def one_hot_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The lesson's second low-level loss: `(one_hot * -log_softmax(z)).sum(1).mean()`.

    >>> z, y = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2])
    >>> one_hot_cross_entropy(z, y), cross_entropy(z, y)
    (tensor(0.4076), tensor(0.4076))
    """
    axis, labels = _class_axis(logits), _checked_targets(logits, targets)
    truth = one_hot(labels, logits.shape[axis], logits.dtype)
    return (truth * -log_softmax(logits, axis)).sum(axis).mean()


def nll_loss(
    log_probabilities: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """-sum_i w_{y_i} log p_{i, y_i} / sum_i w_{y_i}: picks one entry of each row, and averages.

    `weight` (K,) are class weights; the mean divides by the weights of the targets, not by N. Rows
    whose target is `ignore_index` do not count; where none is left the mean is nan, as in torch.

    >>> z, y = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2])
    >>> nll_loss(log_softmax(z), y)
    tensor(0.4076)
    """
    labels = _checked_targets(log_probabilities, targets, ignore_index)
    _check_weight(log_probabilities, weight)
    _check_options(reduction)
    return F.nll_loss(
        log_probabilities, labels, weight=weight, ignore_index=ignore_index, reduction=reduction
    )


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The classification loss, all options as `torch.nn.functional.cross_entropy` defines them.

    Class numbers y: nll_loss(log_softmax(z), y). Probabilities T: -sum_k w_k t_ik log p_ik, and
    the mean divides by the number of rows, not by weights. `label_smoothing` e in [0, 1) mixes in
    the uniform distribution: (1 - e) t + e/K. Raises `TargetError` naming the first target that
    cannot be used and `OptionError` for an option outside its range.

    >>> _ = torch.manual_seed(1)
    >>> z = torch.rand(3, 5, requires_grad=True)
    >>> y = torch.randint(5, (3,))
    >>> y, cross_entropy(z, y).detach()
    (tensor([0, 2, 1]), tensor(1.4689))
    """
    _check_weight(logits, weight)
    _check_options(reduction, label_smoothing)
    return F.cross_entropy(
        logits,
        _checked_targets(logits, targets, ignore_index, probabilities=True),
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


# What may be handed in: the same checks as in `formulas`, word for word.


def _check_float(values: Tensor, name: str) -> None:
    if not values.is_floating_point():
        raise InputError(f"{name} must be a float tensor, not {values.dtype}; write {name}.float()")


def _check_distribution(p: Tensor, dim: int, name: str) -> None:
    """Refuse what is negative or does not sum to one within the rounding of its dtype."""
    _check_float(p, name)
    sums, slack = p.detach().sum(dim).flatten(), 16 * p.size(dim) * torch.finfo(p.dtype).eps
    if bool((p < 0).any()):
        raise InputError(
            f"{name} holds {float(p.detach().min()):.6g}, but probabilities are at least 0; for "
            "logits, take softmax first"
        )
    if not bool(((sums - 1).abs() <= slack).all()):
        raise InputError(
            f"{name} sums to {float(sums[(sums - 1).abs().argmax()]):.6g} along dimension {dim} "
            "instead of 1; divide by the sum, or for logits take softmax first"
        )


def _check_pair(p: Tensor, q: Tensor, dim: int) -> None:
    _check_distribution(p, dim, "P")
    _check_distribution(q, dim, "Q")
    if p.size(dim) != q.size(dim):
        raise InputError(
            f"P has {p.size(dim)} outcomes and Q {q.size(dim)} along dimension {dim}; give both "
            "a probability for each outcome, 0 where it cannot happen"
        )


def _class_axis(scores: Tensor) -> int:
    """Where the classes are: dimension 1, or the only one of a single row."""
    _check_float(scores, "scores")
    axis = 0 if scores.ndim == 1 else 1
    if scores.ndim == 0 or scores.shape[axis] == 0:
        raise InputError(
            f"scores of shape {tuple(scores.shape)} hold no class; give (N, K, ...), or (K,) for a "
            "single row, with K at least 1"
        )
    return axis


def _checked_targets(
    scores: Tensor, targets: Tensor, ignore_index: int | None = None, *, probabilities: bool = False
) -> Tensor:
    """Class numbers as int64, or `probabilities` where allowed, if they fit `scores`."""
    axis = _class_axis(scores)
    if probabilities and targets.shape == scores.shape:
        return _checked_probabilities(scores, targets, ignore_index)
    expected = scores.shape[:axis] + scores.shape[axis + 1 :]
    if targets.shape != expected:
        raise TargetError(
            f"for scores of shape {tuple(scores.shape)} the targets must be class numbers of shape "
            f"{tuple(expected)}, not {tuple(targets.shape)}; {_shape_advice(scores, targets, axis)}"
        )
    return _checked_labels(targets, scores.shape[axis], ignore_index)


def _shape_advice(scores: Tensor, targets: Tensor, axis: int) -> str:
    if targets.shape == scores.shape:
        return f"only cross_entropy takes probabilities: here write targets.argmax({axis})"
    if targets.shape == scores.shape[:-1]:
        return "classes stand in dimension 1: write scores.movedim(-1, 1)"
    expected = scores.shape[:axis] + scores.shape[axis + 1 :]
    if targets.numel() == expected.numel():
        return f"write targets.reshape({tuple(expected)})"
    return f"cross_entropy also takes probabilities of shape {tuple(scores.shape)}"


def _checked_probabilities(scores: Tensor, targets: Tensor, ignore_index: int | None) -> Tensor:
    if not targets.is_floating_point():
        raise TargetError(
            f"targets of shape {tuple(targets.shape)} are rows of probabilities, but of type "
            f"{targets.dtype}; write targets.to({scores.dtype}), or "
            f"targets.argmax({_class_axis(scores)}) for class numbers"
        )
    if ignore_index is not None and ignore_index >= 0:
        raise OptionError(
            f"ignore_index {ignore_index} is a class number, but the targets are probabilities; "
            "leave the rows out that shall not count"
        )
    return targets


def _checked_labels(targets: Tensor, n_classes: int, ignore_index: int | None = None) -> Tensor:
    """Class numbers as int64: in uint8, 156 would equal -100 and 300 classes would be 44."""
    if n_classes < 1:
        raise OptionError(f"n_classes must be a whole number >= 1, not {n_classes!r}")
    if targets.dtype not in (torch.int64, torch.uint8):
        raise TargetError(
            f"class numbers must be of type torch.int64, not {targets.dtype}; write targets.long()"
        )
    labels = targets.long()
    outside = (labels < 0) | (labels >= n_classes)
    if ignore_index is not None:
        outside &= labels != ignore_index
    if bool(outside.any()):
        _refuse_label(labels, outside, n_classes)
    return labels


def _refuse_label(labels: Tensor, outside: Tensor, n_classes: int) -> NoReturn:
    position = tuple(outside.nonzero()[0].tolist())
    value, place = int(labels[position]), f" at position {position}" if position else ""
    advice = "labels 1..K need targets - 1" if value == n_classes else "number classes from 0"
    raise TargetError(
        f"target {value}{place} is outside 0..{n_classes - 1} for {n_classes} classes; {advice}"
    )


def _check_weight(scores: Tensor, weight: Tensor | None) -> None:
    n_classes = scores.shape[_class_axis(scores)]
    if weight is not None and (weight.shape != (n_classes,) or weight.dtype != scores.dtype):
        raise TargetError(
            f"weight must be {scores.dtype} of shape ({n_classes},), a number for each class, not "
            f"{weight.dtype} of shape {tuple(weight.shape)}; write torch.tensor([w_0, ..., "
            f"w_{n_classes - 1}], dtype={scores.dtype})"
        )


def _check_options(reduction: str, label_smoothing: float = 0.0) -> None:
    if reduction not in get_args(Reduction):
        names = get_args(Reduction)
        advice = nearest(str(reduction), names)
        raise OptionError(f"reduction {reduction!r} is not one of {', '.join(names)}{advice}")
    if not 0 <= label_smoothing < 1:
        raise OptionError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing}")
