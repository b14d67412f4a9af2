"""What a model says of one clip, and how right that is."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.models.multi_view import average_views
from minivivit.models.top_classes import joint_top_k, top_classes

TOP = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer for one clip.

    Attributes
    ----------
    index : int
        Of the clip, in the order of the data.
    name : str
    labels, guesses : tuple of int
        The right class and the most probable one, of each head.
    ranks : tuple of int
        The place of the right class among the classes of its head, 1 for the most probable.
    joint_rank : int
        The place of the right classes of all heads together among the most probable `TOP` combinations; 0 where they
        are not among them. With one head the same, among its classes.
    loss : float
        Minus the logarithm of the right class's probability; of several heads the mean.
    top : tuple of (tuple of int, float)
        The most probable classes (combinations of them), and their probabilities.
    damage : str
        Why the clip could not be used, in which case there is no answer; empty otherwise.
    """

    index: int
    name: str
    labels: tuple[int, ...]
    guesses: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    joint_rank: int = 0
    loss: float = 0.0
    top: tuple[tuple[tuple[int, ...], float], ...] = ()
    damage: str = ""


def answer(
    index: int, name: str, labels: Sequence[int], logits: numpy.ndarray, config: VivitConfig, average: str = "logits"
) -> Answer:
    """The answer that the logits of a clip's views give.

    Parameters
    ----------
    index, name, labels
        Of the clip.
    logits : array (views, num_labels)
    config : VivitConfig
    average : {"logits", "probabilities"}
        See `average_views`.

    Raises
    ------
    InputError
        When a logit is NaN or infinite: there is no most probable class then.
    """
    if not numpy.isfinite(logits).all():
        raise InputError("the logits are not finite: are the weights sound? float64 reaches further than float32")
    averaged = average_views(logits.astype(numpy.float64), config, average)  # (num_labels,)
    if average == "probabilities":  # whose logarithms are logits that have them as their softmax
        averaged = numpy.log(numpy.maximum(averaged, numpy.finfo(numpy.float64).tiny))
    sizes = config.class_splits or [config.num_labels]
    scores = numpy.concatenate([_log_softmax(head) for head in numpy.split(averaged, numpy.cumsum(sizes)[:-1])])
    guesses, ranks, losses = [], [], []
    for (start, stop), label in zip(itertools.pairwise([0, *itertools.accumulate(sizes)]), labels, strict=True):
        head = scores[start:stop]
        guesses.append(int(head.argmax()))
        # of equal ones the first goes first
        ranks.append(1 + int((head > head[label]).sum()) + int((head[:label] == head[label]).sum()))
        losses.append(-float(head[label]))
    top = top_classes(numpy.exp(scores), config, TOP)
    return Answer(
        index,
        name,
        tuple(labels),
        tuple(guesses),
        tuple(ranks),
        ranks[0] if len(ranks) == 1 else _joint_rank(scores, labels, config),
        sum(losses) / len(losses),
        tuple((tuple(numpy.atleast_1d(entry["index"]).tolist()), entry["probability"]) for entry in top),
    )


def _joint_rank(scores: numpy.ndarray, labels: Sequence[int], config: VivitConfig) -> int:
    is_in = [bool(joint_top_k(scores[None], numpy.array([labels]), config, k)[0]) for k in range(1, TOP + 1)]
    return 1 + is_in.index(True) if True in is_in else 0


def _log_softmax(logits: numpy.ndarray) -> numpy.ndarray:
    shifted = logits - logits.max()
    return shifted - numpy.log(numpy.exp(shifted).sum())
