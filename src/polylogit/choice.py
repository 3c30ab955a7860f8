"""The strength of the penalty, chosen along a path of fits by leave-one-out log loss.

>>> from polylogit.data.arrays import from_arrays
>>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], ["a", "a", "b", "a", "b", "b"]
>>> choice = choose_C(from_arrays(X, y), (0.01, 0.1, 1.0, 10.0))
>>> choice.C, choice.C == min(choice.table, key=lambda line: line.loss).C
(1.0, True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from polylogit.data.dataset import Dataset
from polylogit.diagnostics.leave_one_out import LeaveOneOut, leave_one_out, obstacle
from polylogit.errors import OptionError
from polylogit.model import SoftmaxModel
from polylogit.optim.problem import Progress, Status
from polylogit.path import checked_strengths, fits_along, path_checkpoint
from polylogit.storage import Path
from polylogit.training import DEFAULT_C, Fit, Prepared, checked_strength, is_auto, prepare

STEPS = 2  # a decade of C
DECADES = 8  # the longest path
STRONG = 10.0  # times the curvature of a typical column: the penalty that a path begins with
PATIENCE = 3  # losses above the lowest, one after the other, after which a path ends

Rule = Literal["lowest", "one-standard-error"]
RULES: dict[Rule, str] = {
    "lowest": "the lowest leave-one-out loss",
    "one-standard-error": "the strongest penalty within one standard error of the lowest "
    "leave-one-out loss",
}


@dataclass(frozen=True)
class Judged:
    """One line of a table: what a fit at C is worth. All losses in nats per row.

    `train_loss` on the rows it was fitted to; `loss`, its `standard_error` and `accuracy` on rows
    it has not seen. `rise` is how much more it loses than the lowest, and `rise_error` the standard
    error of that difference, paired row by row.
    """

    C: float
    alpha: float
    train_loss: float
    loss: float
    standard_error: float
    accuracy: float
    rise: float
    rise_error: float

    def to_json(self) -> dict[str, float | None]:
        """Plain JSON data; what is infinite is null, for JSON has no infinity."""
        return {name: v if math.isfinite(v) else None for name, v in asdict(self).items()}


@dataclass(frozen=True)
class Candidate(Judged):
    """A line of the table of leave-one-out; what it has more is as in `LeaveOneOut`."""

    effective_dof: float
    n_flagged: int
    n_refitted: int


@dataclass(frozen=True)
class Choice(Fit):
    """The fit at the C that was chosen, and how: `table` in rising C, `note` in words.

    `left_out` is the leave-one-out of this very fit. Where nothing was chosen, because C was given
    or leave-one-out cannot work, the table is empty; then `note` says why, or is None. `stopped`:
    Ctrl-C came, so a better C, or the optimum itself where the solution says so, was not reached.
    """

    table: tuple[Candidate, ...] = ()
    note: str | None = None
    left_out: LeaveOneOut | None = None
    stopped: bool = False


def fit(
    dataset: Dataset,
    *,
    C: float | Literal["auto"] = "auto",
    groups: Any = None,
    rule: Rule = "lowest",
    start: SoftmaxModel | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Choice:
    """Fit softmax classification to a data set; the objective is in `polylogit.training.fit`.

    `C="auto"` is the C of the lowest leave-one-out log loss along a path, or by another `rule`
    (`choose_C`), whole `groups` leaving together if they are given. Where leave-one-out cannot
    work (rows streamed from a file, `l1_ratio` > 0, columns without penalty, every row the last of
    its class, or too many logits to keep) it is 1.0, and the fit's `note` says so and why.
    A path that was killed goes on from its `checkpoint`; it needs no `start`, which is for a fit of
    one C. All other options are those of `polylogit.training.fit`.

    >>> from polylogit.data.arrays import from_arrays
    >>> data = from_arrays([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"])
    >>> fit(data, C=2.0).C, fit(data, l1_ratio=1.0).note
    (2.0, 'auto is 1 here: leave-one-out needs a smooth penalty, so l1_ratio = 0')
    """
    prepared = prepare(dataset, C=C, **options)
    if not is_auto(C):
        _refuse_choosing(C, groups, rule)
        return _plain(prepared.fit(checked_strength(C), start, progress, checkpoint), None)
    trouble = obstacle(prepared, groups)
    if trouble is None:
        return _chosen(prepared, None, groups, rule, progress, checkpoint)
    if groups is not None:
        raise OptionError(f"groups serve to choose C, but {trouble}; give C a number")
    note = f"auto is {DEFAULT_C:g} here: {trouble}"
    return _plain(prepared.fit(DEFAULT_C, start, progress, checkpoint), note)


def choose_C(  # noqa: N802  the option's name
    dataset: Dataset,
    Cs: Sequence[float] | None = None,
    *,
    groups: Any = None,
    rule: Rule = "lowest",
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
    **options: Any,
) -> Choice:
    """Fit a path over C, judge each fit by leave-one-out, and choose.

    Without `Cs` the path rises in half decades, rounded to powers of the root of 10, from a
    penalty ten times as strong as a typical column's curvature, and ends when the loss has been
    above its lowest three times in a row. `rule` is "lowest", or "one-standard-error": the
    strongest penalty whose loss is above the lowest by no more than the standard error of that
    difference (Breiman et al., "Classification and Regression Trees" (1984), section 3.4.3, here
    with rows paired). `groups` as in `leave_one_out`, `checkpoint` and `options` as in `fit`.

    Ctrl-C ends the path: the choice is among what there is, and marked as `stopped`. Raises
    `OptionError` where leave-one-out cannot work, and whatever a fit raises.
    """
    strengths = None if Cs is None else checked_strengths(Cs)
    return _chosen(prepare(dataset, **options), strengths, groups, rule, progress, checkpoint)


def _refuse_choosing(C: object, groups: Any, rule: Rule) -> None:
    for words, asked in (("groups serve", groups is not None), ("a rule serves", rule != "lowest")):
        if asked:
            raise OptionError(f"{words} to choose C, and C is given as {C!r}; leave one out")


def _plain(outcome: Fit, note: str | None) -> Choice:
    stopped = outcome.solution.status is Status.INTERRUPTED
    said = (outcome.model, outcome.solution, outcome.C, outcome.alpha)
    return Choice(*said, note=note, stopped=stopped)


def _chosen(
    prepared: Prepared,
    strengths: Sequence[float] | None,
    groups: Any,
    rule: Rule,
    progress: Callable[[Progress], None] | None,
    checkpoint: Path | None,
) -> Choice:
    if rule not in RULES:
        raise OptionError(f"rule {rule!r} is not one of {', '.join(RULES)}")
    fits, judged, stopped = _path(prepared, strengths, groups, progress, checkpoint)
    if not judged:
        return replace(
            _plain(fits[0], "stopped by hand before any C could be judged"), stopped=True
        )
    lowest = min(range(len(judged)), key=lambda place: judged[place].loss)
    table = [_candidate(*pair, judged[lowest]) for pair in zip(fits, judged, strict=False)]
    place = lowest if rule == "lowest" else _strongest(table[: lowest + 1])
    left = judged[place]
    note = path_note(RULES[rule], len(table), place, len(left.excluded), "left out", stopped)
    plain = _plain(fits[place], note)
    return replace(plain, table=tuple(table), left_out=left, stopped=stopped)


def _path(
    prepared: Prepared,
    strengths: Sequence[float] | None,
    groups: Any,
    progress: Callable[[Progress], None] | None,
    checkpoint: Path | None,
) -> tuple[list[Fit], list[LeaveOneOut], bool]:
    """Fits for rising C, their leave-one-out, and whether Ctrl-C came; the last fit may lack it.

    A path of our own goes only as far as it pays.
    """
    Cs = grid(prepared) if strengths is None else strengths
    file = None if checkpoint is None else path_checkpoint(prepared, Cs, checkpoint)
    fits: list[Fit] = []
    judged: list[LeaveOneOut] = []
    here = prepared.on_cpu()
    try:
        for fit in fits_along(prepared, Cs, progress, file):
            fits.append(fit)
            if fit.solution.status is Status.INTERRUPTED:
                return fits, judged, True
            judged.append(leave_one_out(here, fits[-1], groups=groups, rough=True))
            if strengths is None and past_the_lowest([left.loss for left in judged]):
                break
    except KeyboardInterrupt:
        if not fits:
            raise
        return fits, judged, True
    if file is not None:
        file.remove()
    return fits, judged, False


def grid(prepared: Prepared) -> tuple[float, ...]:
    """The values of C to try, rising: powers of the root of 10, which the units of X place.

    It begins where 1/C is `STRONG` times sum_i s_i times the columns' typical squared scale (their
    geometric mean), so that X in other units gives the same fits under a shifted C.
    """
    scale = prepared.design.scale
    typical = float(scale.log().mean().exp().square())
    begin = math.log10(1 / (STRONG * typical * float(prepared.weights.sum())))
    first = math.floor(STEPS * begin)
    return tuple(10 ** (place / STEPS) for place in range(first, first + STEPS * DECADES + 1))


def past_the_lowest(losses: Sequence[float]) -> bool:
    """Whether the last `PATIENCE` losses are all above one before them.

    >>> past_the_lowest([0.5, 0.4, 0.45, 0.46]), past_the_lowest([0.5, 0.4, 0.45, 0.46, 0.41])
    (False, True)
    """
    before, last = losses[:-PATIENCE], losses[-PATIENCE:]
    return bool(before) and min(last) > min(before)


def _candidate(fit: Fit, left: LeaveOneOut, lowest: LeaveOneOut) -> Candidate:
    rise, error = left.rise_over(lowest)
    return Candidate(
        fit.C,
        fit.alpha,
        left.train_loss,
        left.loss,
        left.standard_error,
        left.accuracy,
        rise,
        error,
        left.effective_dof,
        left.n_flagged,
        left.n_refitted,
    )


def _strongest(table: Sequence[Candidate]) -> int:
    """The first that is as good as the last, within the error of their difference."""
    return next(place for place, line in enumerate(table) if line.rise <= line.rise_error)


def path_note(said: str, count: int, place: int, alone: int, left: str, stopped: bool) -> str:
    """How C was chosen out of `count`, at which `place`, and what there is to know about it.

    `alone` rows, without which a class has none, could not be `left`: "left out", or "held out".
    """
    said += f" of {count} values"
    if place in (0, count - 1) and count > 1:
        said += ", at the end of the path"
    if alone:
        rows = "1 row" if alone == 1 else f"{alone} rows"
        said += f"; {rows} without which a class has none could not be {left}"
    return said + ("; stopped by hand before the end of the path" if stopped else "")
