import pytest
import torch

from polylogit.optim.preconditioner import (
    LEAST_RATIO,
    MISFIT,
    SMALL,
    ClassDiagonalPreconditioner,
    ClassPreconditioner,
    DiagonalPreconditioner,
    Factor,
    GramPreconditioner,
    InContrasts,
    cholesky,
    solved,
)
from polylogit.optim.sums import contrast_basis


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


def test_a_row_of_zeros_leaves_a_finite_inverse():
    matrix = torch.zeros(3, 3, dtype=torch.float64)
    matrix[:2, :2] = 1e-8 * spd(2)
    inverse = torch.cholesky_inverse(cholesky(matrix))
    assert bool(inverse.isfinite().all())
    torch.testing.assert_close(inverse[:2, :2], torch.linalg.inv(matrix[:2, :2]), rtol=1e-6, atol=0)


def test_an_indefinite_matrix_leaves_its_diagonal():
    matrix = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    assert torch.equal(cholesky(matrix), torch.eye(2, dtype=torch.float64))


def relative_error_of_inverse(matrix):
    root = matrix.diagonal().sqrt()
    truth = torch.linalg.inv(matrix / torch.outer(root, root))
    return float(
        (Factor.of(matrix).inverse() * torch.outer(root, root) - truth).norm() / truth.norm()
    )


def well_conditioned(size):
    return spd(size) + size * torch.eye(size, dtype=torch.float64)


@pytest.mark.parametrize(("size", "at_most"), [(6, 1e-12), (SMALL + 2, 1e-5)])
def test_an_inverse_to_steer_by_keeps_its_digits_whatever_the_scale(size, at_most):
    scale = torch.logspace(-12, 15, size, dtype=torch.float64)
    error = relative_error_of_inverse(torch.outer(scale, scale) * well_conditioned(size))
    assert at_most / 1e4 < error < at_most  # in float64 if small, else in float32


def test_an_inverse_keeps_its_digits_where_columns_are_nearly_collinear():
    matrix = well_conditioned(SMALL + 2)
    matrix[-1, :-1] = matrix[:-1, -1] = matrix[0, :-1] * (1 - 1e-7)
    matrix[-1, -1] = matrix[0, 0]
    assert relative_error_of_inverse(matrix) < 1e-8


def test_the_inverse_of_a_matrix_with_a_row_of_zeros_is_finite():
    matrix = well_conditioned(SMALL + 2)
    matrix[-1] = matrix[:, -1] = 0
    assert bool(Factor.of(matrix).inverse().isfinite().all())


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


def lowest_of_sum_zero(models, gradient):
    """argmin 1/2 sum_k u_k' M_k u_k - sum_k g_k' u_k over sum_k u_k = 0, by its KKT system."""
    k, n = gradient.shape
    system = torch.zeros(k * n + n, k * n + n, dtype=torch.float64)
    system[: k * n, : k * n] = torch.block_diag(*models)
    everyone = torch.eye(n, dtype=torch.float64).repeat(1, k)
    system[k * n :, : k * n], system[: k * n, k * n :] = everyone, everyone.T
    right = torch.cat([gradient.flatten(), torch.zeros(n, dtype=torch.float64)])
    return torch.linalg.solve(system, right)[: k * n].view(k, n)


def some_gradients(*shape, seed=1):
    g = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return g - g.mean(-2, keepdim=True)


def own_models(A, diagonals):
    ratios = diagonals / A.diagonal()
    roots, usual = ratios.sqrt(), ratios.median(1).values.sqrt()
    uneven = sum((root / middle - 1) ** 2 for root, middle in zip(roots, usual, strict=True))
    lifted = A + torch.diag(MISFIT * uneven / len(roots) * A.diagonal())
    return [torch.diag(r) @ lifted @ torch.diag(r) for r in roots]


CLASSES = torch.tensor([[1.0, 1.2, 0.8, 3.0], [0.1, 0.2, 0.09, 0.1], [2.0, 9.0, 2.2, 1.9]]).double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_class_has_its_own_scale_and_all_together_stay_put(dtype):
    A = spd(4)
    diagonals = CLASSES * A.diagonal()
    precondition = ClassPreconditioner(A, diagonals)
    G = some_gradients(5, 3, 4)
    found = precondition(G.to(dtype))
    assert found.dtype == dtype
    loose = 1e-3 if dtype == torch.float32 else 1e-10
    models = own_models(A, diagonals)
    for g, u in zip(G, found.double(), strict=True):
        torch.testing.assert_close(u, lowest_of_sum_zero(models, g), rtol=loose, atol=loose)
    torch.testing.assert_close(precondition(G[0].to(dtype)), found[0], rtol=loose, atol=loose)


