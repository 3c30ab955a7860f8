"""A checkpoint is whole at every moment, of one problem only, and worth going on from."""

import math
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import torch
from oracle import stored
from sklearn.datasets import load_digits

from polylogit import checkpoint as module
from polylogit.checkpoint import Checkpoint, fingerprint
from polylogit.data.arrays import from_arrays
from polylogit.errors import ModelFileError, OptionError
from polylogit.optim.problem import Status
from polylogit.training import fit

X, Y = load_digits(return_X_y=True)
DATA = from_arrays(X, Y)
HARD = {"C": 1e4, "solver": "lbfgs", "tol": 1e-9}  # hundreds of steps
W, B = torch.arange(6.0).reshape(2, 3), torch.tensor([1.0, -1.0])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.ckpt"


# ------------------------------------------------------------------------------------- the file


def test_what_is_written_is_read_in_float64(path):
    file = Checkpoint(path, "a")
    assert file.read() is None
    file.write(W, B)
    weight, bias = file.read()
    assert torch.equal(weight, W.double())
    assert torch.equal(bias, B.double())
    file.remove()
    assert file.read() is None
    file.remove()  # it is gone, which is what was wanted


def test_the_first_step_is_kept_and_then_one_in_a_few_seconds(path, monkeypatch):
    clock, file, written = [100.0], Checkpoint(path, "a"), []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for iteration in range(30):
        file.offer(iteration, lambda at=iteration: written.append(at) or (W, B))
        clock[0] += 0.5
    assert module.EVERY == 3.0
    assert written == [1, 7, 13, 19, 25]


def test_another_problem_is_refused(path):
    Checkpoint(path, "a").write(W, B)
    with pytest.raises(ModelFileError) as caught:
        Checkpoint(path, "b").read()
    assert str(caught.value) == (
        f"'{path}' is the checkpoint of another fit (its data or options differ); name another "
        "file, or remove it to start anew"
    )


