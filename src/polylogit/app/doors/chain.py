"""`polylogit chain`."""

from __future__ import annotations

from typing import Annotated

import typer

from polylogit.app.doors.options import Json, Language, checked_language, print_json
from polylogit.errors import OptionError


def chain(
    logits: Annotated[
        str | None,
        typer.Option(
            "--logits", metavar="NUMBERS", help="z of one row, as in 1,2,3; rows between ';'."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="CLASS", help="y from 0; one for every row: 2,0."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(metavar="NUMBER", help="T, which divides the logits.")
    ] = 1.0,
    p: Annotated[
        str | None,
        typer.Option("--p", metavar="NUMBERS", help="Instead: a distribution P, as in 0.5,0.5."),
    ] = None,
    q: Annotated[
        str | None,
        typer.Option("--q", metavar="NUMBERS", help="A second one to compare it with; else even."),
    ] = None,
    lang: Language = "en",
    as_json: Json = False,
) -> None:
    """Walk from logits to the loss, every step with its torch expression; or compare P and Q.

    polylogit chain --logits 1,2,3 --target 2      polylogit chain --p 0.5,0.3,0.2 --q 0.2,0.3,0.5
    """
    checked_language(lang)
    if (logits is None) == (p is None):
        raise OptionError("give --logits and --target, or --p and perhaps --q")
    if logits is not None and target is None:
        raise OptionError("--logits needs --target, the number of the true class, from 0")
    rows = None if logits is None else [_numbers("--logits", row) for row in logits.split(";")]
    from polylogit.app.commands import chain as command

    if rows is not None:
        answer = command.walk(rows, _classes(target or ""), temperature)
    else:
        answer = command.measure(
            _numbers("--p", p or ""), None if q is None else _numbers("--q", q)
        )
    if as_json:
        print_json(answer)
        return
    from polylogit.app.texts import chain as text

    (text.draw_walk if rows is not None else text.draw_measures)(answer, lang)


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise OptionError(f"{option} must be numbers between commas, not {text!r}") from None


def _classes(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise OptionError(
            f"--target must be class numbers between commas, from 0, not {text!r}"
        ) from None
