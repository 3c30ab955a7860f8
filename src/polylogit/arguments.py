"""What the functions of softmax classification may be handed: checks that both witnesses share.

`polylogit.functional` and `polylogit.formulas` must not know each other's mathematics. What is an
argument and what is none is no mathematics, so it is said once, here, before any kernel runs.
"""

from __future__ import annotations

from typing import Literal, NoReturn, get_args

import torch
from torch import Tensor

from polylogit.errors import InputError, OptionError, TargetError, nearest

Reduction = Literal["mean", "sum", "none"]


def check_float(values: Tensor, name: str) -> None:
    """Refuse what holds no fractions."""
    if not values.is_floating_point():
        raise InputError(f"{name} must be a float tensor, not {values.dtype}; write {name}.float()")


def check_distribution(p: Tensor, dim: int, name: str) -> None:
    """Refuse what is negative or does not sum to one within the rounding of its dtype."""
    check_float(p, name)
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


def check_pair(p: Tensor, q: Tensor, dim: int) -> None:
    """Refuse two that are not distributions over the same outcomes."""
    check_distribution(p, dim, "P")
    check_distribution(q, dim, "Q")
    if p.size(dim) != q.size(dim):
        raise InputError(
            f"P has {p.size(dim)} outcomes and Q {q.size(dim)} along dimension {dim}; give both "
            "a probability for each outcome, 0 where it cannot happen"
        )


def class_axis(scores: Tensor) -> int:
    """Where the classes are: dimension 1, or the only one of a single row."""
    check_float(scores, "scores")
    axis = 0 if scores.ndim == 1 else 1
    if scores.ndim == 0 or scores.shape[axis] == 0:
        raise InputError(
            f"scores of shape {tuple(scores.shape)} hold no class; give (N, K, ...), or (K,) for a "
            "single row, with K at least 1"
        )
    return axis


def checked_targets(
    scores: Tensor, targets: Tensor, ignore_index: int | None = None, *, probabilities: bool = False
) -> Tensor:
    """Class numbers as int64, or `probabilities` where allowed, if they fit `scores`."""
    axis = class_axis(scores)
    if probabilities and targets.shape == scores.shape:
        return _checked_probabilities(scores, targets, ignore_index)
    expected = scores.shape[:axis] + scores.shape[axis + 1 :]
    if targets.shape != expected:
        raise TargetError(
            f"for scores of shape {tuple(scores.shape)} the targets must be class numbers of shape "
            f"{tuple(expected)}, not {tuple(targets.shape)}; {_shape_advice(scores, targets, axis)}"
        )
    return checked_labels(targets, scores.shape[axis], ignore_index)


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
            f"targets.argmax({class_axis(scores)}) for class numbers"
        )
    if ignore_index is not None and ignore_index >= 0:
        raise OptionError(
            f"ignore_index {ignore_index} is a class number, but the targets are probabilities; "
            "leave the rows out that shall not count"
        )
    return targets


def checked_labels(targets: Tensor, n_classes: int, ignore_index: int | None = None) -> Tensor:
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


def check_weight(scores: Tensor, weight: Tensor | None) -> None:
    """Refuse class weights that are not (K,) numbers in the type of the scores."""
    n_classes = scores.shape[class_axis(scores)]
    if weight is not None and (weight.shape != (n_classes,) or weight.dtype != scores.dtype):
        raise TargetError(
            f"weight must be {scores.dtype} of shape ({n_classes},), a number for each class, not "
            f"{weight.dtype} of shape {tuple(weight.shape)}; write torch.tensor([w_0, ..., "
            f"w_{n_classes - 1}], dtype={scores.dtype})"
        )


def check_options(reduction: str, label_smoothing: float = 0.0) -> None:
    """Refuse an unknown reduction and a smoothing outside [0, 1)."""
    if reduction not in get_args(Reduction):
        names = get_args(Reduction)
        advice = nearest(str(reduction), names)
        raise OptionError(f"reduction {reduction!r} is not one of {', '.join(names)}{advice}")
    if not 0 <= label_smoothing < 1:
        raise OptionError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing}")
