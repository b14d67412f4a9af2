"""The CLS token: a learned token in front of the others, from which the class is read (Devlin et al. 2018)."""

from minivivit.backend import Array, array_namespace


def cls_token_forward(tokens: Array, cls_token: Array) -> tuple[Array, dict]:
    r"""Put the same learned token in front of every sample's tokens: :math:`z = [z_{cls}, x_1, \dots, x_N]`.

    Parameters
    ----------
    tokens : array, shape (batch, tokens, hidden)
    cls_token : array, shape (1, 1, hidden)

    Returns
    -------
    y : array, shape (batch, 1 + tokens, hidden)
    cache : dict

    References
    ----------
    The paper's equation 1.
    """
    xp = array_namespace(tokens)
    first = xp.broadcast_to(cls_token, (len(tokens), 1, tokens.shape[-1]))
    return xp.concatenate([first, tokens], axis=1), {}


def cls_token_backward(dy: Array, cache: dict) -> tuple[Array, Array]:
    """The tokens' part of dy is theirs; the CLS token was copied to every sample, so its gradient sums over them.

    Returns
    -------
    dtokens : array, shape (batch, tokens, hidden)
    dcls_token : array, shape (1, 1, hidden)
    """
    return dy[:, 1:], dy[:, :1].sum(axis=0, keepdims=True)
