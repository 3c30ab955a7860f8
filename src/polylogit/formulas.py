"""The functions of softmax classification, spelled out, each with its gradient derived by hand.

Only exp, log, sum, max and indexing are used: no softmax kernel, no autograd. These are the
formulas of the textbook, in the order of the lesson, with the one change that every real
implementation makes: the largest logit is subtracted before exp, which changes nothing in exact
arithmetic and keeps exp below 1. `polylogit.functional` has the same names by torch's kernels.

With p = softmax(z) and e_y the one-hot row of label y, the derivative that training runs on is

    d/dz [ -log p_y ] = p - e_y

Shapes and units as in `polylogit.functional`. Each function f but argmax and one_hot, which
are steps, has its gradient beside it, as `f_gradient`: the derivative of f by its first argument;
of the sum of f where f has several entries, weighted by `upstream` where that sum is constant.

Against the exact result, in float32 and float64, no entry errs by more than torch's own and a hair:
4 ulp of the largest number that its formula adds up, |z_k - m| or log K or 1.
"""

from __future__ import annotations

import torch
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
    """p_k = exp(z_k - m) / sum_j exp(z_j - m), m = max z.

    >>> softmax(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.0900, 0.2447, 0.6652])
    """
    check_float(logits, "logits")
    exponentials = (logits - logits.amax(dim, keepdim=True)).exp()
    return exponentials / exponentials.sum(dim, keepdim=True)


def softmax_gradient(logits: Tensor, upstream: Tensor, dim: int = -1) -> Tensor:
    """sum_k u_k dp_k/dz_j = p_j (u_j - sum_k u_k p_k), for upstream weights u.

    >>> softmax_gradient(torch.zeros(2), torch.tensor([1.0, 0.0]))
    tensor([ 0.2500, -0.2500])
    """
    p = softmax(logits, dim)
    return p * (upstream - (upstream * p).sum(dim, keepdim=True))


