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

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.special

from polylogit.errors import SolveError

CONVERGED = 1e-18  # of the squared Newton step in standard errors
STALLED = 1e-8  # of the same: below, a step that cannot rise is rounding, not failure
OVERSHOT = 0.5  # of the first slope along a step: falling more than that, it went too far
MOST_STEPS = 500
ROUNDING = 1e-13  # of a value


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
        residual = self.weights[:, None] * (self.hits - state.probabilities)
        if self.firth:
            residual = residual + self._of_the_prior(state)
        score: np.ndarray = (residual.T @ self.rows).ravel()
        if self.penalty is not None:
            score = score - self.penalty @ state.coefficients.ravel()
        return score

    def _of_the_prior(self, state: State) -> np.ndarray:
        """What 1/2 log |I| adds to the score of the logits (N, J)."""
        p, leverages = state.probabilities, self._leverages(state)
        pull = np.einsum("ijj->ij", leverages) - 2 * np.einsum("ijk,ik->ij", leverages, p)
        spread = p * (pull - (p * pull).sum(1, keepdims=True))
        return np.asarray(0.5 * self.weights[:, None] * spread)

    def _leverages(self, state: State) -> np.ndarray:
        """A (N, J, J): the variance of each row's logits."""
        (n_rows, q), J = self.rows.shape, state.probabilities.shape[1]
        inverse = inverted(state.information).reshape(J, q, J, q)
        leverages = np.empty((n_rows, J, J))
        for j in range(J):
            for k in range(J):
                leverages[:, j, k] = ((self.rows @ inverse[j, :, k]) * self.rows).sum(1)
        return leverages

    def curvature(self, state: State) -> np.ndarray:
        """I and the curvature of the penalty; Jeffreys' prior is left out, as in Fisher scoring."""
        return state.information if self.penalty is None else state.information + self.penalty

    def maximise(self, start: np.ndarray) -> State:
        """The maximum, by damped Newton steps; `SolveError` where it is not reached."""
        state = self.at(start)
        score = self.score(state)
        for _ in range(MOST_STEPS):
            step = inverted(self.curvature(state)) @ score
            length = float(score @ step)
            if length <= CONVERGED:
                return state
            better = self._damped(state, step, length)
            if better is None:
                if length > STALLED:
                    break
                return state
            state, score = better
        raise SolveError(
            "the estimates for inference did not converge: the information is too close to "
            "singular; leave out columns that nearly repeat others, or join rare classes"
        )

    def _damped(
        self, state: State, step: np.ndarray, slope: float
    ) -> tuple[State, np.ndarray] | None:
        """The first of the full step, its half, its quarter... that rises without overshooting.

        Where Jeffreys' prior curves more than the likelihood, full steps go to and fro about the
        maximum; the slope at their ends shows it even where the values differ by rounding alone.
        """
        floor = state.value - ROUNDING * abs(state.value)
        way = step.reshape(state.coefficients.shape)
        for halvings in range(30):
            tried = self.at(state.coefficients + way / 2**halvings)
            if tried.value >= floor:
                score = self.score(tried)
                if float(score @ step) >= -OVERSHOT * slope:
                    return tried, score
        return None


def inverted(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix; `SolveError` where it is none."""
    try:
        factor = scipy.linalg.cho_factor(matrix, lower=True)
    except np.linalg.LinAlgError:
        raise SolveError(
            "the information matrix is singular in float64, so there are no standard errors; "
            "leave out columns that nearly repeat others, or join rare classes"
        ) from None
    inverse: np.ndarray = scipy.linalg.cho_solve(factor, np.eye(len(matrix)))
    return inverse
