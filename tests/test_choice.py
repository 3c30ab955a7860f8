"""C is chosen where rows left out lose least, and everything that was tried is shown."""

import json
import math

import numpy as np
import pytest
from left_out import data

from polylogit import choice as module
from polylogit.choice import choose_C, fit, grid, past_the_lowest
from polylogit.data.arrays import from_arrays
from polylogit.diagnostics.leave_one_out import leave_one_out
from polylogit.errors import OptionError
from polylogit.training import prepare

CS = (0.01, 0.1, 1.0, 10.0, 100.0)


def dataset(**options):
    X, codes = data(n=40, **options)
    return from_arrays(X, codes)


def test_the_table_is_leave_one_out_of_every_fit_and_the_lowest_is_chosen():
    rows = dataset()
    choice, prepared = choose_C(rows, CS), prepare(rows)
    fits = [prepared.fit(C) for C in CS]
    lefts = [leave_one_out(prepared, fit, rough=True) for fit in fits]
    lowest = int(np.argmin([left.loss for left in lefts]))
    assert 0 < lowest < 4
    assert choice.C == CS[lowest]
    assert choice.note == "the lowest leave-one-out loss of 5 values"
    np.testing.assert_allclose(choice.model.weight, fits[lowest].model.weight, atol=1e-4)
    for line, fit_, left in zip(choice.table, fits, lefts, strict=True):
        assert (line.C, line.alpha) == (fit_.C, pytest.approx(fit_.alpha))
        for name in ("loss", "standard_error", "accuracy", "effective_dof", "train_loss"):
            assert getattr(line, name) == pytest.approx(getattr(left, name), rel=1e-4), name
        assert line.rise == pytest.approx(left.loss - lefts[lowest].loss, abs=1e-5)
        paired = (left.losses - lefts[lowest].losses).numpy()
        expected = paired.std(ddof=1) / math.sqrt(40)
        assert line.rise_error == pytest.approx(expected, rel=1e-2, abs=1e-6)
    assert choice.left_out.loss == choice.table[lowest].loss
    weight = choice.model.weight.numpy()
    z = rows.features @ weight.T + choice.model.bias.numpy()
    logs = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    train = -logs[np.arange(40), rows.targets].mean()
    assert choice.table[lowest].train_loss == pytest.approx(train, rel=1e-5)


def test_the_rule_of_one_standard_error_takes_the_strongest_penalty_that_is_as_good():
    rows = dataset(seed=1)
    choice = choose_C(rows, CS, rule="one-standard-error")
    lowest = min(choice.table, key=lambda line: line.loss)
    good = [line.C for line in choice.table if line.rise <= line.rise_error and line.C <= lowest.C]
    assert choice.C == good[0] < lowest.C
    assert choice.note.startswith("the strongest penalty within one standard error")
    with pytest.raises(OptionError, match="rule 'best' is not one of lowest, one-standard-error"):
        choose_C(rows, CS, rule="best")


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_the_unit_of_the_columns_does_not_matter(unit):
    X, codes = data(n=40)
    plain, other = choose_C(from_arrays(X, codes)), choose_C(from_arrays(X * unit, codes))
    assert other.C == pytest.approx(plain.C / unit**2, rel=1e-9)
    assert [line.loss for line in other.table] == pytest.approx(
        [line.loss for line in plain.table], rel=1e-4
    )


def test_a_path_of_our_own_ends_when_it_has_passed_the_lowest():
    choice = choose_C(dataset())
    losses = [line.loss for line in choice.table]
    Cs = [line.C for line in choice.table]
    np.testing.assert_allclose(np.diff(np.log10(Cs)), 0.5, rtol=1e-9)
    assert past_the_lowest(losses)
    assert not past_the_lowest(losses[:-1])
    assert losses[0] > 2 * min(losses)  # and begins far from it


def test_the_path_begins_with_a_strong_penalty_and_is_bounded():
    prepared = prepare(dataset())
    Cs = grid(prepared)
    assert len(Cs) == 17
    typical = np.exp(np.log(prepared.design.scale.numpy()).mean()) ** 2
    assert 10**-0.5 < Cs[0] * 10 * 40 * typical <= 1.0001


def test_groups_leave_together():
    X, codes = data(n=40)
    twice = from_arrays(np.repeat(X, 2, 0), np.repeat(codes, 2))
    groups = np.repeat(np.arange(40), 2)
    apart, together = choose_C(twice, CS), choose_C(twice, CS, groups=groups)
    halves = choose_C(from_arrays(X, codes), [2 * C for C in CS])
    assert [line.loss for line in together.table] == pytest.approx(
        [line.loss for line in halves.table], rel=5e-3
    )
    assert apart.table[-1].loss < 0.9 * together.table[-1].loss


