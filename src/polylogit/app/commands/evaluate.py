"""`polylogit evaluate`: a saved model on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polylogit.app.commands.files import check_output, load_model
from polylogit.app.commands.report import gather, write
from polylogit.app.commands.scoring import cells_note, score_rows
from polylogit.app.terminal import Watch
from polylogit.data.read import read


def evaluate(
    path: Path,
    data: str,
    watch: Watch,
    *,
    target: str | None = None,
    weights: str | None = None,
    ignore: tuple[str, ...] = (),
    delimiter: str | None = None,
    memory: str | None = None,
    report: Path | None = None,
    lang: str = "en",
) -> dict[str, Any]:
    """Score the model in a file on labelled rows; with `report`, write a page about it as well."""
    check_output("--report", report, data, path)
    model = load_model(path, watch)
    target = target or model.schema.target or "y"
    watch.stage(f"reading {data}")
    dataset = read(
        data,
        target=target,
        weights=weights,
        schema=model.schema,
        ignore=ignore,
        delimiter=delimiter,
        memory=memory,
    )
    watch.stage(f"scoring {dataset.n_rows} rows")
    scores = score_rows(model, dataset)
    if report is not None:
        write(report, gather(model, dataset, "data"), lang)
    head = {"model": str(path), "source": dataset.source, "classes": list(model.classes)}
    return {**head, **scores.to_json(), **cells_note(dataset)}
