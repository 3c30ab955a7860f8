import os
import subprocess
import sys

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from polylogit.optim import threads as module
from polylogit.optim.threads import (
    available_cores,
    chosen_threads,
    threads,
    threads_to_read,
    trial_seconds,
)


@pytest.fixture(autouse=True)
def no_trial_before(monkeypatch):
    monkeypatch.setattr(module, "_gained", {})


def test_never_more_than_the_cores_at_hand():
    assert 1 <= chosen_threads(1e15) <= available_cores() <= (os.cpu_count() or 1)
    assert chosen_threads(10.0) == 1
    assert chosen_threads(10.0, asked=7) == 7


def test_the_number_is_restored_even_after_an_error():
    before = torch.get_num_threads()
    seen = []
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        seen.append(torch.get_num_threads() // 0)
    assert seen == []
    with threads(before + 1):
        seen.append(torch.get_num_threads())
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def numpys():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_numpys_products_run_on_as_many_and_are_restored_too():
    with threadpool_limits(2, "blas"):
        before = numpys()
        with threads(1):
            assert set(numpys()) == {1}
        assert numpys() == before
        assert set(before) == {2}


def test_numpys_products_are_never_given_more_than_they_had():
    with threadpool_limits(1, "blas"), threads(2):
        assert set(numpys()) == {1}


TWO_FITS = """
import threading
import numpy, scipy.linalg
from threadpoolctl import threadpool_info
from polylogit.optim.threads import threads

def numpys():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

entered, left = threading.Event(), threading.Event()

def first():
    with threads(1):
        entered.set()
        left.wait(20)

other = threading.Thread(target=first)
other.start()
entered.wait(20)
with threads(1):  # begins before the other ends, and ends after it
    left.set()
    other.join()
print(numpys())

def later():
    with threads(1):
        print(numpys())

with threads(1):
    pass
another = threading.Thread(target=later)
another.start()
another.join()
print(numpys())
"""


def test_fits_in_two_threads_leave_numpys_products_as_they_were():
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    run = [sys.executable, "-c", TWO_FITS]
    said = subprocess.run(run, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["{2}", "{1}", "{2}"]


def test_little_to_read_is_read_by_one(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert threads_to_read(module.MUCH_TO_READ - 1) == 1
    assert threads_to_read(module.MUCH_TO_READ) == 8
    assert threads_to_read(10.0, asked=3) == 3


@pytest.mark.parametrize(
    ("useful", "chosen"), [(8, 8), (4, 4), (2, 2), (1, 1)], ids="{} cores idle".format
)
def test_threads_that_bring_nothing_are_not_used(useful, chosen, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(module, "trial_seconds", lambda n: 1 / n if n <= useful else 20.0)
    assert chosen_threads(1e15) == chosen
    assert chosen_threads(2.1 * module.WORTH_A_THREAD) == min(2, chosen)


def test_a_trial_takes_time_and_leaves_the_number_as_it_was():
    before = torch.get_num_threads()
    assert 0 < trial_seconds(before + 1) < 10
    assert torch.get_num_threads() == before


def test_small_problems_are_spared_the_trial(monkeypatch):
    monkeypatch.setattr(module, "trial_seconds", lambda _: 1 / 0)
    assert chosen_threads(1.9 * module.WORTH_A_THREAD) == 1


@pytest.mark.parametrize(("work", "chosen"), [(1e10, 2), (4.1e7, 1)])
def test_a_passing_disturbance_does_not_slow_down_a_long_pass(work, chosen, monkeypatch):
    disturbed = iter([20.0] * 3)
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(module, "trial_seconds", lambda n: next(disturbed, 0.5) if n > 1 else 1.0)
    assert chosen_threads(work) == chosen


def test_a_success_spares_the_next_fit_its_trial_for_a_moment(monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    clock, tried, useful = [100.0], [], [True]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])

    def seconds(count):
        tried.append(count)
        return 0.5 if count > 1 and useful[0] else 1.0

    monkeypatch.setattr(module, "trial_seconds", seconds)
    for later, helps, trials in ((0.0, True, 2), (0.2, False, 0), (0.1, False, 6), (0.0, False, 6)):
        tried.clear()
        clock[0], useful[0] = clock[0] + later, helps
        assert chosen_threads(4.1e7) == (2 if helps or not trials else 1)
        assert len(tried) == trials
