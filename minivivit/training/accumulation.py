"""The gradients of a batch, computed in pieces that fit into memory."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import partial

import numpy

from minivivit.backend import Array, parallel_blocks, to_numpy
from minivivit.errors import InputError
from minivivit.layers.trace import Trace
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.loss import label_counts


@dataclass(frozen=True)
class BatchResult:
    """What one pass forward and backward over a batch gives.

    Attributes
    ----------
    loss : float
        The mean over the batch.
    logits : array (batch, num_labels)
        On the CPU.
    gradients : dict
        Of the mean loss, one array for each trainable name.
    """

    loss: float
    logits: numpy.ndarray
    gradients: dict[str, Array]


class _OnlyLogits(dict):
    """A store for a trace that keeps the logits and nothing else."""

    def wants(self, name: str) -> bool:
        return False

    def __setitem__(self, name: str, array: Array) -> None:
        if name == "classifier":
            super().__setitem__(name, array)


def batch_gradients(
    model: VivitForVideoClassification,
    pixel_values: numpy.ndarray,
    labels: numpy.ndarray,
    names: list[str],
    *,
    accumulate: int = 1,
    parallel: int = 1,
    label_smoothing: float = 0.0,
    rng: numpy.random.Generator | None = None,
    gradient_checkpointing: bool = False,
    store: MutableMapping[str, Array] | None = None,
) -> BatchResult:
    r"""Loss and gradients of a batch, in pieces: `accumulate` times `parallel` of them.

    The loss is the mean over the N labels that count (not those of -100; with class_splits each head has an N of its
    own), so where each piece divides the losses of its clips by the N of the whole batch

    .. math::
        L = \frac1N \sum_i \ell_i = \sum_j \Big( \frac1N \sum_{i \in \text{piece } j} \ell_i \Big)

    the pieces and their gradients add up. Up to rounding the result is that of the whole batch (with dropout, each
    piece draws masks of its own). Pieces are added in their order, so that the bits depend neither on the number of
    threads nor on the scheduling.

    Parameters
    ----------
    model : VivitForVideoClassification
    pixel_values : array (batch, frames, channels, height, width)
        On the CPU; each piece is moved to the model's device when its turn comes.
    labels : array (batch, ...)
        See `minivivit.models.loss.loss_forward`.
    names : list of str
        Of the parameters whose gradients are wanted.
    accumulate : int
        Rounds, one after the other: the intermediate values of only one round are in memory at a time.
    parallel : int
        Pieces of a round, side by side on threads of the CPU. For small models this uses two processors better than
        dividing every matrix product between them.
    label_smoothing, rng, gradient_checkpointing
        See `VivitForVideoClassification.loss_and_gradients`.
    store : mutable mapping, optional
        Receives every intermediate value and gradient by name, as they are made (`minivivit.layers.trace.Trace`); the
        pieces then run one after the other.
    """
    if len(pixel_values) != len(labels):
        raise InputError(f"there are {len(pixel_values)} clips and {len(labels)} labels; expected as many of both")
    counts = label_counts(labels, model.config)
    pieces = numpy.array_split(numpy.arange(len(labels)), min(accumulate * parallel, len(labels)))
    seeds = [None] * len(pieces) if rng is None else rng.integers(2**63, size=len(pieces)).tolist()
    results: list[BatchResult | None] = [None] * len(pieces)

    def compute(index: int) -> None:
        part = slice(pieces[index][0], pieces[index][-1] + 1)
        logits = _OnlyLogits()
        loss, gradients = model.loss_and_gradients(
            pixel_values[part],
            labels[part],
            label_smoothing=label_smoothing,
            counts=counts,
            rng=None if seeds[index] is None else numpy.random.default_rng(seeds[index]),
            gradient_checkpointing=gradient_checkpointing,
            trace=Trace(logits if store is None else store),
        )
        wanted = {name: gradients[name] for name in names}
        results[index] = BatchResult(float(loss), to_numpy((logits if store is None else store)["classifier"]), wanted)

    result: BatchResult | None = None
    round_size = parallel if store is None else 1
    for first in range(0, len(pieces), round_size):
        indices = range(first, min(first + round_size, len(pieces)))
        parallel_blocks([partial(compute, index) for index in indices], model.xp)
        for index in indices:
            result = _add(result, results[index])
            results[index] = None
    assert result is not None
    return result


def _add(sum_so_far: BatchResult | None, piece: BatchResult | None) -> BatchResult:
    """The sum of what there is and a piece, in the arrays of the sum (of the piece, if it is the first)."""
    assert piece is not None
    if sum_so_far is None:
        return piece
    for name, gradient in piece.gradients.items():
        sum_so_far.gradients[name] += gradient
    loss = sum_so_far.loss + piece.loss
    return BatchResult(loss, numpy.concatenate([sum_so_far.logits, piece.logits]), sum_so_far.gradients)
