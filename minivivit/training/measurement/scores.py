"""The figures of a data set, made of the answers for its clips."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy

from minivivit.config import VivitConfig
from minivivit.training.measurement.answers import TOP, Answer


@dataclass(frozen=True)
class HeadScores:
    """How right the answers of one head are.

    Attributes
    ----------
    top_1, top_5 : float
        The fraction of clips whose class is the most probable, and among the five most probable.
    confusion : int64 array (classes, classes)
        How many clips of the class of a row are taken for the class of a column.
    """

    top_1: float
    top_5: float
    confusion: numpy.ndarray

    def class_accuracies(self) -> list[float | None]:
        """The fraction that is right, of each class; None for one that has no clips."""
        counts = self.confusion.sum(axis=1)
        return [float(self.confusion[label, label] / count) if count else None for label, count in enumerate(counts)]

    def mean_class_accuracy(self) -> float:
        """The mean over the classes that have clips."""
        known = [accuracy for accuracy in self.class_accuracies() if accuracy is not None]
        return sum(known) / max(1, len(known))

    def confused(self, most: int) -> list[tuple[int, int, int]]:
        """(right class, guess, how many clips) of the commonest mistakes."""
        wrong = self.confusion.copy()
        numpy.fill_diagonal(wrong, 0)
        rows, columns = numpy.nonzero(wrong)
        order = numpy.argsort(-wrong[rows, columns], kind="stable")[:most]
        return [(int(rows[i]), int(columns[i]), int(wrong[rows[i], columns[i]])) for i in order]


@dataclass(frozen=True)
class Scores:
    """How right a model is.

    Attributes
    ----------
    clips, correct : int
        How many clips were answered, and how many of them right, in all heads.
    top_5 : float
        The fraction of clips whose right class (combination of classes, with several heads) is among the five most
        probable.
    loss : float
        The mean.
    heads : list of HeadScores
    damaged : list of str
        The clips that could not be used.
    """

    clips: int
    correct: int
    top_5: float
    loss: float
    heads: list[HeadScores]
    damaged: list[str]

    @property
    def accuracy(self) -> float:
        """The fraction that is right: top-1, of verb and noun together where there are both."""
        return self.correct / max(1, self.clips)


def scores_of(answers: Iterable[Answer], config: VivitConfig) -> Scores:
    """The figures of the answers of a model with this config."""
    sizes = config.class_splits or [config.num_labels]
    confusions = [numpy.zeros((size, size), dtype=numpy.int64) for size in sizes]
    top_5 = numpy.zeros(len(sizes), dtype=numpy.int64)
    clips = correct = joint_top_5 = 0
    loss, damaged = 0.0, []
    for answer in answers:
        if answer.damage:
            damaged.append(answer.name)
            continue
        clips += 1
        correct += answer.guesses == answer.labels
        joint_top_5 += 0 < answer.joint_rank <= TOP
        loss += answer.loss
        top_5 += numpy.array(answer.ranks) <= TOP
        for confusion, label, guess in zip(confusions, answer.labels, answer.guesses, strict=True):
            confusion[label, guess] += 1
    count = max(1, clips)
    heads = [
        HeadScores(float(confusion.trace() / count), float(within / count), confusion)
        for confusion, within in zip(confusions, top_5, strict=True)
    ]
    return Scores(clips, correct, joint_top_5 / count, loss / count, heads, damaged)
