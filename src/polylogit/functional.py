"""The functions of softmax classification, by torch's own kernels under the field's names.

`polylogit.formulas` has the same names, spelled out in exp, log, sum and max with gradients by
hand. Neither module knows the other: they are two witnesses, who ask for the same.

Shapes: logits Z (N, K, ...) with classes in dimension 1, targets y (N, ...) class numbers or T
(N, K, ...) rows of the probability simplex; a single row (K,) goes with one number (). Everything
is in nats.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from polylogit.arguments import (
    Reduction,
    check_distribution,
    check_float,
    check_options,
    check_pair,
    check_weight,
    checked_labels,
    checked_targets,
    class_axis,
)

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


def softmax(logits: Tensor, dim: int = -1) -> Tensor:
    """p_k = exp(z_k) / sum_j exp(z_j) along `dim`: positive, summing to one, softer than argmax.

    >>> softmax(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.0900, 0.2447, 0.6652])
    """
    check_float(logits, "logits")
    return torch.softmax(logits, dim)


def log_softmax(logits: Tensor, dim: int = -1) -> Tensor:
    """log p_k = z_k - lse(z) along `dim`; finite where softmax itself has become 0.

    >>> log_softmax(torch.tensor([0.0, 200.0]))
    tensor([-200.,    0.])
    """
    check_float(logits, "logits")
    return torch.log_softmax(logits, dim)


def logsumexp(logits: Tensor, dim: int = -1) -> Tensor:
    """lse(z) = log sum_k exp(z_k) along `dim`, without overflow.

    >>> logsumexp(torch.tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    check_float(logits, "logits")
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
    labels = checked_labels(targets, n_classes)
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
    check_distribution(p, dim, "P")
    result: Tensor = torch.special.entr(p).sum(dim)
    return result


def distribution_cross_entropy(p: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    """H(P, Q) = -sum_k p_k log q_k, with 0 log q = 0 and infinity where q = 0 < p.

    Raises `InputError` where P or Q is not a distribution, or their outcomes differ in number.

    >>> P, Q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    >>> distribution_cross_entropy(P, Q), entropy(P) + kl_divergence(P, Q)
    (tensor(1.3045), tensor(1.3045))
    """
    check_pair(p, q, dim)
    result: Tensor = -torch.special.xlogy(p, q).sum(dim)
    return result


def kl_divergence(p: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    """KL(P || Q) = sum_k p_k log(p_k / q_k) = H(P, Q) - H(P) >= 0, infinite where q = 0 < p.

    It is computed as that difference, and may end a few roundings below 0 where P is next to Q.

    >>> kl_divergence(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5]))
    tensor(0.2749)
    """
    check_pair(p, q, dim)
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
    axis, labels = class_axis(logits), checked_targets(logits, targets)
    truth = one_hot(labels, logits.shape[axis], logits.dtype)
    return (truth * -torch.log(softmax(logits, axis))).sum(axis).mean()


def one_hot_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The lesson's second low-level loss: `(one_hot * -log_softmax(z)).sum(1).mean()`.

    >>> z, y = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2])
    >>> one_hot_cross_entropy(z, y), cross_entropy(z, y)
    (tensor(0.4076), tensor(0.4076))
    """
    axis, labels = class_axis(logits), checked_targets(logits, targets)
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
    labels = checked_targets(log_probabilities, targets, ignore_index)
    check_weight(log_probabilities, weight)
    check_options(reduction)
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
    check_weight(logits, weight)
    check_options(reduction, label_smoothing)
    return F.cross_entropy(
        logits,
        checked_targets(logits, targets, ignore_index, probabilities=True),
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
