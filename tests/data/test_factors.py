"""`polylogit.data.factors`: factors by order and by name, and the words for what is none."""

import math

import numpy as np
import pytest

from polylogit.data.factors import factors_of
from polylogit.errors import OptionError
from polylogit.schema import Feature, Schema

SCHEMA = Schema(
    (
        Feature("size", "numeric", has_missing=True),
        Feature("colour", "categorical", categories=("blue", "red")),
    ),
    ("no", "yes"),
    "bought",
)  # size, size missing, colour=blue, colour=red


def test_in_the_order_of_the_encoded_columns():
    assert factors_of((0, 1, 2, 0.5), SCHEMA).tolist() == [0, 1, 2, 0.5]


def test_a_name_stands_for_all_columns_that_it_became():
    assert factors_of({"colour": 3}, SCHEMA).tolist() == [1, 1, 3, 3]
    assert factors_of({"size": np.float32(0.5)}, SCHEMA).tolist() == [0.5, 0.5, 1, 1]


@pytest.mark.parametrize("turned", [1, -1])
def test_a_column_by_its_own_name_has_the_last_word(turned):
    option = dict([("colour", 3), ("colour=red", 0), ("size missing", 2)][::turned])
    assert factors_of(option, SCHEMA).tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            [1, 2],
            "penalty_factors has shape (2,), expected (4,): one for each encoded column",
        ),
        (2.0, "penalty_factors: the list is 2.0 (float); expected an array, a list, a tensor or a "
              "column"),
        (
            [True] * 4,
            "penalty_factors must be numbers >= 0, not of dtype bool",
        ),
        (
            [1, -1, 1, 1],
            "the penalty factor of 'size missing' must lie between 0 and 1e+100, not -1.0",
        ),
        (
            [1, 1, 1, math.nan],
            "the penalty factor of 'colour=red' must lie between 0 and 1e+100, not nan",
        ),
        (
            {"colour": math.inf},
            "the penalty factor of 'colour=blue' must lie between 0 and 1e+100, not inf",
        ),
        ({"size": "2"}, "the penalty factor of 'size' must be a number, not '2'"),
        ({"size": True}, "the penalty factor of 'size' must be a number, not True"),
        (
            {"colours": 2},
            "penalty_factors names 'colours', which is no column of the data; did you mean "
            "'colour'? (columns: 'size', 'colour')",
        ),
    ],
)  # fmt: skip
def test_what_is_no_factor_is_refused(option, message):
    with pytest.raises(OptionError) as caught:
        factors_of(option, SCHEMA)
    assert str(caught.value) == message
