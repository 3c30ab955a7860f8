"""`polylogit explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polylogit.app.doors.options import (
    Data,
    Delimiter,
    Ignore,
    Json,
    Language,
    ModelFile,
    Quiet,
    checked_language,
    print_json,
)


def explain(
    model: ModelFile,
    data: Data,
    row: Annotated[int, typer.Option(metavar="NUMBER", help="Which row; the first is 1.")],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A page to write, for a browser.")
    ] = None,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    lang: Language = "en",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say why one row was classified so, and what would have changed the decision."""
    checked_language(lang)
    from polylogit.app import terminal

    with terminal.watching(shown=not quiet) as watch:
        from polylogit.app.commands import explain as command

        answer = command.explain_row(
            model,
            data,
            row,
            watch,
            html=html,
            lang=lang,
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
        )
    if as_json:
        print_json(answer)
        return
    from polylogit.app.texts import explain as text

    text.draw(answer, lang)
