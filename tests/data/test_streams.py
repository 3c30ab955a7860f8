"""Files that are streamed give the data set that reading them whole gives, or the same refusal."""

import os
import re

import numpy as np
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

import polylogit
from polylogit.data import arrow_stream, budget, delimited_stream, stored_table
from polylogit.data.dataset import Dataset
from polylogit.data.examples import EXAMPLES
from polylogit.data.prepare import prepare, split
from polylogit.data.read import read, read_table
from polylogit.data.stored_table import StoredTable
from polylogit.errors import DataError, InputError, OptionError, SchemaError, SolveError
from polylogit.stored import StoredRows

HEADER, *LINES = EXAMPLES["penguins"].path.read_text().splitlines()
PENGUINS = "\n".join([HEADER, *LINES * 50]) + "\n"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of a few lines, so that small files have many of them."""
    monkeypatch.setattr(budget, "LEAST", 1)
    monkeypatch.setattr(delimited_stream, "PIECE_BYTES", 3000)
    monkeypatch.setattr(arrow_stream, "PIECE_BYTES", 3000)
    monkeypatch.setattr(stored_table, "PART_BYTES", 10_000)


def rows_of(data: Dataset) -> np.ndarray:
    return data.features[:] if isinstance(data.features, StoredRows) else data.features


def assert_same(streamed: Dataset, whole: Dataset):
    assert isinstance(streamed.features, StoredRows)
    assert not isinstance(whole.features, StoredRows)
    assert streamed.schema == whole.schema
    np.testing.assert_array_equal(rows_of(streamed), rows_of(whole))
    np.testing.assert_array_equal(streamed.targets, whole.targets)
    assert streamed.missing == whole.missing
    assert streamed.unseen == whole.unseen
    assert streamed.ignored == whole.ignored
    assert streamed.source == whole.source
    assert (streamed.weights is None) == (whole.weights is None)


def both(path, **options):
    streamed, whole = read(path, memory=1, **options), read(path, **options)
    assert_same(streamed, whole)
    return streamed


def penguins_as(kind, written):
    path = written("penguins.csv", PENGUINS)
    if kind == "csv":
        return path
    table = pyarrow.csv.read_csv(
        path, convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    )
    other = path.with_suffix(f".{kind}")
    if kind == "parquet":
        pq.write_table(table, other, row_group_size=999)
    else:
        with pa.ipc.new_file(other, table.schema) as writer:
            writer.write_table(table, max_chunksize=777)
    return other


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_penguins_fifty_times(kind, written):
    path = penguins_as(kind, written)
    data = both(path, target="species")
    assert data.n_rows == 50 * len(LINES)
    assert data.missing["sex"] == 550
    both(path, target="species", ignore=["sex"])


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_fit_of_streamed_rows_has_the_same_optimum(kind, written):
    path = penguins_as(kind, written)
    whole = polylogit.fit(read(path, target="species"), C=0.01).solution
    solution = polylogit.fit(read(path, target="species", memory="10"), C=0.01).solution
    assert solution.certified
    gap = max(solution.certificate.gap, whole.certificate.gap)
    assert abs(solution.objective - whole.objective) <= gap + 1e-14


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_new_rows_by_the_schema_of_a_model(kind, written):
    whole = read(penguins_as(kind, written), target="species")
    text = PENGUINS.replace("Biscoe", "Atlantis").replace("female", "?").replace("Torgersen", "NA")
    path = written("new.csv", text)
    options = {"target": "species", "schema": whole.schema}
    streamed, inside = read(path, memory=1, **options), read(path, **options)
    assert_same(streamed, inside)
    assert streamed.unseen["island"]["Atlantis"] > 0


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_split_of_streamed_rows(kind, written):
    path = penguins_as(kind, written)
    tables = read_table(path, memory=1), read_table(path)
    assert isinstance(tables[0], StoredTable)
    parts = [split(table, target="species", fraction=0.3, seed=5) for table in tables]
    for streamed, inside in zip(*parts, strict=True):
        assert_same(prepare(streamed, target="species"), prepare(inside, target="species"))
        rows = [0, 1, 50, streamed.n_rows - 1]
        assert [streamed.place(row) for row in rows] == [inside.place(row) for row in rows]
    assert prepare(parts[0][0], target="species").n_rows < tables[0].n_rows


ODD = {
    "quoted line breaks": "a,b\n" + '1,"x\ny"\n2,"x"\n' * 400,
    "quoted quotes": "a,b\n" + '1,"x ""y"" z"\n2,w\n' * 400,
    "blank lines": "\n\na,b\n" + "1,x\n\n2,y\n" * 400 + "\n\n\n",
    "windows": "a,b\r\n" + "1,x\r\n2,y\r\n" * 400,
    "byte order mark": "\ufeffa,b\n" + "1,x\n2,y\n" * 400,
    "no end": "a,b\n" + "1,x\n2,y\n" * 400 + "3,x",
    "spaces around numbers": "a,b\n" + " 1 ,x\n2,y\n" * 400,
    "numbers, then a word, seldom": "a,b\n" + "1,x\n2,y\n" * 200 + "n1,x\nn2,y\n" * 400,
    "booleans": "a,b,c\n" + "Yes,x,1\nNo,y,2\n,x,3\n" * 300,
    "missing to the end": "a,b,c\n" + "1,x,\n2,y,NA\n" * 400 + "3,x,4\n",
    "a late class": "a,b\n" + "1,x\n2,y\n" * 400 + "3,z\n4,z\n",
    "semicolons": "a;b\n" + "1;x\n2;y\n" * 400,
    "more text than ASCII": "a,b\n" + "1,größer\n2,más\n" * 400,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files(name, written):
    both(written("a.csv", ODD[name]), target="b")


WRONG = {
    "ragged": "a,b\n" + "1,x\n" * 900 + "1\n",
    "long row": "a,b\n" + "1,x\n" * 900 + "1,x,y\n" + "1,x\n" * 900,
    "open quote": "a,b\n" + "1,x\n" * 900 + '1,"x\n' + "1,y\n" * 50,
    "not utf-8": b"a,b\n" + b"1,x\n" * 900 + b"1,\xe9\n" + b"1,x\n" * 900,
    "nul": b"a,b\n" + b"1,x\n" * 900 + b"1,\0\n" + b"1,x\n" * 900,
    "misspelled": "a,b\n" + "1,x\n2,y\n" * 900 + "1e999,x\n" + "1,x\n" * 9,
    "percent": "a,b\n" + "1,x\n2,y\n" * 900 + "5%,x\n",
    "dates": "a,b\n" + "2024-01-31,x\n2024-02-01,y\n" * 900,
    "row names": "a,b\n" + "".join(f"n{i},{'xy'[i % 2]}\n" for i in range(900)),
    "no value": "a,b\n" + ",x\n,y\n" * 900,
    "one class": "a,b\n" + "1,x\n" * 900,
    "missing label": "a,b\n" + "1,x\n2,y\n" * 900 + "1,\n" + "1,x\n" * 9,
    "header alone": "a,b\n",
    "header and blank lines": "a,b\n" + "\n" * 9000,
    "empty": "",
    "blank": "\n" * 9000,
    "unnamed": "a,\n1,2\n",
    "twice": "a,a\n1,2\n",
    "utf-16": ("a,b\n" + "1,x\n" * 900).encode("utf-16"),
    "binary": b"\x1f\x8b" + bytes(100),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused_whole_is_refused_streamed_in_the_same_words(name, written):
    path = written("a.csv", WRONG[name])
    with pytest.raises(InputError) as whole:
        read(path, target="b")
    with pytest.raises(InputError) as streamed:
        read(path, target="b", memory=1)
    assert type(streamed.value) is type(whole.value)
    assert str(streamed.value) == str(whole.value)


@pytest.mark.parametrize("name", ["ignore", "categorical"])
def test_names_that_are_no_columns(name, written, refusal):
    path = written("a.csv", ODD["windows"])
    message = refusal(DataError, read, path, target="b", memory=1, **{name: ["c"]})
    assert message == refusal(DataError, read, path, target="b", **{name: ["c"]})


def test_a_row_that_never_ends(written, monkeypatch, refusal):
    monkeypatch.setattr(delimited_stream, "LONGEST_RECORD", 6000)
    path = written("a.csv", "a,b\n" + "1,x\n" * 10 + '2,"y\n' + "z\n" * 9000 + '"\n')
    assert refusal(DataError, read, path, target="b", memory=1) == (
        "a.csv: the double quote opened in line 12 is never closed; close it, or write a lone "
        "quote twice within a quoted text"
    )


def test_too_many_words_are_refused_before_they_fill_memory(written, monkeypatch, refusal):
    monkeypatch.setattr(stored_table, "MOST_WORDS", 100)
    names = "a,b\n" + "".join(f"n{i},{'xy'[i % 2]}\n" for i in range(9000))
    message = refusal(SchemaError, read, written("a.csv", names), target="b", memory=1)
    assert re.match(r"a\.csv: text column 'a' has \d+ different values in \d+ rows", message)
    numbers = "a,b\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(9000)) + "1_000,x\n"
    message = refusal(DataError, read, written("a.csv", numbers), target="b", memory=1)
    assert message == (
        "a.csv: column 'a' holds '1_000' in line 9002, which is no number, in a column meant as "
        "numbers; leave out the underscores, or name the column as categorical"
    )


@pytest.mark.parametrize("module", [delimited_stream, arrow_stream])
def test_a_file_that_changes_while_it_is_read(module, written, monkeypatch, refusal):
    kind = "csv" if module is delimited_stream else "parquet"
    path = penguins_as(kind, written)
    append = stored_table.ColumnStore.append

    def touching(self, *args):
        os.utime(path, ns=(1, 1))
        append(self, *args)

    monkeypatch.setattr(stored_table.ColumnStore, "append", touching)
    size = path.stat().st_size
    assert refusal(DataError, read, path, target="species", memory=1) == (
        f"penguins.{kind}: the file changed while it was read ({size} bytes at first, {size} now); "
        "wait until it is written and try again"
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_full_disk(kind, written, monkeypatch):
    path = penguins_as(kind, written)
    fds = len(os.listdir("/proc/self/fd"))
    write, calls = os.pwrite, []

    def full(to, data, at):
        calls.append(at)
        if len(calls) > 40:
            raise OSError(28, "No space left on device")
        return write(to, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SolveError, match=rf"^penguins\.{kind}: .* No space left on device; free"):
        read(path, target="species", memory=1)
    assert len(os.listdir("/proc/self/fd")) <= fds


# ------------------------------------------------------------------------------- what Arrow can be


def test_types_of_arrow(written):
    n = 3000
    frame = polars.DataFrame(
        {
            "whole": [None, *range(n - 1)],
            "flag": [True, False, None] * (n // 3),
            "nothing": [None] * (n - 1) + [1.5],
            "word": polars.Series(["a", "b", None] * (n // 3), dtype=polars.Categorical),
            "y": [0, 1, 2] * (n // 3),
        }
    )
    path = written("a.parquet", b"")
    frame.write_parquet(path)
    data = both(path, target="y")
    assert data.schema.classes == (0, 1, 2)


@pytest.mark.parametrize("kind", ["date", "list", "infinite", "no rows"])
def test_arrow_that_is_refused_in_the_same_words(kind, written):
    cells = {
        "date": pa.array([1, 2] * 900, pa.date32()),
        "list": pa.array([[1], [2]] * 900),
        "infinite": pa.array([1.0, 2.0] * 899 + [3.0, float("inf")]),
        "no rows": pa.array([], pa.float64()),
    }[kind]
    path = written("a.parquet", b"")
    pq.write_table(pa.table({"a": cells, "y": ["u", "v"] * (len(cells) // 2)}), path)
    with pytest.raises(InputError) as whole:
        read(path, target="y")
    with pytest.raises(InputError) as streamed:
        read(path, target="y", memory=1)
    assert str(streamed.value) == str(whole.value)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_damaged_files(kind, written, refusal):
    path = penguins_as(kind, written)
    os.truncate(path, path.stat().st_size // 2)
    assert "damaged or cut short" in refusal(DataError, read, path, target="species", memory=1)


# ------------------------------------------------------------------------------------------ arrays

X = np.random.default_rng(0).normal(size=(900, 4)).astype(np.float32)
Y = np.arange(900) % 3


def save_npz(path):
    with path.open("wb") as file:
        np.savez(file, X=X, y=Y, weights=np.arange(900.0))


ARRAYS = {
    "a.npz": save_npz,
    "a.safetensors": lambda path: save_file({"X": X, "y": Y, "weights": np.arange(900.0)}, path),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_with_labels(name, written):
    path = written(name, b"")
    ARRAYS[name](path)
    data = both(path)
    np.testing.assert_array_equal(rows_of(data), X)
    np.testing.assert_array_equal(data.targets, Y)
    np.testing.assert_array_equal(data.weights, np.arange(900.0))
    assert rows_of(data).dtype == np.float32
    parts = [split(read_table(path, memory=m), seed=3) for m in (1, None)]
    for streamed, inside in zip(*parts, strict=True):
        assert_same(prepare(streamed), prepare(inside))


@pytest.mark.parametrize("kind", ["<f8", ">f4", "<f2", "<i4"])
def test_npy(kind, written):
    path = written("a.npy", b"")
    np.save(path, (100 * X).astype(kind))
    data = both(path)
    np.testing.assert_array_equal(rows_of(data), (100 * X).astype(kind))


def test_bfloat16_tensors(written):
    path = written("a.safetensors", b"")
    tensor = torch.from_numpy(X).to(torch.bfloat16)
    save_tensors({"features": tensor, "targets": torch.from_numpy(Y)}, path)
    np.testing.assert_array_equal(rows_of(both(path)), tensor.float().numpy())


def test_numbers_that_are_not_finite(written, refusal):
    bad = X.copy()
    bad[700, 2] = np.nan
    path = written("a.npy", b"")
    np.save(path, bad)
    assert refusal(DataError, read, path, memory=1) == refusal(DataError, read, path)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (X[:, 0], "one axis"),
        (X.astype("U8"), "features are real numbers"),
        (np.asfortranarray(X), "stored column by column; save np.ascontiguousarray"),
        (X + 1j, "complex"),
    ],
)
def test_arrays_that_cannot_stay_in_their_file(array, why, written, refusal):
    path = written("a.npy", b"")
    np.save(path, array)
    assert why in refusal(DataError, read, path, memory=1)


def test_compressed_rows_cannot_stay_in_their_file(written, refusal):
    path = written("a.npz", b"")
    with path.open("wb") as file:
        np.savez_compressed(file, X=X, y=Y)
    assert "compressed rows cannot stay" in refusal(DataError, read, path, memory=1)
    assert read(path, memory="2GiB").n_rows == 900


@pytest.mark.parametrize("at", [0, 8, 60])
def test_damaged_safetensors(at, written, refusal):
    path = written("a.safetensors", b"")
    ARRAYS["a.safetensors"](path)
    data = bytearray(path.read_bytes())
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert "safetensors" in refusal(DataError, read, path)


def test_safetensors_cut_short(written, refusal):
    path = written("a.safetensors", b"")
    ARRAYS["a.safetensors"](path)
    os.truncate(path, 9000)
    assert "reaches beyond the file" in refusal(DataError, read, path, memory=1)


def test_safetensors_without_features(written, refusal):
    path = written("a.safetensors", b"")
    save_file({"Z": X}, path)
    assert "no features among the tensors 'Z'" in refusal(DataError, read, path)


# ---------------------------------------------------------------------------------------- the door


def test_what_fits_is_read_into_memory(written):
    path = written("penguins.csv", PENGUINS)
    assert not isinstance(read(path, target="species", memory="1GiB").features, StoredRows)


def test_svmlight_is_not_streamed(written, refusal):
    path = written("a.svm", "0 1:2\n1 1:3\n")
    assert "svmlight files are not streamed" in refusal(DataError, read, path, memory=2)


def test_nonsense_for_memory(written, refusal):
    refusal(OptionError, read, written("penguins.csv", PENGUINS), memory="much")
