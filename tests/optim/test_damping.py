"""Damping grows where the model was wrong and fades where it was right."""

import pytest

from polylogit.optim.damping import damping_after


def test_short_steps_raise_the_damping_and_full_ones_lower_it():
    assert damping_after(0.0, 0.01) == 1e-3
    assert damping_after(1e-2, 0.01) == 1e-1
    assert damping_after(1e-2, 0.5) == 1e-2
    assert damping_after(1e-2, 1.0) == pytest.approx(2e-3)
    assert damping_after(1e-6, 1.0) == 0.0
