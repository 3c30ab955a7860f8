"""From a `Table` or a `Matrix` to a `Dataset`, and the split before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from scipy import sparse

from polylogit.data import stored_table
from polylogit.data.dataset import Dataset, Features, Matrix
from polylogit.data.stored_table import StoredTable
from polylogit.data.targets import (
    Targets,
    from_column,
    from_memory,
    known,
    refuse_degenerate,
    weights_from_column,
    weights_of,
)
from polylogit.errors import OptionError, SchemaError, TargetError
from polylogit.schema import Encoded, Schema, Table, listed, shown

TARGET = "y"
"""What the labels of a matrix are called in a schema."""

Source = TypeVar("Source", Table, Matrix)


def prepare(
    data: Table | Matrix,
    *,
    target: str | None = None,
    weights: str | None = None,
    schema: Schema | None = None,
) -> Dataset:
    """Encode rows as numbers, labels as class codes.

    Without `schema` one is inferred, and there must be something to learn from in these rows.
    With the `schema` of a model the rows are encoded by it, and labels are looked up among its
    classes. `target` and `weights` name columns of a table; a matrix carries its own labels, which
    are used if `schema` is None or `target` is "y".

    >>> from polylogit.schema import Column
    >>> x = Column("x", "numeric", np.array([0.0, 1.0, 2.0]))
    >>> y = Column("y", "categorical", np.array([0, 1, 0], dtype=np.int32), ("no", "yes"))
    >>> data = prepare(Table((x, y), "doctest", 3), target="y")
    >>> data.features.tolist(), data.targets.tolist(), data.schema.classes
    ([[0.0], [1.0], [2.0]], [0, 1, 0], ('no', 'yes'))
    """
    if isinstance(data, Matrix):
        _refuse_names(data, target, weights)
        unlabelled = schema is not None and target is None
        return dataset_of_matrix(replace(data, targets=None) if unlabelled else data, schema)
    if target is not None and target == weights:
        raise OptionError(f"column {shown(target)} cannot be both the target and the weights")
    targets = None if target is None else from_column(data.column(target), data)
    weighed = None if weights is None else weights_from_column(data.column(weights), data)
    used = {name for name in (target, weights) if name is not None}
    return dataset_of_table(data.without(*used), targets, weighed, schema, target=target)


def split(
    data: Source, *, target: str | None = None, fraction: float = 0.2, seed: int = 0
) -> tuple[Source, Source]:
    """Part the rows into (training, held out), class by class, before anything is learned.

    Of a class with n rows, round(fraction n) are held out, at least one and at most n - 1; a class
    with one row stays in training. Rows keep their order. The same seed gives the same split.
    Rows of probabilities count for their most probable class.
    """
    _refuse_split(fraction, seed)
    targets = _targets_of(data, target)
    if targets is None:
        raise TargetError(f"{data.source}: a stratified split needs labels; name the target")
    rng = np.random.default_rng(seed)
    held = np.zeros(data.n_rows, dtype=bool)
    for code in range(len(targets.classes)):
        rows = np.flatnonzero(targets.codes == code)
        held[rng.permutation(rows)[: _share(len(rows), fraction)]] = True
    if not held.any():
        raise TargetError(
            f"{data.source}: no class has two rows ({data.n_rows} rows, {len(targets.classes)} "
            "classes), so nothing can be held out"
        )
    return data.take(np.flatnonzero(~held)), data.take(np.flatnonzero(held))


def dataset_of_table(
    table: Table,
    targets: Targets | None,
    weights: np.ndarray | None,
    schema: Schema | None,
    *,
    target: str | None = None,
    by_position: bool = False,
) -> Dataset:
    """Encode a table of feature columns; `by_position` lets plain columns stand for a matrix."""
    if schema is None:
        classes = _learnable(targets, weights, table)
        stored = isinstance(table, StoredTable)
        infer: Any = stored_table.infer if stored else Schema.infer
        schema = infer(table, classes, target)
    elif by_position and schema.kind == "array":
        table = _renamed(table, schema)
    if targets is not None:
        targets = known(targets, schema.classes, table)
    features, encoded = _encoded(table, schema)
    wanted = {feature.name for feature in schema.features} | {schema.target}
    ignored = tuple(name for name in table.names if name not in wanted)
    return Dataset(
        features=features,
        schema=schema,
        targets=None if targets is None else targets.values,
        weights=weights,
        source=table.source,
        missing=encoded.missing,
        unseen=encoded.unseen,
        ignored=ignored,
    )


def _encoded(table: Table, schema: Schema) -> tuple[Features, Encoded]:
    if isinstance(table, StoredTable):
        return stored_table.encode(schema, table)
    encoded = schema.encode(table)
    return encoded.matrix, encoded


def dataset_of_matrix(matrix: Matrix, schema: Schema | None) -> Dataset:
    """Encode a matrix: its columns are the model's by position."""
    n_rows = matrix.n_rows
    targets = None if matrix.targets is None else from_memory(matrix.targets, n_rows, matrix)
    weights = None if matrix.weights is None else weights_of(matrix.weights, n_rows, matrix)
    features = matrix.features
    if schema is None:
        classes = _learnable(targets, weights, matrix)
        target = None if targets is None else TARGET
        schema = Schema.for_array(int(features.shape[1]), classes, target, matrix.names)
    else:
        features = _fitted(matrix, schema)
    if targets is not None:
        targets = known(targets, schema.classes, matrix)
    values = None if targets is None else targets.values
    return Dataset(features, schema, values, weights, matrix.source)


