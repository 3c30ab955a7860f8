"""How long the ways to an optimum take, roughly: to choose between two, not to tell the time.

The figures are what this library reaches on one core.
"""

from __future__ import annotations

from dataclasses import dataclass

from polylogit.design import Design

FLOPS = 6e10  # of large float32 products, a second
THIN_FLOPS = 3e10  # of float32 products with few classes
THIN = 6  # classes: with fewer, a product takes as long as to read the rows
SPARSE_FLOPS = 5e9  # of products with CSR rows
DOUBLE_FLOPS = 3e10  # multiply-adds of a float64 inverse or factor
STEP = 4e-4  # seconds that a step takes whatever it computes
LOGIT = 2e-8  # seconds for all that a step does to one logit
PRODUCT, PRODUCT_LOGIT = 4e-5, 2.5e-9  # the same of a Hessian product
COMPACT_PRODUCT, COMPACT_LOGIT = 5e-5, 1.5e-9  # both where rows are few
COMPACT_HESSIAN, COMPACT_FLOPS = 1e-4, 3.5e10  # seconds, and flops a second, of one written out
FEW_PAIRED = 4  # classes: to multiply columns pair by pair takes longer than a matrix for each pair
NEWTON_STEPS, LBFGS_STEPS = 8, 60  # typical
MATRICES, STEPS_SAVED = 2, 40  # typical, where the curvature is modelled by a matrix
WIDEST_GRAM = 4096  # features; beyond, no matrix of D x D is made
MOST_WRITTEN = 2000  # parameters between which a part of the Hessian is ever written out
PRODUCTS_SAVED = 400  # with that part, by writing it out
WORTH = 2.0  # Newton's method may take so much longer: its last step doubles the digits
MOST_PARAMETERS = 4000  # of a Hessian that is written out
PROOFS = 2  # steps that a proof takes after the fit in other coordinates
LESS = 0.7  # of the time: what such a fit may take


