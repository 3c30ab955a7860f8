"""`polylogit calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polylogit.app.doors.options import Delimiter, Ignore, Json, Quiet, Weights, print_json
from polylogit.errors import OptionError, nearest

METHODS = ("temperature", "vector", "matrix", "dirichlet")


def calibrate(
    model_file: Annotated[
        Path | None, typer.Argument(metavar="[MODEL", help="A file that polylogit fit wrote.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA]", help="Labelled rows that the model was not fitted on."),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Instead of DATA: the rows of the fit, each left out of it."
        ),
    ] = None,
    logits: Annotated[
        str | None, typer.Option(metavar="FILE", help="Instead: logits of any model, N x K.")
    ] = None,
    probabilities: Annotated[
        str | None, typer.Option(metavar="FILE", help="Instead: probabilities of any model.")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(metavar="FILE", help="The labels of those: .npy, or one column.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="temperature, vector, matrix or dirichlet.")
    ] = "matrix",
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to save what was found.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column with the labels; else that of the fit."),
    ] = None,
    weights: Weights = None,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make probabilities mean what they say, by rows that the model has not seen.

    With --training these are the rows of the fit, each judged by what the model is without it. Of
    MODEL and DATA comes a model that predicts in place of the old one; of the logits or
    probabilities of any other model, a calibrator in the same kind of file.
    """
    if method not in METHODS:
        known, advice = ", ".join(METHODS), nearest(method, METHODS)
        raise OptionError(f"--method {method!r} is not one of {known}{advice}")
    _check_sources(model_file, data or training, logits, probabilities, targets)
    if data is not None and training is not None:
        raise OptionError("calibrate takes DATA, rows held out, or --training FILE, not both")
    from polylogit.app import terminal

    options: dict[str, Any] = {"method": method, "output": model, "delimiter": delimiter}
    options |= {"weights": weights}
    with terminal.watching(shown=not quiet) as watch:
        from polylogit.app.commands import calibrate as command

        rows = data or training
        if model_file is not None and rows is not None:
            options |= {"target": target, "ignore": tuple(ignore or ())}
            options |= {"training": training is not None}
            summary = command.calibrate_model(model_file, rows, watch, **options)
        else:
            scores, reads = (logits, "logits") if logits else (probabilities, "probabilities")
            request = command.ScoresRequest(str(scores), str(targets), reads)  # type: ignore[arg-type]
            summary = command.calibrate_scores(request, watch, **options)
    if as_json:
        print_json(summary)
        return
    from polylogit.app.texts.calibrate import calibrate_text

    typer.echo(calibrate_text(summary), nl=False)


def _check_sources(
    model: Path | None,
    data: str | None,
    logits: str | None,
    probabilities: str | None,
    targets: str | None,
) -> None:
    """Refuse all but MODEL and DATA, or scores and targets."""
    ours = model is not None and data is not None
    theirs = (logits is None) != (probabilities is None) and targets is not None
    others = [logits, probabilities, targets] if ours else [model, data]
    if not (ours or theirs) or any(other is not None for other in others):
        raise OptionError(
            "calibrate takes MODEL and DATA (or --training FILE), or --logits FILE (or "
            "--probabilities FILE) and --targets FILE"
        )
