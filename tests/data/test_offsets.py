"""`polylogit.data.offsets`: what is taken as offsets, and the words for what is not."""

import numpy as np
import pytest
import torch

from polylogit.data.dataset import Rows
from polylogit.data.offsets import offsets_of
from polylogit.errors import DataError

HERE = Rows("rows.csv")


@pytest.mark.parametrize("given", [[[1, 2, 3], [4, 5, 6]], torch.arange(1.0, 7).reshape(2, 3)])
def test_a_logit_for_each_row_and_class(given):
    offsets = offsets_of(given, 2, 3, HERE)
    assert offsets.dtype == np.float64
    assert offsets.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_of_two_classes_one_number_is_the_log_odds_of_the_second():
    offsets = offsets_of(np.array([0.5, -2.0]), 2, 2, HERE)
    np.testing.assert_array_equal(offsets[:, 1] - offsets[:, 0], [0.5, -2.0])
    assert offsets_of([[1, 2], [3, 4]], 2, 2, HERE).tolist() == [[1, 2], [3, 4]]


TAIL = ": a known logit for each row and class"


@pytest.mark.parametrize(
    ("given", "classes", "message"),
    [
        ([1, 2], 3, f"offset has shape (2,), expected (2, 3){TAIL}"),
        ([[1, 2]], 2, f"offset has shape (1, 2), expected (2, 2), or (2,) for the log odds{TAIL}"),
        ([1, 2, 3], 2, f"offset has shape (3,), expected (2, 2), or (2,) for the log odds{TAIL}"),
        (["a", "b"], 2, "offset has dtype <U1; offsets are finite numbers"),
        (
            [0.0, np.nan],
            2,
            "the offset of row 1 is nan (1 such); offsets lie between -1e+100 and 1e+100",
        ),
        (
            [[0.0, 1.0, np.inf], [-np.inf, 0, 0]],
            3,
            "the offset of row 0 is inf (2 such); offsets lie between -1e+100 and 1e+100",
        ),
    ],
)
def test_what_is_no_offset_is_refused(given, classes, message):
    with pytest.raises(DataError) as caught:
        offsets_of(given, 2, classes, HERE)
    assert str(caught.value) == f"rows.csv: {message}"
