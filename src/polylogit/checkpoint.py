"""A fit that may be killed: now and then its point goes to a file, from which the next goes on.

The file is safetensors: tensors `weight` (K, D) and `bias` (K,) in float64 on the user's scale,
and as metadata a format, the fingerprint of the problem and a sha256 over all of it. At every
moment it is whole (`polylogit.storage.write_atomically`). The fingerprint covers the data and all
that decides where the optimum lies; how to get there (solver, tolerance, threads) may change.

>>> import os, tempfile, torch
>>> with tempfile.TemporaryDirectory() as folder:
...     file = Checkpoint(os.path.join(folder, "fit.ckpt"), fingerprint(1.0, "rows"))
...     first = file.read()
...     file.write(torch.eye(2), torch.zeros(2))
...     again = file.read()
>>> first, again[0].tolist()
(None, [[1.0, 0.0], [0.0, 1.0]])
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import safetensors.torch
import scipy.sparse
from safetensors import SafetensorError, safe_open
from torch import Tensor

from polylogit import storage
from polylogit.errors import ModelFileError
from polylogit.stored import StoredRows

FORMAT = "polylogit checkpoint 1"
EVERY = 3.0  # seconds between two writes

Point = tuple[Tensor, Tensor]


@dataclass
class Checkpoint:
    """The file of one problem. Written after the first step, then once in `EVERY` seconds."""

    path: storage.Path
    fingerprint: str
    _next: float = field(default=0.0, repr=False)

    def offer(self, iteration: int, point: Callable[[], Point]) -> None:
        """Keep the point of this step, if it is time to."""
        if iteration > 0 and time.monotonic() >= self._next:
            self.write(*point())
            self._next = time.monotonic() + EVERY

    def write(self, weight: Tensor, bias: Tensor) -> None:
        """Put a point in place of the last one; raises as `write_atomically` does."""
        tensors = {"weight": weight.double().contiguous(), "bias": bias.double().contiguous()}
        head = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "sha256": fingerprint(self.fingerprint, tensors["weight"], tensors["bias"]),
        }
        storage.write_atomically(self.path, safetensors.torch.save(tensors, head))

    def read(self) -> Point | None:
        """The point to go on from; None where there is no file.

        Raises `ModelFileError` for a file that is no checkpoint, a damaged one, or another
        problem's; `OptionError` where none could be written.
        """
        storage.check_destination(self.path)
        if not os.path.exists(self.path):
            return None
        place = storage.place(self.path)
        head, tensors = self._contents(place)
        if head.get("format") != FORMAT or tensors.keys() != {"weight", "bias"}:
            raise ModelFileError(
                f"{place} is no checkpoint that this version can read; name another file"
            )
        weight, bias = tensors["weight"], tensors["bias"]
        if head.get("sha256") != fingerprint(head.get("fingerprint"), weight, bias):
            raise ModelFileError(
                f"{place}: the checkpoint is damaged (its sha256 is another); remove it to start "
                "anew"
            )
        if head["fingerprint"] != self.fingerprint:
            raise ModelFileError(
                f"{place} is the checkpoint of another fit (its data or options differ); name "
                "another file, or remove it to start anew"
            )
        return weight, bias

    def remove(self) -> None:
        """The fit is done: nothing is left to go on from."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _contents(self, place: str) -> tuple[dict[str, str], dict[str, Tensor]]:
        try:
            with safe_open(self.path, "pt") as file:
                names = file.keys()
                return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise ModelFileError(
                f"{place} is no checkpoint, or a damaged one ({' '.join(str(error).split())}); "
                "name another file, or remove it to start anew"
            ) from error


def fingerprint(*parts: object) -> str:
    """The sha256 of arrays, tensors, CSR matrices, stored rows, and what has a faithful `repr`.

    >>> fingerprint(np.zeros(2)) == fingerprint(Tensor([0, 0]).double())
    True
    >>> fingerprint(np.zeros(2)) == fingerprint(np.zeros((2, 1)))
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        for piece in _pieces(part):
            digest.update(len(piece).to_bytes(8, "little"))
            digest.update(piece)
    return digest.hexdigest()


def _pieces(part: object) -> Iterator[bytes | memoryview]:
    if isinstance(part, Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, scipy.sparse.csr_array):
        yield repr(part.shape).encode()
        part = (part.data, part.indices, part.indptr)
    if isinstance(part, tuple):
        yield f"{len(part)} parts".encode()
        for inner in part:
            yield from _pieces(inner)
    elif isinstance(part, StoredRows):
        content = hashlib.sha256()
        for _, rows in part.blocks():
            content.update(rows.reshape(-1).view(np.uint8).data)
        yield f"stored {part.dtype.str}{part.shape}".encode()
        yield content.digest()
    elif isinstance(part, np.ndarray):
        yield f"{part.dtype.str}{part.shape}".encode()
        yield np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
    else:
        yield repr(part).encode()
