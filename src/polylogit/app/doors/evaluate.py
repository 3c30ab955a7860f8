"""`polylogit evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from polylogit.app.doors.options import (
    Data,
    Delimiter,
    Ignore,
    Json,
    Language,
    Memory,
    ModelFile,
    Quiet,
    Report,
    Weights,
    checked_language,
    print_json,
)


def evaluate(
    model: ModelFile,
    data: Data,
    target: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column with the labels; else that of the fit."),
    ] = None,
    weights: Weights = None,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    memory: Memory = None,
    report: Report = None,
    lang: Language = "en",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on labelled rows."""
    checked_language(lang)
    from polylogit.app import terminal

    with terminal.watching(shown=not quiet) as watch:
        from polylogit.app.commands import evaluate as command

        summary = command.evaluate(
            model,
            data,
            watch,
            target=target,
            weights=weights,
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
            memory=memory,
            report=report,
            lang=lang,
        )
    if as_json:
        print_json(summary)
    else:
        terminal.evaluate_text(summary)
