"""How many threads a problem deserves.

Two threads on a small problem, or beside other busy processes, can be ten times slower than one:
they wait for each other. The number is chosen from the work of one pass, is never more than the
cores this process may use, and has to prove itself on a product of matrices before a fit begins,
because no system says reliably how busy its cores are. A fit right after another one spares itself
the trial. The longer a pass, the more often it may try: a passing disturbance must not halve the
speed of an hour. Cores come and go while a fit runs too, on machines that are shared, so it looks
again between its steps. What was set before is restored afterwards.
"""

from __future__ import annotations

import math
import os
import threading
import time
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

WORTH_A_THREAD = 2e7  # multiply-adds of a pass, per thread
UNSHARED = 2e5  # multiply-adds of a product that OpenBLAS shares out by no means: 2^18
MUCH_TO_READ = 2e6  # numbers, from which on more threads than one look at them
TRIAL = 256  # rows and columns of the matrices multiplied to see what threads bring
TRIALS = 3  # of which the best counts
WORTH_A_ROUND = 2e7  # multiply-adds of a pass, per round of trials that may fail
MOST_ROUNDS = 20
FRESH = 0.25  # seconds for which a success speaks for itself: a hundred times what a trial takes
GAIN = 0.8  # of the time on one thread, at most, for more to be worth having
WINDOW = 0.1  # seconds, at least, over which a fit looks at the threads it runs on
IDLE = 0.7  # of the time of its cores that they worked: below, one may be gone
BETTER, ALIKE = 0.9, 1.2  # of the time of a pass before: what another number of threads may take
REST, LONGEST_REST = 1.0, 10.0  # seconds to the next change, doubled after one for nothing


def available_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def chosen_threads(work: float, asked: int | None = None) -> int:
    """Threads for a pass of `work` multiply-adds: as many as make it quicker here and now.

    What the user `asked` for wins.

    >>> chosen_threads(1e3), chosen_threads(1e12, asked=3)
    (1, 3)
    """
    if asked is not None:
        return asked
    wanted, rounds = _deserved(work), min(MOST_ROUNDS, 1 + int(work / WORTH_A_ROUND))
    while wanted > 1 and not any(_gains(wanted) for _ in range(rounds)):
        wanted //= 2
    return wanted


def _deserved(work: float) -> int:
    """Threads for so much work where all cores are free."""
    return max(1, min(available_cores(), torch.get_num_threads(), int(work / WORTH_A_THREAD)))


class Crew:
    """The threads of a fit: as many as pay when it begins, and looked at again as it goes on.

    Where a core is taken away, threads wait for each other, and the processor's time falls behind
    the clock's: half of them go on. After a rest, twice as many are called. A change that passes
    do not bear out is taken back.
    """

    def __init__(self, work: float, asked: int | None = None) -> None:
        self.count = chosen_threads(work, asked)
        self._most = _deserved(work)
        self._fixed = asked is not None or self._most == 1
        self._before: tuple[int, float] | None = None  # the last change: threads, seconds a pass
        self._rest = REST
        self._rested = self._begin(0)

    def look(self, passes: int) -> None:
        """Between two steps on `count` threads, after so many passes: as many as pay from here."""
        seconds, done = time.perf_counter() - self._time, passes - self._passes
        if self._fixed or seconds < WINDOW:
            return
        if done > 0:
            busy = (time.process_time() - self._worked) / (seconds * self.count)
            self.count = self._judged(busy, seconds / done)
            torch.set_num_threads(self.count)
        self._begin(passes)

    def _begin(self, passes: int) -> float:
        self._passes, self._worked, self._time = passes, time.process_time(), time.perf_counter()
        return self._time

    def _judged(self, busy: float, pace: float) -> int:
        """The threads to go on with, where these were `busy` and took `pace` seconds a pass."""
        if self._before is not None:
            return self._better(*self._before, pace)
        idle = busy < IDLE
        if time.perf_counter() < self._rested or (self.count == self._most and not idle):
            return self.count
        self._before = self.count, pace
        return self.count // 2 if idle and self.count > 1 else min(2 * self.count, self._most)

    def _better(self, count: int, before: float, pace: float) -> int:
        """These threads, or as many as before: fewer have to be quicker, more not slower."""
        pays = pace <= before * (BETTER if self.count < count else ALIKE)
        self._rest = REST if pays else min(2 * self._rest, LONGEST_REST)
        self._before, self._rested = None, time.perf_counter() + self._rest
        return self.count if pays else count


def threads_to_read(numbers: float, asked: int | None = None) -> int:
    """Threads to look at so many numbers a few times."""
    return asked or (1 if numbers < MUCH_TO_READ else torch.get_num_threads())


_gained: dict[int, float] = {}  # when so many threads last were quicker than one


def _gains(count: int) -> bool:
    """Whether `count` threads are quicker than one at this moment, or were a moment ago."""
    if time.perf_counter() < _gained.get(count, -math.inf) + FRESH:
        return True
    gains = trial_seconds(count) <= GAIN * trial_seconds(1)
    if gains:
        _gained[count] = time.perf_counter()
    return gains


def trial_seconds(count: int) -> float:
    """How long a product of two matrices takes on `count` threads at this moment."""
    square = torch.ones(TRIAL, TRIAL)
    with threads(count):
        square @ square  # the first one wakes the threads
        return min(timeit.repeat(lambda: square @ square, repeat=TRIALS, number=1))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, numpy and scipy on no more, then on as many as before."""
    with threads_of_torch(count), _at_most(count):
        yield


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """The same for torch alone, at a tenth of the price."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Products of numpy and scipy on no more threads, if no other fit has a say in that now.

    The number is one for the whole process: of two fits at once, the last to end would restore
    what the first had set.
    """
    mine = _limiting.acquire(blocking=False)
    try:
        if not mine:
            yield
            return
        pools = _blas()
        now = min((pool.get_num_threads() for pool in pools.lib_controllers), default=count)
        with pools.limit(limits=min(count, now)):
            yield
    finally:
        if mine:
            _limiting.release()


_limiting = threading.RLock()  # fits may nest


@cache
def _blas() -> ThreadpoolController:
    """The threads for products of numpy and of scipy, which are not torch's."""
    return ThreadpoolController().select(user_api="blas")
