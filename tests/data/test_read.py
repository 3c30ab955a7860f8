"""`polylogit.data.read`: the right reader for every name, and one way to a dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from polylogit.data.dataset import Matrix
from polylogit.data.read import prepare, read, read_table, split
from polylogit.errors import DataError, InputError, OptionError, SchemaError, TargetError
from polylogit.schema import Table

Written = Callable[[str, bytes | str], Path]
Refusal = Callable[..., str]

FRAME = pd.DataFrame({"n": [1.5, 2.0, 4.0], "t": ["u", "v", "u"], "y": ["a", "b", "a"]})
X = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])


def save_csv(path: Path) -> None:
    FRAME.to_csv(path, index=False)


def save_tsv(path: Path) -> None:
    FRAME.to_csv(path, index=False, sep="\t")


def save_parquet(path: Path) -> None:
    FRAME.to_parquet(path)


def save_feather(path: Path) -> None:
    feather.write_feather(FRAME, str(path))


def save_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, X=X, y=[0, 1, 0])


def save_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


def save_svmlight(path: Path) -> None:
    path.write_text("0 1:1\n1 2:2\n0 1:3\n", encoding="ascii")


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.csv", save_csv),
        ("a.CSV", save_csv),
        ("a.txt", save_csv),
        ("a", save_csv),
        ("a.tsv", save_tsv),
        ("a.tab", save_tsv),
        ("a.dat", save_tsv),
        ("a.parquet", save_parquet),
        ("a.pq", save_parquet),
        ("a", save_parquet),
        ("a.arrow", save_feather),
        ("a.feather", save_feather),
        ("a.ipc", save_feather),
        ("a.bin", save_feather),
    ],
)
def test_every_table_file_gives_the_same_dataset(
    name: str, save: Callable[[Path], None], written: Written
) -> None:
    save(written(name, b""))
    for source in (name, Path(name)):
        data = read(source, target="y")
        np.testing.assert_array_equal(data.features, [[1.5, 1, 0], [2, 0, 1], [4, 1, 0]])
        assert data.schema.classes == ("a", "b")
        assert data.targets.tolist() == [0, 1, 0]
        assert data.source == name


@pytest.mark.parametrize(
    ("name", "save", "labelled"),
    [
        ("a.npz", save_npz, True),
        ("a", save_npz, True),
        ("a.npy", save_npy, False),
        ("a.dat", save_npy, False),
        ("a.svm", save_svmlight, True),
        ("a.svmlight", save_svmlight, True),
        ("a.libsvm", save_svmlight, True),
        ("a.txt", save_svmlight, True),
    ],
)
def test_every_matrix_file_gives_the_same_dataset(
    name: str, save: Callable[[Path], None], labelled: bool, written: Written
) -> None:
    save(written(name, b""))
    data = read(name)
    features = data.features.toarray() if sparse.issparse(data.features) else data.features
    np.testing.assert_array_equal(features, X)
    assert (data.targets is not None) == labelled
    assert data.schema.classes == ((0, 1) if labelled else ())


def test_a_data_frame_is_a_source_too() -> None:
    data = read(FRAME, target="y", ignore=["t"])
    np.testing.assert_array_equal(data.features, [[1.5], [2.0], [4.0]])
    assert data.ignored == ("t",)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.arrow"])
def test_ignored_columns_are_listed_beside_unknown_ones(name: str, written: Written) -> None:
    save = {"a.csv": save_csv, "a.parquet": save_parquet, "a.arrow": save_feather}[name]
    save(written(name, b""))
    schema = read(name, target="y", ignore=["t"]).schema
    assert schema.names == ("n",)
    assert read(name, schema=schema).ignored == ("t",)
    assert read(name, schema=schema, ignore=["t"]).ignored == ("t",)


# --- files read for a model that exists -----------------------------------------------------------


def test_columns_that_were_text_are_read_as_text(written: Written) -> None:
    train = written("train.csv", "code,y\n01,x\nB,1\n1,2\nB,x\nC,z\n")
    schema = read(train, target="y").schema
    assert schema.names == ("code=01", "code=1", "code=B", "code=C")
    assert schema.classes == ("1", "2", "x", "z")
    later = read(written("b.csv", "code,y\n01,1\n1,2\n2,2\n"), schema=schema, target="y")
    np.testing.assert_array_equal(later.features, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    assert later.unseen == {"code": {"2": 1}}
    assert later.targets is not None
    assert later.targets.tolist() == [0, 1, 1]


def test_yes_and_no_are_read_as_the_classes_they_are(written: Written) -> None:
    schema = read(written("a.csv", "x,y\n1,yes\n2,no\n"), target="y").schema
    assert schema.classes == ("no", "yes")
    assert read(written("b.csv", "x,y\n1,yes\n"), target="y", schema=schema).targets.tolist() == [1]


def test_a_file_that_lacks_columns_of_the_model_names_all(
    written: Written, refusal: Refusal
) -> None:
    schema = read(FRAME, target="y").schema
    path = written("b.csv", "N,y\n1,a\n")
    assert refusal(SchemaError, read, path, schema=schema) == (
        "b.csv lacks 2 columns that the model needs: 'n', 't' (columns: 'N', 'y')"
    )
    assert refusal(
        SchemaError, read, written("b.csv", "n,t\n1,a\n"), schema=schema, target="y"
    ) == ("b.csv has no column 'y' (columns: 'n', 't')")


def test_a_matrix_file_for_a_model_of_a_matrix_file(written: Written) -> None:
    save_npz(written("a.npz", b""))
    schema = read("a.npz").schema
    data = read(written("b.svm", "1 1:5\n"), schema=schema, target=schema.target)
    np.testing.assert_array_equal(data.features.toarray(), [[5.0, 0.0]])
    assert data.targets is not None
    assert data.targets.tolist() == [1]


def test_split_comes_before_anything_is_learned(written: Written) -> None:
    rows = "".join(f"{i},{'ab'[i % 2]},{'only' if i == 0 else 'often'}\n" for i in range(40))
    table = read_table(written("a.csv", "x,y,c\n" + rows))
    assert isinstance(table, Table)
    for seed in range(5):
        train, held = split(table, target="y", seed=seed)
        data = prepare(train, target="y")
        assert data.schema.features[0].fill == pytest.approx(train.column("x").values.mean())
        seen = 0 in train.column("x").values
        assert ("c=only" in data.schema.names) == seen
        again = prepare(held, target="y", schema=data.schema)
        assert again.unseen == ({} if seen else {"c": {"only": 1}})


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        (
            "a.csv",
            {"target": "Y"},
            SchemaError,
            "a.csv has no column 'Y' (columns: 'n', 't', 'y')",
        ),
        (
            "a.csv",
            {"ignore": "t"},
            OptionError,
            "'ignore' takes a list of column names, got the text 't'",
        ),
        (
            "a.csv",
            {"categorical": "t"},
            OptionError,
            "'categorical' takes a list of column names, got the text 't'",
        ),
        (
            "a.csv",
            {"zero_based": True},
            OptionError,
            "the option 'zero_based' does not apply to this kind of data",
        ),
        (
            "a.parquet",
            {"delimiter": ","},
            OptionError,
            "the option 'delimiter' does not apply to this kind of data",
        ),
        (
            "a.npz",
            {"ignore": ["a"]},
            OptionError,
            "the option 'ignore' does not apply to this kind of data",
        ),
        (
            FRAME,
            {"categorical": ["t"]},
            OptionError,
            "the option 'categorical' does not apply to this kind of data",
        ),
        (
            X,
            {},
            DataError,
            "a source is a file, a built-in table or a DataFrame, got ndarray; arrays in memory go "
            "through from_arrays",
        ),
        (
            "a.npz",
            {"target": "species"},
            OptionError,
            "a.npz: a matrix has no column 'species'; its labels stand beside it and are called "
            "'y': leave the target out",
        ),
    ],
)
def test_options_that_do_not_fit(
    name: Any,
    options: dict[str, Any],
    kind: type[InputError],
    message: str,
    written: Written,
    refusal: Refusal,
) -> None:
    save_csv(written("a.csv", b""))
    save_parquet(written("a.parquet", b""))
    save_npz(written("a.npz", b""))
    assert refusal(kind, read, name, **options) == message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "model.pkl",
            b"\x80\x04K\x01.",
            "a Python pickle, which is never read because it can run code; save it as npz or CSV",
        ),
        ("a.gz", b"\x1f\x8b\x08", "gzip data; unpack or export it first"),
        (
            "page",
            b"<!doctype html><p>404",
            "an HTML page, perhaps an error page saved under this name; fetch the data again",
        ),
        ("a.db", b"SQLite format 3\0", "SQLite data; unpack or export it first"),
    ],
)
def test_files_of_another_kind_are_refused(
    name: str, content: bytes, reason: str, written: Written, refusal: Refusal
) -> None:
    assert refusal(DataError, read_table, written(name, content)) == (
        f"{name}: by its first bytes this is {reason}"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "x,y\n1,\n2,\n",
            "a.csv: 2 labels are missing in column 'y', the first in line 2; fill them in, "
            "or leave these rows out",
        ),
        (
            "x,y\n1,a\n\n2,\n",
            "a.csv: 1 label is missing in column 'y', the first in line 4; fill them in, "
            "or leave these rows out",
        ),
        (
            "x,y\n1,a\n2,a\n",
            "a.csv: all 2 rows have the class 'a'; a classifier needs at least two classes",
        ),
        (
            "x,y\n1,0.5\n2,1\n",
            "a.csv: the labels are continuous: 0.5 in line 2 (1 such); a class is text or a whole "
            "number: choose another target or cut the numbers into classes",
        ),
        (
            "x,y\n1,a\n2,b\n3,c\n",
            "a.csv: the labels are 3 different classes in 3 rows (such as 'a', 'b' and 1 more), so "
            "they name rows; choose a column of classes",
        ),
    ],
)
def test_labels_that_nothing_can_be_learned_from(
    content: str, message: str, written: Written, refusal: Refusal
) -> None:
    assert refusal(TargetError, read, written("a.csv", content), target="y") == message


def test_a_file_that_vanished_is_looked_up_among_the_examples(
    written: Written, refusal: Refusal
) -> None:
    path = written("a.csv", b"")
    path.unlink()
    assert refusal(DataError, read, path) == (
        "there is no file 'a.csv', and no built-in table of that name ('penguins', 'lesson')"
    )


def test_the_files_are_of_the_kinds_they_claim(written: Written) -> None:
    save_parquet(written("a.parquet", b""))
    assert pq.read_table("a.parquet").num_rows == 3
    save_npz(written("a.npz", b""))
    assert isinstance(read_table("a.npz"), Matrix)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.csv", save_csv),
        ("a.parquet", save_parquet),
        ("a.arrow", save_feather),
        ("a.npz", save_npz),
        ("a.npy", save_npy),
        ("a.svm", save_svmlight),
    ],
)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(
    name: str, save: Callable[[Path], None], written: Written
) -> None:
    path = written(name, b"")
    save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = {_outcome(written(name, _damaged(whole, rng))) for _ in range(150)}
    assert outcomes <= {"read", "refused"}
    assert "refused" in outcomes


def _damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three times: a bit flipped, bytes cut out or put in, or the end cut off."""
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(content) + 1))
        before, after = content[:at], content[at:]
        flipped = bytes([after[0] ^ 1 << int(rng.integers(8))]) if after else b""
        inserted = bytes(rng.choice(list(b'",;\n\r\t 09:.#\xff\0'), 2).astype(np.uint8))
        changes = [
            before + flipped + after[1:],
            before + inserted + after,
            before + after[9:],
            before,
        ]
        content = changes[int(rng.integers(4))]
    return content


def _outcome(path: Path) -> str:
    try:
        prepare(read_table(path))
    except InputError as error:
        return "refused" if str(error).isprintable() else f"unreadable message {error!r}"
    return "read"


def test_columns_that_a_model_does_not_know_are_not_looked_at(written) -> None:
    model = read(written("train.csv", "x,y\n1,a\n2,b\n3,a\n"), target="y").schema
    later = written("later.csv", 'junk,x,day,w\n"1,5",1,2024-01-01,2\n7,2,2024-01-02,1\n')
    data = read(later, schema=model, weights="w")
    assert data.features.tolist() == [[1.0], [2.0]]
    assert (data.weights.tolist(), data.ignored) == ([2.0, 1.0], ("junk", "day"))
