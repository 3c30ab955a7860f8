"""`polylogit doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polylogit.app.doors.options import Json, Language, checked_language, print_json
from polylogit.errors import OptionError


def doctor(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Scores (N, K) in a .npy, .npz (logits, targets), .csv or .tsv file.",
        ),
    ],
    targets: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Class numbers (N,), or rows (N, K), in their own file."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of a table: the column of class numbers.")
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="WORD", help="What they are meant to be: logits, probabilities.")
    ] = "logits",
    weight: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Class weights of the loss, as in 1,2,1.")
    ] = None,
    label_smoothing: Annotated[
        float, typer.Option(metavar="PART", help="Of the loss, from 0 to below 1.")
    ] = 0.0,
    ignore_index: Annotated[
        int, typer.Option(metavar="NUMBER", help="The target that the loss leaves out.")
    ] = -100,
    lang: Language = "en",
    as_json: Json = False,
) -> None:
    """Look for misuses of softmax and cross entropy in what a loss is given.

    Each finding says what was seen, what it does to the loss of these numbers, and what to write
    instead. Exit status: 0 if nothing is wrong, 1 if something is.
    """
    checked_language(lang)
    numbers = None if weight is None else _numbers(weight)
    from polylogit.app.commands import doctor as command

    answer = command.examine(
        file,
        targets=targets,
        target=target,
        kind=kind,
        weight=numbers,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    if as_json:
        print_json(answer)
    else:
        from polylogit.app.texts import doctor as text

        text.draw(answer, lang)
    if not answer["healthy"]:
        raise typer.Exit(1)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise OptionError(f"--weight must be numbers between commas, not {text!r}") from None
