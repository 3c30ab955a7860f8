"""Penalty factors: columns that the penalty holds tighter, looser, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from polylogit.data.dataset import Rows
from polylogit.data.memory import array_of
from polylogit.errors import OptionError, nearest
from polylogit.schema import Schema, listed, shown

LARGEST = 1e100
_HERE = Rows("penalty_factors")


def factors_of(option: Any, schema: Schema) -> np.ndarray:
    """One factor >= 0 for each encoded column (D,), from a list of D or from names.

    A mapping names input columns, whose encoded columns all get the factor, or single encoded
    columns, which come first; what it does not name keeps the factor 1. Raises `OptionError`.

    >>> factors_of({"x1": 0.5}, Schema.for_array(3, ("a", "b"))).tolist()
    [1.0, 0.5, 1.0]
    """
    factors = _by_name(option, schema) if isinstance(option, Mapping) else _in_order(option, schema)
    _refuse_unsound(factors, schema)
    return factors


def _by_name(option: Mapping[Any, Any], schema: Schema) -> np.ndarray:
    own = {name: (name,) for name in schema.names}
    of_inputs = {feature.name: feature.names for feature in schema.features}
    factors = dict.fromkeys(schema.names, 1.0)
    for columns in (of_inputs, own):  # the narrower name has the last word
        for name in option.keys() & columns.keys():
            factors.update(dict.fromkeys(columns[name], _number(name, option[name])))
    for name in option:
        if name not in own and name not in of_inputs:
            raise OptionError(
                f"penalty_factors names {shown(name)}, which is no column of the data"
                f"{nearest(str(name), of_inputs)} (columns: {listed(of_inputs)})"
            )
    return np.array(list(factors.values()))


def _number(name: str, value: Any) -> float:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise OptionError(f"the penalty factor of {shown(name)} must be a number, not {plain!r}")
    return float(plain)


def _in_order(option: Any, schema: Schema) -> np.ndarray:
    factors = array_of(option, "the list", _HERE, error=OptionError)
    if factors.shape != (schema.n_features,):
        raise OptionError(
            f"penalty_factors has shape {factors.shape}, expected ({schema.n_features},): one for "
            "each encoded column"
        )
    if factors.dtype.kind == "O":  # a list of numbers of both kinds, most often
        return np.array([_number(n, v) for n, v in zip(schema.names, factors, strict=True)])
    if factors.dtype.kind not in "iuf":
        raise OptionError(f"penalty_factors must be numbers >= 0, not of dtype {factors.dtype}")
    return factors.astype(np.float64)


def _refuse_unsound(factors: np.ndarray, schema: Schema) -> None:
    bad = ~((factors >= 0) & (factors <= LARGEST))  # NaN fails both
    if bad.any():
        column = int(np.argmax(bad))
        raise OptionError(
            f"the penalty factor of {shown(schema.names[column])} must lie between 0 and "
            f"{LARGEST:g}, not {shown(factors[column])}"
        )
