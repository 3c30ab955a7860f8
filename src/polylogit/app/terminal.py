"""What a person sees in the terminal: progress and notes on stderr, results on stdout."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from polylogit.app.texts.choice import choice_table

if TYPE_CHECKING:  # the display stands before torch is loaded, which takes the longest of all
    from polylogit.optim.problem import Progress

PATIENCE = 0.5  # seconds before a command shows that it is at work
PACE = 10  # steps over which the pace of a fit is measured
LOG_EVERY = 10.0  # seconds between lines of progress where stderr is a file
WIDEST_CONFUSION = 12  # classes; more do not fit a terminal
WIDEST_NAME = 16  # characters of a class in the confusion matrix


# ------------------------------------------------------------------------------------ progress


class Watch(Protocol):
    """Someone who is told how the work goes on."""

    def stage(self, text: str) -> None:
        """A new part of the work begins."""

    def step(self, now: Progress) -> None:
        """A fit made a step."""


@contextmanager
def watching(tol: float = 1e-6, *, shown: bool = True) -> Iterator[Watch]:
    """Show progress on stderr: a bar at a terminal, now and then a line in a file."""
    if not shown:
        yield _Nobody()
    elif not sys.stderr.isatty():
        yield _Log(tol)
    else:
        bar = _Bar(tol)
        try:
            yield bar
        finally:
            bar.close()


class _Nobody:
    def stage(self, text: str) -> None:
        pass

    def step(self, now: Progress) -> None:
        pass


class _Log:
    """A line of progress every `LOG_EVERY` seconds: work that is soon done leaves none."""

    def __init__(self, tol: float) -> None:
        self.last = time.perf_counter()
        self.pace = Pace(tol)

    def stage(self, text: str) -> None:
        self.pace.reset()
        self._say(text)

    def step(self, now: Progress) -> None:
        self._say(_told(now, self.pace.left(now)))

    def _say(self, line: str) -> None:
        if time.perf_counter() - self.last >= LOG_EVERY:
            self.last = time.perf_counter()
            _note(line)


class _Bar:
    """A bar that moves while the work cannot be measured; full when the gap is down to tol."""

    def __init__(self, tol: float) -> None:
        self.tol = tol
        self.pace = Pace(tol)
        self.first_gap: float | None = None
        self.bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.task = self.bar.add_task("starting", total=None)
        # Its own thread, because reading or loading does not come back to look at the clock.
        self.timer = Timer(PATIENCE, self.bar.start)
        self.timer.daemon = True
        self.timer.start()

    def stage(self, text: str) -> None:
        self.first_gap = None
        self.pace.reset()
        self.bar.remove_task(self.task)
        self.task = self.bar.add_task(text, total=None)

    def step(self, now: Progress) -> None:
        if self.first_gap is None and math.isfinite(now.gap):
            self.first_gap = now.gap
        done = self._done(now.gap)
        told = _told(now, self.pace.left(now))
        self.bar.update(self.task, description=told, total=1.0, completed=done)

    def _done(self, gap: float) -> float:
        """How much of the way from the first gap to tol lies behind, on a logarithmic scale."""
        if self.first_gap is None or not 0 < gap < math.inf or self.first_gap <= self.tol:
            return 0.0
        way = math.log(self.first_gap / self.tol)
        return min(1.0, max(0.0, math.log(self.first_gap / gap) / way))

    def close(self) -> None:
        self.timer.cancel()
        self.timer.join()  # it may be starting the bar just now
        if self.bar.live.is_started:
            self.bar.stop()


class Pace:
    """How long a fit still takes, if its gap goes on falling as it did over the last steps.

    The logarithm of the gap falls about evenly, so over steps from (t0, g0) to (t1, g1)

        time left = (t1 - t0) log(g1 / tol) / log(g0 / g1)
    """

    def __init__(self, tol: float) -> None:
        self.tol = tol
        self.steps: deque[tuple[float, float]] = deque(maxlen=PACE)

    def reset(self) -> None:
        """Another fit begins."""
        self.steps.clear()

    def left(self, now: Progress) -> float | None:
        """Seconds left after this step; None where nobody can tell."""
        if self.steps and now.seconds < self.steps[-1][0]:
            self.reset()  # a fit after a fit, as on a path
        if not 0 < now.gap < math.inf:
            return None
        self.steps.append((now.seconds, now.gap))
        (t0, g0), (t1, g1) = self.steps[0], self.steps[-1]
        if g1 <= self.tol:
            return 0.0
        return (t1 - t0) * math.log(g1 / self.tol) / math.log(g0 / g1) if g1 < g0 else None


def _told(now: Progress, left: float | None) -> str:
    gap = f"{now.gap:.1e}" if math.isfinite(now.gap) else "unknown"
    return (
        f"fitting: step {now.iteration}, {now.passes} passes, objective {now.objective:.6f}, "
        f"gap {gap}{_remaining(left)}"
    )


def _remaining(seconds: float | None) -> str:
    """The time left, as precisely as anyone can know it; nothing where it is over at once.

    >>> _remaining(41.7), _remaining(754.0), _remaining(20_000.0), _remaining(0.4)
    (', about 42 s left', ', about 13 min left', ', about 5.6 h left', '')
    """
    if seconds is None or seconds < 1:
        return ""
    for unit, size in (("s", 1.0), ("min", 60.0)):
        if seconds < 100 * size:
            return f", about {seconds / size:.0f} {unit} left"
    return f", about {seconds / 3600:.1f} h left"


# ------------------------------------------------------------------------------------- results


def fit_text(summary: dict[str, Any]) -> None:
    """The result of a fit: what was fitted, how sure it is, how good on rows held out."""
    console = _stdout()
    classes, n_rows = summary["classes"], summary["n_train"]
    features = "1 feature" if summary["n_features"] == 1 else f"{summary['n_features']} features"
    _say(console, f"{n_rows} rows, {features}, {len(classes)} classes")
    strength = "inf (no penalty)" if summary["C"] is None else f"{summary['C']:g}"
    note = f" ({summary['C_note']})" if summary["C_note"] else ""
    _say(console, f"C = {strength}{note}, objective {summary['objective']:.6f} nats per row")
    _say(console, summary["status"])
    if summary["C_table"]:
        console.print(choice_table(summary["C_table"], summary["C"]))
    notes(summary)
    if summary["holdout"] is not None:
        held = summary["holdout"]
        of_which = "before the last fit on all rows" if summary["refit"] else "not used for the fit"
        _say(console, f"\nOn {held['n_rows']} rows held out, {of_which}:")
        _draw_scores(console, held, classes)
    if summary["model"] is not None:
        _say(
            console,
            f"\nSaved to {summary['model']}. Next: polylogit predict {summary['model']} DATA",
        )


def path_text(summary: dict[str, Any]) -> None:
    """A line for each C, the best marked, and what became of it."""
    console = _stdout()
    judged = summary["n_validation"] is not None
    rows = f"{summary['n_train']} rows"
    rows += f", judged on {summary['n_validation']} others" if judged else ""
    _say(console, f"{rows}, {summary['n_features']} features, {len(summary['classes'])} classes")
    table = Table(box=None, pad_edge=False)
    for name in ("", "C", "train loss", "gap", "passes", "seconds"):
        table.add_column(name, justify="right")
    for name in ("loss", "top-1", "top-5", "per class") if judged else ():
        table.add_column(name, justify="right")
    for place, point in enumerate(summary["table"]):
        table.add_row("*" if place == summary["best"] else "", *_path_cells(point, judged))
    console.print(table)
    sure = "each certified" if summary["certified"] else "not all certified"
    count = len(summary["table"])
    _say(console, f"{count} fits, {sure}: {summary['passes']} passes, {summary['seconds']:.3g} s")
    if summary["best"] is not None:
        measure = {"loss": "loss", "top1": "top-1 accuracy"}[summary["by"]]
        strength = "inf" if summary["C"] is None else f"{summary['C']:.6g}"
        _say(console, f"Best by {measure}: C = {strength}")
    if summary["at_the_end"]:
        _note("note: the best C is the first or last of those tried; a wider range may hold better")
    notes(summary)
    if summary["model"] is not None:
        _say(console, f"On all rows at this C: {summary['refit']}")
        _say(
            console, f"Saved to {summary['model']}. Next: polylogit predict {summary['model']} DATA"
        )


def _path_cells(point: dict[str, Any], judged: bool) -> list[str]:
    cells = [
        "inf" if point["C"] is None else f"{point['C']:.4g}",
        f"{point['train_loss']:.6f}",
        "none" if point["gap"] is None else f"{point['gap']:.0e}",
        str(point["passes"]),
        f"{point['seconds']:.2f}",
    ]
    if not judged:
        return cells
    loss = "inf" if point["loss"] is None else f"{point['loss']:.6f}"
    shares = [f"{point[name]:.4f}" for name in ("top1", "top5", "mean_per_class")]
    return [*cells, loss, *shares]


def evaluate_text(summary: dict[str, Any]) -> None:
    """How good a model is on labelled rows."""
    console = _stdout()
    _say(console, f"{summary['model']} on {summary['n_rows']} rows of {summary['source']}:")
    notes(summary)
    _draw_scores(console, summary, summary["classes"])


def predict_text(summary: dict[str, Any]) -> None:
    """How many rows were predicted, and as what."""
    console = _stdout()
    counts = zip(summary["classes"], summary["predicted"], strict=True)
    said = ", ".join(f"{count} {_name(label)}" for label, count in counts if count)
    _say(console, f"{summary['n_rows']} rows predicted: {said}; saved to {summary['output']}")
    notes(summary)


def notes(summary: dict[str, Any]) -> None:
    """What happened to cells and columns on the way, on stderr."""
    if summary["missing"]:
        filled = ", ".join(f"{name} {count}" for name, count in summary["missing"].items())
        _note(f"note: missing cells, filled: {filled}")
    for name, words in summary["unseen"].items():
        said = ", ".join(f"{word!r} ({count} rows)" for word, count in list(words.items())[:5])
        _note(f"note: column {name} holds categories that training never saw: {said}")
    if summary["ignored"]:
        _note(f"note: columns left out: {', '.join(summary['ignored'][:12])}")


def interrupted(summary: dict[str, Any]) -> None:
    """What Ctrl-C left of a fit, on stderr."""
    kept = "nothing was saved" if summary["model"] is None else f"it is in {summary['model']}"
    short = (
        "C may not be the best" if summary["certified"] else "the model so far is not the optimum"
    )
    _note(f"note: stopped by hand; {short}, {kept}")


def _note(line: str) -> None:
    with suppress(OSError):  # a full disk behind stderr is no reason to lose the results
        _say(Console(stderr=True, highlight=False), line)


def _stdout() -> Console:
    """As wide as it takes: squeezed into a narrow terminal, a count would lose its digits."""
    return Console(highlight=False, width=100_000)


def _say(console: Console, line: str) -> None:
    """Print text as it is: a label in square brackets is no markup."""
    console.print(Text(line), soft_wrap=True)


def _name(label: object) -> str:
    r"""A label on one line: "a\nb" is written with its escape.

    >>> _name("Adelie"), _name(3), _name("two\nlines")
    ('Adelie', '3', "'two\\nlines'")
    """
    text = str(label)
    return text if text.isprintable() else repr(text)


def _draw_scores(console: Console, scores: dict[str, Any], classes: list[Any]) -> None:
    loss = "infinite" if scores["log_loss"] is None else f"{scores['log_loss']:.4f} nats"
    for name, value in (
        ("accuracy", f"{scores['accuracy']:.4f}"),
        ("log loss", loss),
        ("Brier score", f"{scores['brier']:.4f}"),
        ("macro F1", f"{scores['macro_f1']:.4f}"),
    ):
        _say(console, f"{name:<12} {value}")
    if len(classes) <= WIDEST_CONFUSION:
        _draw_confusion(console, scores["confusion"], [Text(_name(label)) for label in classes])


def _draw_confusion(console: Console, confusion: list[list[int]], names: list[Text]) -> None:
    _say(console, "rows: truth, columns: prediction")
    table = Table("", box=None, pad_edge=False)
    for name in names:
        name.truncate(WIDEST_NAME, overflow="ellipsis")
        table.add_column(name, justify="right")
    for name, counts in zip(names, confusion, strict=True):
        table.add_row(name, *map(str, counts))
    console.print(table)
