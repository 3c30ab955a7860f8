"""The waist of the project: weights, bias, classes and schema. It answers, and cannot fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from polylogit import functional
from polylogit.errors import DataError, SchemaError
from polylogit.schema import Label, Schema

BLOCK_BYTES = 16 * 2**20  # of rows turned to float64 at a time

Rows = Any  # ndarray, Tensor or a scipy CSR (N, D)


@dataclass(frozen=True, eq=False)
class SoftmaxModel:
    """p(k | x) = softmax(W x + b)_k, for W (K, D) and b (K,) in float64.

    Arrays become tensors. `schema` names the D features and the K classes; `record` remembers, as
    plain JSON data, how the model was fitted. Raises `SchemaError` where the shapes do not agree
    and `DataError` where a weight is not finite.

    >>> schema = Schema.for_array(1, ("no", "yes"))
    >>> model = SoftmaxModel(torch.tensor([[0.0], [1.0]]), torch.zeros(2), schema)
    >>> model.labels(np.array([[-3.0], [3.0]])).tolist()
    ['no', 'yes']
    """

    weight: Tensor
    bias: Tensor
    schema: Schema
    record: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("weight", "bias"):
            tensor = torch.as_tensor(getattr(self, name), dtype=torch.float64, device="cpu")
            tensor = tensor.detach().contiguous()
            if not np.isfinite(tensor.numpy()).all():
                raise DataError(f"the model's {name} holds a number that is not finite")
            object.__setattr__(self, name, tensor)
        wanted = (len(self.schema.classes), len(self.schema.names))
        if tuple(self.weight.shape) != wanted or tuple(self.bias.shape) != wanted[:1]:
            raise SchemaError(
                f"{wanted[0]} classes and {wanted[1]} features need weight {wanted} and bias "
                f"({wanted[0]},), not {tuple(self.weight.shape)} and {tuple(self.bias.shape)}"
            )

    @property
    def is_calibrator(self) -> bool:
        """Whether its columns are the scores of another model; see `polylogit.Calibrator`."""
        return isinstance(self.record.get("calibrator"), dict)

    @property
    def classes(self) -> tuple[Label, ...]:
        """The K class labels, in the order of the rows of `weight`."""
        return self.schema.classes

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.bias)

    @property
    def n_features(self) -> int:
        """D, counted after encoding."""
        return self.weight.shape[1]

    def logits(self, X: Rows) -> Tensor:
        """Z = X W' + b (N, K) in float64, for X (N, D) dense or CSR of any number type.

        Dense rows are taken in blocks, so that besides the answer little memory is used. The logits
        of a CSR row are the same to the bit whatever rows stand beside it; those of a dense row but
        for rounding, at most 2^-52 D sum_d |x_d W_kd| in z_k. Raises `SchemaError` for another
        number of columns, `DataError` for a number that is not finite, or so large that a logit is
        not.
        """
        self._check_rows(X)
        answer = self._product(X).add_(self.bias)
        good = answer.isfinite().all(1)
        if not bool(good.all()):
            raise DataError(_fault(X, good))
        return answer

    def log_probabilities(self, X: Rows) -> Tensor:
        """log softmax(Z) (N, K); exact far below the smallest probability."""
        return functional.log_softmax(self.logits(X), 1)

    def probabilities(self, X: Rows) -> Tensor:
        """softmax(Z) (N, K)."""
        return functional.softmax(self.logits(X), 1)

    def predict_codes(self, X: Rows) -> np.ndarray:
        """The number of the likeliest class of each row (N,), int64."""
        codes: np.ndarray = self.logits(X).argmax(1).numpy()
        return codes

    def labels(self, X: Rows) -> np.ndarray:
        """The likeliest class of each row (N,), as a label."""
        labels: np.ndarray = self.class_array()[self.predict_codes(X)]
        return labels

    def class_array(self) -> np.ndarray:
        """The classes (K,) as numpy would hold them; as objects where numpy would change them."""
        array = np.array(self.classes)
        of_one_type = len({type(label) for label in self.classes}) == 1
        unchanged = [str(label) for label in array] == [str(label) for label in self.classes]
        return array if of_one_type and unchanged else np.array(self.classes, dtype=object)

    def _check_rows(self, X: Rows) -> None:
        if X.ndim != 2:
            raise DataError(
                f"rows to predict must be a matrix (N, D), not of shape {tuple(X.shape)}"
            )
        if X.is_complex() if isinstance(X, Tensor) else X.dtype.kind not in "biuf":
            raise DataError(f"rows to predict must be real numbers, not {X.dtype}")
        if np.ma.is_masked(X):
            raise DataError("rows to predict have masked cells; fill them (X.filled(...)) first")
        if X.shape[1] != self.n_features:
            raise SchemaError(
                f"the model knows {self.n_features} features, the rows have {X.shape[1]} columns"
            )

    def _product(self, X: Rows) -> Tensor:
        if scipy.sparse.issparse(X):
            return torch.from_numpy(X.astype(np.float64, copy=False) @ self.weight.numpy().T)
        product = torch.empty(len(X), self.n_classes, dtype=torch.float64)
        step = max(1, BLOCK_BYTES // (8 * max(1, self.n_features)))
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            torch.matmul(_dense(X[rows]), self.weight.T, out=product[rows])
        return product


def _dense(rows: Rows) -> Tensor:
    """Rows in float64, in memory that torch can read: native byte order, ascending, writeable."""
    if isinstance(rows, Tensor):
        return rows.detach().to("cpu", torch.float64)
    plain = np.require(rows, np.float64, ["C", "W"])
    # a single row taken backwards is contiguous to numpy, and its stride negative all the same
    return torch.from_numpy(plain if min(plain.strides) >= 0 else plain.copy())


def _fault(X: Rows, good: Tensor) -> str:
    """Say what spoils the first row without finite logits."""
    row = int(good.int().argmin())
    first = X[row : row + 1]
    values = _dense(first.toarray() if scipy.sparse.issparse(first) else first)[0]
    wrong = ~values.isfinite()
    column = int(wrong.int().argmax() if wrong.any() else values.abs().argmax())
    why = "is not finite" if wrong.any() else "is so large that a logit leaves float64"
    return (
        f"row {row} to predict from holds {values[column].item()} in column {column}, which {why} "
        f"({int((~good).sum())} of {len(good)} rows are such); mend them or leave them out"
    )
