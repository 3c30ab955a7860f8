"""What one solve leaves for the next one, of the same data under a neighbouring penalty.

1. The last point, its logits and its gradient: under another ridge they cost no pass.
2. The way that led there: the next optimum lies close to its continuation, and since the logits of
   both ends are known, the lowest point along it costs one product with X, for the gradient.
3. The sums of the preconditioner, to which the new ridge is added.
4. The pairs of L-BFGS: a ridge adds exactly its own product to each change of the gradient. The
   way on is one more of them.
5. Whether its own way on led to the end at once: then the next may as well, and is tried in
   float64, where the gradient at its lowest point is all that a proof takes.
6. On how many threads it ran, and the span of the rows, where it ran in that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from polylogit.optim.lbfgs import remember
from polylogit.optim.line_search import lowest
from polylogit.optim.lines import LogitLine
from polylogit.optim.logits import Logits, logits_of
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.pairs import Pairs
from polylogit.optim.penalty import Penalty
from polylogit.optim.preconditioner import Kept
from polylogit.optim.problem import Evaluation, Line, dot
from polylogit.optim.row_span import RowSpan
from polylogit.optim.threads import Crew

MEMORY = 30  # steps of L-BFGS: those of several solves
SHARP = 0.05  # of the first slope: how flat the end of the continuation must be
CARRIED = 20  # times in a row that logits are taken on without a product: each adds a rounding


@dataclass
class Trail:
    """Mutable, and of one path only: same design, targets, row weights and offsets."""

    curvature: Kept = field(default_factory=Kept)
    pairs: Pairs = field(default_factory=lambda: Pairs(MEMORY))
    ridge: Penalty | None = None  # of the last solve
    at: Evaluation | None = None  # where it ended, in float64
    way: tuple[Tensor, Tensor | None] | None = None  # the last change of point and kept logits
    arrives: bool = False  # whether the last way on was all that a solve took
    carried: int = 0  # times in a row that it was taken without a product
    crew: Crew | None = None
    span: RowSpan | None = None  # where the rows are fewer than the columns

    def remember(self, ridge: Penalty, at: Evaluation) -> None:
        """Take down where a solve under `ridge` ended."""
        if self.at is not None and at.point is not self.at.point:
            self.way = at.point - self.at.point, _change(logits_of(self.at), logits_of(at))
        self.ridge, self.at = ridge, at

    def last(self, objective: SoftmaxObjective) -> Evaluation | None:
        """The last end as a point of `objective`, at no cost."""
        if self.at is None or self.ridge is None:
            return None
        columns = objective.ridge_columns()
        before = columns.clone()
        before[: len(self.ridge.strength)] = self.ridge.strength
        self.pairs.repenalise(columns - before)
        weight, _ = objective.split(self.at.point)
        value = self.at.value + objective.ridge.value(weight) - self.ridge.value(weight)
        gradient = self.at.gradient + self.at.point * (columns - before)
        self.ridge = objective.ridge
        self.at = Evaluation(self.at.point, value, gradient, self.at.state)
        return self.at

    def continued(self, objective: SoftmaxObjective, at: Evaluation) -> Evaluation:
        """The lowest point on the way on from `at`, which `last` gave.

        One pass, or where logits are not kept, one for every trial.
        """
        at, self.carried = objective.recast(at), 0
        found = self._lowest(objective, at)
        if found is None:
            return at
        there = found[0].evaluate(found[1])
        remember(self.pairs, at, there)
        return there

    def carried_on(self, objective: SoftmaxObjective, at: Evaluation) -> Evaluation | None:
        """As `continued`, with the best bias, in float64 and one pass: ready to be proven.

        None where nothing says that a proof is near.
        """
        if not self.arrives or self.carried >= CARRIED or not objective.keeps_logits:
            return None
        found = self._lowest(objective, objective.recast(at))
        if found is None or not isinstance(found[0], LogitLine):
            return None
        self.carried += 1
        return found[0].balanced(found[1])

    def _lowest(self, objective: SoftmaxObjective, at: Evaluation) -> tuple[Line, float] | None:
        """The way on from `at`, and how far it is to its lowest point; None if it leads up."""
        if self.way is None:
            return None
        direction, change = self.way
        slope = dot(at.gradient, direction)
        if not slope < 0:
            return None
        line: Line = (
            objective.line(at, direction)
            if change is None
            else LogitLine(objective, at, direction, change.to(objective.dtype))
        )
        return line, lowest(line, slope, tolerance=SHARP)


def _change(before: Logits, after: Logits) -> Tensor | None:
    """The difference of kept logits; None where either was not kept."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return after - before
    return None