def test_its_model_takes_the_step_back_to_the_gradient_but_for_what_all_share():
    A = spd(4)
    diagonals = CLASSES * A.diagonal()
    precondition, G = ClassPreconditioner(A, diagonals), some_gradients(3, 4)
    back = precondition.curvature(precondition(G))
    shared = back - G
    torch.testing.assert_close(shared, shared[:1].expand(3, -1), rtol=1e-9, atol=1e-9)
    models = own_models(A, diagonals)
    each = torch.stack([m @ g for m, g in zip(models, G, strict=True)])
    torch.testing.assert_close(precondition.curvature(G), each, rtol=1e-12, atol=1e-12)


def test_one_ratio_for_all_columns_of_a_class_leaves_the_shape_of_the_matrix():
    A, G = spd(4), some_gradients(2, 3, 4)
    even = ClassPreconditioner(A, CLASSES * A.diagonal()).even()
    models = [ratio * A for ratio in CLASSES.median(1).values]
    for g, u in zip(G, even(G), strict=True):
        torch.testing.assert_close(u, lowest_of_sum_zero(models, g), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(even.once(G[0]), even(G[0]), rtol=1e-9, atol=1e-9)
    each = torch.stack([m @ g for m, g in zip(models, G[0], strict=True)])
    torch.testing.assert_close(even.curvature(G[0]), each, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("off", "even"), [(0.0, True), (0.02, True), (0.1, False)])
def test_where_the_ratios_of_a_class_are_one_both_models_are(off, even):
    A, ratios = spd(4), torch.tensor([[1.0], [0.1], [2.0]]).double().repeat(1, 4)
    ratios[1, 2] *= 1 + off
    made, G = ClassPreconditioner(A, ratios * A.diagonal()), some_gradients(3, 4)
    assert made.is_even == even
    if even:
        torch.testing.assert_close(made.even()(G), made(G), rtol=0.1 * off + 1e-9, atol=off + 1e-9)


def test_where_columns_are_collinear_no_class_is_thought_flat_where_it_is_not():
    """Indicators of three categories, which add up to one, beside one more column."""
    draw = torch.Generator().manual_seed(0)
    categories = torch.randint(3, (400,), generator=draw)
    X = torch.nn.functional.one_hot(categories, 3).double()
    X = torch.cat([X, torch.randn(400, 1, generator=draw, dtype=torch.float64)], 1)
    X -= X.mean(0)
    ridge = 1e-9 * torch.eye(4, dtype=torch.float64)
    heights = torch.tensor([[0.1, 0.3, 0.1], [0.2, 0.1, 0.2]]).double()  # by class and category
    blocks = [X.T @ (height[categories, None] * X) / 400 + ridge for height in heights]
    A = sum(blocks) / 2
    diagonals = torch.stack([block.diagonal() for block in blocks])
    precondition = ClassPreconditioner(A, diagonals)
    for k, block in enumerate(blocks):
        model = torch.stack([precondition.curvature(row.expand(2, -1))[k] for row in torch.eye(4)])
        ratios = torch.linalg.eigvals(torch.linalg.solve(model.double(), block)).real
        assert float(ratios.max()) < 3


def test_a_column_without_curvature_in_a_class_keeps_a_share_of_the_common_one():
    A = spd(4)
    ratios = CLASSES.clone()
    ratios[0, 2] = 1e-12
    raised = CLASSES.clone()
    raised[0, 2] = LEAST_RATIO * 1.0  # the median of the others and of the vanished one
    G = some_gradients(3, 4)
    found = ClassPreconditioner(A, ratios * A.diagonal())(G)
    truth = lowest_of_sum_zero(own_models(A, raised * A.diagonal()), G)
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9)


def test_columns_and_classes_without_any_curvature_leave_finite_steps():
    A, ratios = spd(4), CLASSES.clone()
    A[3], A[:, 3] = 0, 0  # a constant column without a penalty
    ratios[1] = 0  # a class whose rows are all saturated
    found = ClassPreconditioner(A, ratios * A.diagonal())(some_gradients(3, 4))
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_diagonal_too_leaves_all_together_where_they_are(dtype):
    G = some_gradients(3, 4)
    found = ClassDiagonalPreconditioner(CLASSES)(G.to(dtype))
    truth = lowest_of_sum_zero([torch.diag(d) for d in CLASSES], G)
    assert found.dtype == dtype
    loose = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found.double(), truth, rtol=loose, atol=loose)


def test_steps_in_contrasts_are_those_of_the_classes():
    basis, G = contrast_basis(3), some_gradients(3, 4)
    model = InContrasts(basis, ClassDiagonalPreconditioner(CLASSES))
    truth = lowest_of_sum_zero([torch.diag(d) for d in CLASSES], G)
    found = model(basis.T @ G)
    torch.testing.assert_close(basis @ found, truth, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.curvature(found), basis.T @ G, rtol=1e-11, atol=1e-12)
