"""Cross-entropy between classes and softmax probabilities, for one class a sample."""

from minivivit.backend import Array, array_namespace, floating_namespace

# A sample with this label does not count, as in PyTorch.
IGNORED_LABEL = -100


def cross_entropy_forward(
    logits: Array, labels: Array, label_smoothing: float = 0.0, num_counted: int | None = None
) -> tuple[Array, dict]:
    r"""Mean negative log-probability of the right classes.

    .. math::
        L = -\frac1N \sum_i \sum_c t_{ic} \log p_{ic}, \qquad
        \log p_{ic} = z_{ic} - \log \sum_k e^{z_{ik}}

    The targets t are the one-hot rows of class indices, or rows of probabilities (as mixup makes them). Label smoothing
    s replaces them by :math:`(1 - s)\, t + s / C`. A sample whose class index is -100 has no target and is not among
    the N that count.

    Parameters
    ----------
    logits : array, shape (batch, classes)
    labels : integer array, shape (batch,), or array of the shape of logits
    label_smoothing : float
    num_counted : int, optional
        N, where these are not all samples that the mean is over. Left out, it is counted.

    Returns
    -------
    loss : scalar of the dtype of logits
    cache : dict

    References
    ----------
    ``torch.nn.CrossEntropyLoss``; scenic ``base_models/model_utils.py``, weighted_softmax_cross_entropy.
    """
    xp = floating_namespace(logits, "logits")
    batch, classes = logits.shape
    counts = xp.ones((batch, 1), dtype=bool)
    if labels.ndim == 1:
        counts = (labels != IGNORED_LABEL)[:, None]
        targets = xp.zeros_like(logits)
        targets[xp.arange(batch), xp.where(counts[:, 0], labels, 0)] = 1
    else:
        targets = labels.astype(logits.dtype)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / classes
    targets = targets * counts
    num_counted = int(counts.sum()) if num_counted is None else num_counted
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    loss = -(targets * log_probs).sum() / num_counted
    return loss, {"log_probs": log_probs, "targets": targets, "num_counted": num_counted}


def cross_entropy_backward(dloss: Array | float, cache: dict) -> Array:
    r"""Gradient of `cross_entropy_forward`.

    The derivative of :math:`\log \sum_k e^{z_k}` is the softmax p, so for each row

    .. math:: dz_{ic} = \frac{dL}{N} \left(p_{ic} \sum_k t_{ik} - t_{ic}\right)

    and the sum of a row of targets is 1: probability minus target. (It is 0 for a sample that does not count.)

    Returns
    -------
    dlogits : array, shape (batch, classes)
    """
    log_probs, targets = cache["log_probs"], cache["targets"]
    xp = array_namespace(log_probs)
    dlogits = xp.exp(log_probs) * targets.sum(axis=-1, keepdims=True) - targets
    return dlogits * (dloss / cache["num_counted"])
