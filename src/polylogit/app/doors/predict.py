"""`polylogit predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from polylogit.app.doors.options import (
    Data,
    Delimiter,
    Ignore,
    Json,
    Memory,
    ModelFile,
    Quiet,
    print_json,
)


def predict(
    model: ModelFile,
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .csv or .tsv file to write; else standard output."),
    ] = None,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    memory: Memory = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Predict the likeliest class of each row, and the probability of every class.

    Columns: prediction, then p_CLASS for every class. A label that a spreadsheet would run as a
    formula (it begins with = + - @) is written with an apostrophe before it.
    """
    from polylogit.app import terminal

    with terminal.watching(shown=not quiet) as watch:
        from polylogit.app.commands import predict as command

        prediction = command.predict(
            model,
            data,
            watch,
            output=output,
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
            memory=memory,
        )
    if as_json:
        print_json(prediction.to_json() if output is None else prediction.summary)
    elif output is None:
        sys.stdout.writelines(prediction.pieces(","))
        terminal.notes(prediction.summary)
    else:
        terminal.predict_text(prediction.summary)
