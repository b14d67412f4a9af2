r"""The sum of gradients over the ranks, made while the backward pass is still on its way.

Each rank has the gradient of the losses of its own clips, divided by the number of clips of the whole batch; the sum of
these is the gradient of the batch's mean loss, and ``all-reduce`` gives it to every rank:

.. math::
    g = \frac1N \sum_{i=1}^{N} \nabla \ell_i = \sum_r \Big( \frac1N \sum_{i \in \text{rank } r} \nabla \ell_i \Big)

The backward pass goes from the last layer to the first, and a layer's gradients are final once it has passed. So they
are put into buckets, of one large layer or of several small ones, and a bucket is sent on its way as soon as it is
full; meanwhile the earlier layers are computed. What is left at the end is the time that the last bucket takes.

References
----------
Li et al. 2020, PyTorch Distributed, arXiv:2006.15704, section 3.2.3, whose bucket size this is.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence

from minivivit.backend import Array, array_namespace
from minivivit.training.parallel.ranks import Ranks

BUCKET_BYTES = 25 << 20
LAYER = re.compile(r"(.*\blayer\.\d+)\.")


def bucket_names(sizes: Mapping[str, int], bucket_bytes: int) -> list[list[str]]:
    """Names of parameters by bucket, in the order in which the buckets are full.

    Layers come from the last to the first, as the backward pass does, a bucket being full when it has `bucket_bytes`;
    all that belongs to no layer comes at the end, with the embeddings, which have their gradients last.

    Parameters
    ----------
    sizes : mapping
        The bytes of each parameter, by name, in the order of `state_dict`.
    """
    layers: dict[str, list[str]] = {}
    rest = []
    for name in sizes:
        match = LAYER.match(name)
        if match is None:
            rest.append(name)
        else:
            layers.setdefault(match[1], []).append(name)
    buckets: list[list[str]] = []
    filled = bucket_bytes
    for names in reversed(layers.values()):
        if filled >= bucket_bytes:
            buckets.append([])
            filled = 0
        buckets[-1] += names
        filled += sum(sizes[name] for name in names)
    return [*buckets, rest] if rest else buckets


class GradientSum:
    """The sum of the gradients of some pieces of a batch, on this rank and on all others.

    Parameters
    ----------
    ranks : Ranks
    parameters : mapping of str to array
        Those whose gradients are summed, and on whose device the buckets are.
    num_pieces : int
        How many pieces this rank still has; they may be computed side by side, on threads. A rank without any adds 0.
    before : mapping, optional
        The gradients of pieces that this rank has computed before.
    """

    def __init__(
        self,
        ranks: Ranks,
        parameters: Mapping[str, Array],
        num_pieces: int,
        before: Mapping[str, Array] | None = None,
    ):
        self.ranks, self.num_pieces, self.before = ranks, num_pieces, before
        self.buckets = bucket_names({name: array.nbytes for name, array in parameters.items()}, BUCKET_BYTES)
        self.buffers: list[Array] = []
        self.gradients: dict[str, Array] = {}
        for names in self.buckets:
            first, size = parameters[names[0]], sum(parameters[name].size for name in names)
            buffer = array_namespace(first).zeros(size, dtype=first.dtype)  # where the parameters are
            self.buffers.append(buffer)
            for name in names:
                shape, size = parameters[name].shape, parameters[name].size
                self.gradients[name], buffer = buffer[:size].reshape(shape), buffer[size:]
        self.missing = [set(names) for names in self.buckets]
        self.given: dict[str, dict[int, Array]] = {}
        self.waits: list[Callable[[], None]] = []
        self.lock = threading.Lock()  # pieces come from several threads; sums begin in one order

    def take(self, piece: int, gradients: Mapping[str, Array]) -> None:
        """Take gradients of a piece that are final. Those that were taken before are passed over.

        When all pieces have given theirs of a parameter, they are added in the order of the pieces.
        """
        with self.lock:
            for name, gradient in gradients.items():
                if name not in self.gradients or piece in self.given.setdefault(name, {}):
                    continue
                self.given[name][piece] = gradient
                if len(self.given[name]) == self.num_pieces:
                    self._add(name)
            self._start_what_is_full()
            self.ranks.progress()

    def finish(self) -> dict[str, Array]:
        """Wait for all sums, and return them by name."""
        if self.num_pieces == 0:
            for name in self.gradients:
                self._add(name)
        self._start_what_is_full()
        for wait in self.waits:
            wait()
        return self.gradients

    def _add(self, name: str) -> None:
        """Put the sum of this rank's gradients of one parameter into its bucket."""
        place = self.gradients[name]
        pieces: Sequence[Array] = [self.given[name][piece] for piece in sorted(self.given.get(name, ()))]
        if self.before is not None:
            pieces = [self.before[name], *pieces]
        for index, gradient in enumerate(pieces):
            if index == 0:
                place[...] = gradient
            else:
                place += gradient
        self.given[name] = dict.fromkeys(self.given.get(name, ()), place)  # let the arrays go
        for missing in self.missing:
            missing.discard(name)

    def _start_what_is_full(self) -> None:
        while len(self.waits) < len(self.buckets) and not self.missing[len(self.waits)]:
            self.waits.append(self.ranks.start_sum(self.buffers[len(self.waits)]))
