"""`polylogit.data.examples`: the built-in tables are what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polylogit.data.examples import EXAMPLES, resolved
from polylogit.data.read import read, read_table
from polylogit.errors import DataError

Written = Callable[[str, bytes | str], Path]
Refusal = Callable[..., str]


def test_the_lesson_is_the_lesson() -> None:
    data = read("lesson", target="y")
    x = [[1, 2, 1, 1], [2, 1, 3, 2], [3, 1, 3, 4], [4, 1, 5, 5]]
    x += [[1, 7, 5, 5], [1, 2, 5, 6], [1, 6, 6, 6], [1, 7, 7, 7]]
    np.testing.assert_array_equal(data.features, x)
    assert data.schema.names == ("x1", "x2", "x3", "x4")
    assert data.schema.classes == (0, 1, 2)
    assert data.targets is not None
    assert data.targets.tolist() == [2, 2, 2, 1, 1, 1, 0, 0]


def test_the_penguins_are_all_there() -> None:
    data = read("penguins", target="species")
    assert data.schema.classes == ("Adelie", "Chinstrap", "Gentoo")
    assert np.bincount(data.targets).tolist() == [152, 68, 124]
    assert data.missing == {
        "bill_length_mm": 2,
        "bill_depth_mm": 2,
        "flipper_length_mm": 2,
        "body_mass_g": 2,
        "sex": 11,
    }
    # The file as the authors published it, not a byte changed.
    digest = hashlib.sha256(EXAMPLES["penguins"].path.read_bytes()).hexdigest()
    assert digest == "f204db2c753b0937caac3cb35258562c14f073e4bbc76be24b4c51ce22767a93"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_has_its_target_and_its_source_told(name: str) -> None:
    example = EXAMPLES[name]
    assert example.target in read_table(name).names
    note = example.path.with_suffix(".txt").read_text(encoding="utf-8")
    assert example.path.name in note
    assert "https://" in note


def test_the_penguins_note_names_authors_and_licence() -> None:
    note = EXAMPLES["penguins"].path.with_suffix(".txt").read_text(encoding="utf-8")
    for fact in ("Horst", "Hill", "Gorman", "2020", "CC0", "zenodo"):
        assert fact in note


def test_a_file_comes_before_a_built_in_table(written: Written) -> None:
    written("penguins", "a,y\n1,2\n")
    assert read_table("penguins").names == ("a", "y")


def test_a_broken_link_is_a_file_too(written: Written, refusal: Refusal) -> None:
    written("a", b"")
    Path("lesson").symlink_to("gone")
    assert refusal(DataError, read_table, "lesson") == "lesson: there is no such file"


@pytest.mark.parametrize(
    ("name", "shown", "tail"),
    [
        ("penguin", "'penguin'", "; did you mean 'penguins'?"),
        ("data.csv", "'data.csv'", ""),
        ("a\nb", r"'a\nb'", ""),
    ],
)
def test_an_unknown_name_lists_the_built_in_tables(
    name: str, shown: str, tail: str, written: Written, refusal: Refusal
) -> None:
    written("other", b"")
    assert refusal(DataError, resolved, name) == (
        f"there is no file {shown}, and no built-in table of that name ('penguins', 'lesson'){tail}"
    )
