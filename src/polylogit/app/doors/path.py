"""`polylogit path`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from polylogit.app.doors.options import (
    INTERRUPTED,
    Categorical,
    CheckpointFile,
    ClassWeight,
    Data,
    Delimiter,
    Device,
    Ignore,
    Intercept,
    Json,
    L1Ratio,
    Memory,
    PenaltyFactor,
    Quiet,
    Smoothing,
    Solver,
    Steps,
    Target,
    Threads,
    Tolerance,
    Weights,
    factors_by_column,
    print_json,
    word_of_class_weight,
)
from polylogit.errors import OptionError

MOST_STRENGTHS = 10_000  # of a path


def path(
    data: Data,
    target: Target = None,
    strengths: Annotated[
        str | None,
        typer.Option(
            "--Cs",
            metavar="LIST",
            help="Values of C: FIRST:LAST:COUNT on a log scale, or a,b,c; else 1e-6:1e5:45.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="PART|FILE",
            help="Rows to judge on: a part of the rows (else 0.2; 0.1 with a protocol), or a file.",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="clip: search 96 steps from 1e-6 to 1e6; dino: fit 45 from 1e-6 to 1e5; the best "
            "by top-1.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Fit all rows at the best C, and save the model here."),
    ] = None,
    l1_ratio: L1Ratio = 0.0,
    weights: Weights = None,
    class_weight: ClassWeight = "none",
    label_smoothing: Smoothing = 0.0,
    penalty_factor: PenaltyFactor = None,
    intercept: Intercept = True,
    categorical: Categorical = None,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    tol: Tolerance = 1e-6,
    max_iter: Steps = 1000,
    solver: Solver = "auto",
    threads: Threads = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Which rows are judged on.")] = 0,
    checkpoint: CheckpointFile = None,
    memory: Memory = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit many values of C for about the price of a few, judge each, keep the best.

    The best is that of the lowest loss on the validation rows, with a protocol that of the highest
    top-1 accuracy; --model fits all rows at it, those of validation too.
    """
    from polylogit.app import terminal

    with terminal.watching(tol, shown=not quiet) as watch:
        from polylogit.app.commands import path as command
        from polylogit.app.commands.fit import FitRequest

        part, file = _validation(validation, 0.1 if protocol else 0.2)
        request = FitRequest(
            data,
            target,
            model,
            "auto",
            l1_ratio=l1_ratio,
            holdout=part,
            refit=False,
            weights=weights,
            class_weight=word_of_class_weight(class_weight),
            label_smoothing=label_smoothing,
            intercept=intercept,
            categorical=tuple(categorical or ()),
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
            tol=tol,
            max_iter=max_iter,
            solver=solver,
            n_threads=threads,
            device=device,
            seed=seed,
            penalty_factors=factors_by_column(penalty_factor or ()),
            checkpoint=checkpoint,
            memory=memory,
        )
        asked = command.PathRequest(request, _strengths(strengths), file, protocol)
        summary = command.path(asked, watch)
    if as_json:
        print_json(summary)
    else:
        terminal.path_text(summary)
    if summary["interrupted"]:
        terminal.interrupted(summary)
        raise typer.Exit(INTERRUPTED)


def _strengths(text: str | None) -> tuple[float, ...] | None:
    """FIRST:LAST:COUNT, even on a log scale, or numbers between commas."""
    if text is None:
        return None
    try:
        if ":" not in text:
            return tuple(float(number) for number in text.split(","))
        first, last, count = text.split(":")
        low, high, n = float(first), float(last), int(count)
    except ValueError:
        low, high, n = 0.0, 0.0, 0
    if not (0 < low < math.inf and 0 < high < math.inf and 1 <= n <= MOST_STRENGTHS):
        raise OptionError(
            f"--Cs must be FIRST:LAST:COUNT, as in 1e-6:1e5:45, or numbers like 0.1,1,10, not "
            f"{text!r}"
        )
    from polylogit.path import spaced

    return spaced(low, high, n)


def _validation(text: str | None, part: float) -> tuple[float, str | None]:
    """The part of the rows to judge on, or 0 and the file that holds them."""
    if text is None:
        return part, None
    try:
        return float(text), None
    except ValueError:
        return 0.0, text
