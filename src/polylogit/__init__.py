"""polylogit: softmax classification, from the formula to production.

The public names load what they need on first use; importing the package loads neither torch nor
scikit-learn.

>>> import polylogit
>>> data = polylogit.read("lesson", target="y")
>>> outcome = polylogit.fit(data, C=1.0)
>>> outcome.solution.certified
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from polylogit.version import __version__

_HOME = {
    "Calibrator": "polylogit.diagnostics.recalibration",
    "Chain": "polylogit.steps",
    "Choice": "polylogit.choice",
    "Dataset": "polylogit.data.dataset",
    "Fit": "polylogit.training",
    "Path": "polylogit.path",
    "Schema": "polylogit.schema",
    "Solution": "polylogit.optim.problem",
    "SoftmaxClassifier": "polylogit.estimator",
    "SoftmaxHead": "polylogit.nn",
    "SoftmaxModel": "polylogit.model",
    "Summary": "polylogit.diagnostics.inference.summary",
    "TrainingRows": "polylogit.diagnostics.training_rows",
    "calibrate": "polylogit.diagnostics.recalibration",
    "chain": "polylogit.steps",
    "choose_C": "polylogit.choice",
    "compare": "polylogit.steps",
    "cross_validate": "polylogit.cross_validation",
    "conformal": "polylogit.diagnostics.conformal",
    "doctor": "polylogit.diagnostics.doctor",
    "explain": "polylogit.diagnostics.explain",
    "fit": "polylogit.choice",
    "fit_path": "polylogit.path",
    "from_arrays": "polylogit.data.arrays",
    "load": "polylogit.serialization",
    "plot_path": "polylogit.app.figures.path",
    "read": "polylogit.data.read",
    "save": "polylogit.serialization",
    "summarize": "polylogit.diagnostics.inference.summary",
    "tour": "polylogit.lesson",
}
_MODULES = ("errors", "formulas", "functional")

__all__ = sorted([*_HOME, *_MODULES])

if TYPE_CHECKING:
    from polylogit import errors, formulas, functional
    from polylogit.app.figures.path import plot_path
    from polylogit.choice import Choice, choose_C, fit
    from polylogit.cross_validation import cross_validate
    from polylogit.data.arrays import from_arrays
    from polylogit.data.dataset import Dataset
    from polylogit.data.read import read
    from polylogit.diagnostics.conformal import conformal
    from polylogit.diagnostics.doctor import doctor
    from polylogit.diagnostics.explain import explain
    from polylogit.diagnostics.inference.summary import Summary, summarize
    from polylogit.diagnostics.recalibration import Calibrator, calibrate
    from polylogit.diagnostics.training_rows import TrainingRows
    from polylogit.estimator import SoftmaxClassifier
    from polylogit.lesson import tour
    from polylogit.model import SoftmaxModel
    from polylogit.nn import SoftmaxHead
    from polylogit.optim.problem import Solution
    from polylogit.path import Path, fit_path
    from polylogit.schema import Schema
    from polylogit.serialization import load, save
    from polylogit.steps import Chain, chain, compare
    from polylogit.training import Fit


def __getattr__(name: str) -> object:
    if name in _HOME:
        value: object = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"polylogit.{name}")
    else:
        raise AttributeError(f"module 'polylogit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