def logsumexp(logits: Tensor, dim: int = -1) -> Tensor:
    """lse(z) = m + log sum_k exp(z_k - m); without m where it is infinite, for inf - inf is nan.

    >>> logsumexp(torch.tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    check_float(logits, "logits")
    largest = logits.amax(dim, keepdim=True)
    largest = torch.where(largest.isinf(), 0.0, largest)
    return largest.squeeze(dim) + (logits - largest).exp().sum(dim).log()


def logsumexp_gradient(logits: Tensor, dim: int = -1) -> Tensor:
    """d lse/dz = softmax(z).

    >>> logsumexp_gradient(torch.zeros(2))
    tensor([0.5000, 0.5000])
    """
    return softmax(logits, dim)


def log_softmax(logits: Tensor, dim: int = -1) -> Tensor:
    """log p_k = (z_k - m) - log sum_j exp(z_j - m).

    >>> log_softmax(torch.tensor([0.0, 200.0]))
    tensor([-200.,    0.])
    """
    check_float(logits, "logits")
    shifted = logits - logits.amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def log_softmax_gradient(logits: Tensor, upstream: Tensor, dim: int = -1) -> Tensor:
    """sum_k u_k dlog p_k/dz_j = u_j - p_j sum_k u_k, for upstream weights u.

    >>> log_softmax_gradient(torch.zeros(2), torch.tensor([1.0, 0.0]))
    tensor([ 0.5000, -0.5000])
    """
    return upstream - softmax(logits, dim) * upstream.sum(dim, keepdim=True)


def argmax(logits: Tensor, dim: int = -1) -> Tensor:
    """How many entries stand before the first that equals max z, or is nan.

    >>> argmax(torch.tensor([1.0, 3.0, 3.0]))
    tensor(1)
    """
    is_largest = (logits == logits.amax(dim, keepdim=True)) | logits.isnan()
    return (~is_largest).long().cumprod(dim).sum(dim)


def one_hot(targets: Tensor, n_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[k = y_i] as 0 and 1, (N, K, ...).

    >>> one_hot(torch.tensor([0, 2]), 3)
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    labels = checked_labels(targets, n_classes)
    axis = min(1, labels.ndim)
    classes = torch.arange(n_classes, device=labels.device)
    classes = classes.reshape(-1, *[1] * (labels.ndim - axis))
    return (labels.unsqueeze(axis) == classes).to(dtype)


def entropy(p: Tensor, dim: int = -1) -> Tensor:
    """H(P) = -sum_k p_k log p_k.

    >>> entropy(torch.full((6,), 1 / 6))
    tensor(1.7918)
    """
    check_distribution(p, dim, "P")
    return -_p_log_q(p, p).sum(dim)


def entropy_gradient(p: Tensor) -> Tensor:
    """dH/dp_k = -log p_k - 1.

    >>> entropy_gradient(torch.tensor([0.5, 0.5]))
    tensor([-0.3069, -0.3069])
    """
    return -p.log() - 1


def distribution_cross_entropy(p: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    """H(P, Q) = -sum_k p_k log q_k.

    >>> distribution_cross_entropy(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5]))
    tensor(1.3045)
    """
    check_pair(p, q, dim)
    return -_p_log_q(p, q).sum(dim)


def distribution_cross_entropy_gradient(p: Tensor, q: Tensor) -> Tensor:
    """dH(P, Q)/dp_k = -log q_k.

    >>> distribution_cross_entropy_gradient(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
    tensor([1.3863, 0.2877])
    """
    return -(q.log() + torch.zeros_like(p))


def kl_divergence(p: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    """KL(P || Q) = sum_k p_k log p_k - p_k log q_k.

    >>> kl_divergence(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5]))
    tensor(0.2749)
    """
    check_pair(p, q, dim)
    return (_p_log_q(p, p) - _p_log_q(p, q)).sum(dim)


def kl_divergence_gradient(p: Tensor, q: Tensor) -> Tensor:
    """dKL/dp_k = log p_k + 1 - log q_k.

    >>> kl_divergence_gradient(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
    tensor([1.6931, 0.5945])
    """
    return p.log() + 1 - q.log()


def naive_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """mean_i sum_k onehot_ik * -log(softmax(z_i)_k), with 0 * inf = nan left as it is.

    >>> naive_cross_entropy(torch.tensor([[0.0, 200.0]]), torch.tensor([1]))
    tensor(nan)
    """
    truth, axis = _truth(logits, targets), class_axis(logits)
    return (truth * -softmax(logits, axis).log()).sum(axis).mean()


def naive_cross_entropy_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """(p - onehot) / n, n the number of rows: exact also where the naive value has become nan.

    >>> naive_cross_entropy_gradient(torch.tensor([[0.0, 200.0]]), torch.tensor([1]))
    tensor([[0., 0.]])
    """
    return one_hot_cross_entropy_gradient(logits, targets)


def one_hot_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """mean_i sum_k onehot_ik * -log_softmax(z_i)_k.

    >>> one_hot_cross_entropy(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2]))
    tensor(0.4076)
    """
    truth, axis = _truth(logits, targets), class_axis(logits)
    return (truth * -log_softmax(logits, axis)).sum(axis).mean()


def one_hot_cross_entropy_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """(p - onehot) / n, n the number of rows.

    >>> one_hot_cross_entropy_gradient(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2]))
    tensor([[ 0.0900,  0.2447, -0.3348]])
    """
    truth, axis = _truth(logits, targets), class_axis(logits)
    return (softmax(logits, axis) - truth) / targets.numel()


def nll_loss(
    log_probabilities: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """-w_{y_i} log p_{i, y_i}, reduced; the mean divides by sum_i w_{y_i}.

    >>> nll_loss(torch.tensor([[-2.0, -0.1], [-1.0, -0.5]]), torch.tensor([1, 0]))
    tensor(0.5500)
    """
    check_options(reduction)
    labels = checked_targets(log_probabilities, targets, ignore_index)
    picked = _picked(log_probabilities, labels, ignore_index)
    weights = _class_weights(log_probabilities, weight)
    losses = torch.where(picked, -weights * log_probabilities, 0.0)
    losses = losses.sum(class_axis(log_probabilities))
    return _reduced(losses, (picked * weights).sum(), reduction)


def nll_loss_gradient(
    log_probabilities: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """-w_{y_i} [k = y_i], over sum_i w_{y_i} for the mean; 0 in rows that do not count.

    >>> nll_loss_gradient(torch.tensor([[-2.0, -0.1], [-1.0, -0.5]]), torch.tensor([1, 0]))
    tensor([[ 0.0000, -0.5000],
            [-0.5000,  0.0000]])
    """
    check_options(reduction)
    labels = checked_targets(log_probabilities, targets, ignore_index)
    picked = _picked(log_probabilities, labels, ignore_index)
    weights = _class_weights(log_probabilities, weight)
    divisor = (picked * weights).sum() if reduction == "mean" else 1.0
    return torch.where(picked, -weights / divisor, 0.0)


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-sum_k a_ik log p_ik, reduced, where the shares a_ik = w_k ((1 - e) t_ik + e/K).

    The mean divides by sum_i w_{y_i} for class numbers and by the number of rows for
    probabilities, as torch defines it.

    >>> cross_entropy(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2]))
    tensor(0.4076)
    """
    check_options(reduction, label_smoothing)
    shares, counted, divisor = _shares(logits, targets, weight, ignore_index, label_smoothing)
    axis = class_axis(logits)
    losses = torch.where(counted, -shares * log_softmax(logits, axis), 0.0).sum(axis)
    return _reduced(losses, divisor, reduction)


