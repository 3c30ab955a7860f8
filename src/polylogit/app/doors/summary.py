"""`polylogit summary`."""

from __future__ import annotations

from typing import Annotated

import typer

from polylogit.app.doors.options import (
    Categorical,
    Data,
    Delimiter,
    Ignore,
    Intercept,
    Json,
    Quiet,
    Target,
    number_or_auto,
    print_json,
)
from polylogit.errors import OptionError


def summary(
    data: Data,
    target: Target = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="The class that coefficients stand against; else first."
        ),
    ] = None,
    sum_to_zero: Annotated[
        bool, typer.Option("--sum-to-zero", help="Coefficients against the mean of all classes.")
    ] = False,
    robust: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="hc0: errors that hold if the model does not."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Groups of rows that are not independent; no feature."),
    ] = None,
    C: Annotated[
        str,
        typer.Option("--C", metavar="NUMBER", help="A penalised refit, without any p-value."),
    ] = "inf",
    firth: Annotated[
        bool, typer.Option("--firth", help="Firth's penalised likelihood, separated or not.")
    ] = False,
    level: Annotated[
        float, typer.Option(metavar="PART", help="Level of the confidence intervals.")
    ] = 0.95,
    weights: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="How many equal rows each row stands for."),
    ] = None,
    intercept: Intercept = True,
    categorical: Categorical = None,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Coefficients with their errors and tests, from a fit without penalty.

    Where classes are separated, Firth's penalised likelihood gives finite estimates instead.
    """
    from polylogit.app import terminal

    strength = number_or_auto(C)
    if isinstance(strength, str):
        raise OptionError("--C must be inf or a positive number, not 'auto'")
    with terminal.watching(shown=not quiet) as watch:
        from polylogit.app.commands import summary as command

        asked = command.SummaryRequest(
            data,
            target,
            reference=reference,
            sum_to_zero=sum_to_zero,
            robust=robust,
            cluster=cluster,
            C=strength,
            firth=firth,
            level=level,
            weights=weights,
            intercept=intercept,
            categorical=tuple(categorical or ()),
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
        )
        found = command.summary(asked, watch)
    if as_json:
        print_json(found)
    else:
        from polylogit.app.texts import summary as text

        text.show(found)
        terminal.notes(found)
