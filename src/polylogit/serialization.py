"""A model and one file: strict when it reads, atomic when it writes. Nothing in it can run.

The file is safetensors: tensors `weight` (K, D) and `bias` (K,) in float64, and as metadata one
JSON text "polylogit" with format, version, sha256, schema and record. The sha256 is that of the
whole file with the 64 digits of the sha256 itself replaced by zeros, so that it also guards the
names of classes and columns. docs/model-file.md has the exact layout.

>>> import os, tempfile
>>> import torch
>>> model = SoftmaxModel(torch.eye(2), torch.zeros(2), Schema.for_array(2, ("no", "yes")))
>>> with tempfile.TemporaryDirectory() as folder:
...     save(model, os.path.join(folder, "m.safetensors"))
...     load(os.path.join(folder, "m.safetensors")).classes
('no', 'yes')
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np
import safetensors.torch
from safetensors import SafetensorError

from polylogit import storage
from polylogit.errors import InputError, ModelFileError, nearest
from polylogit.model import SoftmaxModel
from polylogit.schema import Schema, listed, shown
from polylogit.storage import Path

FORMAT = "polylogit softmax model"
VERSION = 1

MAX_FILE_BYTES = 4 * 2**30
"""Larger model files are refused, before anything is allocated."""

MAX_HEADER_BYTES = 2**20
"""The header names classes and columns; a longer one is refused, in reading and in writing."""

_NO_DIGEST = "0" * 64
_KEYS = {"format", "version", "sha256", "schema", "record"}


def save(model: SoftmaxModel, path: Path) -> None:
    """Write the model to one file; come what may, `path` holds the old file or the whole new one.

    The same model gives the same bytes. Raises `ModelFileError` where the model cannot be kept in a
    file, `OptionError` where the path cannot be written to, `SolveError` where the disk fails.
    """
    place = storage.place(path)
    try:
        data = _encoded(model, place)
        _decoded(data, place)  # what could not be read back must not replace what can
    except ModelFileError as error:
        raise ModelFileError(f"cannot save this model: {error}") from None
    storage.write_atomically(path, data)


def load(path: Path) -> SoftmaxModel:
    """Read a model file, trusting nothing in it.

    Raises `ModelFileError`, one line that names the file, for anything but a whole, unaltered file
    of this format; a file of another format is named, with how to bring its model here.
    """
    return _decoded(_contents(path), storage.place(path))


# --- encoding -------------------------------------------------------------------------------------


def _encoded(model: SoftmaxModel, place: str) -> bytes:
    head = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": _NO_DIGEST,  # before all that a user names: the first 64 zeros are these
        "schema": model.schema.to_json(),
        "record": dict(model.record),
    }
    try:
        text = json.dumps(head, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        _refuse(place, f"classes, columns or record hold what JSON cannot ({_one_line(error)})")
    tensors = {"weight": model.weight, "bias": model.bias}
    data: bytes = safetensors.torch.save(tensors, {"polylogit": text})
    return data.replace(_NO_DIGEST.encode(), _digest(data).encode(), 1)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{shown(value)} is of type {type(value).__name__}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- decoding -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies, and its shape."""

    shape: tuple[int, ...]
    start: int
    end: int


def _decoded(data: bytes, place: str) -> SoftmaxModel:
    """The model in a file's bytes; every check comes before the tensors are made."""
    _check_size(len(data), place)
    size = _header_size(data, place)
    header = _header(data[8 : 8 + size], place)
    head = _head(header, place)
    entries = _entries(header, place)
    _check_layout(entries, len(data) - 8 - size, place)
    _check_digest(data, head["sha256"], place)
    _check_counts(head["schema"], entries["weight"].shape, place)
    try:
        schema = Schema.from_json(head["schema"])
        tensors = safetensors.torch.load(data)
        return SoftmaxModel(tensors["weight"], tensors["bias"], schema, head["record"])
    except (InputError, SafetensorError) as error:
        _refuse(place, _one_line(error))


def _check_size(size: int, place: str) -> None:
    if size > MAX_FILE_BYTES:
        _refuse(place, f"the file has {size} bytes, more than the {MAX_FILE_BYTES} allowed")


