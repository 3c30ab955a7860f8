"""The likelihood with Jeffreys' prior, from its definition."""

import numpy as np

from polylogit.diagnostics.inference.likelihood import Likelihood


def penalised(flat, X, y, n_classes):
    """-(l + 1/2 log |I|), written row by row from the definition."""
    B = np.vstack([np.zeros(X.shape[1]), flat.reshape(n_classes - 1, -1)])
    logits = X @ B.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    information = sum(
        np.kron(np.diag(q[1:]) - np.outer(q[1:], q[1:]), np.outer(x, x))
        for q, x in zip(p, X, strict=True)
    )
    return -(np.log(p[np.arange(len(y)), y]).sum() + 0.5 * np.linalg.slogdet(information)[1])


def likelihood_of(X, y, **options):
    return Likelihood(X, np.eye(y.max() + 1)[y][:, 1:], np.ones(len(y)), **options)
