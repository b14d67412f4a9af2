"""How often a model is right."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy

from minivivit.backend import to_numpy
from minivivit.errors import InputError
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training.parallel.ranks import Ranks
from minivivit.video.clip_processor import ClipProcessor


@dataclass(frozen=True)
class Measurement:
    """What `measure` found.

    Attributes
    ----------
    confusion : int64 array (num_labels, num_labels)
        How many clips of the class of a row the model takes for the class of a column.
    loss : float
        Mean cross-entropy.
    """

    confusion: numpy.ndarray
    loss: float

    @property
    def count(self) -> int:
        """How many clips were seen."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """How many of them the model named right."""
        return int(self.confusion.trace())

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
    num_labels = model.config.num_labels
    confusion = numpy.zeros((num_labels, num_labels), dtype=numpy.int64)
    loss = 0.0
    for clips, labels in batches:
        pixel_values = processor.pixel_values(clips)
        out = model(pixel_values, labels=labels, return_dict=True, output_attentions=False, output_hidden_states=False)
        logits = to_numpy(out.logits)
        if not numpy.isfinite(logits).all():
            raise InputError("the logits are not finite: are the weights sound? float64 reaches further than float32")
        numpy.add.at(confusion, (labels, logits.argmax(axis=-1)), 1)
        loss += float(out.loss) * len(labels)
    return Measurement(confusion, loss / max(1, int(confusion.sum())))


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
    confusion = numpy.zeros((model.config.num_labels,) * 2, dtype=numpy.int64)
    loss = 0.0
    for found in in_order:
        confusion += found.confusion
        loss += found.loss * found.count
    return Measurement(confusion, loss / max(1, int(confusion.sum())))
