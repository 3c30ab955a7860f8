import pytest
import torch

from polylogit.optim.preconditioner import (
    SMALL,
    DiagonalPreconditioner,
    GramPreconditioner,
    cholesky,
    solved,
)


def spd(size, seed=0):
    A = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return A @ A.T + 0.1 * torch.eye(size, dtype=torch.float64)


def test_cholesky_of_any_scale_keeps_its_digits():
    scale = torch.tensor([1e-12, 1.0, 1e9, 1e15], dtype=torch.float64)
    matrix = torch.outer(scale, scale) * spd(4)
    factor = cholesky(matrix)
    torch.testing.assert_close(factor @ factor.T, matrix, rtol=1e-13, atol=0)


def test_a_singular_matrix_is_lifted_by_next_to_nothing():
    ones = torch.ones(3, 3, dtype=torch.float64)
    factor = cholesky(ones)
    torch.testing.assert_close(factor @ factor.T, ones, rtol=0, atol=1e-9)
    assert bool((factor.diagonal() > 0).all())


def test_an_indefinite_matrix_leaves_its_diagonal():
    matrix = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    assert torch.equal(cholesky(matrix), torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("size", [6, SMALL + 2])
def test_a_solution_has_the_shape_of_its_right_side(size):
    A = spd(size)
    right = torch.linspace(-1, 1, size, dtype=torch.float64).reshape(2, -1)
    solution = solved(A, right)
    assert solution.shape == right.shape
    torch.testing.assert_close(A @ solution.flatten(), right.flatten(), rtol=1e-9, atol=1e-9)


def test_a_singular_matrix_is_solved_where_it_can_be():
    right = torch.ones(1, 3, dtype=torch.float64)
    solution = solved(torch.ones(3, 3, dtype=torch.float64), right)
    assert float(solution.sum()) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_solve_with_what_they_hold(dtype):
    A = spd(5)
    R = torch.randn(3, 5, dtype=dtype, generator=torch.Generator().manual_seed(1))
    loose = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    expected = R.double() @ torch.linalg.inv(A)
    torch.testing.assert_close(GramPreconditioner(A)(R).double(), expected, **loose)
    diagonal = A.diagonal()
    torch.testing.assert_close(
        DiagonalPreconditioner(diagonal)(R).double(), R.double() / diagonal, **loose
    )
    assert GramPreconditioner(A)(R).dtype == dtype
