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
from polylogit.app.texts.sets import sets_text
from polylogit.errors import OptionError


def predict(
    model: ModelFile,
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .csv or .tsv file to write; else standard output."),
    ] = None,
    sets: Annotated[
        float | None,
        typer.Option(
            metavar="COVERAGE", help="Also give sets that hold the truth so often, such as 0.9."
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Labelled rows, not those of the fit, for --sets."),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Instead of --calibration: the rows of the fit; the sets are approximate.",
        ),
    ] = None,
    set_method: Annotated[
        str, typer.Option(metavar="NAME", help="lac (smallest sets), aps or raps.")
    ] = "lac",
    by_class: Annotated[
        bool, typer.Option("--by-class", help="Keep the coverage of --sets within each class.")
    ] = False,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    memory: Memory = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Predict the likeliest class of each row, and the probability of every class.

    Columns: prediction, then p_CLASS for every class, with --sets then set: the classes that are
    still possible, with | between them. A label that a spreadsheet would run as a
    formula (it begins with = + - @) is written with an apostrophe before it.
    """
    rows = calibration or training
    if (sets is None) != (rows is None):
        raise OptionError(
            "--sets and --calibration go together: --sets 0.9 says how often a set shall hold the "
            "truth, --calibration names labelled rows that the model was not fitted on (or "
            "--training those that it was)"
        )
    if calibration is not None and training is not None:
        raise OptionError("--calibration and --training are two sources for --sets; keep one")
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
            sets=None
            if sets is None or rows is None
            else command.SetsRequest(sets, rows, set_method, by_class, training is not None),
        )
    if as_json:
        print_json(prediction.to_json() if output is None else prediction.summary)
    elif output is None:
        sys.stdout.writelines(prediction.pieces(","))
        terminal.notes(prediction.summary)
        typer.echo(sets_text(prediction.summary), err=True, nl=False)
    else:
        terminal.predict_text(prediction.summary)
        typer.echo(sets_text(prediction.summary), nl=False)