def _header_size(data: bytes, place: str) -> int:
    if len(data) < 9:
        _refuse(place, f"the file has only {len(data)} bytes; copy or save it again")
    if data[3:9] != b"\0\0\0\0\0{":  # not the start of a header below 16 MiB
        _refuse_foreign(data, place)
    (size,) = struct.unpack("<Q", data[:8])
    if size > MAX_HEADER_BYTES:
        _refuse(
            place,
            f"the header would have {size} bytes, more than the {MAX_HEADER_BYTES} allowed; this "
            "is no model file, or its classes and columns have too many or too long names",
        )
    if size > len(data) - 8:
        _refuse(
            place, f"the file ends inside its header ({len(data)} bytes); copy or save it again"
        )
    return int(size)


def _header(raw: bytes, place: str) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(place, "the header is not UTF-8 text; the file is damaged")
    return _object(text, "the header", place)


def _object(text: str, what: str, place: str) -> dict[str, Any]:
    """The JSON object in a text; repeated keys, NaN and numbers too large are refused."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unrepeated,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        _refuse(place, f"{what} is not strict JSON ({_one_line(error)}); the file is damaged")
    if not isinstance(value, dict):
        _refuse(place, f"{what} is not a JSON object but {shown(value)}")
    return value


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} comes twice")
        found[key] = value
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {shown(digits)} is too large")
    return number


def _head(header: dict[str, Any], place: str) -> dict[str, Any]:
    """What the metadata say. The version is asked first: a newer one may look different."""
    metadata = header.get("__metadata__")
    text = metadata.get("polylogit") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        _refuse(place, "a safetensors file, but not of polylogit: it names no classes and columns")
    head = _object(text, "the metadata 'polylogit'", place)
    version = head.get("version")
    if head.get("format") != FORMAT or type(version) is not int or version < 1:
        _refuse(
            place,
            f"the metadata must say format {FORMAT!r} and a version from 1, not "
            f"{shown(head.get('format'))} and {shown(version)}; the file is damaged",
        )
    if version > VERSION:
        _refuse(
            place,
            f"written in version {shown(version)} of the format, this polylogit knows versions up "
            f"to {VERSION}; upgrade polylogit",
        )
    if set(head) != _KEYS:
        _refuse(place, f"the metadata must hold {listed(sorted(_KEYS))}, not {listed(head)}")
    if not isinstance(head["record"], dict):
        _refuse(place, f"the record must be an object, not {shown(head['record'])}")
    return head


def _entries(header: dict[str, Any], place: str) -> dict[str, _Entry]:
    names = set(header) - {"__metadata__"}
    if names != {"weight", "bias"}:
        _refuse(place, f"the tensors must be 'bias' and 'weight', not {listed(sorted(names))}")
    return {name: _entry(name, header[name], place) for name in sorted(names)}


def _entry(name: str, found: object, place: str) -> _Entry:
    if not isinstance(found, dict) or set(found) != {"dtype", "shape", "data_offsets"}:
        _refuse(place, f"tensor {name!r} must have dtype, shape and data_offsets: {shown(found)}")
    if found["dtype"] != "F64":
        _refuse(place, f"tensor {name!r} must have dtype F64, not {shown(found['dtype'])}")
    shape, offsets = found["shape"], found["data_offsets"]
    if not _counts(shape, 1 if name == "bias" else 2):
        _refuse(place, f"tensor {name!r} cannot have the shape {shown(shape)}")
    if not _counts(offsets, 2):
        _refuse(place, f"tensor {name!r} cannot lie at the offsets {shown(offsets)}")
    return _Entry(tuple(shape), *offsets)


def _counts(value: object, length: int) -> bool:
    """Whether this is a list of so many integers in 0..2^63-1 (true is no integer here)."""
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(entry) is int and 0 <= entry < 2**63 for entry in value)
    )


def _check_layout(entries: dict[str, _Entry], n_bytes: int, place: str) -> None:
    """The tensors must tile the rest of the file: no hole, no overlap, nothing after them."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        need = 8 * math.prod(entry.shape)
        if entry.start != at or entry.end - entry.start != need:
            _refuse(
                place,
                f"tensor {name!r} of shape {shown(list(entry.shape))} must lie at "
                f"[{at}, {shown(at + need)}], not {shown([entry.start, entry.end])}",
            )
        at = entry.end
    if at != n_bytes:
        _refuse(
            place,
            f"the tensors need {shown(at)} bytes, the file holds {n_bytes}; it is cut off or has "
            "bytes after its end: copy or save it again",
        )


