"""The logits of a point: kept where there is room, made again block by block where there is not.

Kept logits are a matrix Z (N, K). `RecomputedLogits` stands for the same matrix and holds only the
parameters: N x K numbers never lie in memory at once, whatever N and K are. What a pass needs of
either is `logits_in(logits, block)`, so there is one objective and not two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from polylogit.design import Block, Design, lies_by_column, row_slices
from polylogit.optim.problem import Evaluation
from polylogit.rooms import Rooms

FEW_CLASSES = 32  # up to here logits lie class by class (benchmarks/products.py)
CHUNK_ELEMENTS = 2**19  # of logits per elementwise step, so that temporaries stay in cache


@dataclass
class Tally:
    """How often the rows were read, and for how many models of the curvature."""

    passes: int = 0
    models: int = 0


@dataclass(frozen=True, eq=False)
class RecomputedLogits:
    """Z = X V' + b + o (N, K) as V (K, D), b (K,) and offsets o; one product whenever asked for."""

    design: Design
    weight: Tensor
    bias: Tensor
    offsets: Tensor | None = None
    tally: Tally = field(default_factory=Tally)

    @property
    def dtype(self) -> torch.dtype:
        """In which precision the rows are made."""
        return self.weight.dtype

    def of(self, block: Block, out: Tensor | None = None) -> Tensor:
        """Z of a block's rows (B, K), in `out` or in new memory."""
        if out is None:
            rows = block.rows
            out = room(rows.stop - rows.start, len(self.bias), self.dtype)
        z = block.affine(self.weight, self.bias, out)
        return z if self.offsets is None else z.add_(self.offsets[block.rows])

    def to(self, dtype: torch.dtype) -> RecomputedLogits:
        """The same in another precision."""
        return replace(self, weight=self.weight.to(dtype), bias=self.bias.to(dtype))


Logits = Tensor | RecomputedLogits


def logits_of(at: Evaluation) -> Logits:
    """The logits Z (N, K) of an evaluation of softmax's F, kept or not."""
    if not isinstance(at.state, Logits):
        raise TypeError(f"an evaluation of another problem: its state is {type(at.state).__name__}")
    return at.state


def room(n_rows: int, n_classes: int, dtype: torch.dtype, rooms: Rooms | None = None) -> Tensor:
    """Memory for a number of each row and class (B, K): new, or lent by `rooms`.

    Those of few classes lie class by class, so that what runs over the classes of a row runs over
    long columns side by side: a softmax of ten classes takes a tenth of the time.
    """
    memory = (rooms or Rooms()).lend(n_rows * n_classes, dtype)
    if n_classes <= FEW_CLASSES:
        return memory.view(n_classes, n_rows).T
    return memory.view(n_rows, n_classes)


def softmax(logits: Tensor, out: Tensor | None = None) -> Tensor:
    """P (B, K), which lies in memory as the logits do."""
    if lies_by_column(logits):  # class by class
        return torch.softmax(logits.T, 0, out=None if out is None else out.T).T
    return torch.softmax(logits, 1, out=out)


def row_sums(matrix: Tensor) -> Tensor:
    """Sums over the classes (B,): a product with ones is several times quicker than `sum(1)`."""
    return matrix @ matrix.new_ones(matrix.shape[1])


def column_sums(matrix: Tensor) -> Tensor:
    """Sums over the rows (K,) in float64; of float32 rows, as many as fit in cache, in float32."""
    if matrix.dtype == torch.float64:
        return matrix.sum(0)
    return (matrix.new_ones(len(matrix)) @ matrix).double()


def inner(one: Tensor, other: Tensor) -> float:
    """The sum of all products, entry by entry, of two matrices that lie in memory alike."""
    if lies_by_column(one):  # class by class
        one, other = one.T, other.T
    if one.is_contiguous():
        return float(torch.dot(one.reshape(-1), other.reshape(-1)))
    return sum(float(torch.dot(a, b)) for a, b in zip(one, other, strict=True))


def logits_in(logits: Logits, block: Block) -> Tensor:
    """The logits of a block's rows (B, K): a view of kept ones, new memory otherwise."""
    return logits[block.rows] if isinstance(logits, Tensor) else logits.of(block)


def parts(logits: Logits, least: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """All rows once, at least `least` at a time: which rows, and their logits."""
    if isinstance(logits, Tensor):
        n_rows, n_classes = logits.shape
        yield from ((rows, logits[rows]) for rows in chunks(n_rows, n_classes, least))
        return
    logits.tally.passes += 1
    for block in logits.design.blocks(logits.dtype):
        z = logits.of(block)
        for part in chunks(z.shape[0], z.shape[1], least):
            yield inside(block.rows, part), z[part]


def chunks(n_rows: int, n_classes: int, least: int = 1) -> list[slice]:
    """Slices of rows whose logits fit in cache; of `least` rows even if they do not."""
    return row_slices(n_rows, max(least, 1, CHUNK_ELEMENTS // n_classes))


def inside(rows: slice, part: slice) -> slice:
    """The rows of `part`, counted within `rows`, as rows of the whole."""
    return slice(rows.start + part.start, rows.start + part.stop)
