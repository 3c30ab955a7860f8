"""Centre and scale of columns, to the last digits, in as few passes as that takes."""

import numpy as np
import pytest
import scipy.sparse
import torch
from standards import RNG, X, deviations

from polylogit.design import base, design_of
from polylogit.design import moments as module


def test_an_offset_of_1e9_loses_no_digit():
    column = RNG.integers(0, 1000, size=200).astype(np.float64)
    plain = next(iter(design_of(column[:, None]).blocks(torch.float64))).dense()
    far = next(iter(design_of(column[:, None] + 1e9).blocks(torch.float64))).dense()
    # a centre near 1e9 is rounded to 1e-7: a common shift of the column, which the bias absorbs
    shift = (far - plain).mean()
    assert abs(shift) < 1e-9
    torch.testing.assert_close(far - shift, plain, rtol=0, atol=1e-12)


def test_what_a_design_has_seen_of_the_columns():
    low, high, mean = design_of(X).seen
    assert (low.tolist(), high.tolist()) == (X.min(0).tolist(), X.max(0).tolist())
    np.testing.assert_allclose(mean, X.mean(0), rtol=1e-13)


def outlier_first(X):
    return np.concatenate([X[:1] + 1e3, X[1:]])


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("change", "passes"),
    [
        (lambda X: X, 1),
        (lambda X: 1e-3 * X + 1e9, 1),
        (outlier_first, 2),  # squares about the first row say little of those about the mean
        (lambda X: 1e-3 * outlier_first(X), 2),
        (lambda X: 1e99 * X, 1),
        (lambda X: 1e-99 * X, 1),
    ],
    ids=["plain", "an offset", "an outlier first", "and small", "extremely large", "and small too"],
)
def test_scales_are_those_of_the_columns_after_as_few_passes_as_that_takes(
    change, passes, centred, monkeypatch
):
    rows = change(np.random.default_rng(0).normal(size=(4000, 3)))
    true = deviations(rows, centred)
    at_once = design_of(rows, centred=centred)
    np.testing.assert_allclose(at_once.scale.numpy(), true, rtol=1e-12)
    seen, read = [], module._in_double
    monkeypatch.setattr(module, "_in_double", lambda source: seen.append(1) or read(source))
    monkeypatch.setattr(module, "FEW_NUMBERS", 0)
    in_parts = design_of(rows, centred=centred)
    np.testing.assert_allclose(in_parts.scale.numpy(), true, rtol=1e-12)
    assert len(seen) == passes
    rounding = 1e-14 * np.abs(rows).max()
    for one, other in zip(at_once.seen, in_parts.seen, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=rounding)
    whole, parts = (
        torch.cat([block.dense() for block in design.blocks(torch.float64)])
        for design in (at_once, in_parts)
    )
    np.testing.assert_allclose(whole, parts, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("size", "offset", "sure"),
    [
        (1.0, 0.0, True),
        (1.0, 20.0, True),
        (1.0, 1e4, False),  # a dense column, all but constant
        (1e90, 0.0, True),
        (1e-90, 0.0, True),
        (1e-150, 0.0, False),  # its squares vanish
    ],
)
def test_scales_of_sparse_columns_are_found_from_sums_where_those_keep_digits(
    size, offset, sure, centred, monkeypatch
):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 4)) * (rng.uniform(size=(500, 4)) < 0.1)
    rows[:, 2] = 0.0  # a word that no row has
    rows[:, 3] = size * (rng.normal(size=500) + offset)
    called, second = [], module._sparse_deviations
    monkeypatch.setattr(module, "_sparse_deviations", lambda *a: called.append(1) or second(*a))
    monkeypatch.setattr(base, "SMALLEST_SCALE", 0.0)
    scale = design_of(scipy.sparse.csr_array(rows), centred=centred).scale.numpy()
    expected = deviations(rows, centred)
    expected[2] = 1.0
    np.testing.assert_allclose(scale, expected, rtol=1e-12)
    assert bool(called) is not (sure or (offset > 0 and not centred))


@pytest.mark.parametrize("n_rows", [1, 3, 4, 11, 12])
def test_extremes_of_narrow_columns_are_those_of_any_others(n_rows, monkeypatch):
    X = np.random.default_rng(n_rows).normal(size=(n_rows, 3))
    monkeypatch.setattr(module, "WIDE_ENOUGH", 14)  # four rows side by side
    monkeypatch.setattr(module, "TALL", 1)
    low, high, _ = design_of(X).seen
    np.testing.assert_array_equal(low, X.min(0))
    np.testing.assert_array_equal(high, X.max(0))
