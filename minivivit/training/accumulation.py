"""The gradients of a batch, computed in pieces that fit into memory."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy

from minivivit.backend import Array, parallel_blocks, to_numpy
from minivivit.errors import InputError
from minivivit.layers.trace import Trace
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.draws import PartOfBatch
from minivivit.models.loss import label_counts
from minivivit.models.parameters import flatten
from minivivit.training.parallel.gradient_sum import GradientSum
from minivivit.training.parallel.parts import clips_of, pieces_of
from minivivit.training.parallel.ranks import ALONE, Ranks

TakeGradients = Callable[[dict[str, Array]], None]


@dataclass(frozen=True)
class BatchResult:
    """What one pass forward and backward over a batch gives.

    Attributes
    ----------
    loss : float
        The mean over the batch.
    logits : array (batch, num_labels)
        On the CPU; with several ranks, of this rank's clips.
    gradients : dict
        Of the mean loss, one array for each trainable name.
    """

    loss: float
    logits: numpy.ndarray
    gradients: dict[str, Array]


class _PieceStore(dict):
    """A store for a trace that keeps the logits and nothing else.

    Parameters
    ----------
    take : callable (gradients by name), optional
        Gets the gradients of each layer as soon as they are there.
    """

    def __init__(self, take: TakeGradients | None = None):
        super().__init__()
        self.take = take
        self.follows_layers = take is not None

    def wants(self, name: str) -> bool:
        return False

    def __setitem__(self, name: str, array: Array) -> None:
        if name == "classifier":
            super().__setitem__(name, array)

    def take_gradients(self, name: str, gradients: dict) -> None:
        if self.take is not None:
            self.take(flatten(gradients, f"{name.removeprefix('gradient.')}."))


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
    ranks: Ranks = ALONE,
) -> BatchResult:
    r"""Loss and gradients of a batch, in pieces: `accumulate` times `parallel` of them.

    The loss is the mean over the N labels that count (not those of -100; with class_splits each head has an N of its
    own), so where each piece divides the losses of its clips by the N of the whole batch

    .. math::
        L = \frac1N \sum_i \ell_i = \sum_j \Big( \frac1N \sum_{i \in \text{piece } j} \ell_i \Big)

    the pieces and their gradients add up. Each piece has the masks (dropout, stochastic depth) that it has in the whole
    batch, so that up to rounding the result is that of the whole batch, however it is cut. Pieces are added in their
    order: the bits depend neither on the number of threads nor on the scheduling.

    With several ranks each of them computes its part of the batch, in pieces, and all get the sum.

    Parameters
    ----------
    model : VivitForVideoClassification
    pixel_values : array (batch, frames, channels, height, width)
        On the CPU; each piece is moved to the model's device when its turn comes. With several ranks, of this rank's
        clips only (`clips_of`).
    labels : array (batch, ...)
        Of the whole batch; see `minivivit.models.loss.loss_forward`.
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
        pieces then run one after the other, and with several ranks the result is that of this rank's clips alone.
    ranks : Ranks
        Among whom the batch is shared.
    """
    own = clips_of(ranks.rank, ranks.size, len(labels))
    if len(pixel_values) != len(own):
        raise InputError(f"there are {len(pixel_values)} clips and {len(own)} labels; expected as many of both")
    counts = label_counts(labels, model.config)
    seed = None if rng is None else int(rng.integers(2**63))
    pieces = pieces_of(own, accumulate * parallel)

    def compute(index: int, take: TakeGradients | None = None) -> BatchResult:
        piece, kept = pieces[index], _PieceStore(take) if store is None else store
        loss, gradients = model.loss_and_gradients(
            pixel_values[piece.start - own.start : piece.stop - own.start],
            labels[piece.start : piece.stop],
            label_smoothing=label_smoothing,
            counts=counts,
            rng=_generator(seed, piece, len(labels)),
            gradient_checkpointing=gradient_checkpointing,
            trace=Trace(kept),
        )
        wanted = {name: gradients[name] for name in names}
        return BatchResult(float(loss), to_numpy(kept["classifier"]), wanted)

    round_size = parallel if store is None else 1
    rounds = [range(first, min(first + round_size, len(pieces))) for first in range(0, len(pieces), round_size)]
    parameters = model.state_dict()
    if ranks.size == 1 or store is not None:
        return _sum_of_rounds(rounds, compute, model) or _nothing(model)
    return _sum_over_ranks(rounds, compute, model, {name: parameters[name] for name in names}, ranks)


def _generator(seed: int | None, piece: range, batch: int) -> numpy.random.Generator | None:
    """For a piece: what it draws is what these clips get in the whole batch."""
    if seed is None:
        return None
    if len(piece) == batch:
        return numpy.random.default_rng(seed)
    return PartOfBatch(seed, (piece.start, piece.stop), batch)


def _sum_of_rounds(
    rounds: Sequence[range], compute: Callable[[int], BatchResult], model: VivitForVideoClassification
) -> BatchResult | None:
    """The sum of all pieces, those of a round computed side by side; None where there is no piece."""
    result: BatchResult | None = None
    for indices in rounds:
        results = _side_by_side(indices, compute, model)
        while results:
            result = _add(result, results.pop(0))
    return result


def _side_by_side(
    indices: range, compute: Callable[[int], BatchResult], model: VivitForVideoClassification
) -> list[BatchResult]:
    results: dict[int, BatchResult] = {}

    def keep(index: int) -> None:
        results[index] = compute(index)

    parallel_blocks([partial(keep, index) for index in indices], model.xp)
    return [results.pop(index) for index in indices]


def _sum_over_ranks(
    rounds: Sequence[range],
    compute: Callable[..., BatchResult],
    model: VivitForVideoClassification,
    parameters: dict[str, Array],
    ranks: Ranks,
) -> BatchResult:
    """The sum of all pieces of all ranks. In the last round, what is final is on its way while the rest is computed."""
    *earlier, last = rounds or [range(0)]
    before = _sum_of_rounds(earlier, compute, model)
    gradient_sum = GradientSum(ranks, parameters, len(last), None if before is None else before.gradients)

    def compute_and_send(index: int) -> BatchResult:
        result = compute(index, partial(gradient_sum.take, index))
        gradient_sum.take(index, result.gradients)
        return BatchResult(result.loss, result.logits, {})

    result = _nothing(model) if before is None else BatchResult(before.loss, before.logits, {})
    for piece in _side_by_side(last, compute_and_send, model):
        result = _add(result, piece)
    gradients = gradient_sum.finish()
    return BatchResult(ranks.total([result.loss])[0], result.logits, gradients)


def _nothing(model: VivitForVideoClassification) -> BatchResult:
    """What no clips give."""
    return BatchResult(0.0, numpy.empty((0, model.config.num_labels), dtype=model.dtype), {})


def _add(sum_so_far: BatchResult | None, piece: BatchResult) -> BatchResult:
    """The sum of what there is and a piece, in the arrays of the sum (of the piece, if it is the first)."""
    if sum_so_far is None:
        return piece
    for name, gradient in piece.gradients.items():
        sum_so_far.gradients[name] += gradient
    loss = sum_so_far.loss + piece.loss
    return BatchResult(loss, numpy.concatenate([sum_so_far.logits, piece.logits]), sum_so_far.gradients)
