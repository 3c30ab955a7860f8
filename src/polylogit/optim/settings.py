"""How hard a solve tries, as the user asks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from polylogit.errors import OptionError, nearest

SOLVERS = ("auto", "newton", "lbfgs", "newton-cg")
DTYPES = ("auto", "float32", "float64")


@dataclass(frozen=True)
class Settings:
    """How hard to try. `tol` is the certified gap to reach, in nats per row.

    `dtype` is that of the products that steer; what is proven is proven in float64 whatever it is.
    """

    tol: float = 1e-6
    max_iter: int = 1000
    solver: str = "auto"
    n_threads: int | None = None
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if not (isinstance(self.tol, (int, float)) and 0 < self.tol < math.inf):
            raise OptionError(f"tol must be a positive number of nats per row, not {self.tol!r}")
        if (
            isinstance(self.max_iter, bool)
            or not isinstance(self.max_iter, int)
            or self.max_iter < 1
        ):
            raise OptionError(f"max_iter must be a whole number >= 1, not {self.max_iter!r}")
        if self.solver not in SOLVERS:
            advice = nearest(str(self.solver), SOLVERS)
            raise OptionError(f"solver {self.solver!r} is not one of {', '.join(SOLVERS)}{advice}")
        if self.dtype not in DTYPES:
            advice = nearest(str(self.dtype), DTYPES)
            raise OptionError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}{advice}")
        if self.n_threads is not None and (
            not isinstance(self.n_threads, int) or self.n_threads < 1
        ):
            raise OptionError(f"n_threads must be a whole number >= 1, not {self.n_threads!r}")
