"""Which of two ways is taken to be the quicker one."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.sparse

from polylogit.design import design_of
from polylogit.optim.cost import Cost


def cost(shape, n_classes):
    return Cost(*shape, float(math.prod(shape)), n_classes)


@pytest.mark.parametrize(
    ("shape", "n_classes", "waits"),
    [
        ((10_000, 784), 10, False),  # images
        ((10_000, 4096), 1000, False),  # where steps take long too
        ((20_000, 500), 2, False),  # few classes: a step is as long as it takes to read the rows
        ((10_000, 4096), 10, True),  # embeddings of a language model
        ((500, 3000), 2, True),
    ],
)
def test_a_matrix_is_not_made_before_the_steps_have_taken_as_long(shape, n_classes, waits):
    steps = cost(shape, n_classes).steps_before_a_matrix(sums_are_kept=False)
    assert steps > 40 if waits else steps == 0


@pytest.mark.parametrize(("n_features", "dear"), [(4096, True), (4097, False)])
def test_a_diagonal_is_not_spared_as_a_matrix_is(n_features, dear):
    assert (cost((100, n_features), 4).gram_in_steps > 10) is dear


def test_rows_that_are_mostly_zero_make_a_matrix_dearer_than_steps():
    rows = scipy.sparse.random_array((2000, 3000), density=0.01, format="csr", random_state=0)
    of = Cost.of(design_of(rows.astype(np.float64)), 10)
    assert of.steps_before_a_matrix(sums_are_kept=False) > 200


@pytest.mark.parametrize(
    ("shape", "n_classes", "pays"),
    [
        ((100, 20_000), 4, True),  # expressed genes
        ((50, 500), 2, True),
        ((1000, 4096), 1000, True),  # one row of every class
        ((100, 199), 2, False),  # hardly fewer
        ((2000, 4000), 10, False),  # to factor them takes longer
        ((10_000, 784), 10, False),
    ],
)
def test_few_rows_are_solved_in_their_span(shape, n_classes, pays):
    assert cost(shape, n_classes).span_pays is pays


def test_a_proof_by_a_matrix_is_for_tables_and_not_for_embeddings():
    assert cost((5000, 30), 5).proof_in_products < 3
    assert cost((20_000, 1000), 20).proof_in_products > 10


def test_a_part_of_the_hessian_is_written_out_where_products_take_longer():
    dense, sparse = cost((100_000, 100), 2), Cost(100_000, 10_000, 1e6, 2)
    assert [dense.part_is_cheap(count) for count in (200, 500, 550)] == [True, True, False]
    assert [sparse.part_is_cheap(count) for count in (200, 400, 500)] == [True, True, False]
    assert not Cost(100_000, 10_000, 1e9, 2).part_is_cheap(2001)


def test_the_largest_product_is_of_all_pairs_of_classes():
    assert cost((150, 4), 3).pair_product == 150 * 3 * 25


def test_where_rows_are_few_products_are_cheap_and_a_matrix_is_dear():
    plain = cost((5000, 30), 5)
    few = dataclasses.replace(plain, compact=True)
    assert few.product < plain.product
    assert few.hessian > plain.hessian
    assert 10 < few.hessian_in_products < 25  # 22 by the clock
    assert 1 < few.matrix_in_products < few.hessian_in_products
