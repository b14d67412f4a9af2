"""Multi-view inference: what a model says about one video, from several clips and crops of it."""

import itertools
from collections.abc import Iterable, Iterator

import numpy

from minivivit.backend import Array, array_namespace, as_array, to_numpy
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.top_classes import class_probabilities

AVERAGES = ("logits", "probabilities")


def classify_views(
    model: VivitForVideoClassification,
    views: Iterable[Array],
    *,
    average: str = "logits",
    batch_size: int = 1,
    interpolate_pos_encoding: bool = False,
) -> numpy.ndarray:
    """Show a model the views of one video, a few at a time, and average its answers.

    Parameters
    ----------
    model : VivitForVideoClassification
    views : iterable of arrays (frames, channels, height, width)
        Pixel values: one array (num_views, frames, channels, height, width), or a generator that makes the views as
        they are needed. No more than `batch_size` of them are held at a time.
    average : {"logits", "probabilities"}
        See `average_views`.
    batch_size : int
        How many views go through the model at a time; what fits into memory.
    interpolate_pos_encoding : bool
        As in ``model.forward``.

    Returns
    -------
    numpy.ndarray, shape (num_labels,)

    Raises
    ------
    InputError
        When there are no views, `batch_size` is not at least 1, and as `average_views` and the model do.

    References
    ----------
    scenic ``projects/vivit/train_utils.py``, ``test_step``.
    """
    _check_average(average)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected a whole number of at least 1")
    logits = [
        to_numpy(model.forward(batch, interpolate_pos_encoding=interpolate_pos_encoding, return_dict=True).logits)
        for batch in _batches(views, batch_size)
    ]
    if not logits:
        raise InputError("there are no views; expected at least one")
    return average_views(numpy.concatenate(logits), model.config, average)


def average_views(logits: Array, config: VivitConfig, average: str = "logits") -> numpy.ndarray:
    r"""Mean over the views of one video of their logits, or of their class probabilities.

    .. math:: \frac1V \sum_v z_v \qquad\text{or}\qquad \frac1V \sum_v \mathrm{softmax}(z_v)

    The mean of the logits has the (normalised) geometric mean of the probabilities as its softmax, so a class that one
    view rules out stays ruled out; in the mean of the probabilities each view has one vote. With `config.class_splits`
    the softmax is over each head's own classes (scenic's ``softmax_logits`` takes it over all of them together, which
    is of use to a model with one head only).

    Parameters
    ----------
    logits : array, shape (num_views, num_labels)
    config : VivitConfig
    average : {"logits", "probabilities"}
        The paper's and scenic's default is logits.

    Returns
    -------
    numpy.ndarray, shape (num_labels,)
        Logits, which `class_probabilities` takes; or probabilities.

    Raises
    ------
    InputError
        For another `average`, logits of another shape, and as `class_probabilities`.
    """
    _check_average(average)
    logits = to_numpy(logits)
    if logits.ndim != 2 or len(logits) == 0:
        raise InputError(f"logits have the shape {logits.shape}; expected (num_views, num_labels), at least one view")
    return (logits if average == "logits" else class_probabilities(logits, config)).mean(axis=0)


def _check_average(average: str) -> None:
    if average not in AVERAGES:
        raise InputError(f"average is {average!r}; expected 'logits' or 'probabilities'")


def _batches(views: Iterable[Array], batch_size: int) -> Iterator[Array]:
    """The views as arrays (at most batch_size, frames, channels, height, width)."""
    iterator = iter(views)
    while batch := [as_array(view, "views") for view in itertools.islice(iterator, batch_size)]:
        shapes = {tuple(view.shape) for view in batch}
        if len(shapes) > 1 or len(next(iter(shapes))) != 4:
            raise InputError(
                f"views have the shapes {sorted(shapes)}; expected all (frames, channels, height, width) of one size"
            )
        yield array_namespace(batch[0]).stack(batch)
