"""Occlusion: how much a logit falls when one tubelet of the clip is covered (Zeiler and Fergus 2014)."""

from collections.abc import Sequence

import numpy

from minivivit.backend import Array, to_numpy
from minivivit.errors import InputError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.embeddings import token_grid
from minivivit.ops.tubelet_embedding import cut_tubelets, join_tubelets

BATCH = 32  # covered clips that go through the model at a time


def cover_tubelets(
    pixels: numpy.ndarray, tubelet_size: tuple[int, ...], covered: Sequence[Sequence[int]]
) -> numpy.ndarray:
    """Copies of a clip, in each of which some tubelets have the clip's mean colour.

    Parameters
    ----------
    pixels : array, shape (1, frames, channels, height, width)
    tubelet_size : (t, h, w)
    covered : sequence of sequences of int
        For each copy the numbers of its tubelets, time slowest, then rows.

    Returns
    -------
    array, shape (len(covered), frames, channels, height, width)
        What no tubelet holds, which the model does not see, is 0.
    """
    mean = numpy.broadcast_to(pixels.mean(axis=(1, 3, 4), keepdims=True), pixels.shape)
    tubelets = cut_tubelets(pixels, tubelet_size)  # (1, times, rows, columns, numbers of a tubelet)
    covers = cut_tubelets(mean, tubelet_size).reshape(-1, tubelets.shape[-1])
    copies = numpy.repeat(tubelets, len(covered), axis=0)
    for copy, numbers in zip(copies.reshape(len(covered), *covers.shape), covered, strict=True):
        copy[list(numbers)] = covers[list(numbers)]
    return join_tubelets(copies, tubelet_size, (len(covered), *pixels.shape[1:]))


def occlusion(
    model: VivitForVideoClassification, pixel_values: Array, label: int, *, interpolate_pos_encoding: bool = False
) -> numpy.ndarray:
    r"""Cover one tubelet after the other with its frames' mean, and see how far the logit of a class falls.

    .. math:: d_i = z_c(x) - z_c(x \text{ without tubelet } i)

    Attention says where a token looks; this asks what is missed. It takes a forward pass for each tubelet.

    Parameters
    ----------
    model : VivitForVideoClassification
    pixel_values : array, shape (1, frames, channels, height, width)
    label : int
        The class whose logit is looked at.
    interpolate_pos_encoding : bool
        As in ``model.forward``.

    Returns
    -------
    numpy.ndarray, shape (times, rows, columns)
        The fall of the logit; below 0 where it rises.

    Raises
    ------
    InputError
        Where frames are sampled: a covered frame might not be among them.

    References
    ----------
    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
    """
    if model.config.temporal_encoding != "tubelet":
        raise InputError("the model samples frames, of which occlusion covers none: it is for tubelet encoding")
    pixels = numpy.asarray(to_numpy(pixel_values), model.dtype)
    grid = token_grid(pixels.shape, model.config, interpolate_pos_encoding)
    logits = []
    places = [[number] for number in range(int(numpy.prod(grid)))]
    for start in range(0, len(places), BATCH):
        clips = cover_tubelets(pixels, tuple(model.config.tubelet_size), places[start : start + BATCH])
        logits.append(to_numpy(model.forward(clips, interpolate_pos_encoding=interpolate_pos_encoding).logits))
    before = to_numpy(model.forward(pixels, interpolate_pos_encoding=interpolate_pos_encoding).logits)[0, label]
    return (before - numpy.concatenate(logits)[:, label]).reshape(grid)
