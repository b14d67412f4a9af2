"""The average of the weights over a training, which follows them smoothly and often does better than the last ones."""

from collections.abc import Mapping
from functools import partial

from minivivit.backend import Array, array_namespace
from minivivit.training.optimisers.blocks import for_each_block, split_into_blocks


def average_decay(step: int, decay: float) -> float:
    """How much of the average stays at update `step`, counted from 1: ``min(decay, (1 + step) / (10 + step))``.

    So the first weights, which are not worth remembering, are soon forgotten, and a short training has an average, too.
    """
    return min(decay, (1 + step) / (10 + step))


def update_average(average: Mapping[str, Array], parameters: Mapping[str, Array], decay: float) -> None:
    r"""Move the average IN PLACE towards the parameters: an exponential moving average.

    .. math:: a \leftarrow a + (1 - d)\,(p - a) = d\,a + (1 - d)\,p

    Parameters
    ----------
    average, parameters : dict of str to array
        Of the same names, shapes and dtypes; the former is written, the latter only read.
    decay : float
        d, from 0 to 1. With 0.999 the average is over about the last thousand updates.

    References
    ----------
    Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging; ``ExponentialMovingAverage`` of
    TensorFlow, whose rule for the first updates is that of `average_decay`.
    """
    for name, array in average.items():
        xp = array_namespace(array)
        blocks = split_into_blocks(array, parameters[name], xp=xp)
        for_each_block(partial(_update_block, 1.0 - decay), blocks, xp)


def _update_block(share: float, average: Array, parameter: Array) -> None:
    average += share * (parameter - average)
