"""Average marginal effects: changes of categories, and Jacobians against differences."""

import numpy as np
import pandas as pd
import pytest

from polylogit import from_arrays, summarize
from polylogit.diagnostics.inference.effects import Change, changes, effect
from polylogit.schema import Feature, Schema

RNG = np.random.default_rng(0)
ROWS = np.column_stack([np.ones(30), RNG.normal(size=30), np.eye(3)[np.arange(30) % 3][:, 1:]])
WEIGHTS = RNG.integers(1, 4, size=30).astype(float)
B = RNG.normal(size=(2, 4))


@pytest.mark.parametrize(
    "change",
    [Change("x", "x", 1), Change("c=b", "c", 2, (2, 3)), Change("c=b", "c", 2, (2, 3), 3)],
)
def test_the_jacobian_is_that_of_differences(change):
    _, slope = effect(change, ROWS, WEIGHTS, B)
    step = 1e-6
    for at in range(B.size):
        moved = np.zeros(B.size)
        moved[at] = step
        high, _ = effect(change, ROWS, WEIGHTS, B + moved.reshape(B.shape))
        low, _ = effect(change, ROWS, WEIGHTS, B - moved.reshape(B.shape))
        np.testing.assert_allclose(slope[:, at], (high - low) / (2 * step), atol=1e-9)


def test_effects_sum_to_zero_over_the_classes():
    for change in (Change("x", "x", 1), Change("c=b", "c", 2, (2, 3))):
        assert effect(change, ROWS, WEIGHTS, B)[0].sum() == pytest.approx(0, abs=1e-15)


def test_the_effect_of_a_category_alone_is_a_difference_of_shares():
    words = np.repeat(["a", "b", "c"], 40)
    y = np.concatenate([np.arange(40) % 2, np.arange(40) % 4 > 0, np.arange(40) % 5 > 0]).astype(
        int
    )
    summary = summarize(from_arrays(pd.DataFrame({"w": words}), y))
    found = {(e.column, e.label): e.estimate for e in summary.effects}
    assert found["w=b", 1] == pytest.approx(0.75 - 0.5)
    assert found["w=c", 1] == pytest.approx(0.8 - 0.5)


def test_what_changes_for_each_kind_of_column():
    schema = Schema(
        (
            Feature("n", "numeric", has_missing=True),
            Feature("b", "boolean"),
            Feature("c", "categorical", categories=("u", "v", "w")),
        ),
        ("no", "yes"),
        "y",
    )
    found = {c.name: (c.column, c.off, c.base) for c in changes(schema, [0, 1, 2, 4, 5], True)}
    assert found == {
        "n": (1, None, None),
        "n missing": (2, (2,), None),
        "b": (3, (3,), None),
        "c=v": (4, (4, 5), None),
        "c=w": (5, (4, 5), None),
    }
    whole = {c.name: c.base for c in changes(schema, range(6), intercept=False)}
    assert whole == {"n": None, "n missing": None, "b": None, "c=v": 3, "c=w": 3}
