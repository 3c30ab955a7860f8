"""What must be refused in one line with place and remedy, and what looks bad and must succeed.

The numbers are those of the forty bad inputs in `research/trust.md` E.5; the last test counts them.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import pickle
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import sparse

import polylogit
from polylogit.app import cli
from polylogit.errors import InputError
from polylogit.estimator import SoftmaxClassifier
from polylogit.schema import Schema

REQUIRED = {*range(1, 9), *range(11, 15), 16, 17, *range(19, 25), *range(26, 29), *range(30, 34)}

FLOWERS = """width,height,soil,kind
1.0,2.0,clay,rose
1.5,1.0,sand,rose
2.0,2.5,clay,rose
2.5,1.5,sand,rose
3.0,2.0,clay,lily
1.2,0.5,sand,lily
3.5,1.0,clay,lily
4.0,2.2,sand,lily
"""

Content = str | bytes | Callable[[Path], object]


# ---------------------------------------------------------------------------- files and options


@dataclass(frozen=True)
class Case:
    """A command line, the file made for it, and what the refusal must say."""

    item: int
    name: str
    file: str
    content: Content
    line: str
    says: tuple[str, ...]


def fit(item: int, name: str, content: Content, *says: str, file="a.csv", options="--target y"):
    return Case(item, name, file, content, f"fit {file} {options} --model m.safetensors", says)


def option(item: int, name: str, options: str, *says: str):
    return fit(item, name, FLOWERS, *says, options=f"--target kind {options}")


def evaluate(item: int, name: str, content: str, *says: str):
    return Case(item, name, "a.csv", content, "evaluate m.safetensors a.csv", says)


def predict(item: int, name: str, content: str, *says: str):
    return Case(item, name, "a.csv", content, "predict m.safetensors a.csv --output p.csv", says)


def model(item: int, name: str, change: Callable[[bytes], bytes], *says: str):
    def write(path: Path) -> None:
        path.write_bytes(change(Path("m.safetensors").read_bytes()))

    return Case(item, name, "bad.safetensors", write, BAD_MODEL, ("bad.safetensors", *says))


BAD_MODEL = "predict bad.safetensors flowers.csv --output p.csv"


def npz(**arrays: Any) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)


def parquet(names: str, *columns: Any) -> Callable[[Path], object]:
    return lambda path: pq.write_table(pa.table(list(map(pa.array, columns)), list(names)), path)


X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


def with_cell(value: float, dtype: type = float) -> np.ndarray:
    bad = X.astype(dtype)
    bad[3, 1] = value
    return bad


def with_text(cell: str) -> str:
    """Column x holds numbers, but for one cell in line 4."""
    rows = ["x,y", "1,a", "2,b", f'"{cell}",a', "4,b", "5,a", "6,b"]
    return "\n".join(rows)


def csr(data=(1.0, 2.0, 3.0), indices=(0, 1, 0), indptr=(0, 1, 2, 3)) -> dict[str, Any]:
    return {"data": data, "indices": indices, "indptr": indptr, "shape": (3, 2)}


UTF8 = "tables are read as UTF-8", "iconv"
NEEDS_TWO = "a classifier needs at least two classes"
FINITE_C = "between 1e-100 and 1e+100, or inf for no penalty", "try 1.0"

FILES = [
    fit(1, "nothing", b"", "a.csv", "empty", "no rows"),
    fit(1, "a byte order mark", b"\xef\xbb\xbf", "a.csv", "empty", "no rows"),
    fit(1, "a header", "x,y\n", "a.csv", "header and no rows"),
    fit(1, "a header and blank lines", "x,y\n\n\r\n", "a.csv", "header and no rows"),
    fit(1, "a header to predict", "x,y\n", "no rows", file="a.tsv"),
    fit(
        1,
        "Parquet",
        parquet("xy", pa.array([], pa.int64()), pa.array([], pa.int64())),
        "no rows",
        file="a.parquet",
    ),
    fit(1, "svmlight", "# nothing\n", "no rows", file="a.svm", options=""),
    fit(2, "short", "x,y\n1,a\n2\n", "line 3", "1 field", "header has 2", "fill the row"),
    fit(2, "long", "x,y\n1,a\n2,b,c\n", "line 3", "3 fields", "double quotes"),
    fit(2, "after a quoted line break", 'x,y\n1,"a\nb"\n2\n', "line 4", "1 field"),
    fit(3, "NUL", b"x,y\n1,a\n2,\0\n", "NUL byte in line 3", "binary", "export it again"),
    fit(3, "picture", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary", "export it again"),
    fit(3, "gzip", gzip.compress(b"x,y\n1,a\n"), "gzip", "unpack"),
    fit(3, "spreadsheet", b"PK\x03\x04" + bytes(60), "zip", "save a spreadsheet as CSV"),
    fit(3, "Parquet", b"PAR1" + bytes(60), "a Parquet file", "rename it to .parquet"),
    fit(3, "pickle", pickle.dumps({}), "pickle", "never read", "save it as npz or CSV"),
    fit(4, "UTF-16", "x,y\n1,a\n".encode("utf-16"), "UTF-16", "byte order mark", *UTF8),
    fit(4, "UTF-16LE", "x,y\n1,a\n".encode("utf-16-le"), "UTF-16LE", "without a byte", *UTF8),
    fit(4, "UTF-32", "x,y\n1,a\n".encode("utf-32"), "UTF-32", *UTF8),
    fit(4, "Latin-1", "x,y\n1,a\n2,é\n".encode("latin-1"), "line 3", "Latin-1", "0xE9", *UTF8),
    fit(5, "in a row", 'x,y\n1,"a\n2,b\n3,c\n', "opened in line 2", "never closed", "close it"),
    fit(5, "in the header", 'x,"y\n1,a\n', "header", "check its quotes"),
    fit(6, "twice", "x,y,x\n1,a,2\n", "'x'", "more than once", "own name"),
    fit(6, "blank", "x,,y\n1,2,a\n", "column 2 of 3", "no name", "name it", "index=False"),
    fit(6, "Parquet", parquet("xx", [1], [2]), "'x'", "two columns", file="a.parquet"),
    fit(7, "decimal comma", with_text("1,5"), "'x'", "'1,5'", "line 4", "write a point"),
    fit(7, "underscore", with_text("1_000"), "'x'", "line 4", "leave out the underscores"),
    fit(7, "thousands", with_text("1,000,000"), "'x'", "line 4", "thousands separators"),
    fit(7, "full-width", with_text("１２"), "'x'", "line 4", "plain 0-9"),
    fit(7, "inf", with_text("inf"), "'x'", "'inf'", "line 4", "finite"),
    fit(7, "-Infinity", with_text(" -Infinity "), "'x'", "line 4", "finite"),
    fit(7, "1e999", with_text("1e999"), "'x'", "line 4", "beyond the range"),
    fit(7, "percent", with_text("5%"), "'x'", "line 4", "leave out the percent"),
    fit(7, "a word", with_text("n.a."), "'x'", "'n.a.'", "line 4", "write NA"),
    fit(8, "absent", FLOWERS, "no column 'y'", "'width', 'height', 'soil', 'kind'"),
    fit(8, "misspelled", FLOWERS, "did you mean 'kind'?", options="--target kinds"),
    fit(8, "not named", FLOWERS, "--target COLUMN", "'soil', 'kind'", options=""),
    option(8, "also left out", "--ignore kind", "--ignore kind", "--target"),
    option(8, "also the weights", "--weights kind", "--target and --weights", "'kind'"),
    fit(8, "blank", "x,y\n1,\n2, \n3,NA\n", "3 labels", "'y'", "line 2", "leave these rows out"),
    fit(8, "blank in one row", "x,y\n1,a\n2,\n3,b\n", "1 label", "line 3", "leave these rows out"),
    fit(8, "npz without y", npz(X=X), "no labels", "beside X as 'y'", file="a.npz", options=""),
    fit(
        8,
        "npz has no columns",
        npz(X=X, y=Y),
        "leave the target out",
        "'z'",
        file="a.npz",
        options="--target z",
    ),
    fit(
        11,
        "npz",
        npz(X=with_cell(math.nan), y=Y),
        "1 NaN",
        "row 3, column 1",
        "fill them",
        file="a.npz",
        options="",
    ),
    fit(
        11,
        "svmlight",
        "1 1:2\n0 1:1e400\n",
        "infinite",
        "line 2, column 0",
        file="a.svm",
        options="",
    ),
    fit(
        11,
        "Parquet",
        parquet("xy", [1.0, math.inf], [0, 1]),
        "'x'",
        "row 1",
        "make them missing",
        file="a.parquet",
    ),
    fit(
        12,
        "npz",
        npz(X=with_cell(math.inf, np.float32), y=Y),
        "1 infinite",
        "row 3, column 1",
        file="a.npz",
        options="",
    ),
    fit(12, "text", with_text("1e309"), "'x'", "line 4", "beyond the range of 64-bit numbers"),
    fit(
        13,
        "1e160",
        with_text("1e160"),
        "a.csv",
        "column 0 (x)",
        "express it in another unit",
        options="--target y --holdout 0",
    ),
    fit(14, "0 rows", npz(X=X[:0], y=Y[:0]), "no rows", file="a.npz", options=""),
    fit(14, "0 columns", npz(X=X[:, :0], y=Y), "(6, 0)", "no columns", file="a.npz", options=""),
    fit(14, "1-D", npz(X=X[:, 0], y=Y), "(6,)", "X[:, None]", file="a.npz", options=""),
    fit(14, "3-D", npz(X=X[None], y=Y), "(1, 6, 2)", "reshape", file="a.npz", options=""),
    fit(
        17,
        "index out of range",
        npz(**csr(indices=(0, 2, 0)), y=[0, 1, 0]),
        "column index 2",
        "row 1",
        "outside 0..1",
        file="a.npz",
        options="",
    ),
    fit(
        17,
        "negative index",
        npz(**csr(indices=(0, 1, -1)), y=[0, 1, 0]),
        "column index -1",
        "row 2",
        file="a.npz",
        options="",
    ),
    fit(
        17,
        "falling pointers",
        npz(**csr(indptr=(0, 2, 1, 3)), y=[0, 1, 0]),
        "fall from 2 to 1",
        "row 1",
        "only rise",
        file="a.npz",
        options="",
    ),
    fit(
        17,
        "too few pointers",
        npz(**csr(indptr=(0, 3)), y=[0, 1, 0]),
        "needs 4 row pointers",
        file="a.npz",
        options="",
    ),
    fit(
        17,
        "NaN",
        npz(**csr(data=(1.0, math.nan, 2.0)), y=[0, 1, 0]),
        "1 NaN",
        "row 1, column 1",
        file="a.npz",
        options="",
    ),
    fit(19, "text", "x,y\n1,a\n2,a\n", "all 2 rows have the class 'a'", NEEDS_TWO),
    fit(
        19,
        "npz",
        npz(X=X, y=Y * 0),
        "all 6 rows have the class 0",
        NEEDS_TWO,
        file="a.npz",
        options="",
    ),
    fit(19, "nothing to hold out", "x,y\n1,a\n2,b\n", "no class has two rows (2 rows"),
    fit(
        20,
        "null",
        parquet("xy", [1, 2, 3], ["a", None, "b"]),
        "1 label is missing",
        "'y'",
        "row 1",
        "leave these rows out",
        file="a.parquet",
    ),
    fit(
        20,
        "nan",
        parquet("xy", [1, 2, 3], [0.0, math.nan, 1.0]),
        "1 label is missing",
        "row 1",
        file="a.parquet",
    ),
    fit(
        20,
        "objects",
        npz(X=X, y=np.array([1, "a"] * 3, object)),
        "Python objects",
        "save plain arrays",
        file="a.npz",
        options="",
    ),
    evaluate(20, "missing", FLOWERS.replace("sand,lily", "sand,"), "2 labels", "line 7"),
    fit(21, "continuous", "x,y\n1,0.5\n2,1\n3,2\n", "continuous", "0.5 in line 2", "cut the"),
    fit(
        21,
        "lengths differ",
        npz(X=X, y=Y[:5]),
        "X has 6 rows and y has 5",
        file="a.npz",
        options="",
    ),
    fit(
        21,
        "rows that do not sum to 1",
        npz(X=X, y=np.ones((6, 2))),
        "row 0 sum to 2",
        "divide each row",
        file="a.npz",
        options="",
    ),
    fit(22, "beyond whole numbers", "x,y\n1,1e17\n2,1\n3,1\n", "1e+17", "line 2", "labels as text"),
    evaluate(
        23,
        "unseen",
        FLOWERS.replace("clay,lily", "clay,lilly"),
        "'lilly' (2 rows",
        "line 6",
        "did you mean 'lily'?",
    ),
    evaluate(
        23,
        "numbers",
        FLOWERS.replace("lily", "1").replace("rose", "0"),
        "'0' (4 rows",
        "line 2",
        "'lily', 'rose'",
    ),
    fit(24, "numbers", "x,y\n5,1\n6,2\n7,3\n", "3 different classes in 3 rows", "choose a column"),
    fit(
        24,
        "text",
        "x,y\n5,a\n6,b\n7,c\n",
        "3 different classes in 3 rows",
        "'a', 'b'",
        options="--target y --holdout 0",
    ),
    option(27, "C 0", "--C 0", "--C must be positive", *FINITE_C),
    option(27, "C negative", "--C -1", "--C must be positive", "not -1.0", *FINITE_C),
    option(27, "C NaN", "--C nan", "not nan", *FINITE_C),
    option(27, "C 1e-320", "--C 1e-320", "1e-320", *FINITE_C),
    option(27, "C 1e308", "--C 1e308", "not 1e+308", *FINITE_C),
    option(27, "C a word", "--C strong", "--C must be auto, inf or a positive number", "'strong'"),
    option(27, "tol 0", "--tol 0", "--tol must be a positive number of nats", "not 0.0"),
    option(27, "tol NaN", "--tol nan", "--tol must be a positive number", "not nan"),
    option(27, "max-iter 0", "--max-iter 0", "--max-iter must be a whole number >= 1", "not 0"),
    option(27, "max-iter 1.5", "--max-iter 1.5", "'--max-iter'", "integer"),
    option(27, "holdout 1", "--holdout 1", "--holdout must be at least 0 and below 1", "not 1"),
    option(27, "holdout NaN", "--holdout nan", "--holdout must be at least 0", "not nan"),
    option(27, "threads 0", "--threads 0", "--threads must be a whole number >= 1", "not 0"),
    option(27, "threads 1e6", "--threads 1000000", "--threads must be at most 1024"),
    option(27, "seed", "--seed -1", "seed must be a whole number >= 0", "-1"),
    option(27, "smoothing 1", "--label-smoothing 1", "--label-smoothing", "below 1", "not 1.0"),
    option(27, "solver", "--solver newtn", "'newtn'", "did you mean 'newton'?"),
    option(27, "class-weight", "--class-weight even", "none or balanced", "'even'"),
    option(27, "delimiter", "--delimiter ::", "one character", "'::'"),
    option(27, "unknown option", "--targt x", "--targt", "--target", "polylogit fit --help"),
    option(27, "no such column to ignore", "--ignore kid", "'kid'", "did you mean 'kind'?"),
    Case(27, "no value", "a", "", "fit a --seed", ("'--seed' requires an argument",)),
    Case(27, "unknown command", "a", "", "fti a", ("'fti'", "'fit'", "polylogit --help")),
    Case(27, "no data", "a", "", "fit", ("needs DATA: a file", "penguins", "fit --help")),
    Case(27, "no model", "a", "", "predict", ("needs MODEL: a file", "predict --help")),
    Case(27, "no such data", "a", "", "fit penguin", ("'penguin'", "did you mean 'penguins'?")),
    Case(
        27,
        "model over data",
        "a.csv",
        FLOWERS,
        "fit a.csv --target kind --model a.csv",
        ("--model a.csv would overwrite what is read", "name another file"),
    ),
    Case(
        27,
        "rows over data",
        "a.csv",
        FLOWERS,
        "predict m.safetensors a.csv --output ./a.csv",
        ("--output a.csv would overwrite what is read", "name another file"),
    ),
    Case(
        27,
        "rows to a text",
        "a.csv",
        FLOWERS,
        "predict m.safetensors a.csv --output a.txt",
        ("--output must name a .csv or .tsv file, not 'a.txt'", "standard output"),
    ),
    Case(
        27,
        "no such folder",
        "a.csv",
        FLOWERS,
        "fit a.csv --target kind --model no/m",
        ("no folder", "make it first (mkdir -p)"),
    ),
    fit(
        28,
        "everywhere",
        "x,y\n1,a\n2,a\n3,b\n4,b\n",
        "perfectly",
        "set C to a finite number",
        options="--target y --C inf --holdout 0",
    ),
    fit(
        28,
        "in some rows",
        "x,y\n1,a\n2,a\n2,b\n3,b\n",
        "in some rows",
        "set C to a finite",
        options="--target y --C inf --holdout 0",
    ),
]


# --------------------------------------------------------------------------------- model files


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(header: dict[str, Any] | bytes, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def header(**entries: Any) -> Callable[[bytes], bytes]:
    """Change what the header says of its tensors: NAME_KEY=value."""

    def change(data: bytes) -> bytes:
        found, body = parts(data)
        for name, value in entries.items():
            tensor, _, key = name.partition("_")
            found.setdefault(tensor, {})[key] = value
        return joined(found, body)

    return change


def metadata(**entries: Any) -> Callable[[bytes], bytes]:
    """Change the metadata and seal the file anew."""

    def change(data: bytes) -> bytes:
        found, body = parts(data)
        head = json.loads(found["__metadata__"]["polylogit"])
        for name, edit in entries.items():
            head[name] = edit(head[name])
        found["__metadata__"]["polylogit"] = json.dumps(head)
        return sealed(joined(found, body))

    return change


def sealed(data: bytes) -> bytes:
    found, _ = parts(data)
    digest = json.loads(found["__metadata__"]["polylogit"])["sha256"].encode()
    zeroed = data.replace(digest, b"0" * 64, 1)
    return zeroed.replace(b"0" * 64, hashlib.sha256(zeroed).hexdigest().encode(), 1)


def less_one(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda schema: {**schema, key: schema[key][:-1]}


def twice(data: bytes) -> bytes:
    found, body = parts(data)
    text = json.dumps(found)
    return joined(text.replace("{", '{"bias": 1, ', 1).encode(), body)


def many_tensors(data: bytes) -> bytes:
    found, body = parts(data)
    tensor = {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}
    return joined({**found, **{f"t{i}": tensor for i in range(100_000)}}, body)


def dumped(dump: Callable[[Any, Any], object], value: Any) -> Callable[[bytes], bytes]:
    def change(_: bytes) -> bytes:
        file = io.BytesIO()
        dump(value, file)
        return file.getvalue()

    return change


NUMBERS = {"W": np.eye(2)}
REBUILD = "polylogit.save"
AGAIN = "copy or save it again"

MODELS = [
    model(30, "cut off", lambda data: data[:-8], "cut off", AGAIN),
    model(30, "cut in the header", lambda data: data[:100], "copy"),
    model(30, "five bytes", lambda data: data[:5], "5 bytes", AGAIN),
    model(30, "longer", lambda data: data + b"\0", "bytes after its end", AGAIN),
    model(30, "a weight altered", lambda data: data[:-3] + b"\7" + data[-2:], "sha256", AGAIN),
    model(30, "a name altered", lambda data: data.replace(b"rose", b"nose"), "sha256", AGAIN),
    model(30, "empty", lambda _: b"", "0 bytes", AGAIN),
    model(30, "error page", lambda _: b"<!DOCTYPE html><p>404", "HTML", "download the file"),
    model(31, "header of 2^63", lambda data: struct.pack("<Q", 2**63) + data[8:], "header"),
    model(31, "header of 2^40", lambda data: struct.pack("<Q", 2**40) + data[8:], "header"),
    model(31, "overlap", header(weight_data_offsets=[0, 64]), "'weight'", "must lie at"),
    model(31, "hole", header(bias_data_offsets=[8, 24]), "must lie at"),
    model(31, "negative shape", header(weight_shape=[-2, 4]), "'weight'", "shape [-2, 4]"),
    model(31, "overflowing shape", header(weight_shape=[2**62, 4]), "'weight'", "must lie at"),
    model(31, "true for a size", header(bias_shape=[True]), "'bias'", "shape [True]"),
    model(31, "one key twice", twice, "'bias' comes twice", "damaged"),
    model(31, "dtype", header(bias_dtype="F4"), "'bias'", "must have dtype F64", "'F4'"),
    model(31, "another tensor", header(more_dtype="F64"), "must be 'bias' and 'weight'"),
    model(31, "100k tensors", many_tensors, "header", "1048576 allowed"),
    model(31, "NaN", lambda data: sealed(data[:-8] + b"\xff" * 8), "not finite"),
    model(32, "newer", metadata(version=lambda _: 2), "version 2", "upgrade polylogit"),
    model(32, "classes", metadata(schema=less_one("classes")), "1 classes", "do not fit"),
    model(32, "features", metadata(schema=less_one("features")), "2 features need weight (2, 2)"),
    model(32, "pickle", dumped(pickle.dump, NUMBERS), "pickle", "can run code", REBUILD),
    model(32, "joblib", dumped(joblib.dump, NUMBERS), "pickle", "can run code", REBUILD),
    model(32, "joblib, packed", dumped(lambda v, f: joblib.dump(v, f, 3), NUMBERS), "joblib"),
    model(32, ".pt", dumped(torch.save, {"W": torch.eye(2)}), "torch.save", REBUILD),
    model(32, ".npz", dumped(lambda v, f: np.savez(f, **v), NUMBERS), ".npz", REBUILD),
    model(32, ".npy", dumped(lambda v, f: np.save(f, v["W"]), NUMBERS), ".npy", REBUILD),
    model(32, "CSV", lambda _: FLOWERS.encode(), "text", "was it meant as data?"),
    Case(
        32,
        "no such file",
        "a",
        "",
        "predict m.safetensor flowers.csv",
        ("'m.safetensor'", "no such file", "did you mean 'm.safetensors'?"),
    ),
    predict(33, "missing", "width,soil\n1,clay\n", "lacks a column", "'height'"),
    predict(33, "renamed", FLOWERS.replace("height", "hight"), "'height'", "did you mean 'hight'?"),
    predict(33, "all renamed", "a,b,c\n1,2,clay\n", "lacks 3 columns", "'width', 'height', 'soil'"),
    predict(
        33,
        "words for numbers",
        "width,height,soil\nbig,2,clay\n",
        "'width' is categorical",
        "'big' in line 2",
        "was numeric",
        "form it had then",
    ),
]


@pytest.fixture(scope="module")
def good_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    (folder / "flowers.csv").write_text(FLOWERS)
    outcome = polylogit.fit(polylogit.read(folder / "flowers.csv", target="kind"))
    polylogit.save(outcome.model, folder / "m.safetensors")
    return (folder / "m.safetensors").read_bytes()


@pytest.fixture
def folder(tmp_path, monkeypatch, good_model):
    """Where a command runs: a model, data that fit it, and predictions from before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.safetensors").write_bytes(good_model)
    (tmp_path / "flowers.csv").write_text(FLOWERS)
    (tmp_path / "p.csv").write_text("what was predicted before\n")
    return tmp_path


