"""`SoftmaxClassifier`: scikit-learn's contract over `polylogit.fit`.

The only file that knows scikit-learn, and the only one that speaks its words: `C`, `coef_`,
`intercept_`. Everything below is ours, from reading to the certificate; scikit-learn's own checks
have a say in two places: which feature names fit, and how an array is refused that it would refuse
as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import narwhals as nw
import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from polylogit import choice, functional
from polylogit.choice import Rule
from polylogit.data.dataset import Dataset, Features, Matrix, Rows
from polylogit.data.features import features_of
from polylogit.data.frames import is_frame, read_frame
from polylogit.data.memory import array_of
from polylogit.data.offsets import offsets_of
from polylogit.data.prepare import TARGET, dataset_of_matrix, dataset_of_table
from polylogit.data.targets import Targets, from_memory, known, refuse_degenerate, weights_of
from polylogit.diagnostics.explain import Explanation, explain
from polylogit.diagnostics.inference.summary import Summary, summarize
from polylogit.errors import DataError, OptionError, PolylogitWarning, TargetError
from polylogit.model import SoftmaxModel
from polylogit.optim.problem import Certificate, Progress, Status
from polylogit.schema import Schema, Table, listed
from polylogit.training import ClassWeight

_HERE = Rows("SoftmaxClassifier")  # what messages call the place that the data came to
_SHORT_OF_TOLERANCE = (Status.ITERATION_LIMIT, Status.STALLED)


class SoftmaxClassifier(ClassifierMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""Softmax classification (multinomial logistic regression), solved to a certified optimum.

    Minimised over W (K, D) and b (K,), for N rows x_i with targets t_i and weights s_i:

        C sum_i s_i [lse(z_i) - t_i . z_i] + R(W),    z_i = W x_i + b
        R(W) = l1_ratio |W|_1 + (1 - l1_ratio)/2 |W|^2

    and for two classes the same with the single row w = W_1 - W_0 and R(w): the objective,
    the shapes and the optimum of scikit-learn's `LogisticRegression`, whose place it can take.
    No feature needs scaling. When the fit is done, `certificate_.gap` proves how far, in nats per
    row, it can be from the best possible: at most `tol`. Where that could not be reached a
    `ConvergenceWarning` says why; otherwise there is none.

    X is an array, a torch tensor, any scipy sparse matrix, or a DataFrame (pandas, polars,
    pyarrow). A DataFrame of numbers is an array with feature names. One with text, categories,
    booleans or missing cells is encoded by a `Schema`: then `coef_` has a column for each of
    `encoded_feature_names_`. y holds N labels (text, whole numbers, true/false), or N rows of
    probabilities over K classes, which are then called 0 to K-1; one-hot rows are the same thing.

    Parameters
    ----------
    C : inverse strength of the penalty on the summed loss; inf for none. "auto" takes the one of
        the lowest leave-one-out log loss along a path of fits (`polylogit.choose_C`); where that
        cannot work it is 1.0, and a `PolylogitWarning` says why.
    rule : which C "auto" takes: "lowest", or "one-standard-error" for the strongest penalty whose
        loss is no worse within the error of the difference.
    l1_ratio : share of the sizes |W|_1 in the penalty, 0 to 1; above 0 useless weights are zero.
    fit_intercept : whether there is a b; it is never penalised.
    class_weight : factors for the rows of each class, {label: factor}; "balanced" gives every
        class the same total weight.
    label_smoothing : e in [0, 1): each target becomes (1 - e) t + e/K.
    penalty_factors : f_d >= 0 for each encoded column, or {column: factor}: the penalty becomes
        1/2 sum_d f_d |W_d|^2; 0 leaves a column free.
    tol : the certified gap to reach, in nats per row.
    max_iter : steps of the solver after which to stop with a `ConvergenceWarning`.
    solver : "newton" (exact), "lbfgs" (large), "newton-cg" (hard), or "auto" to choose.
    warm_start : set out from the model of the last fit, if it has these classes and features; a
        path of "auto" always sets out from its strongest penalty.
    device : where dense rows are multiplied: "auto" is the CPU, "cuda" a GPU where there is one.
    dtype : the precision that steers: "float32", "float64", or "auto" to choose by size; what is
        certified is certified in float64.
    n_threads : threads to compute on; None chooses by the size of the problem.
    verbose : 1 prints a line per step.

    Attributes
    ----------
    classes_ : the K labels, sorted, in the type of y.
    coef_, intercept_ : W (K, D) and b (K,); of two classes W_1 - W_0 (1, D) and b_1 - b_0 (1,).
    certificate_ : a `Certificate`: the proven gap.
    status_ : one sentence: what happened, how sure, at what price.
    C_ : the number that `C` stood for.
    choice_ : the `Choice`: the table of the path that C was chosen from, empty if it was given.
    n_iter_ : steps taken, (1,).
    n_features_in_, feature_names_in_ : the columns of X, and their names if they had any.
    encoded_feature_names_ : the D columns that the weights belong to.
    model_, solution_ : the `SoftmaxModel` to save or to serve, and the `Solution` of the solver.

    >>> X = [[0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [3.0, 0.5]]
    >>> clf = SoftmaxClassifier(C=1.0).fit(X, ["no", "no", "yes", "yes"])
    >>> clf.predict([[0.5, 1.0], [2.5, 0.0]]).tolist()
    ['no', 'yes']
    >>> clf.coef_.shape, clf.certificate_.gap <= 1e-6
    ((1, 2), True)
    """

    def __init__(
        self,
        C: float | Literal["auto"] = "auto",
        *,
        rule: Rule = "lowest",
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        class_weight: ClassWeight = None,
        label_smoothing: float = 0.0,
        penalty_factors: Any = None,
        tol: float = 1e-6,
        max_iter: int = 1000,
        solver: str = "auto",
        warm_start: bool = False,
        device: Any = "auto",
        dtype: str = "auto",
        n_threads: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.C = C
        self.rule = rule
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.penalty_factors = penalty_factors
        self.tol = tol
        self.max_iter = max_iter
        self.solver = solver
        self.warm_start = warm_start
        self.device = device
        self.dtype = dtype
        self.n_threads = n_threads
        self.verbose = verbose

    # ------------------------------------------------------------------------------- fitting

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None, groups: Any = None
    ) -> Self:
        """Fit to rows X (N, D), labels y (N,) or probabilities y (N, K), weights (N,) >= 0.

        `offset` (N, K) is added to the logits; of two classes it may be (N,), added to the log
        odds. The methods that answer take it too: the model does not remember it. `groups` (N,) are
        labels of rows that belong together, and leave together where C is chosen.

        A weight of 2 is the row given twice, 0 is the row left out. Raises `InputError`, which is
        a `ValueError`, for what cannot be fitted and for options out of range. Interrupted by
        hand, the best model so far is kept and the `KeyboardInterrupt` goes on.
        """
        dataset, classes = self._training_data(X, y, sample_weight)
        outcome = choice.fit(
            dataset,
            C=_native(self.C),
            groups=groups,
            rule=self.rule,
            l1_ratio=_native(self.l1_ratio),
            fit_intercept=_switch("fit_intercept", self.fit_intercept),
            class_weight=self.class_weight,
            label_smoothing=_native(self.label_smoothing),
            tol=_native(self.tol),
            max_iter=_native(self.max_iter),
            solver=self.solver,
            start=self._start(dataset.schema),
            n_threads=_native(self.n_threads),
            offset=None if offset is None else self._offset(offset, dataset.n_rows, len(classes)),
            penalty_factors=self.penalty_factors,
            device=self.device,
            dtype=self.dtype,
            progress=_print_step if self.verbose else None,
        )
        self.classes_ = classes
        self.model_, self.solution_, self.C_ = outcome.model, outcome.solution, outcome.C
        self.choice_ = outcome
        self._report()
        return self

    def _training_data(self, X: Any, y: Any, sample_weight: Any) -> tuple[Dataset, np.ndarray]:
        """All that a fit reads, checked, and the classes in the type of y."""
        rows = _rows_of(X, as_table=False)
        self._remember_columns(X, y)
        n_rows = rows.n_rows if isinstance(rows, Table) else int(rows.shape[0])
        targets, classes = _targets_of(y, n_rows)
        weights = None if sample_weight is None else weights_of(sample_weight, n_rows, _HERE)
        _refuse_unlearnable(targets, weights)
        if isinstance(rows, Table):
            schema = Schema.infer(rows, targets.classes, None)
            rows = schema.encode(rows).matrix
        else:
            names = getattr(self, "feature_names_in_", None)
            schema = Schema.for_array(int(rows.shape[1]), targets.classes, TARGET, names)
        return Dataset(rows, schema, targets.values, weights, _HERE.source), classes

    def _remember_columns(self, X: Any, y: Any) -> None:
        """Number and names of the columns, as scikit-learn keeps them; an array has no names."""
        if isinstance(X, np.ndarray) and y is not None:  # scikit-learn takes 0.1 ms to see that
            self.n_features_in_ = X.shape[1]
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        else:
            validate_data(self, X, y, skip_check_array=True)

    def _start(self, schema: Schema) -> SoftmaxModel | None:
        """The model of the last fit, if that is wanted and it has these classes and columns."""
        last: SoftmaxModel | None = getattr(self, "model_", None)
        if not _switch("warm_start", self.warm_start) or last is None:
            return None
        same = (last.schema.classes, last.schema.names) == (schema.classes, schema.names)
        return last if same else None

    def _report(self) -> None:
        """Say what must be heard; of a fit that reached its tolerance, nothing."""
        if self.verbose:
            print(self.status_)
        if self.choice_.stopped:
            raise KeyboardInterrupt(". ".join(filter(None, (self.choice_.note, self.status_))))
        if self.choice_.note is not None and not self.choice_.table:
            warnings.warn(self.choice_.note, PolylogitWarning, stacklevel=3)
        if self.solution_.status in _SHORT_OF_TOLERANCE:
            warnings.warn(self.status_, ConvergenceWarning, stacklevel=3)

    # --------------------------------------------------------------------------- what was found

    @property
    def coef_(self) -> np.ndarray:
        """W (K, D); of two classes W_1 - W_0 (1, D). Read only: the model is not changed by it."""
        return _as_scikit_learn(self._fitted().weight.numpy())

    @property
    def intercept_(self) -> np.ndarray:
        """b (K,); of two classes b_1 - b_0 (1,)."""
        return _as_scikit_learn(self._fitted().bias.numpy())

    @property
    def n_iter_(self) -> np.ndarray:
        """Steps taken, (1,) as in scikit-learn."""
        check_is_fitted(self)
        return np.array([self.solution_.statistics.iterations], dtype=np.int32)

    @property
    def certificate_(self) -> Certificate:
        """The proven bound on what is left to gain, in nats per row."""
        check_is_fitted(self)
        return self.solution_.certificate

    @property
    def status_(self) -> str:
        """One sentence: what happened, how sure, at what price."""
        check_is_fitted(self)
        return self.solution_.message

    @property
    def encoded_feature_names_(self) -> np.ndarray:
        """Names of the D columns that the weights belong to."""
        return np.array(self._fitted().schema.names, dtype=object)

    def _fitted(self) -> SoftmaxModel:
        check_is_fitted(self)
        return self.model_

    # ------------------------------------------------------------------------------- answering

    def predict(self, X: Any, offset: Any = None) -> np.ndarray:
        """The most probable label of each row (N,); of equals the first."""
        codes = self._logits(X, offset).argmax(1)
        return np.asarray(self.classes_[codes])

    def predict_proba(self, X: Any, offset: Any = None) -> np.ndarray:
        """Probabilities (N, K), columns in the order of `classes_`; rows sum to 1."""
        return functional.softmax(torch.from_numpy(self._logits(X, offset)), 1).numpy()

    def predict_log_proba(self, X: Any, offset: Any = None) -> np.ndarray:
        """Log-probabilities (N, K), exact even where the probability underflows to 0."""
        return functional.log_softmax(torch.from_numpy(self._logits(X, offset)), 1).numpy()

    def decision_function(self, X: Any, offset: Any = None) -> np.ndarray:
        """Logits (N, K); of two classes the log odds of the second (N,)."""
        logits = self._logits(X, offset)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def transform(self, X: Any) -> np.ndarray:
        """Logits (N, K) for what follows in a pipeline, named "logit_<label>"."""
        return self._logits(X)

    def get_feature_names_out(
        self,
        input_features: Sequence[str] | None = None,  # noqa: ARG002  scikit-learn's signature
    ) -> np.ndarray:
        """Names of the columns of `transform` (K,); `input_features` play no part in them."""
        check_is_fitted(self)
        return np.array([f"logit_{label}" for label in self.classes_.tolist()], dtype=object)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; with probabilities y (N, K), the one expected of labels drawn from them."""
        values = array_of(y, "y", _HERE, error=TargetError)
        if values.ndim != 2 or values.shape[1] == 1:
            return float(super().score(X, y, sample_weight))
        codes = self.model_.predict_codes(self._features(X))
        hits = from_memory(values, len(codes), _HERE).values[np.arange(len(codes)), codes]
        weights = None if sample_weight is None else weights_of(sample_weight, len(codes), _HERE)
        return float(np.average(hits, weights=weights))

    def explain(self, X: Any) -> Explanation:
        """Why the one row X, (1, D), (D,) or a DataFrame of one row, was classified so.

        Contributions of every feature, the smallest change that flips the decision, and what lies
        outside the training range: see `polylogit.diagnostics.explain`.
        """
        one = np.ndim(X) == 1 and not is_frame(X)
        features = self._features([X] if one else X)
        if features.shape[0] != 1:
            raise DataError(f"explain takes one row, not {features.shape[0]}; give X[i : i + 1]")
        return explain(self.model_, features)

    def summary(self, X: Any, y: Any, sample_weight: Any = None, **options: Any) -> Summary:
        """Coefficients with errors and tests, from a refit to these rows without penalty.

        `options` are those of `polylogit.summarize`. The rows are handed in again, because an
        estimator keeps none of them: it would be as large as its data, and its pickle would carry
        them along. Rows are encoded as in `fit`, whose `fit_intercept` counts; nothing else of the
        fit does, nor is it changed. `sample_weight` counts equal rows.
        """
        features, schema = self._features(X), self._fitted().schema
        n_rows = int(features.shape[0])
        targets = known(_targets_of(y, n_rows)[0], schema.classes, _HERE).values
        weights = None if sample_weight is None else weights_of(sample_weight, n_rows, _HERE)
        rows = Dataset(features, schema, targets, weights, _HERE.source)
        return summarize(
            rows, fit_intercept=_switch("fit_intercept", self.fit_intercept), **options
        )

    def _logits(self, X: Any, offset: Any = None) -> np.ndarray:
        features = self._features(X)
        logits: np.ndarray = self.model_.logits(features).numpy()
        return logits if offset is None else logits + self._offset(offset, *logits.shape)

    def _offset(self, offset: Any, n_rows: int, n_classes: int) -> np.ndarray:
        return offsets_of(offset, n_rows, n_classes, _HERE)

    def _features(self, X: Any) -> Features:
        """X as the model's columns, checked against the columns seen in fit."""
        schema = self._fitted().schema
        rows = _rows_of(X, as_table=schema.kind == "table")
        validate_data(self, X, skip_check_array=True, reset=False)
        if not isinstance(rows, Table):
            return dataset_of_matrix(Matrix(rows, source=_HERE.source), schema).features
        dataset = dataset_of_table(rows, None, None, schema, by_position=True)
        _warn_of_unseen(dataset)
        return dataset.features

    # ------------------------------------------------------------------------------------ tags

    def __sklearn_tags__(self) -> Tags:
        """Sparse rows are welcome; labels are single, of two or more classes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


# ----------------------------------------------------------------------------------------- rows


def _rows_of(X: Any, *, as_table: bool) -> Table | Features:
    """X, checked, as a matrix if it can be one; a DataFrame stays a table if `as_table`."""
    if isinstance(X, np.ndarray) or not is_frame(X):
        return _matrix_of(X)
    if 0 in getattr(X, "shape", ()):
        return _matrix_of(np.empty(X.shape))
    numbers = None if as_table else _numbers_of(X)
    return read_frame(X, source=_HERE.source) if numbers is None else _matrix_of(numbers)


def _numbers_of(frame: Any) -> np.ndarray | None:
    """The cells of a DataFrame (N, D) of nothing but numbers, none missing; else nothing.

    Many columns come several times faster this way than as a table, and float32 stays float32.
    """
    try:
        read = nw.from_native(frame, eager_only=True)
        plain = all(dtype.is_numeric() for dtype in read.schema.values())
    except (TypeError, nw.exceptions.NarwhalsError):
        return None  # lazy, or two columns of one name: the table says it better
    cells = read.to_numpy() if plain else np.array(None)
    return cells if cells.dtype.kind in "iuf" and not np.isnan(cells).any() else None


def _matrix_of(X: Any) -> Features:
    """X, checked, as numbers (N, D), N >= 1."""
    try:
        matrix = features_of(X, _HERE)
    except DataError:
        if _scikit_learn_has_words_for(X):
            _refuse_as_scikit_learn(X)
        raise
    if matrix.shape[0] == 0:
        _refuse_as_scikit_learn(matrix)
    return matrix


def _scikit_learn_has_words_for(X: Any) -> bool:
    """Its contract fixes how it refuses complex numbers, objects, other axes and no columns."""
    if sparse.issparse(X):
        return True
    return isinstance(X, np.ndarray | list | tuple) and np.asarray(X).dtype.kind not in "US"


def _refuse_as_scikit_learn(X: Any) -> None:
    check_array(
        X, accept_sparse=True, ensure_all_finite=False, estimator=_HERE.source, input_name="X"
    )


def _warn_of_unseen(dataset: Dataset) -> None:
    if dataset.unseen:
        counts = {name: sum(cells.values()) for name, cells in dataset.unseen.items()}
        warnings.warn(
            f"{sum(counts.values())} cells hold categories that were not seen in fit and count as "
            f"none of the known ones (columns: {listed(counts)})",
            PolylogitWarning,
            stacklevel=4,
        )


# -------------------------------------------------------------------------------------- targets


def _targets_of(y: Any, n_rows: int) -> tuple[Targets, np.ndarray]:
    """Targets for the fit, and the classes in the type of y."""
    values = array_of(y, "y", _HERE, error=TargetError)
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(values, warn=True)
    targets = from_memory(values, n_rows, _HERE)
    dtype = values.dtype if values.ndim == 1 else np.int64
    return targets, np.array(targets.classes, dtype=dtype)


def _refuse_unlearnable(targets: Targets, weights: np.ndarray | None) -> None:
    """Refuse what nothing can be learned from; one row for each class is meant, in an array."""
    n_rows, n_classes = len(targets.values), len(targets.classes)
    if n_rows == 1 and targets.values.ndim == 1:
        raise TargetError(f"{_HERE.source}: y has 1 sample; two classes need at least two rows")
    if targets.values.ndim == 2 or n_classes < n_rows:
        refuse_degenerate(targets, weights, _HERE)


# ------------------------------------------------------------------------------------ the edges


def _as_scikit_learn(parameters: np.ndarray) -> np.ndarray:
    """One row per class (K, ...); of two classes the one difference (1, ...). Read only."""
    rows = parameters[1:] - parameters[:1] if len(parameters) == 2 else parameters.view()
    rows.flags.writeable = False
    return rows


def _native(option: Any) -> Any:
    """Options out of a parameter grid are numpy's numbers."""
    return option.item() if isinstance(option, np.generic) else option


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise OptionError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def _print_step(step: Progress) -> None:
    print(
        f"step {step.iteration}: {step.objective:.9g} nats per row, gap {step.gap:.1e}, "
        f"{step.passes} passes, {step.seconds:.3g} s"
    )
