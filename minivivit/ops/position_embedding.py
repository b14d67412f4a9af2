"""Learned position embeddings: one vector a place, added to the token there."""

from minivivit.backend import Array


def position_embedding_forward(tokens: Array, position_embeddings: Array) -> tuple[Array, dict]:
    r"""Tell tokens where they are: :math:`z = x + p`, the same p for every sample.

    Attention treats its input as a set; without p it could not tell an earlier tubelet from a later one.

    Parameters
    ----------
    tokens : array, shape (batch, tokens, hidden)
    position_embeddings : array, shape (1, tokens, hidden)

    Returns
    -------
    z : array, shape (batch, tokens, hidden)
    cache : dict

    References
    ----------
    The paper's equation 1.
    """
    return tokens + position_embeddings, {}


def position_embedding_backward(dy: Array, cache: dict) -> tuple[Array, Array]:
    """A sum passes the gradient to both terms; p was added to every sample, so its gradient sums over them.

    Returns
    -------
    dtokens : array, shape (batch, tokens, hidden)
    dposition_embeddings : array, shape (1, tokens, hidden)
    """
    return dy, dy.sum(axis=0, keepdims=True)
