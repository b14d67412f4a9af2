"""Binary cross-entropy with logits, for any number of classes a sample."""

from minivivit.backend import Array, floating_namespace
from minivivit.ops.sigmoid import sigmoid


def binary_cross_entropy_forward(logits: Array, targets: Array) -> tuple[Array, dict]:
    r"""Mean over all N entries of the negative log-likelihood of yes and no.

    .. math::
        L = -\frac1N \sum_i \left(t_i \log s(z_i) + (1 - t_i) \log(1 - s(z_i))\right)
          = \frac1N \sum_i \left(\max(z_i, 0) - z_i t_i + \log(1 + e^{-|z_i|})\right)

    with the logistic function s. The second form, which is computed, has no exponential that could overflow.

    Parameters
    ----------
    logits : array
    targets : array of the same shape, entries from 0 to 1

    Returns
    -------
    loss : scalar of the dtype of the logits
    cache : dict
    """
    xp = floating_namespace(logits, "logits")
    losses = xp.maximum(logits, 0) - logits * targets + xp.log1p(xp.exp(-xp.abs(logits)))
    return losses.mean(), {"logits": logits, "targets": targets}


def binary_cross_entropy_backward(dloss: Array | float, cache: dict) -> Array:
    r"""With :math:`\frac{d}{dz}\log(1 + e^z) = s(z)` the gradient is :math:`dz_i = \frac{dL}{N} (s(z_i) - t_i)`."""
    logits, targets = cache["logits"], cache["targets"]
    return (sigmoid(logits) - targets) * (dloss / logits.size)
