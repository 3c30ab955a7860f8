"""scikit-learn's own checks of an estimator, every one, over the options that change the path.

`fit_intercept=False` is not among them: scikit-learn's check of class weights needs an intercept,
and its own LogisticRegression(fit_intercept=False) fails it. Nor is `solver="newton-cg"`, which
stops at the gap asked for: the checks compare weights with repeated rows to 1e-7, beyond any gap
that float64 can certify.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from polylogit.estimator import SoftmaxClassifier

CONFIGURATIONS = [
    SoftmaxClassifier(),
    SoftmaxClassifier(C=0.1, class_weight="balanced"),
    SoftmaxClassifier(C=10.0, l1_ratio=0.5),
    SoftmaxClassifier(C=10.0, label_smoothing=0.1, warm_start=True, n_threads=1),
]


@pytest.fixture(autouse=True)
def _array_api_checks_run(monkeypatch):
    """Without this variable scikit-learn skips its check of array dispatch."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")


@parametrize_with_checks(CONFIGURATIONS)
def test_scikit_learn_contract(estimator, check):
    check(estimator)
