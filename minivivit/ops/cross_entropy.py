"""Cross-entropy between classes and softmax probabilities, for one class a sample."""

from minivivit.backend import Array, array_namespace


def cross_entropy_forward(logits: Array, labels: Array, label_smoothing: float = 0.0) -> tuple[Array, dict]:
    r"""Mean negative log-probability of the right classes.

    .. math::
        L = -\frac1B \sum_i \sum_c t_{ic} \log p_{ic}, \qquad
        \log p_{ic} = z_{ic} - \log \sum_k e^{z_{ik}}

    The targets t are the one-hot rows of class indices, or rows of probabilities (as mixup makes them). Label smoothing
    s replaces them by :math:`(1 - s)\, t + s / C`.

    Parameters
    ----------
    logits : array, shape (batch, classes)
    labels : integer array, shape (batch,), or array of the shape of logits
    label_smoothing : float

    Returns
    -------
    loss : 0-dimensional array
    cache : dict

    References
    ----------
    ``torch.nn.CrossEntropyLoss``; scenic ``base_models/model_utils.py``, weighted_softmax_cross_entropy.
    """
    xp = array_namespace(logits)
    batch, classes = logits.shape
    if labels.ndim == 1:
        targets = xp.zeros_like(logits)
        targets[xp.arange(batch), labels] = 1
    else:
        targets = labels.astype(logits.dtype)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / classes
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    loss = -(targets * log_probs).sum() / batch
    return loss, {"log_probs": log_probs, "targets": targets}


def cross_entropy_backward(dloss: Array | float, cache: dict) -> Array:
    r"""Gradient of `cross_entropy_forward`.

    The derivative of :math:`\log \sum_k e^{z_k}` is the softmax p, so for each row

    .. math:: dz_{ic} = \frac{dL}{B} \left(p_{ic} \sum_k t_{ik} - t_{ic}\right)

    and the sum of a row of targets is 1: probability minus target.

    Returns
    -------
    dlogits : array, shape (batch, classes)
    """
    log_probs, targets = cache["log_probs"], cache["targets"]
    xp = array_namespace(log_probs)
    dlogits = xp.exp(log_probs) * targets.sum(axis=-1, keepdims=True) - targets
    return dlogits * (dloss / len(targets))
