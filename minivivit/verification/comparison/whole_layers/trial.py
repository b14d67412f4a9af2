"""Trying a mistake: on some tokens where there are many, on all where it explains those."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from minivivit.verification.comparison.evidence.evidence import LARGEST_SAMPLE, Evidence, Hypothesis, relative_error
from minivivit.verification.comparison.whole_layers.layer import Layer, Parameters
from minivivit.verification.comparison.whole_layers.mistake import Mistake

# Where a layer has more tokens than this, a mistake is tried on so many first.
ROWS = 32
# So much closer to theirs must it come there than ours does: less than is asked of all tokens.
CLOSER_ON_ROWS = 2.0


@dataclass(frozen=True)
class Trial:
    """A layer, what enters it, and what leaves it with a mistake.

    Attributes
    ----------
    evidence : Evidence
    layer : Layer
    x : array, (1, tokens, hidden)
        What enters it: theirs where it was recorded, so that earlier rounding does not count.
    parameters : dict
        By their names inside the layer.
    target, inputs : str
        Names of what differs, inside the layer, and of what enters the layer.
    """

    evidence: Evidence
    layer: Layer
    x: numpy.ndarray
    parameters: Parameters
    target: str
    inputs: str

    def is_wanted(self, cause: str, mistake: str) -> bool:
        """Whether it is still in question: of the samples after the first, only what explained that one is."""
        wanted = self.evidence.shared.wanted
        return wanted is None or (cause, mistake) in wanted

    def tried(self, mistake: Mistake, is_fit: bool = False) -> Iterator[Hypothesis]:
        """The hypothesis, unless it is out of question."""
        if not self.is_wanted(mistake.cause, mistake.mistake):
            return
        tensor = self._of_batch(mistake) if mistake.batch else self._of_sample(mistake)
        if tensor is not None:
            yield Hypothesis(mistake.cause, mistake.mistake, mistake.advice, tensor, is_fit=is_fit)

    def _of_sample(self, mistake: Mistake) -> numpy.ndarray | None:
        rows = None if mistake.whole else self.layer.rows(ROWS)
        if rows is not None and self.x.shape[1] > rows and not self._explains_rows(mistake, rows):
            return None
        return self._run(mistake, self.x, None)

    def _explains_rows(self, mistake: Mistake, number: int) -> bool:
        """Whether the first tokens come closer to theirs with the mistake."""
        ours, theirs = self.evidence.sample(self.evidence.name), self.evidence.read_theirs(self.evidence.name)
        rows = self._run(mistake, self.x, number)
        if ours is None or theirs is None or rows is None:
            return False
        found, reference = (relative_error(tensor[:, :number], theirs[:, :number]) for tensor in (rows, ours))
        return found * CLOSER_ON_ROWS <= reference

    def _of_batch(self, mistake: Mistake) -> numpy.ndarray | None:
        """The sample, of what the mistake makes of all of them; from our input."""
        key, kept = f"{mistake.cause} {mistake.mistake}", self.evidence.shared.kept_runs
        shape = self.evidence.ours.shapes[self.inputs]
        if numpy.prod(shape) > LARGEST_SAMPLE:
            return None
        if key not in kept:
            kept.clear()
            whole = self._run(mistake, self.evidence.shared.whole(self.evidence.ours, self.inputs), None)
            kept[key] = numpy.empty(0) if whole is None else whole
        return kept[key][self.evidence.index :][:1] if kept[key].size else None

    def _run(self, mistake: Mistake, x: numpy.ndarray, rows: int | None) -> numpy.ndarray | None:
        try:
            with numpy.errstate(all="ignore"):  # what overflows explains nothing
                return mistake.run(self.layer, x, self.parameters, self.target, rows)
        except ValueError:  # a fold that these sizes do not allow
            return None
