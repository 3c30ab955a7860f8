"""`polylogit lab`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polylogit.app.doors.options import Json, print_json


def lab(
    port: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, max=65535, help="Where to answer; 0 for any.")
    ] = 8000,
    browser: Annotated[bool, typer.Option(help="Whether to open a browser.")] = True,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the page for any web server, its numbers baked, and end."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Open the local page on which softmax classification is seen at work.

    It answers on 127.0.0.1 alone, works offline and sends nothing anywhere. Ctrl-C ends it.
    """
    from polylogit.app.commands import lab as command

    if export is not None:
        summary = command.export(export)
        done = f"{summary['answers']} baked answers, {summary['bytes']} bytes in {export}"
        print_json(summary) if as_json else typer.echo(done)
        return
    command.serve(
        port,
        lambda address: (
            print_json({"address": address}) if as_json else typer.echo(f"{address} (Ctrl-C ends)")
        ),
        browser=browser,
    )
