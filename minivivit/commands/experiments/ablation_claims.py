"""What the paper says of its ablations, each held against our figures."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy

from minivivit.commands.experiments.ablation_figures import Figures
from minivivit.training.experiments.ablations import (
    LADDER,
    MODELS,
    POOLS,
    Trial,
    frame_sizes,
    ladder,
    starts,
    temporal_layers,
)

HOLDS, REVERSED, OPEN = "holds", "the other way round", "cannot be told"


@dataclass(frozen=True)
class Claim:
    """A sentence, and the difference that it says is above 0.

    Attributes
    ----------
    sentence : str
    differences : float array (seeds,)
        In the fraction of clips named right.
    """

    sentence: str
    differences: numpy.ndarray

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return float(self.differences.mean())

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None of a single seed."""
        count = len(self.differences)
        return None if count < 2 else float(self.differences.std(ddof=1) / math.sqrt(count))

    @property
    def verdict(self) -> str:
        """Whether it holds: in every seed, and by more than twice the error of the mean."""
        if self.error is None or abs(self.mean) <= 2 * self.error:
            return OPEN
        if (self.differences > 0).all():
            return HOLDS
        return REVERSED if (self.differences < 0).all() else OPEN


def claims(figures: Figures) -> Iterator[Claim]:
    """All of them, in the order of the page."""
    yield from _of_regularisers(figures)
    yield from _of_starts(figures)
    yield from _of_sizes(figures)


def _of_regularisers(figures: Figures) -> Iterator[Claim]:
    rungs = ladder("Model 2")
    for count in range(2, len(LADDER)):
        gain = figures.of(rungs[count]) - figures.of(rungs[count - 1])
        yield Claim(f"Model 2: {LADDER[count].removeprefix('+ ')} adds to those before it (Table 4)", gain)
    for model in MODELS:
        first, *_, last = ladder(model)[1:]
        yield Claim(
            f"{model}: all regularisers together are better than crop and jitter alone (Table 4)",
            figures.of(last) - figures.of(first),
        )
    for model in MODELS:
        first, *_, last = ladder(model)
        yield Claim(
            f"{model}: regularisers narrow the gap between the pool and fresh clips",
            figures.of(first, "gap") - figures.of(last, "gap"),
        )


def _of_starts(figures: Figures) -> Iterator[Claim]:
    for model in MODELS:
        leads = [_lead(figures, Trial(model, pool, "central_frame")) for pool in POOLS]
        for pool, lead in zip(POOLS, leads, strict=True):
            yield Claim(f"{model}, {pool:,} clips: the image model is a better start than none (section 3.4)", lead)
        yield Claim(f"{model}: the smaller the pool, the more that start gives", leads[0] - leads[-1])
        central, inflated = (figures.of(starts(model, name)[-1]) for name in ("central_frame", "filter_inflation"))
        yield Claim(
            f"{model}, {POOLS[-1]:,} clips: the central frame is better than inflation (Table 1)", central - inflated
        )
    smallest = [figures.of(Trial(model, POOLS[0])) for model in MODELS]
    yield Claim(f"{POOLS[0]} clips, from scratch: Model 2 is ahead of Model 1 (section 4.2)", smallest[0] - smallest[1])


def _lead(figures: Figures, trial: Trial) -> numpy.ndarray:
    """By how much a trial is ahead of the same from scratch."""
    return figures.of(trial) - figures.of(replace(trial, start="scratch"))


def _of_sizes(figures: Figures) -> Iterator[Claim]:
    none, one, _, four = (figures.of(trial) for trial in temporal_layers())
    yield Claim("Model 2: one temporal layer is better than none (Table 3)", one - none)
    yield Claim("Model 2: four temporal layers are better than one (Table 3: hardly)", four - one)
    sizes = frame_sizes()
    for smaller, larger in itertools.pairwise(sizes):
        a, b = (f"{trial.size} x {trial.size}" for trial in (larger, smaller))
        gain = figures.of(larger) - figures.of(smaller)
        yield Claim(f"Model 2: frames of {a} are better than of {b} (Table 5)", gain)
