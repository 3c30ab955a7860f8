import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from polylogit.optim import threads as module
from polylogit.optim.threads import (
    Crew,
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


class Machine:
    """Two cores, a clock, and a fit whose passes take `seconds` on one thread."""

    def __init__(self, monkeypatch, start=2):
        self.clock, self.worked, self.seconds = 0.0, 0.0, 1.0
        self.passes, self.cores, self.shares = 0, 2, True
        self.gone = 0.3  # of the time of two threads that wait for each other, they work
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.clock)
        monkeypatch.setattr(module.time, "process_time", lambda: self.worked)
        monkeypatch.setattr(module, "available_cores", lambda: 2)
        monkeypatch.setattr(
            module, "chosen_threads", lambda work, asked=None: asked or (start if work > 10 else 1)
        )
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        monkeypatch.setattr(torch, "set_num_threads", self.set)
        self.count = start

    def set(self, count):
        self.count = count

    def step(self, crew):
        """A pass; the threads it ran on."""
        count, there = crew.count, crew.count <= self.cores
        seconds = self.seconds * ((1 / count if self.shares else 1.0) if there else 3.0)
        self.clock += seconds
        self.worked += seconds * count * (1.0 if there and self.shares else self.gone)
        self.passes += 1
        crew.look(self.passes)
        assert self.count == crew.count
        return count


@pytest.mark.parametrize("calm", [4, 5, 6, 7])
def test_a_fit_goes_on_with_half_its_threads_where_a_core_is_gone(calm, monkeypatch):
    machine = Machine(monkeypatch)
    crew = Crew(1e15)
    assert [machine.step(crew) for _ in range(calm)] == [2] * calm
    machine.cores = 1
    steps = [machine.step(crew) for _ in range(40)]
    tried = [at for at, count in enumerate(steps) if count == 2]
    assert tried[0] == 0
    assert np.diff(tried).tolist() == [3, 3, 5, 9, 11]  # after a rest of 1, 1, 2, 4, 8 seconds
    machine.cores = 2
    assert [machine.step(crew) for _ in range(30)][-12:] == [2] * 12


@pytest.mark.parametrize(("harder", "count"), [(1.0, 2), (2.2, 2), (2.6, 1)])
def test_threads_that_work_are_called_although_a_trial_said_no(harder, count, monkeypatch):
    machine = Machine(monkeypatch, start=1)
    crew = Crew(1e15)
    assert machine.step(crew) == 1
    machine.seconds = harder  # passes are not all alike
    assert [machine.step(crew) for _ in range(2)] == [2, count]


def test_half_the_threads_are_no_better_where_a_fit_waits_for_something_else(monkeypatch):
    machine = Machine(monkeypatch)
    crew, machine.shares = Crew(1e15), False
    steps = [machine.step(crew) for _ in range(40)]
    assert steps[:3] == [2, 1, 2]
    assert steps.count(1) <= 6  # ever more seldom


def test_threads_that_were_asked_for_stay(monkeypatch):
    machine = Machine(monkeypatch)
    crew, machine.cores = Crew(1e15, 2), 1
    assert [machine.step(crew) for _ in range(5)] == [2] * 5
    machine.set(1)
    small = Crew(10.0)
    assert [machine.step(small) for _ in range(5)] == [1] * 5


def test_a_moment_says_nothing_and_passes_of_another_fit_neither(monkeypatch):
    machine = Machine(monkeypatch)
    crew = Crew(1e15)
    machine.clock += 0.9 * module.WINDOW
    crew.look(3)
    assert crew.count == 2  # idle, but not for long
    machine.clock += 10 * module.WINDOW
    crew.look(0)  # passes are counted anew
    assert crew.count == 2
    machine.clock += 10 * module.WINDOW
    crew.look(1)
    assert crew.count == 1
