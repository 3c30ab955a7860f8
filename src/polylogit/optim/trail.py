"""What one solve leaves for the next one, of the same data under a neighbouring penalty.

1. The last point, its logits and its gradient: under another ridge they cost no pass.
2. The way that led there: the next optimum lies close to its continuation, and since the logits of
   both ends are known, the lowest point along it costs one product with X, for the gradient.
3. The sums of the preconditioner, to which the new ridge is added.
4. The pairs of L-BFGS: a ridge adds exactly its own product to each change of the gradient.
5. How much of the gap a bias hides that is not quite the best: often so little that no look is due.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from torch import Tensor

from polylogit.optim.lbfgs import Pairs, repenalised
from polylogit.optim.line_search import lowest
from polylogit.optim.logits import Logits
from polylogit.optim.objective import LogitLine, SoftmaxObjective, logits_of
from polylogit.optim.penalty import Penalty
from polylogit.optim.preconditioner import Kept
from polylogit.optim.problem import Evaluation

MEMORY = 30  # steps of L-BFGS: those of several solves
SHARP = 0.1  # of the first slope: how flat the end of the continuation must be


@dataclass
class Trail:
    """Mutable, and of one path only: same design, targets, row weights and offsets."""

    curvature: Kept = field(default_factory=Kept)
    pairs: Pairs = field(default_factory=lambda: deque(maxlen=MEMORY))
    ridge: Penalty | None = None  # of the last solve
    at: Evaluation | None = None  # where it ended, in float64
    way: tuple[Tensor, Tensor | None] | None = None  # the last change of point and kept logits
    hidden: float | None = None  # gap over the energy of the bias that hid it

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
        repenalised(self.pairs, columns - before)
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
        logits = logits_of(at)
        if objective.keeps_logits and not isinstance(logits, Tensor):
            at = objective.evaluate(at.point)  # float32 has room for logits where float64 has not
        else:
            at = Evaluation(at.point, at.value, at.gradient, logits.to(objective.dtype))
        if self.way is None:
            return at
        direction, change = self.way
        slope = float((at.gradient * direction).sum())
        if not slope < 0:
            return at
        line = (
            objective.line(at, direction)
            if change is None
            else LogitLine(objective, at, direction, change.to(objective.dtype))
        )
        return line.evaluate(lowest(line, slope, tolerance=SHARP))


def _change(before: Logits, after: Logits) -> Tensor | None:
    """The difference of kept logits; None where either was not kept."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return after - before
    return None
