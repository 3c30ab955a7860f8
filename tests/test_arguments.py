"""What the functions may be handed; the doors of both witnesses are tested in laws/."""

import pytest
import torch

from polylogit.arguments import check_distribution, checked_labels, checked_targets, class_axis
from polylogit.errors import InputError, OptionError, TargetError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("outcomes", [2, 1000])
def test_rounding_of_the_type_is_no_fault(dtype, outcomes):
    p = torch.softmax(torch.linspace(0, 5, outcomes, dtype=torch.float64), 0).to(dtype)
    check_distribution(p, 0, "P")
    with pytest.raises(InputError, match="instead of 1; divide by the sum"):
        check_distribution(p * 1.5, 0, "P")


def test_small_integers_do_not_wrap_around():
    labels = checked_labels(torch.tensor([156, 200], dtype=torch.uint8), 300, ignore_index=-100)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [156, 200]
    with pytest.raises(TargetError, match=r"target 156 at position \(0,\) is outside 0\.\.9"):
        checked_labels(torch.tensor([156], dtype=torch.uint8), 10, ignore_index=-100)


def test_classes_stand_in_dimension_one_or_in_the_only_one():
    assert class_axis(torch.zeros(4)) == 0
    assert class_axis(torch.zeros(2, 4, 3)) == 1
    with pytest.raises(InputError, match="hold no class"):
        class_axis(torch.zeros(2, 0))


def test_a_class_to_ignore_is_no_probability():
    rows = torch.full((2, 3), 1 / 3)
    assert checked_targets(rows, rows, -100, probabilities=True) is rows
    with pytest.raises(OptionError, match="ignore_index 1 is a class number"):
        checked_targets(rows, rows, 1, probabilities=True)
