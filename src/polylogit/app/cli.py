"""The command line: `polylogit fit`, `path`, `predict`, `evaluate`.

A door, not a room: it parses, calls `polylogit.app.commands`, prints, and sets the exit status:
0, 2 for usage and bad input, 1 for failure, 130 after Ctrl-C. Results go to stdout, everything
else to stderr. Heavy imports stand inside the functions, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from polylogit.errors import InputError, OptionError, PolylogitError
from polylogit.version import __version__

FAILURE, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
MOST_STRENGTHS = 10_000  # of a path

app = typer.Typer(
    name="polylogit",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A file (CSV, TSV, Parquet, Arrow, npz, npy, svmlight) or a built-in table "
        "(penguins, lesson).",
    ),
]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A file that polylogit fit --model wrote.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Weights = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The column with the weights of the rows.")
]
PenaltyFactor = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=NUMBER",
        help="A factor on the penalty of a column, 0 for none; may be repeated.",
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="A column to leave out unread; may be repeated."),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER", help="What stands between the cells of a text file; else found."
    ),
]


Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="What the rows may take, such as 500MB or 2GiB; beyond, they are streamed from disk.",
    ),
]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Softmax classification: fit a table, know how good the fit is, predict."""
    if version:
        typer.echo(f"polylogit {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)  # nothing was done: a script that lost its arguments must notice


@app.command()
def fit(
    data: Data,
    target: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column with the labels (y of an npz, svmlight)."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to save the model.")
    ] = None,
    C: Annotated[
        str,
        typer.Option("--C", metavar="NUMBER", help="Inverse strength of the penalty; auto or inf."),
    ] = "auto",
    l1_ratio: Annotated[
        float,
        typer.Option(
            metavar="PART", help="Part of |W| in the penalty, 0 to 1; above 0 weights may be zero."
        ),
    ] = 0.0,
    holdout: Annotated[
        float, typer.Option(metavar="PART", help="Part of the rows to evaluate on; 0 for none.")
    ] = 0.2,
    refit: Annotated[
        bool, typer.Option("--refit", help="After the evaluation, fit again on all rows.")
    ] = False,
    weights: Weights = None,
    class_weight: Annotated[
        str, typer.Option(metavar="WORD", help="none, or balanced: classes of equal total weight.")
    ] = "none",
    label_smoothing: Annotated[
        float, typer.Option(metavar="PART", help="From 0 to below 1.")
    ] = 0.0,
    penalty_factor: PenaltyFactor = None,
    intercept: Annotated[bool, typer.Option(help="Whether every class has a bias.")] = True,
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column to take as text; may be repeated."),
    ] = None,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    tol: Annotated[
        float, typer.Option(metavar="NATS", help="The proven gap to reach, per row.")
    ] = 1e-6,
    max_iter: Annotated[
        int, typer.Option(metavar="STEPS", help="Steps after which to stop.")
    ] = 1000,
    solver: Annotated[
        str, typer.Option(metavar="NAME", help="auto, newton, lbfgs, newton-cg.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(metavar="COUNT", help="By default chosen by size.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Which rows are held out.")] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where a fit that is killed goes on when run again."),
    ] = None,
    memory: Memory = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a table, evaluate on rows held out, save the model.

    Ctrl-C ends a fit with the best model so far, saved and marked as not converged.
    """
    from polylogit.app import terminal

    with terminal.watching(tol, shown=not quiet) as watch:
        from polylogit.app import commands

        request = commands.FitRequest(
            data,
            target,
            model,
            _strength(C),
            l1_ratio=l1_ratio,
            holdout=holdout,
            refit=refit,
            weights=weights,
            class_weight=_class_weight(class_weight),
            label_smoothing=label_smoothing,
            intercept=intercept,
            categorical=tuple(categorical or ()),
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
            tol=tol,
            max_iter=max_iter,
            solver=solver,
            n_threads=threads,
            seed=seed,
            penalty_factors=_penalty_factors(penalty_factor or ()),
            checkpoint=checkpoint,
            memory=memory,
        )
        summary = commands.fit(request, watch)
    if as_json:
        _print_json(summary)
    else:
        terminal.fit_text(summary)
    if summary["interrupted"]:
        terminal.interrupted(summary)
        raise typer.Exit(INTERRUPTED)


@app.command()
def path(
    data: Data,
    target: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column with the labels (y of an npz, svmlight)."),
    ] = None,
    strengths: Annotated[
        str | None,
        typer.Option(
            "--Cs",
            metavar="LIST",
            help="Values of C: FIRST:LAST:COUNT on a log scale, or a,b,c; else 1e-6:1e5:45.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="PART|FILE",
            help="Rows to judge on: a part of the rows (else 0.2; 0.1 with a protocol), or a file.",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="clip: search 96 steps from 1e-6 to 1e6; dino: fit 45 from 1e-6 to 1e5; the best "
            "by top-1.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Fit all rows at the best C, and save the model here."),
    ] = None,
    weights: Weights = None,
    class_weight: Annotated[
        str, typer.Option(metavar="WORD", help="none, or balanced: classes of equal total weight.")
    ] = "none",
    label_smoothing: Annotated[
        float, typer.Option(metavar="PART", help="From 0 to below 1.")
    ] = 0.0,
    penalty_factor: PenaltyFactor = None,
    intercept: Annotated[bool, typer.Option(help="Whether every class has a bias.")] = True,
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column to take as text; may be repeated."),
    ] = None,
    ignore: Ignore = None,
    delimiter: Delimiter = None,
    tol: Annotated[
        float, typer.Option(metavar="NATS", help="The proven gap to reach, per row.")
    ] = 1e-6,
    max_iter: Annotated[
        int, typer.Option(metavar="STEPS", help="Steps after which to stop, for each C.")
    ] = 1000,
    solver: Annotated[
        str, typer.Option(metavar="NAME", help="auto, newton, lbfgs, newton-cg.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(metavar="COUNT", help="By default chosen by size.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Which rows are judged on.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit many values of C for about the price of a few, judge each, keep the best.

    The best is that of the lowest loss on the validation rows, with a protocol that of the highest
    top-1 accuracy; --model fits all rows at it, those of validation too.
    """
    from polylogit.app import terminal

    with terminal.watching(tol, shown=not quiet) as watch:
        from polylogit.app import commands

        part, file = _validation(validation, 0.1 if protocol else 0.2)
        request = commands.FitRequest(
            data,
            target,
            model,
            "auto",
            l1_ratio=0.0,
            holdout=part,
            refit=False,
            weights=weights,
            class_weight=_class_weight(class_weight),
            label_smoothing=label_smoothing,
            intercept=intercept,
            categorical=tuple(categorical or ()),
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
            tol=tol,
            max_iter=max_iter,
            solver=solver,
            n_threads=threads,
            seed=seed,
            penalty_factors=_penalty_factors(penalty_factor or ()),
        )
        asked = commands.PathRequest(request, _strengths(strengths), file, protocol)
        summary = commands.path(asked, watch)
    if as_json:
        _print_json(summary)
    else:
        terminal.path_text(summary)
    if summary["interrupted"]:
        terminal.interrupted(summary)
        raise typer.Exit(INTERRUPTED)


