"""`polylogit.schema` against one-hot encoding by scikit-learn, and against damaged JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder

from polylogit.errors import SchemaError
from polylogit.schema import MISSING, Column, Encoded, Feature, Schema, Table, listed, shown

NAN = float("nan")


def numbers(name: str, *values: float) -> Column:
    return Column(name, "numeric", np.array(values, dtype=np.float64))


def booleans(name: str, *values: float) -> Column:
    return Column(name, "boolean", np.array(values, dtype=np.float64))


def words(name: str, *values: str | None) -> Column:
    """A categorical column whose categories stand in the order of their first appearance."""
    seen = tuple(dict.fromkeys(value for value in values if value is not None))
    codes = [-1 if value is None else seen.index(value) for value in values]
    return Column(name, "categorical", np.array(codes, dtype=np.int32), seen)


def table(*columns: Column, **options: Any) -> Table:
    return Table(columns, "t.csv", len(columns[0].values), **options)


def refused(call: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        call(*args)
    assert str(caught.value).isprintable()
    return str(caught.value)


TRAIN = table(
    words("sex", "male", "female", None, "male"),
    numbers("age", 1.0, NAN, 3.0, 8.0),
    booleans("fit", 1.0, 0.0, NAN, 1.0),
    first_line=2,
)
SCHEMA = Schema.infer(TRAIN, ("no", "yes"), "ill")


def test_names_stand_in_the_order_of_the_table_and_of_the_alphabet() -> None:
    assert SCHEMA.names == (
        "sex=female",
        "sex=male",
        "sex missing",
        "age",
        "age missing",
        "fit",
        "fit missing",
    )
    assert SCHEMA.n_features == 7


def test_training_rows_are_encoded_cell_by_cell() -> None:
    encoded = SCHEMA.encode(TRAIN)
    assert encoded.matrix.flags.c_contiguous
    assert encoded.matrix.dtype == np.float64
    np.testing.assert_array_equal(
        encoded.matrix,
        [
            [0, 1, 0, 1, 0, 1, 0],
            [1, 0, 0, 4, 1, 0, 0],
            [0, 0, 1, 3, 0, 2 / 3, 1],
            [0, 1, 0, 8, 0, 1, 0],
        ],
    )
    assert encoded.missing == {"sex": 1, "age": 1, "fit": 1}
    assert encoded.unseen == {}


def test_columns_are_found_by_name_in_any_order_beside_others() -> None:
    shuffled = Table((words("x", *"abcd"), *TRAIN.columns[::-1]), "t.csv", 4)
    np.testing.assert_array_equal(SCHEMA.encode(shuffled).matrix, SCHEMA.encode(TRAIN).matrix)


def test_unseen_categories_are_zeros_and_are_counted() -> None:
    schema = Schema.infer(table(words("c", "b", "a"), numbers("n", 1.0, 3.0)), (), None)
    later = table(words("c", "z", "a", "z", None), numbers("n", NAN, 0.0, 0.0, 0.0))
    encoded = schema.encode(later)
    np.testing.assert_array_equal(encoded.matrix, [[0, 0, 2], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert encoded.unseen == {"c": {"z": 2, MISSING: 1}}
    assert encoded.missing == {"n": 1}


def test_categories_that_no_row_uses_are_not_learned() -> None:
    part = table(words("c", "a", "b", "c")).take(np.array([2, 0]))
    assert Schema.infer(part, (), None).features[0].categories == ("a", "c")


@given(st.lists(st.sampled_from(["a", "b", "ß", "", "10", "9"]), min_size=2, max_size=30))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_one_hot_agrees_with_scikit_learn(values: list[str]) -> None:
    column = table(words("c", *values))
    ours = Schema.infer(column, (), None).encode(column).matrix
    theirs = OneHotEncoder(sparse_output=False).fit_transform(np.array(values, object)[:, None])
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("column", [numbers("c", NAN, NAN), words("c", None, None)])
@pytest.mark.parametrize("kind", ["numeric", "boolean", "categorical"])
def test_a_column_without_values_fits_every_kind(column: Column, kind: Any) -> None:
    feature = Feature("c", kind, 0.5, True, ("a",) if kind == "categorical" else ())
    encoded = Schema((feature,), (), None).encode(table(column))
    first = 0.0 if kind == "categorical" else 0.5
    np.testing.assert_array_equal(encoded.matrix, [[first, 1.0], [first, 1.0]])
    assert encoded.missing == {"c": 2}


@pytest.mark.parametrize("scale", [1e308, 1e-300, 1.0, 0.0])
def test_the_mean_does_not_overflow(scale: float) -> None:
    schema = Schema.infer(table(numbers("n", scale, scale, scale, NAN)), (), None)
    assert schema.features[0].fill == pytest.approx(scale, rel=1e-14)


def test_no_rows_give_an_empty_answer() -> None:
    assert SCHEMA.encode(TRAIN.take(np.array([], dtype=int))).matrix.shape == (0, 7)


def test_rows_know_their_line_after_a_selection() -> None:
    part = TRAIN.take(np.array([3, 1]))
    assert [part.place(0), part.place(1)] == ["line 5", "line 3"]
    assert part.take(np.array([1])).place(0) == "line 3"
    assert replace(TRAIN, lines=np.array([2, 5, 6, 9])).take(np.array([1])).place(0) == "line 5"
    assert table(numbers("n", 1.0, 2.0)).take(np.array([1])).place(0) == "row 0"


def test_without_and_column_name_the_nearest() -> None:
    assert TRAIN.without("age").names == ("sex", "fit")
    expected = "t.csv has no column 'agee'; did you mean 'age'? (columns: 'sex', 'age', 'fit')"
    assert refused(TRAIN.column, "agee") == expected
    assert refused(TRAIN.without, "age", "agee") == expected


def test_a_table_refuses_twins_and_unequal_columns() -> None:
    assert refused(table, numbers("a", 1.0), numbers("a", 2.0)) == (
        "t.csv: two columns have one name among 'a', 'a'"
    )
    assert refused(table, numbers("a", 1.0), numbers("b", 2.0, 3.0)) == (
        "t.csv: column 'b' has shape (2,), expected (1,)"
    )


DATE = Column("day", "date", np.array([-1, 0], dtype=np.int32), ("2024-01-31",))
IDS = [f"id{i}" for i in range(60)]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            DATE,
            "t.csv: column 'day' holds dates ('2024-01-31' in line 3), which are neither numbers "
            "nor categories; replace it by numbers (year, month, days since a start) or leave it "
            "out (ignore)",
        ),
        (
            numbers("a", NAN, NAN),
            "t.csv: column 'a' holds no value in any of 2 rows; leave it out (ignore)",
        ),
        (
            words("id", *IDS),
            "t.csv: text column 'id' has 60 different values in 60 rows (such as 'id0'); it names "
            "rows instead of grouping them: leave it out (ignore)",
        ),
        (
            numbers("a", 1.0, np.inf, -np.inf),
            "t.csv: column 'a' holds inf in line 3 (2 in all); only finite numbers can be used",
        ),
    ],
)
def test_columns_that_cannot_be_learned_from(column: Column, message: str) -> None:
    assert refused(Schema.infer, table(column, first_line=2), (), None) == message


def test_half_as_many_categories_as_cells_are_allowed() -> None:
    assert Schema.infer(table(words("c", *IDS[:30], *IDS[:30])), (), None).n_features == 30


def test_no_columns_cannot_be_learned_from() -> None:
    assert refused(Schema.infer, Table((), "t.csv", 3), (), None) == (
        "t.csv: no feature column is left to learn from"
    )


def test_every_missing_column_is_named() -> None:
    assert refused(SCHEMA.encode, table(numbers("ages", 1.0))) == (
        "t.csv lacks 3 columns that the model needs: 'sex', 'age', 'fit' (columns: 'ages')"
    )
    assert refused(SCHEMA.encode, TRAIN.without("age")) == (
        "t.csv lacks a column that the model needs: 'age' (columns: 'sex', 'fit')"
    )


def test_another_kind_is_refused_with_the_first_cell() -> None:
    later = table(numbers("sex", NAN, 2.0), words("age", "x", "y"), booleans("fit", 1, 1))
    assert refused(SCHEMA.encode, later) == (
        "t.csv: column 'sex' is numeric (2 in row 1) but was categorical when the model was "
        "fitted; give it in the form it had then"
    )
    boolean = table(words("sex", "male"), booleans("age", 1.0), booleans("fit", 1.0))
    assert refused(SCHEMA.encode, boolean) == (
        "t.csv: column 'age' is boolean (true in row 0) but was numeric when the model was fitted; "
        "give it in the form it had then"
    )


def test_infinity_is_refused_when_encoding() -> None:
    schema = Schema.infer(table(numbers("a", 1.0, 2.0)), (), None)
    assert refused(schema.encode, table(numbers("a", 1.0, np.inf))) == (
        "t.csv: column 'a' holds inf in row 1 (1 in all); only finite numbers can be used"
    )


def test_an_array_schema_takes_no_missing_cell() -> None:
    schema = Schema.for_array(2, (0, 1))
    good = table(numbers("x1", 3.0), numbers("x0", 2.0))
    np.testing.assert_array_equal(schema.encode(good).matrix, [[2.0, 3.0]])
    assert refused(schema.encode, table(numbers("x0", 1.0, 2.0), numbers("x1", 1.0, NAN))) == (
        "t.csv: column 'x1' is missing in row 1, but the model was fitted on a plain matrix "
        "without missing values; fill the cell or leave the row out"
    )


def test_what_memory_cannot_hold_is_refused_before_it_is_asked_for() -> None:
    names = tuple(sorted(f"w{i}" for i in range(2**16)))
    schema = Schema((Feature("c", "categorical", categories=names),), (), None)
    rows = Column("c", "categorical", np.broadcast_to(np.int32(0), 2**30), ("w0",))
    message = refused(schema.encode, table(rows))
    assert message.startswith(
        "t.csv: 1073741824 rows of 65536 encoded columns need 524288 GiB, this machine has "
    )
    assert message.endswith("column 'c' alone gives 65536: leave it out (ignore) or group it")


# --- JSON -----------------------------------------------------------------------------------------

LABELS = st.one_of(
    st.lists(st.text(), unique=True),
    st.lists(st.integers(), unique=True),
    st.lists(st.booleans(), unique=True),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True),
)


@given(LABELS, st.none() | st.text())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_json_gives_an_equal_schema_back(classes: list[Any], target: str | None) -> None:
    for schema in (replace(SCHEMA, classes=tuple(classes), target=target),):
        again = Schema.from_json(json.loads(json.dumps(schema.to_json(), allow_nan=False)))
        assert again == schema
        assert [type(label) for label in again.classes] == [type(label) for label in classes]


def test_an_array_schema_is_short_in_json() -> None:
    schema = Schema.for_array(1000, (0, 1), "y")
    assert schema.to_json() == {
        "kind": "array",
        "target": "y",
        "classes": [0, 1],
        "n_features": 1000,
        "names": None,
    }
    assert Schema.from_json(schema.to_json()) == schema
    named = Schema.for_array(2, ("a", "b"), names=("u", "v"))
    assert Schema.from_json(named.to_json()) == named


def damaged(**changes: Any) -> dict[str, Any]:
    return SCHEMA.to_json() | changes


def feature(**changes: Any) -> dict[str, Any]:
    entry = {"name": "a", "kind": "numeric", "fill": 0.5, "has_missing": False, "categories": []}
    return damaged(features=[entry | changes])


ARRAY = Schema.for_array(2, (0, 1)).to_json()


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ([], "schema: expected an object with the key 'kind', got []"),
        ({"kind": "tree"}, "schema: 'kind' must be 'table' or 'array', got 'tree'"),
        (
            damaged(extra=1),
            "schema: expected the keys 'classes', 'features', 'kind', 'target', got ",
        ),
        (damaged(target=3), "schema: 'target' must be text or null, got 3"),
        (damaged(classes="ab"), "schema classes: expected a list, got 'ab'"),
        (damaged(classes=[1, "a"]), "schema: the classes must be of one type, got 1, 'a'"),
        (damaged(classes=[True, 0]), "schema: the classes must be of one type, got True, 0"),
        (damaged(classes=[1, 1]), "schema classes: some come twice among 1, 1"),
        (damaged(classes=[None]), "schema: a class must be text, a number or true/false, got None"),
        (
            damaged(classes=[np.inf]),
            "schema: a class must be text, a number or true/false, got inf",
        ),
        (damaged(classes=[NAN]), "schema: a class must be text, a number or true/false, got nan"),
        (damaged(features={}), "schema features: expected a list, got {}"),
        (damaged(features=[1]), "schema feature 0: expected an object, got 1"),
        (
            damaged(features=2 * SCHEMA.to_json()["features"][:1]),
            "schema feature names: some come twice among 'sex', 'sex'",
        ),
        (feature(name=1), "schema feature 0: 'name' must be text, got 1"),
        (feature(kind="date"), "schema feature 0: 'kind' must be one of 'numeric', 'boolean', "),
        (feature(fill=True), "schema feature 0: 'fill' must be a finite number, got True"),
        (feature(fill=NAN), "schema feature 0: 'fill' must be a finite number, got nan"),
        (feature(fill=np.inf), "schema feature 0: 'fill' must be a finite number, got inf"),
        (feature(fill="1"), "schema feature 0: 'fill' must be a finite number, got '1'"),
        (
            feature(kind="boolean", fill=1.5),
            "schema feature 0: 'fill' of a boolean column must lie in 0..1, got 1.5",
        ),
        (feature(has_missing=1), "schema feature 0: 'has_missing' must be true or false, got 1"),
        (feature(categories=["a"]), "schema feature 0: a numeric column cannot have 1 categories"),
        (
            feature(kind="categorical"),
            "schema feature 0: a categorical column cannot have 0 categories",
        ),
        (
            feature(kind="categorical", categories=["b", "a"]),
            "schema feature 0: 'categories' must be sorted and different, got 'b', 'a'",
        ),
        (feature(categories=[1]), "schema feature 0 categories: expected text, got 1"),
        (
            ARRAY | {"n_features": True},
            "schema: 'n_features' must be an integer in 1..16777216, got",
        ),
        (ARRAY | {"n_features": 2**40}, "schema: 'n_features' must be an integer in 1..16777216, "),
        (ARRAY | {"names": ["a"]}, "2 features need as many different names, got 'a'"),
        (ARRAY | {"names": ["a", "a"]}, "2 features need as many different names, got 'a', 'a'"),
    ],
)
def test_damaged_json_is_refused(obj: Any, message: str) -> None:
    assert refused(Schema.from_json, obj).startswith(message)


# --- words for messages ---------------------------------------------------------------------------


@given(st.text())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_what_is_shown_is_one_short_printable_line(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 60


def test_shown_and_listed() -> None:
    assert shown(np.arange(3)) == "array([0, 1, 2])"
    assert shown(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert shown("\ud800") == r"'\ud800'"
    assert listed(range(10), limit=3) == "0, 1, 2 and 7 more"


def test_columns_and_encodings_compare_by_identity() -> None:
    # Comparing arrays field by field has no single truth; equality must not raise.
    assert numbers("a", 1.0) != numbers("a", 1.0)
    assert Encoded(np.zeros(1), {}, {}) != Encoded(np.zeros(1), {}, {})
