"""`polylogit.data.svmlight` against scikit-learn's loader."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from polylogit.data.svmlight import looks_like_svmlight, read_svmlight
from polylogit.errors import DataError

Written = Callable[[str, bytes | str], Path]
Refusal = Callable[..., str]


def dumped(X: Any, y: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    dump_svmlight_file(X, y, sink, **options)
    return sink.getvalue()


@given(
    seed=st.integers(0, 10**6),
    zero_based=st.booleans(),
    comment=st.sampled_from([None, "three\nlines: 1:2 #3"]),
)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_agrees_with_scikit_learn(
    seed: int, zero_based: bool, comment: str | None, written: Written
) -> None:
    rng = np.random.default_rng(seed)
    X = sparse.random_array((7, 9), density=0.3, rng=rng, data_sampler=rng.normal).tolil()
    X[0, 4] = 1e-300  # at least one entry
    y = rng.integers(-1, 3, 7)
    content = dumped(X.tocsr(), y, zero_based=zero_based, comment=comment)
    theirs, labels = load_svmlight_file(io.BytesIO(content))
    ours = read_svmlight(written("a.svm", content))
    assert isinstance(ours.features, sparse.csr_array)
    assert ours.features.shape == theirs.shape
    np.testing.assert_array_equal(ours.features.toarray(), theirs.toarray())
    np.testing.assert_array_equal(ours.targets, labels)


@pytest.mark.parametrize("zero_based", [True, False, "auto"])
def test_the_count_of_indices_can_be_said(zero_based: Any, written: Written) -> None:
    content = b"1 1:2 3:4\n0 2:1\n"
    theirs, _ = load_svmlight_file(io.BytesIO(content), zero_based=zero_based)
    ours = read_svmlight(written("a.svm", content), zero_based=zero_based)
    np.testing.assert_array_equal(ours.features.toarray(), theirs.toarray())


def test_rows_know_their_lines_among_comments_and_blanks(written: Written) -> None:
    content = b"# top\n+1 1:.5 2:1e3 # tail 9:9\r\n\n \t\n-1.0\n2\t1:+7\t \n"
    matrix = read_svmlight(written("a.svm", content))
    np.testing.assert_array_equal(matrix.features.toarray(), [[0.5, 1000], [0, 0], [7, 0]])
    np.testing.assert_array_equal(matrix.targets, [1, -1, 2])
    assert [matrix.place(row) for row in range(3)] == ["line 2", "line 5", "line 6"]
    assert matrix.open_ended


RISE = "the indices of a row must rise and be different"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.svm: the file has no rows"),
        (b"# nothing\n\n", "a.svm: the file has no rows"),
        (b"1 1:1\nx 1:1\n", "a.svm: line 2: the label 'x' is not a number"),
        (
            b"1,2 1:1\n",
            "a.svm: line 1: the label '1,2' is not a number; one label a row is taken",
        ),
        (b"nan 1:1\n", "a.svm: line 1: the label 'nan' is not a number"),
        (b"1 1:1\n\n1 2:1 3\n", "a.svm: line 3: '3' is not INDEX:VALUE (such as 3:0.5)"),
        (b"1 1:1,5\n", "a.svm: line 1: '1:1,5' is not INDEX:VALUE (such as 3:0.5)"),
        (b"1 1:nan\n", "a.svm: line 1: '1:nan' is not INDEX:VALUE (such as 3:0.5)"),
        (b"1 1: 2\n", "a.svm: line 1: '1:' is not INDEX:VALUE (such as 3:0.5)"),
        (b"1 -1:2\n", "a.svm: line 1: '-1:2' is not INDEX:VALUE (such as 3:0.5)"),
        (
            b"1 1:\xff\n",
            "a.svm: line 1: '1:\N{REPLACEMENT CHARACTER}' is not INDEX:VALUE (such as 3:0.5)",
        ),
        (
            b"1 9999999999:2\n",
            "a.svm: line 1: '9999999999:2' is not INDEX:VALUE (such as 3:0.5)",
        ),
        (
            b"1 qid:3 1:2\n",
            "a.svm: line 1: 'qid:3' groups rows for ranking, which is not classification; remove "
            "it",
        ),
        (b"1 1:1\n1 3:1 2:1\n", f"a.svm: line 2: index 2 follows 3; {RISE}"),
        (b"1 1:1\n\n1\n1 4:1 4:1\n", f"a.svm: line 4: index 4 follows 4; {RISE}"),
        (b"1\n0\n", "a.svm: no row has any index:value pair, so there is no column"),
        (
            b"1 99999999:1\n",
            "a.svm: the highest index gives 99999999 columns; at most 16777216 are taken",
        ),
        (
            b"1 1:1e999\n",
            "a.svm: X holds 1 infinite among its numbers, the first in line 1, column 0; fill "
            "them or leave the rows out (a DataFrame or a table file may have missing cells)",
        ),
        (
            b"PK\x03\x04",
            "a.svm: by its first bytes this is a zip archive (npz, xlsx, ...); rename an "
            "npz to .npz, save a spreadsheet as CSV",
        ),
    ],
)
def test_damaged_files_are_refused(
    content: bytes, message: str, written: Written, refusal: Refusal
) -> None:
    assert refusal(DataError, read_svmlight, written("a.svm", content)) == message


def test_an_index_zero_where_they_count_from_one(written: Written, refusal: Refusal) -> None:
    path = written("a.svm", b"1 0:1\n")
    assert refusal(DataError, read_svmlight, path, zero_based=False) == (
        "a.svm: an index is 0, but zero_based=False says that they count from 1"
    )


@pytest.mark.timeout(20)
def test_a_long_bad_line_fails_at_once(written: Written, refusal: Refusal) -> None:
    content = b"1" + b" 1:1" * 200_000 + b" x\n"
    assert refusal(DataError, read_svmlight, written("a.svm", content)).startswith(
        "a.svm: line 1: 'x'"
    )


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"1 1:2\n", True),
        (b"-1 1:2 4:.5 # x\r\n0 1:1", True),
        (b"a,b\n1,2\n", False),
        (b"1 2\n", False),
        (b"10:30\n", False),
        (b"", False),
    ],
)
def test_first_lines_are_recognised(head: bytes, answer: bool) -> None:
    assert looks_like_svmlight(head) is answer
