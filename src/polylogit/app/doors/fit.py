"""`polylogit fit`."""

from __future__ import annotations

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
    Language,
    Memory,
    PenaltyFactor,
    Quiet,
    Report,
    Smoothing,
    Solver,
    Steps,
    Target,
    Threads,
    Tolerance,
    Weights,
    checked_language,
    factors_by_column,
    number_or_auto,
    print_json,
    word_of_class_weight,
)


def fit(
    data: Data,
    target: Target = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to save the model.")
    ] = None,
    C: Annotated[
        str,
        typer.Option("--C", metavar="NUMBER", help="Inverse strength of the penalty; auto or inf."),
    ] = "auto",
    l1_ratio: L1Ratio = 0.0,
    holdout: Annotated[
        float, typer.Option(metavar="PART", help="Part of the rows to evaluate on; 0 for none.")
    ] = 0.2,
    refit: Annotated[
        bool, typer.Option("--refit", help="After the evaluation, fit again on all rows.")
    ] = False,
    weights: Weights = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Rows that belong together and leave together."),
    ] = None,
    rule: Annotated[
        str,
        typer.Option(metavar="RULE", help="Which C auto takes: lowest or one-standard-error."),
    ] = "lowest",
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
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Which rows are held out.")] = 0,
    checkpoint: CheckpointFile = None,
    memory: Memory = None,
    report: Report = None,
    lang: Language = "en",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a table, evaluate on rows held out, save the model.

    Ctrl-C ends a fit with the best model so far, saved and marked as not converged.
    """
    checked_language(lang)
    from polylogit.app import terminal

    with terminal.watching(tol, shown=not quiet) as watch:
        from polylogit.app.commands import fit as command

        request = command.FitRequest(
            data,
            target,
            model,
            number_or_auto(C),
            l1_ratio=l1_ratio,
            holdout=holdout,
            refit=refit,
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
            report=report,
            lang=lang,
            group=group,
            rule=rule,
        )
        summary = command.fit(request, watch)
    if as_json:
        print_json(summary)
    else:
        terminal.fit_text(summary)
    if summary["interrupted"]:
        terminal.interrupted(summary)
        raise typer.Exit(INTERRUPTED)
