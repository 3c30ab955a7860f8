"""A model answers the same for every form of the same rows, and refuses rows by row and column."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import torch

from polylogit import model as module
from polylogit.errors import DataError, SchemaError
from polylogit.model import SoftmaxModel
from polylogit.schema import Schema

RNG = np.random.default_rng(0)
NAN, INF = float("nan"), float("inf")


def model(weight, bias=None, classes=None):
    weight = np.asarray(weight, dtype=float)
    bias = np.zeros(len(weight)) if bias is None else bias
    classes = tuple(range(len(weight))) if classes is None else classes
    return SoftmaxModel(weight, bias, Schema.for_array(weight.shape[1], classes))


# Eighths between -8 and 8, which bfloat16 holds too: every product and every sum is exact, in any
# order, so that all forms of these rows must give the same bits.
X = RNG.integers(-64, 65, size=(40, 5)) / 8
X[RNG.uniform(size=X.shape) < 0.4] = 0
W = RNG.integers(-64, 65, size=(3, 5)) / 8
B = RNG.integers(-64, 65, size=3) / 8
EXACT = model(W, B, ("a", "b", "c"))


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def doubled(matrix):
    """The same matrix with every entry stored as two halves, columns descending."""
    rows = [np.repeat(np.flatnonzero(row)[::-1], 2) for row in matrix]
    values = np.concatenate([matrix[i, columns] / 2 for i, columns in enumerate(rows)])
    starts = np.cumsum([0, *map(len, rows)])
    return scipy.sparse.csr_array((values, np.concatenate(rows), starts), shape=matrix.shape)


FORMS = {
    "plain": X,
    "float32": X.astype(np.float32),
    "float16": X.astype(np.float16),
    "longdouble": X.astype(np.longdouble),
    "big-endian": X.astype(">f8"),
    "big-endian float32": X.astype(">f4"),
    "fortran": np.asfortranarray(X),
    "read-only": frozen(X),
    "rows reversed": X[::-1].copy()[::-1],
    "columns reversed": X[:, ::-1].copy()[:, ::-1],
    "every second": np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "nothing masked": np.ma.masked_invalid(X),
    "tensor": torch.from_numpy(X.copy()),
    "tensor float32": torch.from_numpy(X.astype(np.float32)),
    "tensor bfloat16": torch.from_numpy(X.copy()).bfloat16(),
    "tensor transposed": torch.from_numpy(X.T.copy()).T,
    "tensor with gradient": torch.from_numpy(X.copy()).requires_grad_(),
    "csr array": scipy.sparse.csr_array(X),
    "csr matrix": scipy.sparse.csr_matrix(X),
    "csr float32": scipy.sparse.csr_array(X.astype(np.float32)),
    "csr stored twice": doubled(X),
}


@pytest.mark.parametrize("block", [1, 2**24])
@pytest.mark.parametrize("rows", FORMS.values(), ids=FORMS)
def test_every_form_of_the_same_rows_gives_the_same_bits(rows, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", block)
    logits = EXACT.logits(rows)
    assert logits.dtype == torch.float64
    np.testing.assert_array_equal(logits, X @ W.T + B)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.uint64])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_whole_numbers_and_booleans_are_numbers(dtype, form):
    rows = RNG.integers(0, 100, size=(9, 5)).astype(dtype)
    np.testing.assert_array_equal(EXACT.logits(form(rows)), rows.astype(float) @ W.T + B)


def test_answers_agree_with_the_formula_in_higher_precision():
    rows, weight, bias = RNG.normal(size=(50, 7)), RNG.normal(size=(4, 7)), RNG.normal(size=4)
    ours = model(weight, bias, ("d", "a", "c", "b"))
    Z = rows.astype(np.longdouble) @ weight.T.astype(np.longdouble) + bias
    P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
    np.testing.assert_allclose(ours.logits(rows), Z.astype(float), rtol=0, atol=1e-14)
    np.testing.assert_allclose(ours.probabilities(rows), P.astype(float), rtol=2e-14)
    np.testing.assert_allclose(
        ours.log_probabilities(rows), np.log(P).astype(float), rtol=0, atol=2e-14
    )
    np.testing.assert_array_equal(ours.predict_codes(rows), P.argmax(1))
    np.testing.assert_array_equal(ours.labels(rows), np.array(["d", "a", "c", "b"])[P.argmax(1)])


def test_probabilities_sum_to_one():
    sums = EXACT.probabilities(X).sum(1)
    np.testing.assert_allclose(sums, 1, rtol=4e-16)


def test_log_probabilities_are_exact_where_probabilities_are_zero():
    rows = np.array([[0.0], [3000.0]])
    np.testing.assert_array_equal(
        model([[0.0], [1.0]]).log_probabilities(rows), [[-np.log(2), -np.log(2)], [-3000, 0]]
    )


def test_logits_at_the_end_of_float64_still_have_probabilities():
    rows = np.array([[1e308], [-1e308]])
    np.testing.assert_array_equal(model([[1.0], [-1.0]]).probabilities(rows), [[1, 0], [0, 1]])


def test_of_equal_classes_the_first_is_named():
    assert model(np.zeros((3, 1)), classes=("c", "a", "b")).labels(np.ones((2, 1))).tolist() == [
        "c",
        "c",
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 33, 100])
@pytest.mark.parametrize(("d", "k"), [(7, 5), (64, 10), (784, 3), (784, 100)])
def test_a_row_alone_answers_as_in_a_batch_but_for_rounding(size, d, k):
    rows, weight = RNG.normal(size=(150, d)), RNG.normal(size=(k, d))
    ours = model(weight)
    whole = ours.logits(rows)
    parts = torch.cat([ours.logits(rows[i : i + size]) for i in range(0, len(rows), size)])
    bound = 2.0**-52 * d * (np.abs(rows) @ np.abs(weight).T)
    assert bool(((whole - parts).abs().numpy() <= bound).all())


@pytest.mark.parametrize("size", [1, 2, 7, 33])
def test_a_sparse_row_alone_answers_to_the_bit_as_in_a_batch(size):
    rows = scipy.sparse.random_array((150, 784), density=0.1, rng=1, format="csr")
    ours = model(RNG.normal(size=(10, 784)), RNG.normal(size=10))
    parts = [ours.probabilities(rows[i : i + size]) for i in range(0, 150, size)]
    assert torch.equal(torch.cat(parts), ours.probabilities(rows))


EMPTY = [np.empty((0, 5)), torch.empty(0, 5), scipy.sparse.csr_array((0, 5))]


@pytest.mark.parametrize("rows", EMPTY, ids=["numpy", "torch", "csr"])
def test_no_rows_give_an_empty_answer(rows):
    for answer in (EXACT.logits, EXACT.probabilities, EXACT.log_probabilities):
        assert answer(rows).shape == (0, 3)
        assert answer(rows).dtype == torch.float64
    assert EXACT.predict_codes(rows).dtype == np.int64
    assert EXACT.labels(rows).shape == (0,)
    assert EXACT.labels(rows).dtype == np.array(["a"]).dtype


def test_only_a_block_of_the_rows_is_turned_to_float64_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 2**16)
    rows = np.zeros((2**15, 5), dtype=np.float32)
    tracemalloc.start()
    EXACT.logits(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 2**15 < peak < 2**18  # at once it would be 1.25 MiB


def test_the_rows_are_not_changed():
    rows, tensor, sparse = X.copy(), torch.from_numpy(X.copy()), scipy.sparse.csr_array(X)
    for given in (rows, tensor, sparse):
        EXACT.probabilities(given)
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(tensor, X)
    np.testing.assert_array_equal(sparse.toarray(), X)


def refusal(kind, call, *args):
    with pytest.raises(kind) as caught:
        call(*args)
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("width", [0, 4, 6])
@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, scipy.sparse.csr_array])
def test_another_width_is_refused(width, form):
    assert refusal(SchemaError, EXACT.probabilities, form(np.ones((2, width)))) == (
        f"the model knows 5 features, the rows have {width} columns"
    )


@pytest.mark.parametrize("shape", [(5,), (), (2, 5, 1)])
@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy])
def test_rows_that_are_no_matrix_are_refused(shape, form):
    assert refusal(DataError, EXACT.labels, form(np.ones(shape))) == (
        f"rows to predict must be a matrix (N, D), not of shape {shape}"
    )


@pytest.mark.parametrize("dtype", [complex, object, "U3", "S3", "M8[s]", "m8[s]"])
def test_what_is_no_real_number_is_refused(dtype):
    rows = np.ones((2, 5)).astype(int).astype(dtype)
    assert refusal(DataError, EXACT.logits, rows) == (
        f"rows to predict must be real numbers, not {rows.dtype}"
    )


def test_complex_tensors_and_sparse_matrices_are_refused():
    for rows in (torch.ones(2, 5) * 1j, scipy.sparse.csr_array(np.ones((2, 5)) * 1j)):
        assert refusal(DataError, EXACT.logits, rows) == (
            f"rows to predict must be real numbers, not {rows.dtype}"
        )


def test_masked_cells_are_refused():
    rows = np.ma.masked_equal(X, X[0, 0])
    assert refusal(DataError, EXACT.logits, rows) == (
        "rows to predict have masked cells; fill them (X.filled(...)) first"
    )


def as_tensor(rows):
    return torch.from_numpy(rows.copy())


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("weight", [W, np.zeros((3, 5))], ids=["weights", "zero weights"])
@pytest.mark.parametrize("form", [np.asarray, np.float32, as_tensor, scipy.sparse.csr_array])
def test_the_first_value_that_is_not_finite_is_named(value, weight, form, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 5 * 4)
    rows = X.copy()
    rows[17, 3] = rows[17, 4] = rows[30, 0] = value
    assert refusal(DataError, model(weight).probabilities, form(rows)) == (
        f"row 17 to predict from holds {value} in column 3, which is not finite "
        "(2 of 40 rows are such); mend them or leave them out"
    )


@pytest.mark.parametrize("form", [np.asarray, as_tensor, scipy.sparse.csr_array])
def test_a_finite_row_whose_logits_overflow_is_named(form):
    rows = np.ones((4, 5))
    rows[2, 1] = -1e308
    assert refusal(DataError, model(np.full((2, 5), 8.0)).labels, form(rows)) == (
        "row 2 to predict from holds -1e+308 in column 1, which is so large that a logit leaves "
        "float64 (1 of 4 rows are such); mend them or leave them out"
    )


def test_weights_are_float64_tensors_without_gradient_whatever_they_came_as():
    truth = [[0.5, 1.5], [2.5, 3.5]]
    for weight in (
        torch.tensor(truth, requires_grad=True),
        torch.tensor(truth, dtype=torch.float64).T.contiguous().T,
        torch.tensor(truth).half(),
        np.array(truth, dtype=np.float32),
        truth,
    ):
        found = SoftmaxModel(weight, [0, 1], Schema.for_array(2, (0, 1)))
        for tensor, expected in ((found.weight, truth), (found.bias, [0, 1])):
            assert tensor.dtype == torch.float64
            assert tensor.is_contiguous()
            assert not tensor.requires_grad
            assert tensor.tolist() == expected


def test_digits_of_plain_numbers_are_kept():
    assert SoftmaxModel([[0.1]], [0.3], Schema.for_array(1, (0,))).weight.item() == 0.1


@pytest.mark.parametrize(
    ("weight", "bias"),
    [((2, 3), 3), ((3, 2), 3), ((3,), 3), ((3, 3, 1), 3), ((4, 3), 4), ((3, 3), 2), ((3, 3), 1)],
)
def test_shapes_that_do_not_agree_are_refused(weight, bias):
    schema = Schema.for_array(3, (0, 1, 2))
    shapes = f"{weight} and {(bias,)}"
    assert refusal(SchemaError, SoftmaxModel, torch.zeros(weight), torch.zeros(bias), schema) == (
        f"3 classes and 3 features need weight (3, 3) and bias (3,), not {shapes}"
    )


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_weights_that_are_not_finite_are_refused(name, value):
    parts = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    parts[name].view(-1)[1] = value
    schema = Schema.for_array(3, (0, 1))
    assert refusal(DataError, SoftmaxModel, *parts.values(), schema) == (
        f"the model's {name} holds a number that is not finite"
    )


def test_a_model_is_frozen_and_knows_its_sizes():
    assert (EXACT.n_classes, EXACT.n_features) == (3, 5)
    assert (EXACT.classes, dict(EXACT.record)) == (("a", "b", "c"), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        EXACT.bias = torch.zeros(3)


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [
        (("no", "yes"), "<U3"),
        ((3, -1), "int64"),
        ((np.int64(3), np.int64(-1)), "int64"),
        ((False, True), "bool"),
        ((0.5, 1.0), "float64"),
        (("a", "a\0"), "object"),  # numpy's text would lose the NUL
        ((-1, 2**63), "object"),  # numpy would make them floats
        ((2**70, 1), "object"),
        ((1, "1"), "object"),
        ((True, 2), "object"),
    ],
)
def test_labels_are_the_classes_unchanged(classes, dtype):
    labels = model([[-1.0], [1.0]], classes=classes).labels(np.array([[-1.0], [1.0]]))
    assert labels.dtype == dtype
    assert [repr(label) for label in labels.tolist()] == [
        repr(label.item() if isinstance(label, np.generic) else label) for label in classes
    ]