def cross_entropy_gradient(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """p_ik sum_j a_ij - a_ik, over the mean's divisor: for plain labels, p - onehot.

    From d(-sum_j a_j log p_j)/dz_k = -a_k + p_k sum_j a_j, since dlog p_j/dz_k = [j = k] - p_k.
    It is 0 in rows that do not count, also where none is left and the mean itself is nan.

    >>> cross_entropy_gradient(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2]))
    tensor([[ 0.0900,  0.2447, -0.3348]])
    """
    check_options(reduction, label_smoothing)
    shares, counted, divisor = _shares(logits, targets, weight, ignore_index, label_smoothing)
    axis = class_axis(logits)
    gradient = softmax(logits, axis) * shares.sum(axis, keepdim=True) - shares
    gradient = gradient / divisor if reduction == "mean" else gradient
    return torch.where(counted.any(axis, keepdim=True), gradient, 0.0)


def _p_log_q(p: Tensor, q: Tensor) -> Tensor:
    """p log q, which is 0 where p = 0, whatever q is."""
    return torch.where(p == 0, 0.0, p * q.log())


def _shares(
    logits: Tensor, targets: Tensor, weight: Tensor | None, ignore_index: int, smoothing: float
) -> tuple[Tensor, Tensor, Tensor | float]:
    """a_ik (N, K, ...), which of them count, and what the mean divides by.

    Where a share counts, 0 times an infinite log is nan, as in torch; elsewhere nothing is there.
    """
    axis, weights = class_axis(logits), _class_weights(logits, weight)
    targets = checked_targets(logits, targets, ignore_index, probabilities=True)
    n_classes = logits.shape[axis]
    divisor: Tensor | float
    if targets.shape == logits.shape:
        truth, counted = targets, torch.ones_like(targets, dtype=torch.bool)
        divisor = targets.numel() / n_classes
    else:
        counted = _picked(logits, targets, ignore_index)
        truth = counted.to(logits.dtype)
        divisor = (truth * weights).sum()
    if smoothing > 0:
        counted = counted.any(axis, keepdim=True)
    return ((1 - smoothing) * truth + smoothing / n_classes) * weights, counted, divisor


def _picked(scores: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Where k = y_i (N, K, ...), and nowhere in rows to ignore."""
    axis, kept = class_axis(scores), labels != ignore_index
    picked = one_hot(torch.where(kept, labels, 0), scores.shape[axis], torch.bool)
    return picked & kept.unsqueeze(axis)


def _truth(logits: Tensor, targets: Tensor) -> Tensor:
    """[k = y_i] (N, K, ...) as 0 and 1 in the type of the logits."""
    labels = checked_targets(logits, targets)
    return one_hot(labels, logits.shape[class_axis(logits)], logits.dtype)


def _class_weights(scores: Tensor, weight: Tensor | None) -> Tensor:
    """w (K,) in the shape in which it meets Z; ones where there is none."""
    check_weight(scores, weight)
    axis = class_axis(scores)
    if weight is None:
        weight = torch.ones(scores.shape[axis], dtype=scores.dtype, device=scores.device)
    return weight.reshape(-1, *[1] * (scores.ndim - axis - 1))


def _reduced(losses: Tensor, divisor: Tensor | float, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return losses
    return losses.sum() / divisor if reduction == "mean" else losses.sum()
