"""`polylogit.nn`: the head is torch's own loss on torch's own layer, and a model both ways."""

import math

import pytest
import torch
import torch.nn.functional as F

from polylogit import nn as module
from polylogit.errors import OptionError, SchemaError
from polylogit.nn import SoftmaxHead
from polylogit.schema import Schema
from polylogit.training import fit


def filled(d=4, k=3, **options):
    head = SoftmaxHead(d, k, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head


def batch(n=6, d=4, k=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, d, generator=generator, dtype=dtype)
    return x, torch.randint(k, (n,), generator=generator)


def test_every_class_is_equally_likely_at_first():
    head = SoftmaxHead(4, 3)
    x, y = batch()
    assert float(head.loss(x, y).detach()) == pytest.approx(math.log(3))
    torch.testing.assert_close(head.probabilities(x), torch.full((6, 3), 1 / 3))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradient_are_torchs(bias, many, label_smoothing, monkeypatch):
    monkeypatch.setattr(module, "MANY_CLASSES", 0 if many else 10**9)
    head = filled(bias=bias)
    x, y = batch()
    options = {"weight": torch.tensor([1.0, 2.0, 0.5]), "label_smoothing": label_smoothing}
    plain = F.cross_entropy(F.linear(x, head.weight, head.bias), y, **options)
    expected = torch.autograd.grad(plain, list(head.parameters()))
    loss = head.loss(x, y, **options)
    torch.testing.assert_close(loss, plain)
    for ours, theirs in zip(
        torch.autograd.grad(loss, list(head.parameters())), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_probabilities_are_targets_too():
    head, (x, _) = filled(), batch()
    t = torch.softmax(torch.randn(6, 3, generator=torch.Generator().manual_seed(2)), 1)
    torch.testing.assert_close(head.loss(x, t), -(t * torch.log_softmax(head(x), 1)).sum(1).mean())


def test_many_classes_go_the_way_without_all_logits(monkeypatch):
    seen = []
    monkeypatch.setattr(
        F, "linear_cross_entropy", lambda x, *_, options, **__: seen.append(options) or x.sum()
    )
    SoftmaxHead(2, module.MANY_CLASSES).loss(torch.ones(1, 2), torch.tensor([0]))
    assert seen == [torch.nn.LinearCrossEntropyOptions()]  # without them torch makes all logits
    SoftmaxHead(2, module.MANY_CLASSES - 1).loss(torch.ones(1, 2), torch.tensor([0]))
    assert len(seen) == 1


def test_an_older_torch_has_no_such_way(monkeypatch):
    monkeypatch.setattr(module, "MANY_CLASSES", 0)
    monkeypatch.delattr(F, "linear_cross_entropy")
    head, (x, y) = filled(), batch()
    torch.testing.assert_close(head.loss(x, y), F.cross_entropy(head(x), y))


def test_device_and_dtype_are_kept():
    head = SoftmaxHead(4, 3, device="meta", dtype=torch.float16)
    assert {(p.device.type, p.dtype) for p in head.parameters()} == {("meta", torch.float16)}
    assert SoftmaxHead(4, 3, dtype=torch.float64)(batch(dtype=torch.float64)[0]).dtype == (
        torch.float64
    )


def test_there_and_back_again():
    head = filled(dtype=torch.float64)
    model = head.to_model(("a", "b", "c"), record={"epochs": 3})
    x, _ = batch(dtype=torch.float64)
    torch.testing.assert_close(model.probabilities(x), head.probabilities(x).detach())
    assert (model.classes, model.record["epochs"]) == (("a", "b", "c"), 3)
    again = SoftmaxHead.from_model(model, dtype=torch.float64)
    torch.testing.assert_close(again(x), head(x))
    assert filled(bias=False).to_model().bias.tolist() == [0.0, 0.0, 0.0]


def test_a_certified_optimum_does_not_move_under_gradient_descent():
    import polylogit

    data = polylogit.read("penguins", target="species")
    model = fit(data, C=1.0, tol=1e-12).model
    head = SoftmaxHead.from_model(model, dtype=torch.float64)
    x, y = torch.as_tensor(data.features), torch.as_tensor(data.targets)
    head.loss(x, y).backward()
    pull = head.weight.grad + head.weight / len(y)  # the penalty that the fit had
    assert float((pull.detach() / x.std(0).clamp_min(1e-9)).abs().max()) < 1e-5


def test_what_does_not_fit():
    with pytest.raises(OptionError, match="n_classes must be a whole number >= 2, not 1"):
        SoftmaxHead(4, 1)
    with pytest.raises(OptionError, match=r"in_features must be a whole number >= 1, not 2\.0"):
        SoftmaxHead(2.0, 3)
    with pytest.raises(SchemaError, match="2 classes and 4 features need"):
        filled().to_model(("a", "b"))
    large = filled(dtype=torch.float64).to_model(schema=Schema.for_array(4, (0, 1, 2)))
    object.__setattr__(large, "weight", large.weight * 1e9)
    with pytest.raises(SchemaError, match=r"too large for torch\.float16"):
        SoftmaxHead.from_model(large, dtype=torch.float16)


def test_print_says_the_sizes():
    assert repr(SoftmaxHead(4, 3)) == "SoftmaxHead(in_features=4, n_classes=3, bias=True)"
