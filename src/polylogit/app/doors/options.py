"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from polylogit.errors import OptionError

INTERRUPTED = 130  # exit status after Ctrl-C

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
L1Ratio = Annotated[
    float,
    typer.Option(
        metavar="PART", help="Part of |W| in the penalty, 0 to 1; above 0 weights may be zero."
    ),
]
CheckpointFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where a fit that is killed goes on when run again."),
]
Target = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The column with the labels (y of an npz, svmlight)."),
]
ClassWeight = Annotated[
    str, typer.Option(metavar="WORD", help="none, or balanced: classes of equal total weight.")
]
Smoothing = Annotated[float, typer.Option(metavar="PART", help="From 0 to below 1.")]
Intercept = Annotated[bool, typer.Option(help="Whether every class has a bias.")]
Categorical = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="A column to take as text; may be repeated."),
]
Tolerance = Annotated[float, typer.Option(metavar="NATS", help="The proven gap to reach, per row.")]
Steps = Annotated[int, typer.Option(metavar="STEPS", help="Steps after which a fit stops.")]
Solver = Annotated[str, typer.Option(metavar="NAME", help="auto, newton, lbfgs, newton-cg.")]
Device = Annotated[
    str, typer.Option(metavar="NAME", help="Where dense rows are multiplied: auto, cpu or cuda.")
]
Threads = Annotated[int | None, typer.Option(metavar="COUNT", help="By default chosen by size.")]
Report = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A page about the model to write, for a browser (.html)."),
]
Language = Annotated[str, typer.Option("--lang", metavar="en|ko", help="Language of the text.")]
LANGUAGES = ("en", "ko")


def checked_language(lang: str) -> None:
    """Refuse a language that no text here is written in."""
    if lang not in LANGUAGES:
        raise OptionError(f"--lang must be {' or '.join(LANGUAGES)}, not {lang!r}")


def number_or_auto(text: str) -> float | str:
    """The value of --C."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--C must be auto, inf or a positive number, not {text!r}") from None


def factors_by_column(pairs: Sequence[str]) -> dict[str, float]:
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


def word_of_class_weight(text: str) -> str | None:
    """The value of --class-weight."""
    if text not in ("none", "balanced"):
        raise OptionError(f"--class-weight must be none or balanced, not {text!r}")
    return None if text == "none" else text


def print_json(summary: dict[str, Any]) -> None:
    """One line of plain ASCII, which every terminal, locale and reader takes."""
    typer.echo(json.dumps(summary, allow_nan=False))
