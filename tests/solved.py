"""A table, labels and a penalty, solved: what the tests of solving begin with."""

import numpy as np
import torch
from sklearn.datasets import load_iris, load_wine

from polylogit.design import design_of
from polylogit.optim.settings import SOLVERS as NAMES
from polylogit.optim.settings import Settings
from polylogit.optim.solve import solve
from polylogit.optim.targets import Labels

WINE = load_wine(return_X_y=True)
IRIS = load_iris(return_X_y=True)
SOLVERS = [name for name in NAMES if name != "auto"]


def run(X, y, alpha=0.01, *, start=None, progress=None, weights=None, intercept=True, **settings):
    y = np.asarray(y)
    k = int(y.max()) + 1
    weights = torch.ones(len(y), dtype=torch.float64) if weights is None else torch.tensor(weights)
    return solve(
        design_of(np.asarray(X, dtype=float), centred=intercept),
        Labels(torch.from_numpy(y), k),
        weights,
        n_classes=k,
        alpha=alpha,
        intercept=intercept,
        settings=Settings(**settings),
        start=start,
        progress=progress,
    )


def names(stages):
    return [(stage.name, stage.dtype) for stage in stages]


def net(X, y, l1_ratio, alpha=0.01, *, targets=None, weights=None, **options):
    settings = options.pop("settings", Settings())
    k = int(np.max(y)) + 1
    return solve(
        design_of(X, centred=options.get("intercept", True)),
        targets or Labels(torch.as_tensor(np.asarray(y, dtype=np.int64)), k),
        torch.ones(len(y), dtype=torch.float64) if weights is None else torch.as_tensor(weights),
        n_classes=k, alpha=alpha, l1_ratio=l1_ratio, settings=settings, **options,
    )  # fmt: skip
