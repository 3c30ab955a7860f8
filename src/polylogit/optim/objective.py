"""The objective of softmax classification: F with all that solvers and proofs ask of it.

The value and its slope are `polylogit.optim.sums`, lines and the Hessian modules of their own;
here is what stands in for the Hessian (`preconditioner`) and what lies below it (for a proof).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from polylogit.design import Block
from polylogit.optim.cost import WIDEST_GRAM
from polylogit.optim.curvature import (
    SoftmaxCurvature,
    bordered_gram,
    class_spreads,
    gram_diagonal,
    mean_spread,
    probabilities_in,
    weighted_diagonal,
)
from polylogit.optim.lines import LogitLine, RecomputedLine
from polylogit.optim.logits import Logits, RecomputedLogits, logits_of, parts, row_sums, softmax
from polylogit.optim.own_rows import OwnRows, OwnRowsPreconditioner, has_own_rows, own_rows
from polylogit.optim.preconditioner import (
    ClassDiagonalPreconditioner,
    ClassPreconditioner,
    DiagonalPreconditioner,
    EvenPreconditioner,
    GramPreconditioner,
    Kept,
)
from polylogit.optim.problem import Evaluation, Line, Preconditioner, dot
from polylogit.optim.sums import SoftmaxSums
from polylogit.optim.targets import Labels

MUCH, MORE = 4.0, 2.0  # times what one model promises: to look at another, and to prefer it


@dataclass(frozen=True)
class SoftmaxObjective(SoftmaxSums):
    """F as a `Problem`."""

    diagonals: int = 0  # so many first preconditioners are the Hessian's diagonal, not a matrix
    kept: Kept | None = None  # sums of the preconditioner that may be used again
    own: list[OwnRows] = field(default_factory=list)  # one at most: made when first asked for

    def line(self, at: Evaluation, direction: Tensor) -> Line:
        """F along a line: one pass for the logits' own direction, none for any trial step.

        Where logits are not kept, a trial costs a pass and the evaluation there is free.
        """
        if isinstance(logits_of(at), RecomputedLogits):
            return RecomputedLine(self, at, direction)
        return LogitLine(self, at, direction, self._products(direction))

    def curvature(self, at: Evaluation) -> SoftmaxCurvature:
        """The Hessian at `at`, its probabilities kept in `fast` if they are kept at all."""
        logits = logits_of(at)
        if isinstance(logits, RecomputedLogits):
            return SoftmaxCurvature(self, logits.to(self.fast))
        return SoftmaxCurvature(self, softmax(logits).to(self.fast))

    def preconditioner(self, at: Evaluation) -> Preconditioner:
        """One matrix for all classes, rows weighted by (1 - |p_i|^2)/(K - 1), scaled for each.

        Designs too wide for a D x D matrix get the diagonal of the Hessian itself, and others the
        first times they ask (`diagonals`). Where a class has few rows, they are apart
        (`polylogit.optim.own_rows`).
        """
        self.tally.models += 1
        logits = logits_of(at)
        if isinstance(logits, RecomputedLogits):
            logits = logits.to(self.fast)
        alike = self.n_classes == 2 or self.basis is not None  # or no longer told apart
        if self.tally.models <= self.diagonals or self.design.n_features > WIDEST_GRAM:
            diagonals = self.bordered_diagonal(self._sums_near(logits, self._curvature_diagonal))
            return (DiagonalPreconditioner if alike else ClassDiagonalPreconditioner)(diagonals)
        ridge = torch.diag(self.ridge_columns())
        if alike:
            return GramPreconditioner(self._sums_near(logits, self._mean_gram) + ridge)
        if isinstance(self.targets, Labels) and self._has_own_rows(at):
            return self._with_own_rows(self.targets.codes, logits, ridge)
        gram, diagonals = self._split_sums(self._sums_near(logits, self._curvatures))
        made = ClassPreconditioner(gram + ridge, self.bordered_diagonal(diagonals))
        return self._chosen(at, made)

    def _chosen(self, at: Evaluation, made: ClassPreconditioner) -> Preconditioner:
        """The better model; of kept sums, the one that was the better when they were made."""
        even = made.even()
        if made.is_even:
            return even
        if self.kept is None:
            return self._better(at, made, even)
        if self.kept.even is None:
            self.kept.even = self._better(at, made, even) is even
        return even if self.kept.even else made

    def _better(
        self, at: Evaluation, made: Preconditioner, even: EvenPreconditioner
    ) -> Preconditioner:
        """The model whose step down the gradient gains more; one pass where `even` promises much.

        A step d = M^-1 g promises g'd / 2 and gains (g'd)^2 / (2 d'Hd) at its best length.
        """
        gradient = at.gradient.to(self.fast)
        step = even.once(gradient)
        promised, other = (dot(gradient, d) for d in (step, made(gradient)))
        if promised <= MUCH * other:
            return made
        bend = dot(step, self.curvature(at).product(step))
        return even if promised**2 > MORE * other * bend else made

    def _has_own_rows(self, at: Evaluation) -> bool:
        """Whether the rows of a class matter to it alone: there are few, and they are told apart.

        Sums that are kept for other fits are those of all rows.
        """
        few = self.kept is None and has_own_rows(self.design, self.n_classes)
        return few and not self._sees_nothing(at.point)

    def _with_own_rows(self, codes: Tensor, logits: Logits, ridge: Tensor) -> OwnRowsPreconditioner:
        """As `ClassPreconditioner`, with the rows of a class apart from the rest."""
        own, shares = self._own_rows(codes), torch.zeros(len(codes), dtype=self.fast)
        taken = own.is_among(len(codes))

        def contribution(block: Block) -> Tensor:
            p = probabilities_in(logits, block).to(self.fast)
            spreads = class_spreads(p, block, self.weights)
            mine = codes[block.rows, None]
            own_part = spreads.gather(1, mine)
            shares[block.rows] = own_part.squeeze(1)
            spreads.scatter_(1, mine, own_part * ~taken[block.rows, None])
            mean = row_sums(spreads) / (self.n_classes - 1)
            return bordered_gram(block, mean, weighted_diagonal(block, spreads))

        gram, diagonals = self._split_sums(self.sum_over_rows(contribution, self.fast))
        diagonals = self.bordered_diagonal(diagonals)
        return OwnRowsPreconditioner(gram + ridge, diagonals, own.features, own.picked(shares))

    def _own_rows(self, codes: Tensor) -> OwnRows:
        """The rows of every class, copied once in a fit."""
        if not self.own:
            made = own_rows(self.design, codes, self.n_classes, self.intercept, self.fast)
            self.own.append(made)
        return self.own[0]

    def least_curvature(self, at: Evaluation) -> Tensor:
        """M (D~, D~) with I x M nowhere above the Hessian, in float64: one pass.

            M = sum_i s_i min_k p_ik x~_i x~_i'  +  ridge

        For the variance of logits u that sum to zero over the classes is
        min_c sum_k p_k (u_k - c)^2 >= min_k p_k |u|^2.
        """
        gram = self.exactly()._curvature_gram(logits_of(at), lambda p: p.amin(1))
        return gram + torch.diag(self.ridge_columns())

    def _sums_near(self, logits: Logits, make: Callable[[Logits], Tensor]) -> Tensor:
        """What `make` makes, or has made where the rows' curvature was about the same."""
        if self.kept is None or isinstance(logits, RecomputedLogits):
            # of logits that are not kept, the rows' curvature costs the pass that it could save
            return make(logits)
        return self.kept.renewed(self._total_curvature(logits), partial(make, logits))

    def _total_curvature(self, logits: Tensor) -> float:
        """sum_i s_i (1 - |p_i|^2), without a pass."""
        total = 0.0
        for rows, z in parts(logits):
            spread = 1 - softmax(z).square_().sum(1)
            total += float(self.weights[rows] @ spread.double())
        return total

    def _mean_gram(self, logits: Logits) -> Tensor:
        """`_curvature_gram` of what the contrasts curve on average."""
        return self._curvature_gram(logits, mean_spread)

    def _curvature_gram(self, logits: Logits, spread: Callable[[Tensor], Tensor]) -> Tensor:
        """X~' diag(w) X~ (D~, D~) for w_i = s_i times the `spread` of p_i; X~ ends in the bias."""

        def contribution(block: Block) -> Tensor:
            return bordered_gram(block, self._share(block, spread(probabilities_in(logits, block))))

        gram = self.sum_over_rows(contribution, self.fast)
        return gram if self.intercept else gram[:-1, :-1]

    def _curvatures(self, logits: Logits) -> Tensor:
        """`_mean_gram` above `_curvature_diagonal` (D~ + K, D~), in one pass."""

        def contribution(block: Block) -> Tensor:
            p = probabilities_in(logits, block).to(self.fast)
            diagonals = gram_diagonal(block, p, self.weights)
            return bordered_gram(block, self._share(block, mean_spread(p)), diagonals)

        return self.sum_over_rows(contribution, self.fast)

    def _share(self, block: Block, each: Tensor) -> Tensor:
        """s_i times a number `each` (B,) of a block's rows, in `fast`."""
        return (self.weights[block.rows] * each).to(self.fast)

    def _split_sums(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        gram, diagonals = sums[: -self.n_classes], sums[-self.n_classes :]
        return (gram if self.intercept else gram[:-1, :-1]), diagonals

    def _curvature_diagonal(self, logits: Logits) -> Tensor:
        """The diagonal of the Hessian without the ridge, for every class (K, D + 1)."""

        def contribution(block: Block) -> Tensor:
            p = probabilities_in(logits, block).to(self.fast)
            return gram_diagonal(block, p, self.weights)

        return self.sum_over_rows(contribution, self.fast)
