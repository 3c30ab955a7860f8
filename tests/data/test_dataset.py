"""`polylogit.data.dataset`: the records every reader leads to."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from polylogit.data.dataset import Dataset, Matrix, Rows
from polylogit.schema import Schema


def test_rows_are_counted_from_zero_and_lines_as_the_file_does() -> None:
    assert Rows().place(3) == "row 3"
    assert Rows("a.csv", range(2, 9)).place(3) == "line 5"
    assert Rows("a.csv", np.array([2, 7])).place(1) == "line 7"


def test_a_selection_keeps_labels_weights_and_lines_together() -> None:
    matrix = Matrix(np.eye(3), ["a", "b", "c"], [1, 2, 3], "m.svm", lines=np.array([1, 4, 5]))
    part = matrix.take(np.array([2, 0]))
    np.testing.assert_array_equal(part.features, [[0, 0, 1], [1, 0, 0]])
    assert (list(part.targets), list(part.weights)) == (["c", "a"], [3, 1])
    assert (part.place(0), part.place(1), part.n_rows) == ("line 5", "line 1", 2)


def test_a_selection_of_sparse_rows_without_labels() -> None:
    part = Matrix(sparse.csr_array(np.eye(3))).take(np.array([1]))
    assert isinstance(part.features, sparse.csr_array)
    assert part.features.toarray().tolist() == [[0.0, 1.0, 0.0]]
    assert (part.targets, part.place(0)) == (None, "row 0")


def test_a_dataset_knows_its_size() -> None:
    data = Dataset(np.zeros((3, 2)), Schema.for_array(2, (0, 1)))
    assert (data.n_rows, data.n_features) == (3, 2)
    assert (data.missing, data.unseen, data.ignored) == ({}, {}, ())