def test_a_class_of_one_row_is_told():
    X, codes = data(n=40)
    codes[5] = 3
    choice = choose_C(from_arrays(X, codes), CS)
    assert "1 row without which a class has none could not be left out" in choice.note
    assert choice.left_out.excluded == (5,)


def test_an_end_of_the_path_is_told():
    assert choose_C(dataset(), (0.001, 0.01)).note.endswith("of 2 values, at the end of the path")
    assert choose_C(dataset(), (0.001,)).note == "the lowest leave-one-out loss of 1 values"


def test_fit_chooses_unless_it_is_told():
    rows = dataset()
    assert fit(rows).table == choose_C(rows).table
    given = fit(rows, C=2.0)
    assert (given.C, given.table, given.note, given.left_out) == (2.0, (), None, None)
    together = fit(rows, groups=np.arange(40) // 2)
    assert together.table == choose_C(rows, groups=np.arange(40) // 2).table != fit(rows).table
    with pytest.raises(OptionError, match="groups serve to choose C, and C is given as"):
        fit(rows, C=2.0, groups=np.arange(40))
    strong = choose_C(rows, rule="one-standard-error")
    assert fit(rows, rule="one-standard-error").C == strong.C < fit(rows).C
    with pytest.raises(OptionError, match="a rule serves to choose C, and C is given as"):
        fit(rows, C=2.0, rule="one-standard-error")


def test_where_leave_one_out_cannot_work_fit_says_so():
    rows = dataset()
    outcome = fit(rows, penalty_factors=[1.0, 0.0])
    assert outcome.C == 1.0
    assert outcome.note == (
        "auto is 1 here: leave-one-out needs a penalty on every column, and a penalty factor is 0"
    )
    alone = fit(from_arrays([[0.0], [1.0]], ["a", "b"]))
    assert (alone.C, alone.note) == (
        1.0,
        "auto is 1 here: leave-one-out needs a row that is not the last of its class, and there "
        "is none",
    )
    with pytest.raises(OptionError, match="groups serve to choose C, but leave-one-out needs"):
        fit(rows, l1_ratio=0.5, groups=np.arange(40))
    with pytest.raises(OptionError, match="leave-one-out needs a smooth penalty"):
        choose_C(rows, l1_ratio=0.5)


def test_a_path_that_was_stopped_goes_on_from_its_checkpoint(tmp_path):
    file, plain = tmp_path / "check", fit(dataset())
    first = fit(dataset(), checkpoint=file, progress=stop_at_fit(4))
    assert (first.stopped, len(first.table)) == (True, 3)
    starts = []
    again = fit(dataset(), checkpoint=file, progress=starts.append)
    assert not file.exists()
    assert [line.C for line in again.table] == [line.C for line in plain.table]
    assert again.C == plain.C
    losses = [now.objective for now in starts if now.iteration == 0]
    assert losses[:3] == pytest.approx([line.objective for line in fits_of(first)], abs=1e-6)


def fits_of(choice):
    prepared = prepare(dataset())
    return [prepared.fit(line.C).solution for line in choice.table]


def stop_at_fit(number):
    """Ctrl-C at the first step of this fit of a path."""
    begun = []

    def press(now):
        begun.extend([now] if now.iteration == 0 else [])
        if len(begun) == number:
            raise KeyboardInterrupt

    return press


def test_ctrl_c_ends_the_path_with_what_there_is():
    choice = choose_C(dataset(), CS, progress=stop_at_fit(3))
    assert [line.C for line in choice.table] == [0.01, 0.1]
    assert (choice.C, choice.stopped, choice.solution.certified) == (0.1, True, True)
    assert choice.note.endswith(
        "of 2 values, at the end of the path; stopped by hand before the end of the path"
    )
    first = choose_C(dataset(), CS, progress=stop_at_fit(1))
    assert (first.C, first.stopped, first.solution.certified, first.table) == (
        0.01,
        True,
        False,
        (),
    )
    assert first.note == "stopped by hand before any C could be judged"


def test_ctrl_c_while_rows_are_left_out_is_the_same(monkeypatch):
    seen = []

    def press(*asked, **options):
        seen.append(asked)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return leave_one_out(*asked, **options)

    monkeypatch.setattr(module, "leave_one_out", press)
    choice = choose_C(dataset(), CS)
    assert [line.C for line in choice.table] == [0.01, 0.1]
    assert (choice.C, choice.stopped, choice.solution.certified) == (0.1, True, True)


def test_the_table_is_plain_json():
    rows = dataset()
    line = choose_C(rows, CS, groups=rows.features[:, 0] > 1).table[0]
    text = json.loads(json.dumps(line.to_json(), allow_nan=False))
    assert text["C"] == 0.01
    assert set(text) >= {"loss", "train_loss", "standard_error", "accuracy", "effective_dof"}
