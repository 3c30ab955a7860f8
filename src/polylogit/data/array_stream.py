"""Arrays that do not fit in memory: npy, npz and safetensors files whose rows stay where they are.

    npy           the features alone
    npz           X (or features), uncompressed as `numpy.savez` writes it; y and weights beside it
    safetensors   the tensors X (or features) and, if there are labels, y; weights

Only the features stay in the file. They are looked at once, for NaN and infinity.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from polylogit.data.arrays import FEATURES, TARGETS, WEIGHTS, one_of
from polylogit.data.dataset import Matrix, Rows
from polylogit.data.features import features_of, refuse_infinite, refuse_kind, refuse_shape
from polylogit.data.source import called, opened
from polylogit.errors import DataError, InputError
from polylogit.schema import listed, shown
from polylogit.stored import BFLOAT16, StoredRows, stored_rows

_LONGEST_HEADER = 2**26
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a member of a zip file: lengths of name and extra


@dataclass(frozen=True)
class _Place:
    """Where an array lies in a file."""

    shape: tuple[int, ...]
    dtype: str
    offset: int


def stream_npy(path: Path) -> Matrix:
    """`read_npy` with the rows left in the file."""
    with opened(path) as file:
        place = _npy_place(file, path)
    return Matrix(_rows(path, place), source=called(path))


def stream_npz(path: Path) -> Matrix:
    """`read_npz` with the rows left in the file, which must hold them uncompressed and dense."""
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        found = one_of(members, FEATURES, Rows(called(path)))
        if found is None or found.compress_type != zipfile.ZIP_STORED:
            kind = "compressed" if found is not None else "sparse"
            raise DataError(
                f"{called(path)}: does not fit in the memory allowed, and {kind} rows cannot stay "
                "in the file; save X dense with np.savez or np.save, or allow more memory"
            )
        file.seek(found.header_offset)
        lengths = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(found.header_offset + _LOCAL_HEADER.size + sum(lengths))
        place = _npy_place(file, path)
        beside = {
            name: _small(archive.read(info), path)
            for name, info in members.items()
            if name in (*TARGETS, *WEIGHTS)
        }
    where = Rows(called(path))
    targets, weights = one_of(beside, TARGETS, where), one_of(beside, WEIGHTS, where)
    return Matrix(_rows(path, place), targets, weights, where.source)


def _small(data: bytes, path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{called(path)}: {shown(str(error), 150)}; save plain arrays") from error
    return array


def _npy_place(file: BinaryIO, path: Path) -> _Place:
    """Where the numbers begin behind the header that `file` stands at."""
    try:
        version = np.lib.format.read_magic(file)
        reader: Any = np.lib.format.read_array_header_1_0
        reader = reader if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = reader(file)
    except ValueError as error:
        raise DataError(
            f"{called(path)}: damaged or cut short: {shown(str(error), 150)}; save it again"
        ) from error
    refuse_shape(shape, Rows(called(path)))
    if by_columns and min(shape) > 1:
        raise DataError(
            f"{called(path)}: does not fit in the memory allowed, and is stored column by column; "
            "save np.ascontiguousarray(X), or allow more memory"
        )
    return _Place(shape, dtype.str, file.tell())


# ------------------------------------------------------------------------------------ safetensors

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BFLOAT16, "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "|i1", "U8": "|u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "|b1",
}  # fmt: skip


def read_safetensors(path: Path) -> Matrix:
    """Read features, labels and weights from a safetensors file into memory."""
    matrix = stream_safetensors(path)
    rows = matrix.features[:]
    where = Rows(matrix.source)
    return Matrix(features_of(rows, where), matrix.targets, matrix.weights, matrix.source)


def stream_safetensors(path: Path) -> Matrix:
    """The same with the rows left in the file."""
    where = Rows(called(path))
    places = _tensors(path)
    features = one_of(places, FEATURES, where)
    if features is None:
        raise DataError(
            f"{where.source}: no features among the tensors {listed(places)}; save them as X"
        )
    refuse_shape(features.shape, where)
    targets, weights = one_of(places, TARGETS, where), one_of(places, WEIGHTS, where)
    return Matrix(_rows(path, features), _whole(path, targets), _whole(path, weights), where.source)


def _whole(path: Path, place: _Place | None) -> np.ndarray | None:
    if place is None:
        return None
    if place.dtype == BFLOAT16:
        raise DataError(f"{called(path)}: labels and weights cannot be bfloat16; save them as F64")
    with opened(path) as file:
        file.seek(place.offset)
        count = int(np.prod(place.shape))
        return np.frombuffer(
            file.read(count * np.dtype(place.dtype).itemsize), place.dtype
        ).reshape(place.shape)


def _tensors(path: Path) -> dict[str, _Place]:
    """Where each tensor lies; every number of the header is checked."""
    try:
        with opened(path) as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head: Any = json.loads(file.read(length)) if length <= _LONGEST_HEADER else None
            end = file.seek(0, 2)
        return {
            name: _place(entry, 8 + length, end)
            for name, entry in head.items()
            if name != "__metadata__"
        }
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise DataError(
            f"{called(path)}: no safetensors file, or a damaged one: {shown(str(error), 100)}; "
            "save it again"
        ) from error


def _place(entry: dict[str, Any], base: int, end: int) -> _Place:
    shape, (start, stop) = tuple(int(size) for size in entry["shape"]), entry["data_offsets"]
    dtype = _TYPES.get(entry["dtype"])
    if dtype is None:
        raise ValueError(f"a tensor of type {entry['dtype']}")
    width = 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize
    if min((0, *shape)) < 0 or stop - start != width * int(np.prod(shape)) or base + stop > end:
        raise ValueError("a tensor reaches beyond the file, or is not as long as its shape says")
    return _Place(shape, dtype, base + start)


# ---------------------------------------------------------------------------------------- checked


def _rows(path: Path, place: _Place) -> StoredRows:
    """The rows, looked at once: real numbers, all there, finite."""
    where = Rows(called(path))
    if place.dtype != BFLOAT16:
        refuse_kind(np.dtype(place.dtype), where)
    n_rows, width = place.shape
    rows = stored_rows(path, where.source, (n_rows, width), place.dtype, place.offset)
    for part, values in rows.blocks():
        refuse_infinite(values, where, part.start)
    return rows