def write(path: Path, content: Content) -> None:
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def held(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(case: Case, status: int, out: str, err: str) -> None:
    assert (status, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    assert [word for word in case.says if word not in err] == [], err


def ids(case: Case | ArrayCase) -> str:
    return f"{case.item}: {case.name}"


@pytest.mark.parametrize("case", [*FILES, *MODELS], ids=ids)
def test_a_command_refuses_in_one_line_and_touches_nothing(case, folder, capsys):
    write(folder / case.file, case.content)
    before = held(folder)
    status = cli.run(shlex.split(case.line))
    assert_refused(case, status, *capsys.readouterr())
    assert held(folder) == before


@pytest.mark.parametrize("case", [FILES[7], MODELS[4]], ids=ids)
def test_a_real_process_refuses_in_the_same_way(case, folder):
    write(folder / case.file, case.content)
    before = held(folder)
    command = [sys.executable, "-m", "polylogit", *shlex.split(case.line), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert_refused(case, done.returncode, done.stdout, done.stderr)
    assert held(folder) == before


# -------------------------------------------------------------------------------------- arrays


@dataclass(frozen=True)
class ArrayCase:
    """What is called with arrays, and what the refusal must say."""

    item: int
    name: str
    call: Callable[[], object]
    says: tuple[str, ...]


def array(item: int, name: str, rows: Any, targets: Any, *says: str):
    return ArrayCase(item, name, lambda: polylogit.from_arrays(rows, targets), says)


def choice(item: int, name: str, options: dict[str, Any], *says: str, rows: Any = X, y: Any = Y):
    return ArrayCase(item, name, lambda: SoftmaxClassifier(**options).fit(rows, y), says)


def sparse_rows(**changed: Any) -> sparse.csr_array:
    """CSR of the parts, broken behind scipy's back."""
    matrix = sparse.csr_array(X[:3])
    for name, part in changed.items():
        setattr(matrix, name, np.asarray(part))
    return matrix


OLD = Schema.for_array(2, ("1", "2"), "y")

UNIT = "allowed: 1e-100 to 1e+100", "express it in another unit"

ARRAYS = [
    array(11, "NaN", with_cell(math.nan), Y, "1 NaN", "row 3, column 1", "fill them"),
    array(
        11, "both", np.add(with_cell(math.nan), [math.inf, 0]), Y, "1 NaN", "6 infinite", "column 0"
    ),
    array(11, "tensor", torch.tensor(with_cell(math.nan)), Y, "1 NaN", "row 3, column 1"),
    array(11, "sparse", sparse.csr_array(with_cell(-math.inf)), Y, "1 infinite", "row 3, column 1"),
    array(
        11, "DataFrame", pd.DataFrame(with_cell(math.inf), columns=["a", "b"]), Y, "'b'", "row 3"
    ),
    ArrayCase(
        11,
        "in predict",
        lambda: SoftmaxClassifier().fit(X, Y).predict(with_cell(math.nan)),
        ("1 NaN", "row 3, column 1", "fill them"),
    ),
    array(12, "float32", with_cell(math.inf, np.float32), Y, "1 infinite", "row 3, column 1"),
    choice(13, "1e160", {}, "column 1 (x1)", "size 3e+160", *UNIT, rows=X * [1, 1e160]),
    choice(13, "1e-200", {}, "column 0 (x0)", "size 3e-200", *UNIT, rows=X * 1e-200),
    array(14, "no rows", X[:0], Y[:0], "no rows"),
    array(14, "no columns", X[:, :0], Y, "(6, 0)", "no columns"),
    array(14, "one axis", X[:, 0], Y, "(6,)", "X[:, None]"),
    array(14, "three axes", X[None], Y, "(1, 6, 2)", "X.reshape(len(X), -1)"),
    array(
        14, "ragged", [[1, 2], [3]], [0, 1], "ragged", "row 0 has 2", "row 1 has 1", "one length"
    ),
    array(17, "index", sparse_rows(indices=[1, 0, 9, 0, 1]), Y[:3], "column index 9", "row 1"),
    array(17, "pointers", sparse_rows(indptr=[0, 4, 3, 5]), Y[:3], "fall from 4 to 3", "row 1"),
    array(17, "lengths", sparse_rows(data=[1.0, 2.0]), Y[:3], "5 indices and 2 values"),
    array(17, "NaN", sparse_rows(data=[1.0, 2.0, math.nan, 4.0, 5.0]), Y[:3], "1 NaN", "row 1"),
    array(19, "one class", X, ["a"] * 6, "all 6 rows have the class 'a'", NEEDS_TWO),
    choice(19, "one class in fit", {}, NEEDS_TWO, y=[7] * 6),
    array(20, "None", X, ["a", "b", None, "b", "a", "b"], "1 label is missing", "row 2"),
    array(20, "NaN", X, [0, 1, 0, 1, math.nan, 1], "1 label is missing in y", "row 4"),
    array(20, "pd.NA", X, pd.Series(["a", "b", pd.NA, pd.NA, "a", "b"]), "2 labels", "row 2"),
    array(20, "int and str", X, [1, "a", 1, "a", 1, "a"], "1 in row 0", "'a' in row 1", "one type"),
    array(20, "1 and '1'", X, [1, "1", 1, "1", 1, "1"], "whole number", "text", "one type"),
    array(20, "1 and True", X, [1, True, 1, True, 0, 0], "true/false", "one type"),
    ArrayCase(
        20,
        "1 for '1'",
        lambda: polylogit.from_arrays(X, Y + 1, schema=OLD),
        ("label 1", "whole number", "'1' is text", "one type"),
    ),
    array(21, "continuous", X, Y + 0.5, "continuous", "0.5 in row 0", "cut the numbers"),
    array(21, "lengths differ", X, Y[:5], "X has 6 rows and y has 5", "row by row"),
    array(21, "three axes", X, np.zeros((6, 2, 2)), "(6, 2, 2)", "(N,) labels or (N, K)"),
    array(21, "rows of no sum", X, np.eye(2)[Y] * 2, "row 0 sum to 2", "divide each row"),
    ArrayCase(
        23,
        "unseen",
        lambda: polylogit.from_arrays(X, list("121213"), schema=OLD),
        ("the label '3' (1 row, first in row 5)", "'1', '2'"),
    ),
    array(24, "ids", X, list("abcdef"), "6 different classes in 6 rows", "choose a column"),
    array(26, "lone surrogate", X, ["a", "b\ud800"] * 3, "'b\\ud800'", "lone surrogate", "decode"),
    choice(27, "C 0", {"C": 0}, "C must be positive", *FINITE_C),
    choice(27, "C negative", {"C": -1.0}, "C must be positive", *FINITE_C),
    choice(27, "C NaN", {"C": math.nan}, "not nan", *FINITE_C),
    choice(27, "C text", {"C": "1"}, "'auto' or a positive number", "'1' (str)"),
    choice(27, "C 1e-320", {"C": 1e-320}, "1e-320", *FINITE_C),
    choice(27, "C 1e308", {"C": 1e308}, "1e+308", *FINITE_C),
    choice(27, "tol 0", {"tol": 0}, "tol must be a positive number of nats", "not 0"),
    choice(27, "max_iter 0", {"max_iter": 0}, "max_iter must be a whole number >= 1"),
    choice(27, "n_threads 0", {"n_threads": 0}, "n_threads must be a whole number >= 1"),
    choice(
        28,
        "everywhere",
        {"C": math.inf},
        "perfectly",
        "set C to a finite number",
        y=[0, 0, 0, 1, 1, 1],
    ),
    choice(
        28,
        "in some rows",
        {"C": math.inf},
        "in some rows",
        "set C to a finite number",
        rows=[[1.0], [2.0], [2.0], [3.0]],
        y=[0, 0, 1, 1],
    ),
]


@pytest.mark.parametrize("case", ARRAYS, ids=ids)
def test_arrays_are_refused_in_one_line(case):
    with pytest.raises(InputError) as caught:
        case.call()
    message = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert message.isprintable()
    assert [word for word in case.says if word not in message] == [], message


# ----------------------------------------------------------- what looks bad and must be done well


GOOD: set[int] = set()


def good(item: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test of something in the list that must succeed."""
    GOOD.add(item)
    return lambda test: test


@pytest.fixture
def command(folder, capsys):
    """Runs a line that must succeed; returns its JSON."""

    def run(line: str) -> dict[str, Any]:
        status = cli.run([*shlex.split(line), "--json"])
        out, err = capsys.readouterr()
        assert status == 0, err
        return json.loads(out)

    return run


@pytest.fixture(scope="module")
def cloud():
    """Three classes that no line separates, in three columns of ordinary scale."""
    rng = np.random.default_rng(5)
    y = rng.integers(3, size=150)
    return rng.normal(size=(150, 3)) + np.eye(3)[y], y


def answers(rows: np.ndarray, y: np.ndarray, **options: Any) -> np.ndarray:
    """Probabilities from a fit whose optimum is proven."""
    clf = SoftmaxClassifier(**options).fit(rows, y)
    assert clf.solution_.certified
    assert clf.certificate_.gap <= 1e-6
    return clf.predict_proba(rows)


def principal(rows: np.ndarray) -> np.ndarray:
    """Columns that are independent and have the same inner products: the same fit, well posed."""
    U, S, _ = np.linalg.svd(rows, full_matrices=False)
    return U[:, S > 1e-9 * S[0]] * S[S > 1e-9 * S[0]]


@good(4)
def test_a_byte_order_mark_is_no_part_of_the_first_name(command, folder):
    (folder / "a.csv").write_bytes(b"\xef\xbb\xbf" + FLOWERS.encode())
    assert command("predict m.safetensors a.csv")["n_rows"] == 8


@good(7)
def test_a_word_for_nothing_is_a_missing_cell(command, folder):
    (folder / "a.csv").write_text("x,y\n1,a\n nan ,b\n3,a\n2,b\nNA,a\n3,b\n")
    assert command("fit a.csv --target y --holdout 0")["missing"] == {"x": 2}


@good(12)
@good(13)
@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1e39, 0.0), (1e90, 0.0), (1e-12, 0.0), (1.0, 1e9), ([1e12, 1, 1], 0.0), ([1e90, 1, 1], 0.0)],
)
def test_without_a_penalty_to_speak_of_every_scale_gives_the_same_answers(scale, shift, cloud):
    rows, y = cloud
    C = 1e30
    expected = answers(rows, y, C=C)
    np.testing.assert_allclose(answers(rows * scale + shift, y, C=C), expected, atol=1e-6)


@good(13)
def test_features_too_small_for_their_penalty_leave_the_shares_of_the_classes(cloud):
    rows, y = cloud
    shares = np.bincount(y) / len(y)
    found = answers(rows * 1e-90, y, C=1.0)
    np.testing.assert_allclose(found, np.tile(shares, (len(y), 1)), atol=1e-9)


@good(13)
def test_a_shift_changes_nothing(cloud):
    rows, y = cloud
    expected = answers(rows, y, C=1.0)
    np.testing.assert_allclose(answers(rows + 1e9, y, C=1.0), expected, atol=1e-6)


@good(13)
def test_scales_in_a_file(command, folder, cloud):
    rows, y = cloud
    for name, scale in (("plain", 1.0), ("wild", np.array([1e90, 1e-20, 1e12]))):
        frame = pd.DataFrame(rows * scale, columns=list("abc")).assign(y=y)
        frame.to_csv(folder / f"{name}.csv", index=False)
    plain, wild = (command(f"fit {name}.csv --target y --C 1e60") for name in ("plain", "wild"))
    assert plain["certified"]
    assert wild["certified"]
    assert wild["holdout"]["log_loss"] == pytest.approx(plain["holdout"]["log_loss"], abs=1e-6)


@good(16)
@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
@pytest.mark.parametrize("kind", ["constant", "duplicate", "collinear"])
def test_columns_that_say_nothing_new(kind, solver, cloud):
    rows, y = cloud
    more = {
        "constant": np.full((150, 1), 7.0),
        "duplicate": rows[:, :1],
        "collinear": rows @ [[1.0], [2.0], [-1.0]],
    }[kind]
    worse = np.hstack([rows, more])
    better = rows if kind == "constant" else principal(worse)
    options = {"C": 1.0, "solver": solver, "tol": 1e-9}
    np.testing.assert_allclose(
        answers(worse, y, **options), answers(better, y, **options), atol=1e-5
    )


@good(16)
@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
def test_many_more_columns_than_rows(solver):
    rng = np.random.default_rng(6)
    rows, y = rng.normal(size=(20, 300)), np.arange(20) % 3
    options = {"C": 0.01, "solver": solver, "tol": 1e-9}
    found, expected = (answers(R, y, **options) for R in (rows, principal(rows)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@good(17)
def test_sparse_rows_in_any_order_with_repeated_entries(cloud):
    rows, y = cloud
    plain = sparse.csr_array(rows)
    indices = np.repeat(plain.indices.reshape(-1, 3)[:, ::-1], 2, axis=1).ravel().astype(np.int64)
    data = np.repeat(rows[:, ::-1] / 2, 2, axis=1).ravel()
    messy = sparse.csr_array((data, indices, plain.indptr * 2), shape=rows.shape)
    np.testing.assert_allclose(answers(messy, y), answers(rows, y), atol=1e-7)


@good(19)
def test_a_class_with_one_row_is_learned_and_never_held_out(command, folder):
    (folder / "a.csv").write_text(FLOWERS + "9,9,clay,tulip\n")
    found = command("fit a.csv --target kind")
    assert found["classes"] == ["lily", "rose", "tulip"]
    assert found["holdout"]["support"] == [1, 1, 0]


@good(21)
@pytest.mark.parametrize("shape", ["column", "one-hot"])
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_labels_in_other_shapes(shape, cloud):
    rows, y = cloud
    other = y[:, None] if shape == "column" else np.eye(3)[y]
    np.testing.assert_allclose(answers(rows, other), answers(rows, y), atol=1e-9)


@good(22)
@pytest.mark.parametrize("labels", [[1, 2, 3], [-1, 0, 1], [10, 20, 30], [30, 10, 20]])
def test_labels_that_do_not_count_from_zero(labels, cloud):
    rows, y = cloud
    given = pd.Series(np.array(labels)[y], index=np.arange(1000, 1150))
    clf = SoftmaxClassifier().fit(pd.DataFrame(rows, index=given.index), given)
    order = np.argsort(labels)
    assert clf.classes_.tolist() == sorted(labels)
    np.testing.assert_allclose(clf.predict_proba(rows), answers(rows, y)[:, order], atol=1e-7)
    assert set(clf.predict(rows)) == set(labels)


@good(23)
def test_a_file_that_lacks_a_class_is_scored(command, folder):
    (folder / "a.csv").write_text("\n".join(FLOWERS.split("\n")[:5]))
    found = command("evaluate m.safetensors a.csv")
    assert (found["n_rows"], found["support"]) == (4, [0, 4])


@good(24)
def test_many_classes_are_no_ids(command, folder):
    (folder / "a.csv").write_text("x,y\n" + "".join(f"{i % 7},{i % 40}\n" for i in range(120)))
    assert len(command("fit a.csv --target y")["classes"]) == 40


NAMES = [
    "=1+1",
    "a,b",
    'say "x"',
    "two\nlines",
    "one\rline",
    "tab\tbed",
    "🌹",
    " space ",
    "-",
    "-1",
]


@good(26)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_label_names_survive_the_way_into_a_table(suffix, command, folder):
    y = NAMES * 2
    pq.write_table(pa.table({"x": np.arange(20) % 10 * 1.0, "y": y}), folder / "a.parquet")
    command("fit a.parquet --target y --C 1e6 --model n.safetensors --holdout 0")
    command(f"predict n.safetensors a.parquet --output rows{suffix}")
    with open(folder / f"rows{suffix}", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file, delimiter={".csv": ",", ".tsv": "\t"}[suffix])
    assert header == ["prediction", *(f"p_{name}" for name in sorted(NAMES))]
    assert {row[0] for row in rows} <= {"'=1+1", *NAMES[1:]}
    assert [len(row) for row in rows] == [11] * 20
    sums = np.array([row[1:] for row in rows], dtype=float).sum(1)
    np.testing.assert_allclose(sums, 1, atol=1e-12)


@good(27)
def test_a_large_seed(command):
    assert command(f"fit flowers.csv --target kind --seed {2**80}")["certified"]


@good(28)
def test_separated_classes_have_an_optimum_with_a_penalty(command, folder):
    (folder / "a.csv").write_text("x,y\n1,a\n2,a\n3,b\n4,b\n")
    assert command("fit a.csv --target y --C 1000 --holdout 0")["certified"]


@good(33)
def test_columns_are_found_by_name_and_others_left_out(command, folder):
    frame = pd.read_csv("flowers.csv")
    frame.assign(more=1)[["more", "soil", "height", "width"]].to_csv("a.csv", index=False)
    found, expected = (command(f"predict m.safetensors {n}") for n in ("a.csv", "flowers.csv"))
    assert found["probabilities"] == expected["probabilities"]
    assert (found["ignored"], expected["ignored"]) == (["more"], [])


# -------------------------------------------------------------------------------- nothing forgotten


def test_every_item_of_the_list_is_here():
    assert {case.item for case in [*FILES, *MODELS, *ARRAYS]} | GOOD == REQUIRED


def test_no_case_stands_twice():
    named = [ids(case) for case in [*FILES, *MODELS]]
    assert len(set(named)) == len(named)