def _learnable(
    targets: Targets | None, weights: np.ndarray | None, data: Table | Matrix
) -> tuple[Any, ...]:
    """Return the classes of rows that a model can be learned from."""
    if data.n_rows == 0:
        raise TargetError(f"{data.source}: there are no rows to learn from")
    if targets is None:
        return ()
    refuse_degenerate(targets, weights, data)
    return targets.classes


def _fitted(matrix: Matrix, schema: Schema) -> Features:
    """Return the features if their columns can be the schema's."""
    width = int(matrix.features.shape[1])
    plain = all(feature.names == (feature.name,) for feature in schema.features)
    if not plain or any(feature.kind != "numeric" for feature in schema.features):
        raise SchemaError(
            f"{matrix.source}: a plain matrix of {width} column(s), but the model was fitted on a "
            f"table with the columns {listed(f.name for f in schema.features)}; give a table with "
            "these names"
        )
    if matrix.open_ended and width < schema.n_features and sparse.issparse(matrix.features):
        wider = cast("Any", matrix.features).copy()
        wider.resize((matrix.n_rows, schema.n_features))
        return cast("Features", wider)
    if width != schema.n_features:
        raise SchemaError(
            f"{matrix.source}: X has shape {matrix.features.shape}, but the model was fitted on "
            f"{schema.n_features} columns"
        )
    return matrix.features


def _renamed(table: Table, schema: Schema) -> Table:
    """Let columns stand for a matrix by position where their names are not the matrix's."""
    names = [feature.name for feature in schema.features]
    if set(names) <= set(table.names) or len(names) != len(table.names):
        return table
    columns = zip(table.columns, names, strict=True)
    return replace(table, columns=tuple(replace(column, name=name) for column, name in columns))


def _targets_of(data: Table | Matrix, target: str | None) -> Targets | None:
    if isinstance(data, Matrix):
        _refuse_names(data, target, None)
        return None if data.targets is None else from_memory(data.targets, data.n_rows, data)
    return None if target is None else from_column(data.column(target), data)


def _refuse_names(matrix: Matrix, target: str | None, weights: str | None) -> None:
    if target not in {None, TARGET, "targets"}:
        raise OptionError(
            f"{matrix.source}: a matrix has no column {shown(target)}; its labels stand beside it "
            f"and are called {TARGET!r}: leave the target out"
        )
    if target is not None and matrix.targets is None:
        raise TargetError(f"{matrix.source}: holds no labels; save them beside X as {TARGET!r}")
    if weights not in {None, "weights", "sample_weight"}:
        raise OptionError(
            f"{matrix.source}: a matrix has no column {shown(weights)}; its weights stand beside "
            "it and are called 'weights'"
        )
    if weights is not None and matrix.weights is None:
        raise TargetError(f"{matrix.source}: holds no weights; save them beside X as 'weights'")


def _refuse_split(fraction: float, seed: int) -> None:
    if not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise OptionError(f"the held-out fraction must lie between 0 and 1, got {shown(fraction)}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise OptionError(f"the seed must be a whole number >= 0, got {shown(seed)}")


def _share(n_rows: int, fraction: float) -> int:
    return min(max(round(fraction * n_rows), 1), n_rows - 1) if n_rows > 1 else 0
