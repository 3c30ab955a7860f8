"""Options that cannot be meant are refused by name."""

import math

import pytest

from polylogit.errors import OptionError
from polylogit.optim.settings import Settings


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"tol": 0.0}, "tol must be a positive number"),
        ({"tol": -1.0}, "tol must be a positive number"),
        ({"tol": math.nan}, "tol must be a positive number"),
        ({"tol": "1"}, "tol must be a positive number of nats per row, not '1'"),
        ({"max_iter": 0}, "max_iter must be a whole number >= 1, not 0"),
        ({"max_iter": 2.5}, "max_iter must be a whole number >= 1, not 2.5"),
        ({"max_iter": True}, "max_iter must be a whole number >= 1, not True"),
        ({"solver": "newtn"}, "did you mean 'newton'"),
        ({"n_threads": 0}, "n_threads must be a whole number >= 1, not 0"),
    ],
)
def test_options_are_checked(option, message):
    with pytest.raises(OptionError, match=message.replace("(", r"\(")):
        Settings(**option)
