"""`polylogit.errors`: one tree, two statuses, and a hint at the nearest word."""

import inspect

import pytest

from polylogit import errors
from polylogit.errors import InputError, PolylogitError, PolylogitWarning, SolveError, nearest

RAISED = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, PolylogitError) and kind.__module__ == errors.__name__
]


def test_the_tree_is_the_one_in_the_docstring():
    assert {kind.__name__ for kind in RAISED} == {
        "PolylogitError",
        "InputError",
        "DataError",
        "SchemaError",
        "TargetError",
        "OptionError",
        "ModelFileError",
        "SolveError",
    }
    assert all(kind.__name__ in errors.__doc__ for kind in RAISED)


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
def test_an_error_is_the_callers_or_ours_never_both(kind):
    theirs = kind not in (PolylogitError, SolveError)
    assert issubclass(kind, InputError) == issubclass(kind, ValueError) == theirs
    assert issubclass(kind, RuntimeError) == (kind is SolveError)


def test_a_warning_is_a_users_warning_and_no_error():
    assert issubclass(PolylogitWarning, UserWarning)
    assert not issubclass(PolylogitWarning, PolylogitError)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("specis", "; did you mean 'species'?"),
        ("SPECIES", ""),
        ("species", "; did you mean 'species'?"),
        ("bill", ""),
        ("", ""),
    ],
)
def test_the_nearest_word_is_offered_only_if_it_is_near(word, hint):
    assert nearest(word, iter(["island", "species", "sex"])) == hint
    assert nearest(word, []) == ""
