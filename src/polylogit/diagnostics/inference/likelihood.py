r"""The likelihood of softmax classification as inference needs it: score, information, Firth.

Coefficients B (J, q), J = K - 1, stand against class 0, whose own are zero; flat they are ordered
class by class. With z_i = B x_i, probabilities p_i (J,) and S_i = diag(p_i) - p_i p_i',

    l(B) = sum_i w_i log p_i,y_i       in nats, w_i rows like row i
    g(B) = sum_i w_i (y_i - p_i) (x) x_i
    I(B) = sum_i w_i S_i (x) x_i x_i'

Firth's penalised likelihood adds the logarithm of Jeffreys' prior, l + 1/2 log |I|. It has a finite
maximum even where the classes are separated, and its estimates lack the bias of order 1/n. With
V = I^-1 and A_i[j, k] = x_i' V_jk x_i the prior adds to the score of z_i

    1/2 w_i S_i (diag A_i - 2 A_i p_i).

Sources: D. Firth, "Bias reduction of maximum likelihood estimates", Biometrika 80 (1993); for more
than two classes I. Kosmidis & D. Firth, "Multinomial logit bias reduction via the Poisson
log-linear model", Biometrika 98 (2011). The score follows from
dS_jk/dz_m = d_jk S_jm - S_jm p_k - p_j S_km.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import scipy.special

from polylogit.errors import SolveError


@dataclass(frozen=True, eq=False)
class State:
    """The likelihood at coefficients B (J, q).

    `probabilities` (N, J) of classes 1 to J; `information` (Jq, Jq) without any penalty.
    `value` is what is maximised: the log-likelihood less its penalty, or with Firth's.
    """

    coefficients: np.ndarray
    probabilities: np.ndarray
    loglik: float
    value: float
    information: np.ndarray


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Rows (N, q), hits (N, J) of 0 and 1, weights (N,) as counts, and what is added.

    `penalty` (Jq, Jq) takes B' penalty B / 2 off; `firth` adds Jeffreys' prior.
    """

    rows: np.ndarray
    hits: np.ndarray
    weights: np.ndarray
    penalty: np.ndarray | None = None
    firth: bool = False

    def at(self, coefficients: np.ndarray) -> State:
        """Everything about these coefficients but the score."""
        logs, truth = self._log_probabilities(coefficients)
        probabilities, loglik = np.exp(logs), float(self.weights @ truth)
        information = self.information(probabilities)
        value = loglik
        if self.firth:
            value += 0.5 * float(np.linalg.slogdet(information)[1])
        if self.penalty is not None:
            flat = coefficients.ravel()
            value -= 0.5 * float(flat @ self.penalty @ flat)
        return State(coefficients, probabilities, loglik, value, information)

    def _log_probabilities(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of classes 1 to J (N, J), and of the true class (N,)."""
        logits = self.rows @ coefficients.T
        total = np.logaddexp(0.0, scipy.special.logsumexp(logits, axis=1))
        return logits - total[:, None], (self.hits * logits).sum(1) - total

    def information(self, probabilities: np.ndarray) -> np.ndarray:
        """I (Jq, Jq)."""
        (_, q), J = self.rows.shape, probabilities.shape[1]
        blocks = np.empty((J, q, J, q))
        for j in range(J):
            for k in range(j + 1):
                spread = probabilities[:, j] * (float(j == k) - probabilities[:, k])
                block = self.rows.T @ ((self.weights * spread)[:, None] * self.rows)
                blocks[j, :, k], blocks[k, :, j] = block, block.T
        return blocks.reshape(J * q, J * q)

    def score(self, state: State) -> np.ndarray:
        """The gradient of the value (Jq,)."""
        return self.slope(state)[0]

    def slope(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """The score (Jq,), and the metric (Jq, Jq) that turns it into a step.

        Without the prior the metric is the curvature, and the step is Newton's.
        """
        residual = self.weights[:, None] * (self.hits - state.probabilities)
        metric = self.curvature(state)
        if self.firth:
            leverages = self._leverages(state)
            residual = residual + self._of_the_prior(state, leverages)
            metric = self._with_prior(state, leverages)
        score: np.ndarray = (residual.T @ self.rows).ravel()
        if self.penalty is not None:
            score = score - self.penalty @ state.coefficients.ravel()
        return score, metric

    def _of_the_prior(self, state: State, leverages: np.ndarray) -> np.ndarray:
        """What 1/2 log |I| adds to the score of the logits (N, J)."""
        p = state.probabilities
        pull = np.einsum("ijj->ij", leverages) - 2 * np.einsum("ijk,ik->ij", leverages, p)
        spread = p * (pull - (p * pull).sum(1, keepdims=True))
        return np.asarray(0.5 * self.weights[:, None] * spread)

    def _with_prior(self, state: State, leverages: np.ndarray) -> np.ndarray:
        """I with each row counted 1 + K/2 h_i/J times, h_i = w_i tr(A_i S_i).

        A row that shares its logits with no other has h_i = J, the most there is, and the prior's
        part for it is 1/2 log |S_i| = 1/2 sum_k log p_k, over K classes: of curvature K/2 S_i.
        """
        p, J = state.probabilities, state.probabilities.shape[1]
        own = np.einsum("ijj,ij->i", leverages, p)
        share = self.weights * (own - np.einsum("ijk,ij,ik->i", leverages, p, p, optimize=True)) / J
        return replace(self, weights=self.weights * (1 + (J + 1) / 2 * share)).information(p)

    def _leverages(self, state: State) -> np.ndarray:
        """A (N, J, J): the variance of each row's logits."""
        (n_rows, q), J = self.rows.shape, state.probabilities.shape[1]
        inverse = inverted(state.information).reshape(J, q, J, q)
        leverages = np.empty((n_rows, J, J))
        for j in range(J):
            for k in range(j + 1):
                one = ((self.rows @ inverse[j, :, k]) * self.rows).sum(1)
                leverages[:, j, k] = leverages[:, k, j] = one
        return leverages

    def curvature(self, state: State) -> np.ndarray:
        """I and the curvature of the penalty; Jeffreys' prior is left out, as in Fisher scoring."""
        return state.information if self.penalty is None else state.information + self.penalty


def inverted(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix; `SolveError` where it is none."""
    inverse: np.ndarray = scipy.linalg.cho_solve(factored(matrix), np.eye(len(matrix)))
    return inverse


def factored(matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """Cholesky's factor for `scipy.linalg.cho_solve`; `SolveError` where there is none."""
    try:
        factor: tuple[np.ndarray, bool] = scipy.linalg.cho_factor(matrix, lower=True)
    except np.linalg.LinAlgError:
        raise SolveError(
            "the information matrix is singular in float64, so there are no standard errors; "
            "leave out columns that nearly repeat others, or join rare classes"
        ) from None
    return factor
