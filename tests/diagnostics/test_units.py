"""Rows leave alone or with their group, and whole or as one of many copies."""

import math

import numpy as np
import pytest
import torch
from left_out import data, prepared

from polylogit.diagnostics.units import class_mass, group_codes, lonely, units_of
from polylogit.errors import OptionError


def test_rows_are_units_and_one_of_equal_copies_leaves():
    X, codes = data(n=12)
    weights = np.array([1.0, 2.0, 0.5] + [1.0] * 9)
    units = units_of(prepared(X, codes, weights), None)
    np.testing.assert_allclose(units.removed * weights.sum(), [1, 1, 0.5] + [1] * 9)
    assert (units.count, units.grouped) == (12, False)


def test_groups_are_units_and_leave_whole():
    X, codes = data(n=12)
    weights = np.array([1.0, 2.0, 0.5] + [1.0] * 9)
    units = units_of(prepared(X, codes, weights), ["b", "a", "b"] + ["c"] * 9)
    assert (units.of.tolist(), units.grouped) == ([1, 0, 1] + [2] * 9, True)
    np.testing.assert_allclose(units.removed * weights.sum(), weights)
    np.testing.assert_allclose(units.total(torch.ones(12, 2)), [[1, 1], [2, 2], [9, 9]])
    found = list(units.of_one_size(torch.tensor([1, 2])))
    assert [(same.tolist(), rows.tolist()) for same, rows in found] == [
        ([1], [[0, 2]]),
        ([2], [list(range(3, 12))]),
    ]


def test_units_know_what_they_take_of_a_class_and_when_it_is_the_last():
    X, codes = data(n=12)
    codes[:] = [0, 0, 1, 1, 1, 2, 0, 0, 0, 1, 1, 1]
    ready = prepared(X, codes)
    single = units_of(ready, None)
    np.testing.assert_allclose(class_mass(ready, single) * 12, np.eye(3)[codes])
    assert torch.nonzero(lonely(ready, single)).tolist() == [[5]]
    copies = prepared(X, codes, np.repeat([1.0, 2.0, 0.5], 4))
    np.testing.assert_allclose(
        class_mass(copies, units_of(copies, None)) * 14,
        np.eye(3)[codes] * np.repeat([1.0, 1.0, 0.5], 4)[:, None],
    )
    groups = units_of(ready, ["x"] * 2 + ["y"] * 4 + ["x"] * 3 + ["z"] * 3)
    assert lonely(ready, groups).tolist() == [True, True, False]


def test_labels_of_groups_may_be_of_several_kinds():
    labels = np.array([1, "a", 2.5] * 10, dtype=object)
    codes, count = group_codes(labels, prepared(*data()).dataset)
    assert count == 3
    assert codes.reshape(10, 3).unique(dim=0).tolist() == [[0, 2, 1]]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2, 3], "one label for each of the 30 rows"),
        ([None] + ["a"] * 29, "no label in row 0"),
        ([1.0] * 29 + [math.nan], "no label in row 29"),
        (["a"] * 30, "only one group"),
    ],
)
def test_groups_that_cannot_be(groups, message):
    with pytest.raises(OptionError, match=message):
        group_codes(groups, prepared(*data()).dataset)