@dataclass(frozen=True)
class Cost:
    """Of a fit of N rows of D features to K classes, in seconds; `entries` are stored numbers."""

    n_rows: int
    n_features: int
    entries: float
    n_classes: int
    compact: bool = False  # answered by a `CompactObjective`

    @classmethod
    def of(cls, design: Design, n_classes: int) -> Cost:
        """That of the rows of a design."""
        return cls(design.n_rows, design.n_features, design.entries, n_classes)

    @property
    def work(self) -> float:
        """Multiply-adds of one product with all rows, zeros counted too."""
        return float(self.n_rows) * self.n_classes * self.n_features

    @property
    def newton_is_quicker(self) -> bool:
        """Whether Newton's method takes no longer than it is worth."""
        return self.parameters <= MOST_PARAMETERS and self.newton <= WORTH * LBFGS_STEPS * self.step

    @property
    def parameters(self) -> float:
        """Rows of a Hessian that is written out."""
        return (self.n_classes - 1) * self._columns

    @property
    def newton(self) -> float:
        """All of Newton's method."""
        return NEWTON_STEPS * (STEP + self.hessian)

    @property
    def step(self) -> float:
        """A step of L-BFGS."""
        return self._step(self.n_classes)

    @property
    def hessian(self) -> float:
        """To write a Hessian out, and to factor it."""
        pairs = self.n_classes * (self.n_classes - 1) / 2
        products = self.n_rows * pairs * (self._columns * (self._columns + 1) / 2)
        flops = 2 * (products + self.parameters**3 / 3)
        return COMPACT_HESSIAN + flops / COMPACT_FLOPS if self.compact else flops / FLOPS

    @property
    def pair_product(self) -> float:
        """Multiply-adds of the largest product: all pairs of classes for all of columns."""
        return self.n_rows * self.n_classes * (self.n_classes - 1) / 2 * self._columns**2

    @property
    def hessian_in_products(self) -> float:
        """How many Hessian products take as long as one that is written out."""
        return self.hessian / self.product

    @property
    def product(self) -> float:
        """A product with the Hessian."""
        if self.compact:
            logits = float(self.n_rows) * self.n_classes
            return COMPACT_PRODUCT + COMPACT_LOGIT * logits + self._flops(self.n_classes) / FLOPS
        dense = self.entries >= float(self.n_rows) * self.n_features
        sweep = PRODUCT + PRODUCT_LOGIT * self.n_rows * self.n_classes
        return sweep + self._flops(self.n_classes) / (THIN_FLOPS if dense else SPARSE_FLOPS)

    @property
    def matrix_in_products(self) -> float:
        """How many products take as long as D x D models of the curvature, where rows are few."""
        return MATRICES * (self._gram * FLOPS / COMPACT_FLOPS + self._inverse) / self.product

    @property
    def model_in_products(self) -> float:
        """How many products take as long as one model of the curvature; 0 where rows are few."""
        widest = self.n_features > WIDEST_GRAM
        return 0.0 if self.compact or widest else (self._gram + self._inverse) / self.product

    @property
    def proof_in_products(self) -> float:
        """How many Hessian products take as long as a bound by one D x D matrix in float64."""
        return (2 * self._gram + self._inverse) / self.product

    def part_is_cheap(self, count: int) -> bool:
        """Whether the Hessian between `count` parameters takes less than products with it all."""
        part = 2 * self.n_rows * (1 + 1 / self.n_classes) * float(count) ** 2 / FLOPS
        return count <= MOST_WRITTEN and part <= PRODUCTS_SAVED * self.product

    def whole_is_cheaper(self, count: int) -> bool:
        """Whether a matrix for each pair of few classes is smaller than one of `count` entries."""
        k, pairs = self.n_classes, self.n_classes * (self.n_classes - 1) / 2
        return k <= FEW_PAIRED and pairs * self._columns**2 <= (1 + 1 / k) * float(count) ** 2

    @property
    def hessian_work(self) -> float:
        """Multiply-adds of one Hessian that is written out."""
        return self.n_rows * (self.n_classes * self._columns) ** 2

    @property
    def gram_in_steps(self) -> float:
        """How many steps of L-BFGS take as long as a Gram matrix; 0 where none is ever made."""
        return 0.0 if self.n_features > WIDEST_GRAM else self._gram / self._step_read

    def steps_before_a_matrix(self, *, sums_are_kept: bool) -> float:
        """How many steps take as long as D x D matrices for the curvature.

        0 where the matrices save more steps than that; otherwise those steps come first: whether
        columns are correlated, only steps can tell.
        """
        seconds = self._inverse + (0.0 if sums_are_kept else self._gram)
        steps = MATRICES * seconds / self._step_read
        return 0.0 if steps <= STEPS_SAVED else steps

    @property
    def span_pays(self) -> bool:
        """Whether N orthogonal coordinates for the rows, in place of D, are worth finding."""
        if self.n_rows >= self.n_features:
            return False
        within = Cost(self.n_rows, self.n_rows, float(self.n_rows) ** 2, self.n_classes)
        return self.span + within._quickest + PROOFS * self.step <= LESS * self._quickest

    @property
    def span(self) -> float:
        """To find orthogonal coordinates for the span of the rows."""
        return 2.0 * self.n_features * self.n_rows**2 / DOUBLE_FLOPS

    @property
    def _quickest(self) -> float:
        """All of the quicker method."""
        if self.newton_is_quicker:
            return self.newton
        models = min(MATRICES * (self._inverse + self._gram), STEPS_SAVED * self.step)
        return LBFGS_STEPS * self.step + models

    @property
    def _columns(self) -> float:
        return self.n_features + 1.0

    def _step(self, n_classes: int) -> float:
        return STEP + LOGIT * self.n_rows * n_classes + self._flops(n_classes) / THIN_FLOPS

    def _flops(self, n_classes: int) -> float:
        """Of a product with the rows and one back, bias included."""
        return 4 * n_classes * (self.entries + self.n_rows)

    @property
    def _step_read(self) -> float:
        """A step, which takes at least as long as to read the rows."""
        return self._step(max(self.n_classes, THIN))

    @property
    def _gram(self) -> float:
        return self.entries * (self.entries / self.n_rows + 1) / FLOPS

    @property
    def _inverse(self) -> float:
        return 2 * self._columns**3 / DOUBLE_FLOPS
