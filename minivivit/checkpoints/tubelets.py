"""Tubelet kernels from the kernel of an image model: the rules of the paper and of scenic."""

import numpy

TUBELET_INITS = ("central_frame", "filter_inflation", "average_arp")


def inflate_kernel(kernel: numpy.ndarray, frames: int, method: str) -> numpy.ndarray:
    r"""Give an image model's embedding kernel an axis of time.

    .. math::
        \text{central\_frame:} \quad E_t = E_{image}\,[t = \lfloor T / 2 \rfloor] \qquad
        \text{filter\_inflation:} \quad E_t = E_{image} / T \qquad
        \text{average\_arp:} \quad E_t = \alpha_t E_{image} / T

    with t from 0 to T - 1 and :math:`\alpha` the weights of approximate rank pooling (`rank_pooling_weights`).

    Parameters
    ----------
    kernel : array, shape (height, width, channels, hidden)
    frames : int
        T, of a tubelet.
    method : {"central_frame", "filter_inflation", "average_arp"}

    Returns
    -------
    array, shape (frames, height, width, channels, hidden), in the kernel's dtype

    References
    ----------
    The paper's equations 8 and 9; scenic ``model_utils.init_embedding``.
    """
    if method == "central_frame":
        weights = (numpy.arange(frames) == frames // 2).astype(float)
    elif method == "filter_inflation":
        weights = numpy.full(frames, 1 / frames)
    else:
        weights = rank_pooling_weights(frames) / frames
    return (weights.reshape(-1, 1, 1, 1, 1) * kernel).astype(kernel.dtype)


def rank_pooling_weights(frames: int) -> numpy.ndarray:
    r"""Weights of approximate rank pooling, which tell early frames from late ones.

    .. math:: \alpha_t = 2 (T - t + 1) - (T + 1)(H_T - H_{t-1}), \qquad H_t = \sum_{i=1}^t 1/i, \quad t = 1 \dots T

    References
    ----------
    Bilen et al. 2017, "Action Recognition with Dynamic Image Networks", equation 3.
    """
    t = numpy.arange(1, frames + 1)
    harmonic = numpy.concatenate([[0.0], numpy.cumsum(1 / t)])  # H_0 ... H_T
    return 2 * (frames - t + 1) - (frames + 1) * (harmonic[-1] - harmonic[:-1])
