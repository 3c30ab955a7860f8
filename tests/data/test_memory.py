"""`polylogit.data.memory`: whatever holds entries becomes an array that keeps their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from polylogit.data.dataset import Rows
from polylogit.data.memory import array_of
from polylogit.errors import DataError, TargetError

Refusal = Callable[..., str]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        (1, 2),
        np.array([1, 2]),
        np.ma.masked_array([1, 2]),
        torch.tensor([1, 2]),
        pd.Series([1, 2], index=[7, 7]),
        pd.Series([1, 2], dtype="Int64"),
        pl.Series([1, 2]),
        pa.chunked_array([[1], [2]]),
        pd.DataFrame({"only": [1, 2]}),
        memoryview(np.array([1, 2])),
    ],
)
def test_numbers_of_every_library_are_the_same_array(values: Any) -> None:
    array = array_of(values, "y", Rows())
    assert type(array) is np.ndarray
    assert array.dtype == np.int64
    assert array.tolist() == [1, 2]


@pytest.mark.parametrize(
    "values",
    [
        [1, "a"],
        [True, 2],
        [None, "a"],
        [1, 2.5],
        pd.Series([1, "a"]),
        pd.Series(["a", None], dtype="category"),
        pd.Series([1, None], dtype="Int64"),
        pl.Series(["a", None]),
    ],
)
def test_mixed_and_missing_entries_keep_their_types(values: Any) -> None:
    array = array_of(values, "y", Rows())
    assert array.dtype == object
    for ours, given in zip(array.tolist(), list(values), strict=True):
        same = ours is given or type(ours)(ours) == given
        assert pd.isna(given) if ours is None or pd.isna(ours) else same
        assert isinstance(ours, str) == isinstance(given, str)


def test_memory_is_shared_where_it_can_be() -> None:
    tensor, array = torch.zeros(3, requires_grad=True), np.zeros(3)
    assert np.shares_memory(array_of(tensor, "X", Rows()), tensor.detach().numpy())
    assert np.shares_memory(array_of(array, "X", Rows()), array)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.bool])
def test_tensors_of_every_type_keep_their_values(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0.0, 1.0], [1.0, 1.0]]).to(dtype)
    assert array_of(tensor, "X", Rows()).astype(float).tolist() == [[0.0, 1.0], [1.0, 1.0]]


def test_a_lazy_negation_and_a_list_of_tensors_are_resolved() -> None:
    negated = torch.tensor([1 + 2j, 3 - 1j]).conj().imag
    assert array_of(negated, "X", Rows()).tolist() == [-2.0, 1.0]
    rows = [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])]
    assert array_of(rows, "X", Rows()).tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (None, "is None (NoneType); expected an array, a list, a tensor or a column"),
        ("ab", "is 'ab' (str); expected an array, a list, a tensor or a column"),
        ({"a": 1}, "is {'a': 1} (dict); expected an array, a list, a tensor or a column"),
        (
            [[1, 2], [3]],
            "is a ragged list (row 0 has 2 entries, row 1 has 1); give every row one length",
        ),
        (
            [[1, 2], 3],
            "is a ragged list (row 0 has 2 entries, row 1 has no list); give every row one length",
        ),
        (
            np.ma.masked_array(np.eye(2), mask=np.eye(2)),
            "has masked cells (2, the first in row 0, column 0); fill them (values.filled(...)) or "
            "leave the rows out",
        ),
        (
            torch.empty(2, 2, device="meta"),
            "is a tensor (layout torch.strided, device meta, dtype torch.float32) whose numbers "
            "cannot be read; give a dense tensor that holds data",
        ),
    ],
)
def test_what_holds_no_entries_is_refused(values: Any, reason: str, refusal: Refusal) -> None:
    assert refusal(DataError, array_of, values, "X", Rows()) == f"array: X {reason}"
    assert refusal(TargetError, array_of, values, "y", Rows("a.npz"), error=TargetError) == (
        f"a.npz: y {reason}"
    )


def test_an_object_without_numbers_is_refused(refusal: Refusal) -> None:
    class Stubborn:
        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            raise TypeError("no")

    message = refusal(DataError, array_of, Stubborn(), "X", Rows())
    assert message == "array: X (Stubborn) is no array: 'no'"
