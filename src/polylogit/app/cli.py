"""The command line: `polylogit fit`, `path`, `predict`, `evaluate`, `lab`.

It gathers the doors of `polylogit.app.doors` and sets the exit status: 0, 2 for usage and bad
input, 1 for failure, 130 after Ctrl-C. Results go to stdout, everything else to stderr. The doors
import what is heavy inside their functions, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Annotated, Any

import typer

from polylogit.app.doors import (
    calibrate,
    chain,
    doctor,
    evaluate,
    explain,
    fit,
    lab,
    path,
    predict,
    summary,
    tour,
)
from polylogit.app.doors.options import INTERRUPTED
from polylogit.errors import InputError, PolylogitError
from polylogit.version import __version__

FAILURE, USAGE, TERMINATED = 1, 2, 143

app = typer.Typer(
    name="polylogit",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


for _command in (
    fit.fit,
    path.path,
    predict.predict,
    evaluate.evaluate,
    calibrate.calibrate,
    summary.summary,
    lab.lab,
    chain.chain,
    tour.tour,
    doctor.doctor,
    explain.explain,
):
    app.command()(_command)


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