def _check_digest(data: bytes, digest: object, place: str) -> None:
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        _refuse(place, f"sha256 must be 64 hexadecimal digits, not {shown(digest)}")
    if _digest(data.replace(digest.encode(), _NO_DIGEST.encode(), 1)) != digest:
        _refuse(
            place,
            "its contents do not match its sha256: it was altered or damaged after it was saved; "
            "copy or save it again",
        )


def _check_counts(schema: object, shape: tuple[int, ...], place: str) -> None:
    """Compare counts before names are made: a short header can announce millions of features."""
    if not isinstance(schema, dict):
        _refuse(place, f"the schema must be an object, not {shown(schema)}")
    classes, n_features = schema.get("classes"), schema.get("n_features", shape[1])
    n_classes = len(classes) if isinstance(classes, list) else shown(classes)
    if 0 in shape or [n_classes, n_features] != list(shape):
        _refuse(
            place,
            f"{n_classes} classes and {shown(n_features)} features do not fit weights of shape "
            f"{shape}",
        )


# --- reading --------------------------------------------------------------------------------------


def _contents(path: Path) -> bytes:
    place = storage.place(path)
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # asked before it is opened: a pipe would wait for a writer
            _refuse(place, f"this is {storage.kind(mode)}; name a model file")
        with open(path, "rb") as file:
            return _capped(file, place)
    except ModelFileError:
        raise
    except FileNotFoundError:
        _refuse(place, f"there is no such file{_neighbour(path)}")
    except (OSError, ValueError) as error:
        _refuse(place, f"cannot be read ({storage.reason(error)})")


def _capped(file: BinaryIO, place: str) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE_BYTES:
        _refuse_foreign(file.read(512), place)
    _check_size(size, place)
    return file.read(size)


def _neighbour(path: Path) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    try:
        return nearest(name, os.listdir(folder))
    except OSError:
        return f"; there is no folder {shown(folder, 200)} either"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _refuse(place: str, why: str) -> NoReturn:
    raise ModelFileError(f"model file {place}: {why}")


# --- files of other formats -----------------------------------------------------------------------

_REBUILD = (
    "make SoftmaxModel(weight, bias, Schema.for_array(n_features, classes)) from its coefficients "
    "and intercepts and polylogit.save that"
)
_PICKLE = f"which can run code when opened, so polylogit does not; where you trust it, {_REBUILD}"
_MAGIC = {
    b"PK\x03\x04": f"a zip archive, such as torch.save (.pt) makes, {_PICKLE}",
    b"\x1f\x8b": "gzip; decompress it first (gunzip)",
    b"BZh": f"bzip2, such as joblib makes, {_PICKLE}",
    b"\xfd7zXZ": f"xz, such as joblib makes, {_PICKLE}",
    b"]\0\0": f"lzma, such as joblib makes, {_PICKLE}",
    b"\x93NUMPY": f"a numpy array (.npy); {_REBUILD}",
    b"\x89HDF": f"an HDF5 file; {_REBUILD}",
    **{b"\x80" + bytes([n]): f"a pickle (pickle, joblib, old .pt), {_PICKLE}" for n in range(2, 6)},
    **{b"x" + bytes([n]): f"zlib, such as joblib makes, {_PICKLE}" for n in b"\x01\x5e\x9c\xda"},
}


def _refuse_foreign(data: bytes, place: str) -> None:
    """Name a file of another format and say how to convert it; return if it is none known."""
    text = _text_start(data)
    if text.startswith("<"):
        _refuse(place, "this is a web page (HTML) or XML, not a model; download the file itself")
    if text.startswith(("{", "[")):
        _refuse(place, "this is JSON text, not a model; name the file that polylogit fit wrote")
    if text:
        _refuse(place, f"this is text ({shown(text, 40)}), not a model; was it meant as data?")
    if data.startswith(b"PK\x03\x04") and b".npy" in data[30:300]:
        _refuse(place, f"this is a numpy archive (.npz), not a polylogit model; {_REBUILD}")
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            _refuse(place, f"this is no polylogit model but {name}")


def _text_start(data: bytes) -> str:
    """The first characters where a file begins like text, else nothing."""
    start = data[:512]
    if any(byte < 32 and byte not in b"\t\n\r\f" for byte in start):
        return ""
    return start.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n\f")