def test_every_changed_byte_is_found(path):
    file = Checkpoint(path, fingerprint("a"))
    file.write(W, B)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ModelFileError):
            file.read()
    path.write_bytes(whole[:-5])
    with pytest.raises(ModelFileError, match=r"is no checkpoint, or a damaged one \(.*\); name"):
        file.read()


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n"])
def test_a_file_of_another_kind_is_refused_and_left_alone(content, path):
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="no checkpoint"):
        fit(DATA, checkpoint=path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_to_is_refused_before_the_fit(tmp_path):
    seen = []
    with pytest.raises(OptionError, match="there is no folder"):
        fit(DATA, checkpoint=tmp_path / "no" / "fit.ckpt", progress=seen.append)
    assert seen == []


# ---------------------------------------------------------------------------------- fingerprints


def test_a_fingerprint_is_of_values_types_and_shapes():
    rows = np.arange(6.0).reshape(2, 3)
    sparse = scipy.sparse.csr_array(rows)
    different = [
        rows, rows.T, rows.reshape(3, 2), rows.astype(np.float32), rows + 1e-15, sparse,
        sparse[:1], None, "None", 1, 1.0, ("a", "b"), ("ab",),
        ("a", ("b",)), (("a", "b"), ("c",)), (("a",), ("b", "c")),
    ]  # fmt: skip
    found = [fingerprint(part) for part in different]
    assert len(set(found)) == len(found)
    assert fingerprint(rows.T.copy()) == fingerprint(rows.T)


CHANGES = {
    "C": {"C": 2e4},
    "smoothing": {"label_smoothing": 0.1},
    "intercept": {"fit_intercept": False},
    "class weight": {"class_weight": "balanced"},
    "factors": {"penalty_factors": np.full(64, 2.0)},
    "offset": {"offset": np.zeros((1797, 10))},
}
OTHERS = {
    "a cell": from_arrays(np.where(np.arange(64) == 5, X + 1, X), Y),
    "labels": from_arrays(X, Y[::-1].copy()),
    "names of labels": from_arrays(X, Y + 1),
    "weights": from_arrays(X, Y, sample_weight=np.r_[2.0, np.ones(1796)]),
    "sparse": from_arrays(scipy.sparse.csr_array(X), Y),
}


def stopped(path, data=DATA, steps=3, **options):
    """A fit that is stopped by hand after a few steps."""

    def stop(step):
        if step.iteration == steps:
            raise KeyboardInterrupt

    return fit(data, checkpoint=path, progress=stop, **{**HARD, **options})


@pytest.mark.parametrize("change", [*CHANGES, *OTHERS])
def test_whatever_moves_the_optimum_makes_another_problem(change, path):
    stopped(path)
    with pytest.raises(ModelFileError, match="is the checkpoint of another fit"):
        fit(OTHERS.get(change, DATA), checkpoint=path, **{**HARD, **CHANGES.get(change, {})})


def test_the_way_there_may_change(path):
    first = stopped(path)
    outcome = fit(DATA, checkpoint=path, C=1e4, solver="newton-cg", tol=1e-6, n_threads=1)
    assert outcome.solution.certified
    assert outcome.solution.statistics.history[0].objective <= first.solution.objective + 1e-12


# ---------------------------------------------------------------------------------------- the fit


def test_a_fit_goes_on_and_leaves_nothing(path):
    first = stopped(path, steps=30)
    assert first.solution.status is Status.INTERRUPTED
    assert path.exists()
    again = fit(DATA, checkpoint=path, **HARD)
    plain = fit(DATA, **HARD)
    assert again.solution.statistics.history[0].objective == pytest.approx(
        first.solution.objective, abs=1e-13
    )
    assert again.solution.statistics.iterations < plain.solution.statistics.iterations
    assert again.solution.objective == pytest.approx(plain.solution.objective, abs=2e-9)
    assert not path.exists()


def test_the_limit_of_steps_is_no_end_either(path):
    parts = 0
    while True:
        outcome = fit(DATA, checkpoint=path, max_iter=60, **{**HARD, "tol": 1e-6})
        parts += 1
        if outcome.solution.certified:
            break
        assert outcome.solution.status is Status.ITERATION_LIMIT
    assert parts > 1
    assert not path.exists()


CHILD = """
import sys, time
from sklearn.datasets import load_digits
from polylogit import checkpoint, fit, from_arrays

checkpoint.EVERY = 0.05
data = from_arrays(*load_digits(return_X_y=True))

def slowly(step):
    print(step.iteration, step.objective, flush=True)
    time.sleep(0.02)

fit(data, C=1e4, solver="lbfgs", tol=1e-9, checkpoint=sys.argv[1], progress=slowly)
"""


def test_a_fit_killed_between_two_checkpoints_goes_on_to_the_same_optimum(path):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path)], stdout=subprocess.PIPE, text=True
    )
    told = {}
    try:
        for line in child.stdout:
            iteration, objective = line.split()
            told[int(iteration)] = float(objective)
            if int(iteration) == 15:
                child.kill()  # SIGKILL: nothing can be tidied up
                break
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert child.returncode == -9
    assert path.exists()
    resumed = fit(DATA, checkpoint=path, **HARD)
    begun = resumed.solution.statistics.history[0].objective
    assert told[15] - 1e-12 <= begun <= told[5] + 1e-12  # of a later step than the first
    assert begun < told[1]
    plain = fit(DATA, **HARD)
    assert resumed.solution.certified
    assert resumed.solution.objective == pytest.approx(plain.solution.objective, abs=2e-9)
    bound = math.sqrt(2 * 2e-9 / plain.alpha)  # of strong convexity
    assert float((resumed.model.weight - plain.model.weight).norm()) <= 2 * bound
    assert list(path.parent.iterdir()) == []


def test_stored_rows_are_known_by_what_they_hold(monkeypatch):
    names = fingerprint(stored(X)), fingerprint(stored(X))
    monkeypatch.setattr("polylogit.stored.BLOCK_BYTES", 5000)
    assert {*names, fingerprint(stored(X))} == {names[0]}
    other = X.copy()
    other[-1, -1] += 1
    different = {fingerprint(stored(rows)) for rows in (other, X[1:], X.astype(np.float32))}
    assert len({names[0], *different}) == 4
    assert fingerprint(stored(X).take(np.arange(1, len(X)))) == fingerprint(stored(X[1:]))


def test_a_streamed_fit_goes_on_from_its_checkpoint(path):
    rows = from_arrays(X[:300], Y[:300])

    def stop(now):
        if now.iteration == 20:
            raise KeyboardInterrupt

    streamed = replace(rows, features=stored(rows.features))
    first = fit(streamed, **HARD, checkpoint=path, progress=stop)
    assert first.solution.status is Status.INTERRUPTED
    assert path.exists()
    seen = []
    again = replace(rows, features=stored(rows.features))
    second = fit(again, **HARD, checkpoint=path, progress=seen.append)
    assert seen[0].objective == pytest.approx(first.solution.objective, abs=1e-9)
    assert second.solution.certified
    assert not path.exists()
