"""A file with the scores of any model, as rows of the calibrator that was made for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse

from polylogit.data.dataset import Dataset, Matrix
from polylogit.data.prepare import dataset_of_table, prepare
from polylogit.data.read import read_table
from polylogit.data.targets import from_column
from polylogit.diagnostics.recalibration import Calibrator
from polylogit.schema import Schema

LABEL = "y"  # the column with the labels, where they are asked for


def read_scores(
    source: str,
    calibrator: Calibrator,
    *,
    labelled: bool = False,
    ignore: tuple[str, ...] = (),
    delimiter: str | None = None,
) -> Dataset:
    """Scores in a file as what `calibrator.model` reads; `labelled` ones with a column "y".

    Columns are found by the names of the classes, in any order; where none is named so, K columns
    stand for the classes in order. Raises `SchemaError` where a class has no column, or a score is
    missing.
    """
    schema = _schema(calibrator)
    table = read_table(source, ignore=ignore, delimiter=delimiter)
    if isinstance(table, Matrix):
        found = prepare(table, schema=schema, target=LABEL if labelled else None)
    else:
        named = set(schema.names) & set(table.names)
        labels = from_column(table.column(LABEL), table) if labelled else None
        plain = table.without(LABEL) if labelled else table
        found = dataset_of_table(plain, labels, None, schema, by_position=not named)
    return replace(found, features=calibrator.columns(dense(found)))


def dense(dataset: Dataset) -> np.ndarray:
    """The features (N, D) of rows in memory."""
    features: Any = dataset.features
    return features.toarray() if scipy.sparse.issparse(features) else np.asarray(features)


def _schema(calibrator: Calibrator) -> Schema:
    """Scores as columns: each is called what its class is."""
    classes = calibrator.model.classes
    return Schema.for_array(len(classes), classes, names=[str(label) for label in classes])
