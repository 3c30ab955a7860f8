"""Two convex problems that know nothing of classes: what a solver may be handed in a test."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from polylogit.optim.preconditioner import DiagonalPreconditioner
from polylogit.optim.problem import Evaluation


class Toy:
    """A `Problem` from `value`, `gradient` and `hessian` of a flat point."""

    shape: tuple[int, ...]

    def evaluate(self, point):
        flat = point.reshape(-1)
        return Evaluation(point, float(self.value(flat)), self.gradient(flat).reshape(point.shape))

    def line(self, at, direction):
        return ToyLine(self, at, direction)

    def curvature(self, at):
        return ToyCurvature(self.hessian(at.point.reshape(-1)))

    def preconditioner(self, at):
        diagonal = self.hessian(at.point.reshape(-1)).diagonal().reshape(at.point.shape)
        return DiagonalPreconditioner(diagonal)


@dataclass(frozen=True)
class ToyLine:
    trials_are_free = True

    toy: Toy
    at: Evaluation
    direction: torch.Tensor

    def slope(self, t):
        return float((self.evaluate(t).gradient * self.direction).sum())

    def curvature(self, t):
        flat = self.direction.reshape(-1)
        return float(flat @ self.toy.hessian(self.evaluate(t).point.reshape(-1)) @ flat)

    def evaluate(self, t):
        return self.toy.evaluate(self.at.point + t * self.direction)


@dataclass(frozen=True)
class ToyCurvature:
    hessian: torch.Tensor
    written_out: bool = True

    def product(self, direction):
        flat = self.hessian.to(direction.dtype) @ direction.reshape(-1)
        return flat.reshape(direction.shape)

    def matrix(self):
        return self.hessian

    def diagonal(self):
        return self.hessian.diagonal()

    def part_is_cheap(self, count):  # noqa: ARG002
        return self.written_out

    def part(self, entries):
        return self.hessian[entries[:, None], entries]


class Bowl(Toy):
    """1/2 (x - x*)' A (x - x*), badly conditioned."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        B = torch.randn(6, 6, dtype=torch.float64, generator=generator)
        scale = 10.0 ** torch.linspace(-1, 1, 6, dtype=torch.float64)
        self.A = (B @ B.T + torch.eye(6, dtype=torch.float64)) * torch.outer(scale, scale)
        self.solution = torch.randn(2, 3, dtype=torch.float64, generator=generator)

    def value(self, x):
        return 0.5 * self.gradient(x) @ (x - self.solution.reshape(-1))

    def gradient(self, x):
        return self.A @ (x - self.solution.reshape(-1))

    def hessian(self, x):  # noqa: ARG002
        return self.A

    def steepest(self):
        return self.A


class LogCosh(Toy):
    """sum_i log cosh((B x)_i - c_i) + |x|^2 / 200: straight far out, where Newton overshoots."""

    def __init__(self, n=4):
        generator = torch.Generator().manual_seed(4)
        self.B = torch.randn(n + 5, n, dtype=torch.float64, generator=generator)
        self.c = torch.randn(n + 5, dtype=torch.float64, generator=generator)
        self.far = torch.full((n,), 30.0, dtype=torch.float64)
        x = torch.zeros(n, dtype=torch.float64)
        for _ in range(200):
            x = x - 0.5 * torch.linalg.solve(self.hessian(x), self.gradient(x))
        self.lowest = float(self.value(x))

    def value(self, x):
        u = (self.B @ x - self.c).abs()
        return (u + torch.log1p(torch.exp(-2 * u)) - 0.6931471805599453).sum() + x @ x / 200

    def gradient(self, x):
        return self.B.T @ torch.tanh(self.B @ x - self.c) + x / 100

    def hessian(self, x):
        bend = 1 - torch.tanh(self.B @ x - self.c).square()
        return (
            self.B.T @ (bend[:, None] * self.B)
            + torch.eye(len(self.far), dtype=torch.float64) / 100
        )

    def steepest(self):
        return self.B.T @ self.B + torch.eye(len(self.far), dtype=torch.float64) / 100


class Kinked(Toy):
    """Another toy plus sum_j w_j |x_j|, whose lowest point is found by many small steps."""

    def __init__(self, smooth, thresholds, written_out=True):
        self.smooth, self.w, self.written_out = smooth, thresholds, written_out
        x = torch.zeros(thresholds.numel(), dtype=torch.float64)
        step = 1 / torch.linalg.eigvalsh(smooth.steepest()).max()
        for _ in range(20_000):
            v = x - step * smooth.gradient(x)
            after = v - v.clamp(-step * thresholds.flatten(), step * thresholds.flatten())
            x, moved = after, float((after - x).abs().max())
            if moved < 1e-15:
                break
        self.best, self.lowest = x, float(self.value(x))

    def thresholds(self):
        return self.w

    def centred(self, part, columns):  # noqa: ARG002
        return part

    def value(self, x):
        return self.smooth.value(x) + self.w.flatten() @ x.abs()

    def gradient(self, x):
        return self.smooth.gradient(x)

    def hessian(self, x):
        return self.smooth.hessian(x)

    def curvature(self, at):
        return ToyCurvature(self.hessian(at.point.reshape(-1)), self.written_out)