@app.command()
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
        from polylogit.app import commands

        prediction = commands.predict(
            model,
            data,
            watch,
            output=output,
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
            memory=memory,
        )
    if as_json:
        _print_json(prediction.to_json() if output is None else prediction.summary)
    elif output is None:
        sys.stdout.writelines(prediction.pieces(","))
        terminal.notes(prediction.summary)
    else:
        terminal.predict_text(prediction.summary)


@app.command()
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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on labelled rows."""
    from polylogit.app import terminal

    with terminal.watching(shown=not quiet) as watch:
        from polylogit.app import commands

        summary = commands.evaluate(
            model,
            data,
            watch,
            target=target,
            weights=weights,
            ignore=tuple(ignore or ()),
            delimiter=delimiter,
            memory=memory,
        )
    if as_json:
        _print_json(summary)
    else:
        terminal.evaluate_text(summary)


def _strength(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--C must be auto, inf or a positive number, not {text!r}") from None


def _strengths(text: str | None) -> tuple[float, ...] | None:
    """FIRST:LAST:COUNT, even on a log scale, or numbers between commas."""
    if text is None:
        return None
    try:
        if ":" not in text:
            return tuple(float(number) for number in text.split(","))
        first, last, count = text.split(":")
        low, high, n = float(first), float(last), int(count)
    except ValueError:
        low, high, n = 0.0, 0.0, 0
    if not (0 < low < math.inf and 0 < high < math.inf and 1 <= n <= MOST_STRENGTHS):
        raise OptionError(
            f"--Cs must be FIRST:LAST:COUNT, as in 1e-6:1e5:45, or numbers like 0.1,1,10, not "
            f"{text!r}"
        )
    from polylogit.path import spaced

    return spaced(low, high, n)


def _validation(text: str | None, part: float) -> tuple[float, str | None]:
    """The part of the rows to judge on, or 0 and the file that holds them."""
    if text is None:
        return part, None
    try:
        return float(text), None
    except ValueError:
        return 0.0, text


def _penalty_factors(pairs: Sequence[str]) -> dict[str, float]:
    """COLUMN=NUMBER, cut at the last "=": a column's name may hold one."""
    factors: dict[str, float] = {}
    for pair in pairs:
        name, _, number = pair.rpartition("=")
        if name in factors:
            raise OptionError(f"--penalty-factor gives {name!r} two factors; keep one")
        try:
            factors[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise OptionError(f"--penalty-factor must be COLUMN=NUMBER, not {pair!r}")
    return factors


def _class_weight(text: str) -> str | None:
    if text not in ("none", "balanced"):
        raise OptionError(f"--class-weight must be none or balanced, not {text!r}")
    return None if text == "none" else text


def _print_json(summary: dict[str, Any]) -> None:
    """One line of plain ASCII, which every terminal, locale and reader takes."""
    typer.echo(json.dumps(summary, allow_nan=False))


# -------------------------------------------------------------------------- the edge of the world


def main() -> None:
    """Run the command line and exit with its status."""
    _prepare_process()
    sys.exit(run(sys.argv[1:]))


def _prepare_process() -> None:
    """What is right for a process of our own, and wrong inside someone else's."""
    if sys.stderr is None:  # closed by the caller
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        sys.exit(_complain("standard output is closed, so there is no place for results", FAILURE))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    # As an exception, so that a file half-written is taken away on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))


def run(arguments: list[str]) -> int:
    """Run one command; every way to fail ends in one line on stderr and a status."""
    try:
        status = _invoked(arguments)
        sys.stdout.flush()
    except InputError as error:
        return _complain(_as_options(str(error)), USAGE)
    except PolylogitError as error:
        return _complain(str(error), FAILURE)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("stopped by hand; no file was left half-written", INTERRUPTED)
    except typer.TyperException as error:
        return _complain(_usage(error), USAGE)
    except BrokenPipeError:  # the reader has seen enough
        _drop_output()
        return FAILURE
    except OSError as error:
        _drop_output()
        return _complain(_failed(error), FAILURE)
    except Exception as error:
        if os.environ.get("POLYLOGIT_DEBUG"):
            raise
        return _complain(_unexpected(error), FAILURE)
    return status


def _invoked(arguments: list[str]) -> int:
    """Run a command, and let its exceptions through; typer's own `main` would swallow Ctrl-C."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("polylogit", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _as_options(message: str) -> str:
    """The library's words for what to try, as they are typed here.

    >>> _as_options("leave it out (ignore)")
    'leave it out (--ignore)'
    """
    for word, typed in _TYPED.items():
        message = message.replace(word, typed)
    return message


_TYPED = {
    "penalty_factors": "--penalty-factor",
    "(ignore)": "(--ignore)",
    "name the column as categorical": "take the column as text (--categorical)",
}


def _usage(error: typer.TyperException) -> str:
    """The parser's message, with what to give and where to read on."""
    context: Any = getattr(error, "ctx", None)
    parameter: Any = getattr(error, "param", None)
    command = "polylogit" if context is None else context.command_path
    message = error.format_message().removesuffix(".")
    if hasattr(error, "param_type") and isinstance(getattr(parameter, "help", None), str):
        help_text = parameter.help.removesuffix(".")  # of a missing argument
        message = f"{command} needs {parameter.metavar}: {help_text[0].lower()}{help_text[1:]}"
    return f"{message} (see {command} --help)"


def _drop_output() -> None:
    """Let what is still to be written vanish; the interpreter would try, and fail, at its end."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: not a file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(error: OSError) -> str:
    """The readers and writers of files explain their own errors; what is left is mostly stdout."""
    if error.filename is None:
        return f"the results cannot be written to standard output: {error.strerror or error}"
    return f"{error.filename}: {error.strerror or error}"


def _unexpected(error: Exception) -> str:
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "not enough memory; use fewer rows or columns"
    return (
        f"unexpected {type(error).__name__}: {error}; this is a bug: please report it, with the "
        "output of the same command under POLYLOGIT_DEBUG=1"
    )


def _complain(message: str, status: int) -> int:
    """One line on stderr, whatever the message holds."""
    line = " ".join(message.split())
    if line:
        with contextlib.suppress(OSError):  # stderr is full or gone: the status must do
            sys.stderr.write(f"error: {line}\n".encode(errors="backslashreplace").decode())
            sys.stderr.flush()
    return status
