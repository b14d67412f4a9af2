"""How often a model is right."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy

from minivivit.backend import to_numpy
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training.parallel.ranks import Ranks
from minivivit.training.regularisation.label_smoothing import one_hot
from minivivit.video.clip_processor import ClipProcessor


@dataclass(frozen=True)
class Measurement:
    """What `measure` found.

    Attributes
    ----------
    confusion : int64 array (num_labels, num_labels)
        How many clips of the class of a row the model takes for the class of a column; of each head its own.
    loss : float
        Mean cross-entropy; of several heads the mean of theirs.
    count, correct : int
        How many clips were seen, and how many of them the model named right, in all heads.
    """

    confusion: numpy.ndarray
    loss: float
    count: int
    correct: int

    @property
    def accuracy(self) -> float:
        """The fraction that the model named right."""
        return self.correct / max(1, self.count)

    def class_accuracies(self) -> list[float | None]:
        """The same for each class; None for one that has no clips."""
        counts = self.confusion.sum(axis=1)
        return [float(self.confusion[label, label] / count) if count else None for label, count in enumerate(counts)]


def measure(
    model: VivitForVideoClassification,
    processor: ClipProcessor,
    batches: Iterable[tuple[list[numpy.ndarray], numpy.ndarray]],
) -> Measurement:
    """Classify clips whose labels are known.

    Parameters
    ----------
    model, processor
    batches : iterable of (clips, labels)
        Clips are lists of uint8 arrays (frames, height, width, 3), prepared as `processor` says; labels are indices of
        the model's classes.

    Raises
    ------
    InputError
        When a logit is NaN or infinite: there is no most probable class then.
    """
    config = model.config
    starts = numpy.cumsum([0, *(config.class_splits or [])[:-1]])  # of the heads
    confusion = numpy.zeros((config.num_labels, config.num_labels), dtype=numpy.int64)
    loss, count, correct = 0.0, 0, 0
    for clips, labels in batches:
        pixel_values = processor.pixel_values(clips)
        out = model(pixel_values, labels=labels, return_dict=True, output_attentions=False, output_hidden_states=False)
        logits = to_numpy(out.logits)
        if not numpy.isfinite(logits).all():
            raise InputError("the logits are not finite: are the weights sound? float64 reaches further than float32")
        guesses = most_probable(logits, config)
        truth = labels.reshape(len(labels), -1)
        numpy.add.at(confusion, (truth + starts, guesses.reshape(truth.shape) + starts), 1)
        loss += float(out.loss) * len(labels)
        count += len(labels)
        correct += int(all_heads_agree(guesses, labels).sum())
    return Measurement(confusion, loss / max(1, count), count, correct)


def measure_shared(
    model: VivitForVideoClassification,
    processor: ClipProcessor,
    batches: Iterable[tuple[list[numpy.ndarray], numpy.ndarray]],
    ranks: Ranks,
) -> Measurement:
    """What `measure` finds, each batch being classified by one of several ranks; all of them learn the whole.

    Parameters
    ----------
    batches : iterable of (clips, labels)
        This rank's: those of its `Ranks.turns`.
    """
    if ranks.size == 1:
        return measure(model, processor, batches)
    own = ranks.together(lambda: [measure(model, processor, [batch]) for batch in batches])
    in_order = [found for found in chain(*zip_longest(*ranks.gathered(own))) if found is not None]
    count, correct = sum(found.count for found in in_order), sum(found.correct for found in in_order)
    confusion = numpy.zeros((model.config.num_labels,) * 2, dtype=numpy.int64)
    for found in in_order:
        confusion += found.confusion
    return Measurement(confusion, sum(found.loss * found.count for found in in_order) / max(1, count), count, correct)


def most_probable(scores: numpy.ndarray, config: VivitConfig) -> numpy.ndarray:
    """The most probable class (batch,), or the one of each head (batch, heads); scores are (batch, num_labels)."""
    if config.class_splits is None or len(config.class_splits) == 1:
        return scores.argmax(axis=-1)
    heads = numpy.split(scores, numpy.cumsum(config.class_splits)[:-1], axis=-1)
    return numpy.stack([head.argmax(axis=-1) for head in heads], axis=-1)


def all_heads_agree(guesses: numpy.ndarray, labels: numpy.ndarray) -> numpy.ndarray:
    """Of which clips all labels are named right: bool (batch,)."""
    right = guesses == labels
    return right.all(axis=tuple(range(1, right.ndim)))  # also of no clips, where another process has them all


def one_hot_heads(labels: numpy.ndarray, config: VivitConfig, dtype: str) -> numpy.ndarray:
    """Labels (batch,), or (batch, heads), as rows (batch, num_labels) with a 1 in each head's part."""
    sizes = config.class_splits or [config.num_labels]
    columns = labels.reshape(len(labels), -1)
    return numpy.concatenate([one_hot(columns[:, head], size, dtype) for head, size in enumerate(sizes)], axis=-1)
