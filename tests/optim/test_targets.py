import pytest
import torch

from polylogit.optim.targets import Distributions, Labels

CODES = torch.tensor([0, 2, 1, 2])
WEIGHTS = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_labels_are_the_distributions_that_they_stand_for(smoothing):
    labels = Labels(CODES, 3, smoothing)
    rows = (1 - smoothing) * torch.nn.functional.one_hot(CODES, 3).double() + smoothing / 3
    torch.testing.assert_close(labels.written_out(), rows)
    others = Distributions(rows)
    torch.testing.assert_close(others.written_out(), rows)
    z = torch.randn(2, 3, dtype=torch.float64)
    p, part = torch.softmax(z, 1), slice(1, 3)
    torch.testing.assert_close(labels.dot(z, part), others.dot(z, part))
    torch.testing.assert_close(labels.losses(z, p, part), others.losses(z, p, part))
    torch.testing.assert_close(labels.mass(WEIGHTS), others.mass(WEIGHTS))
    mine, theirs = (each.subtract_from(p.clone(), part) for each in (labels, others))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("far", [1.0, 800.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_are_right_even_where_the_label_has_no_probability_left(far, dtype):
    z = torch.tensor([[0.0, far, 1.0], [2.0, -far, 0.5]], dtype=dtype)
    labels = Labels(torch.tensor([0, 1]), 3)
    losses = labels.losses(z, torch.softmax(z, 1), slice(0, 2))
    expected = torch.nn.functional.cross_entropy(z.double(), labels.codes, reduction="none")
    torch.testing.assert_close(losses.double(), expected, rtol=1e-6, atol=0)
