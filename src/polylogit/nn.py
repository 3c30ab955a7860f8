"""`SoftmaxHead`: softmax classification as a layer, for training by gradient descent.

    logits = x W' + b,    loss = cross entropy of softmax(logits) with the targets, in nats

A head learns with whatever is below it. Where the features are fixed, `polylogit.fit` finds the
same model's optimum, with a proof; `to_model` and `from_model` lead from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from polylogit.errors import OptionError, SchemaError
from polylogit.model import SoftmaxModel
from polylogit.schema import Label, Schema

MANY_CLASSES = 4096  # from here the logits of a batch are not made all at once


class SoftmaxHead(torch.nn.Module):
    """A linear layer to K logits and the loss that belongs to it: no softmax in between.

    `weight` (K, D) and `bias` (K,) start at zero, where every class is equally likely and the loss
    is ln K; the problem is convex, so no other start is better. A bias per class: one number for
    all would shift all logits alike, which softmax cannot see.

    Raises `OptionError` for sizes that are no whole numbers, D >= 1 and K >= 2.

    >>> head = SoftmaxHead(4, 3)
    >>> x, y = torch.ones(2, 4), torch.tensor([0, 2])
    >>> head(x).shape, round(float(head.loss(x, y).detach()), 6)
    (torch.Size([2, 3]), 1.098612)
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, size, least in (("in_features", in_features, 1), ("n_classes", n_classes, 2)):
            if isinstance(size, bool) or not isinstance(size, int) or size < least:
                raise OptionError(f"{name} must be a whole number >= {least}, not {size!r}")
        self.in_features, self.n_classes = in_features, n_classes
        at = {"device": device, "dtype": dtype}
        self.weight = torch.nn.Parameter(torch.zeros(n_classes, in_features, **at))  # type: ignore[arg-type]
        self.bias: torch.nn.Parameter | None = None
        if bias:
            self.bias = torch.nn.Parameter(torch.zeros(n_classes, **at))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of features x (N, D)."""
        return F.linear(x, self.weight, self.bias)

    def probabilities(self, x: Tensor) -> Tensor:
        """softmax of the logits (N, K)."""
        return torch.softmax(self(x), -1)

    def loss(
        self,
        x: Tensor,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Cross entropy of x (N, D) with class numbers (N,) or probabilities (N, K), in nats.

        `F.cross_entropy` of the logits; for class numbers of thousands of classes in pieces, where
        torch can (`F.linear_cross_entropy`, from 2.13, without smoothing), so that the logits never
        fill the memory: then `backward` works, `torch.func.grad` and second derivatives do not.
        """
        chunked = getattr(F, "linear_cross_entropy", None)
        soft = target.is_floating_point() or label_smoothing > 0
        if chunked is None or soft or self.n_classes < MANY_CLASSES:
            scores = self(x)
            return F.cross_entropy(scores, target, weight, label_smoothing=label_smoothing)
        loss: Tensor = chunked(
            x,
            self.weight,
            target,
            linear_bias=self.bias,
            weight=weight,
            options=torch.nn.LinearCrossEntropyOptions(),
        )
        return loss

    def extra_repr(self) -> str:
        """The sizes, for `print`."""
        return f"in_features={self.in_features}, n_classes={self.n_classes}, " + (
            f"bias={self.bias is not None}"
        )

    # ------------------------------------------------------------------------ to and from a model

    def to_model(
        self,
        classes: Sequence[Label] | None = None,
        *,
        schema: Schema | None = None,
        record: Mapping[str, object] | None = None,
    ) -> SoftmaxModel:
        """What has been learned, frozen: to save, to serve, to explain.

        `classes` are the K labels, by default 0 to K-1; a `schema` names the features as well.
        Raises `SchemaError` where they do not fit, `DataError` where a weight is not finite.
        """
        labels = tuple(range(self.n_classes)) if classes is None else tuple(classes)
        known = schema or Schema.for_array(self.in_features, labels)
        bias = self.weight.new_zeros(self.n_classes) if self.bias is None else self.bias
        return SoftmaxModel(self.weight, bias, known, record or {})

    @classmethod
    def from_model(
        cls,
        model: SoftmaxModel,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> SoftmaxHead:
        """A head that starts where a model ended, to be trained on.

        >>> from polylogit.schema import Schema
        >>> head = SoftmaxHead(2, 2)
        >>> head.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
        <All keys matched successfully>
        >>> SoftmaxHead.from_model(head.to_model(("no", "yes"))).weight.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        head = cls(model.n_features, model.n_classes, device=device, dtype=dtype)
        with torch.no_grad():
            head.weight.copy_(model.weight)
            if head.bias is not None:
                head.bias.copy_(model.bias)
        if not bool(head.weight.isfinite().all()):
            raise SchemaError(f"the model's weights are too large for {head.weight.dtype}")
        return head
