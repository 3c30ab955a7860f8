"""`polylogit explain`: one row of a file through a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from polylogit import storage
from polylogit.app.commands.files import check_output, load_model
from polylogit.app.terminal import Watch
from polylogit.app.texts import explain as text
from polylogit.data.read import prepare, read_table
from polylogit.diagnostics.explain import explain
from polylogit.errors import OptionError


def explain_row(
    path: Path,
    data: str,
    row: int,
    watch: Watch,
    *,
    html: Path | None,
    lang: str,
    ignore: tuple[str, ...],
    delimiter: str | None,
) -> dict[str, Any]:
    """The explanation of row `row`, from 1, as plain JSON data; with `html`, as a page as well."""
    check_output("--html", html, data, path)
    model = load_model(path, watch)
    watch.stage(f"reading {data}")
    schema = model.schema
    rows: Any = read_table(
        data, schema=schema, target=schema.target, ignore=ignore, delimiter=delimiter
    )
    if not 1 <= row <= rows.n_rows:
        raise OptionError(f"--row must be from 1 to the {rows.n_rows} rows of {data}, not {row}")
    dataset = prepare(cast("Any", rows.take(np.array([row - 1]))), schema=schema)
    found = explain(model, dataset.features, {k: list(v) for k, v in dataset.unseen.items()})
    answer = {"model": str(path), "source": dataset.source, "row": row, **found.to_json()}
    if html is not None:
        storage.write_atomically(html, text.page(answer, lang).encode())
    return answer
