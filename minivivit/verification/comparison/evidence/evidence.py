"""What is known at the first tensor that differs, and how well a guess explains it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.verification.comparison.evidence.cause import Cause
from minivivit.verification.tensors.source import ArraySource, TensorSource, open_source

# Tensors of more elements than this, one sample of a batch counted, are left unexamined: 128 MB in float64. At full
# size only attention scores and probabilities are larger.
LARGEST_SAMPLE = 1 << 24
# A guess explains a tensor when it comes this many times closer to theirs than ours does, and a fit much closer ...
CLOSER, FIT_CLOSER = 5.0, 100.0
# ... and rounding explains the rest: twice what is allowed of ours, for a mistake may have made rounding larger.
# Without a budget, this.
ROUNDING_FACTOR, WITHOUT_BUDGET = 2.0, 1e-4
# Of a handful of numbers, a guess that is about right may be right by chance.
FEW, LARGEST_ERROR_OF_FEW = 8, 1e-4
# Guesses whose errors are within this factor of each other, or as small as float64's own, do equally well.
AS_WELL, FLOAT64_ROUNDING = 2.0, 1e-13
# Constants such as ImageNet's mean are float32 in many ports, whatever the rest is.
FLOAT32_CONSTANTS = 1e-6


@dataclass(frozen=True)
class Hypothesis:
    """A mistake, and the tensor that it would make.

    Attributes
    ----------
    cause : str
        The mistake's name.
    mistake : str
        What theirs would equal: completes "theirs equals ours ...".
    advice : str
        Where to look, or what to change.
    tensor : array
        What the mistake would make of the first sample; fewer rows where that tells enough.
    theirs : array, optional
        In place of their tensor, where not all of it is compared.
    is_fit : bool
        Whether numbers in it were fitted to theirs; one without such numbers is believed first.
    is_elsewhere : bool
        Whether a right port computes it too, under another name: of a pair that is a guess, the pair may be wrong.
    """

    cause: str
    mistake: str
    advice: str
    tensor: numpy.ndarray
    theirs: numpy.ndarray | None = None
    is_fit: bool = False
    is_elsewhere: bool = False


@dataclass(frozen=True)
class Claim:
    """A hypothesis that explains a sample, its error, and that of ours."""

    name: str
    mistake: str
    advice: str
    error: float
    error_of_ours: float
    is_fit: bool

    @property
    def key(self) -> tuple[str, str]:
        """What is the same for every sample."""
        return self.name, self.mistake

    @property
    def cause(self) -> Cause:
        """In words."""
        return self.confined_to("")

    def confined_to(self, place: str) -> Cause:
        """In words; `place` such as ``"only clip 0 is wrong: "``."""
        sentence = (
            f"{self.name}: {place}theirs equals ours {self.mistake}, to {self.error:.0e} "
            f"(without that, to {self.error_of_ours:.0e}); {self.advice}"
        )
        return Cause(self.name, sentence)


class Shared:
    """What the evidence of several samples of one tensor has in common."""

    def __init__(self) -> None:
        self.fits: dict[str, Any] = {}  # numbers that were fitted to the first sample
        self.kept: dict[str, numpy.ndarray] = {}  # whole tensors of ours
        self.kept_runs: dict[str, numpy.ndarray] = {}  # what a mistake that mixes samples makes of all of them
        self.rival = numpy.inf  # error of the best fit of the first sample, even of one too poor to be claimed
        # (cause, mistake) of what is still in question; None before the first sample was examined
        self.wanted: set[tuple[str, str]] | None = None

    def whole(self, source: TensorSource, name: str) -> numpy.ndarray:
        """A tensor, kept while there is room for it."""
        if name not in self.kept:
            array = source.read(name)
            while self.kept and array.size + sum(other.size for other in self.kept.values()) > 2 * LARGEST_SAMPLE:
                self.kept.pop(next(iter(self.kept)))
            self.kept[name] = array
        return self.kept[name]


class Evidence:
    """Our tensors and theirs at one name, our weights and config.

    Everything here is of one sample, with the first axis kept at 1, unless it says otherwise: guesses are made on one
    entry of the first axis, and confirmed on the others. What has no such axis, as a parameter, is one sample.

    Parameters
    ----------
    name : str
        The tensor that differs.
    ours : TensorSource
    read_theirs : callable
        From our name to this sample of their tensor in our layout, or None where they have none.
    weights : TensorSource or None
        Our parameters by their published names.
    config : VivitConfig or None
    budget : float or None
        The relative error that rounding explains.
    index : int
        Of the sample.
    shared : Shared, optional
        With the evidence of the other samples.
    """

    def __init__(
        self,
        name: str,
        ours: TensorSource,
        read_theirs: Callable[[str], numpy.ndarray | None],
        weights: TensorSource | None = None,
        config: VivitConfig | None = None,
        budget: float | None = None,
        index: int = 0,
        shared: Shared | None = None,
    ):
        self.name, self.ours, self.read_theirs = name, ours, read_theirs
        self.weights, self.config, self.budget = weights, config, budget
        self.index, self.shared = index, shared or Shared()
        self.is_guess = False  # whether the pair is one
        self.their_samples: Callable[[int], numpy.ndarray | None] = lambda index: None  # others of the same tensor

    def sample(self, name: str) -> numpy.ndarray | None:
        """This sample of our tensor; None where there is none, or it is too large."""
        if name not in self.ours:
            return None
        shape = self.ours.shapes[name]
        if num_samples(name, shape) == 1 or numpy.prod(shape) > LARGEST_SAMPLE or 0 in shape:
            return read_sample(self.ours, name, self.index_in(name))
        whole = self.shared.whole(self.ours, name)
        return whole[self.index_in(name) :][:1]

    def index_in(self, name: str) -> int:
        """The sample of another of our tensors that this one is made of: clips, where times are folded into them."""
        here, there = num_samples(self.name, self.ours.shapes[self.name]), num_samples(name, self.ours.shapes[name])
        return self.index * there // here if here else 0

    @property
    def is_parameter(self) -> bool:
        """Whether the tensor is a parameter's gradient, which has no samples."""
        return self.name.rpartition(".")[2] in PARAMETERS

    def sample_shape(self, name: str) -> tuple[int, ...]:
        """Of a sample of one of our tensors."""
        shape = self.ours.shapes[name]
        return (1, *shape[1:]) if num_samples(name, shape) > 1 else shape

    def fitted(self, key: str, value: Any) -> Any:
        """A number that a guess was fitted with: what the first sample gave holds for all of them."""
        return self.shared.fits.setdefault(key, value)

    def samples(self, *names: str) -> list[numpy.ndarray] | None:
        """The first samples of several of our tensors; None where one is missing."""
        found = [self.sample(name) for name in names]
        return None if any(array is None for array in found) else found  # type: ignore[return-value]

    def parameter(self, name: str) -> numpy.ndarray | None:
        """One of our parameters, or None."""
        return self.weights.read(name) if self.weights is not None and name in self.weights else None

    def parameter_names(self, pattern: str) -> list[str]:
        """Names of our parameters that match a regular expression."""
        return [name for name in (self.weights.shapes if self.weights else ()) if re.fullmatch(pattern, name)]

    def is_ours(self, tensor: numpy.ndarray) -> bool:
        """Whether our own rule for this tensor, computed here from its inputs, gives what our trace holds.

        It does not when the trace was made with other weights, or by a model for which the rule is another one; then
        what the rule's mistakes would look like is unknown too.
        """
        ours = self.sample(self.name)
        return ours is not None and relative_error(tensor, leading(ours, tensor)) < 1e-4

    def explained_by(self, hypotheses: Iterable[Hypothesis]) -> list[Cause]:
        """The causes whose hypotheses explain their tensor, best first.

        Where several do equally well they are all returned: the data do not tell between them.
        """
        return [claim.cause for claim in self.best(self.claims(hypotheses))]

    def claims(self, hypotheses: Iterable[Hypothesis]) -> list[Claim]:
        """All hypotheses that explain this sample of their tensor."""
        ours, theirs = self.sample(self.name), self.read_theirs(self.name)
        if ours is None or theirs is None:
            return []
        found: list[Claim] = []
        with numpy.errstate(all="ignore"):  # numbers may be huge; what overflows explains nothing
            for hypothesis in hypotheses:  # one after the other, so that one of their tensors is in memory at a time
                if hypothesis.is_elsewhere and self.is_guess:
                    continue
                target = leading(theirs, hypothesis.tensor) if hypothesis.theirs is None else hypothesis.theirs
                error = relative_error(hypothesis.tensor, target)
                reference = leading(ours, hypothesis.tensor)
                error_of_ours = numpy.inf if reference is None else relative_error(reference, target)
                if hypothesis.is_fit and error <= min(self._limit(hypothesis), error_of_ours / CLOSER):
                    self.shared.rival = min(self.shared.rival, error)
                if self._explains(error, error_of_ours, hypothesis):
                    found.append(
                        Claim(
                            hypothesis.cause,
                            hypothesis.mistake,
                            hypothesis.advice,
                            error,
                            error_of_ours,
                            hypothesis.is_fit,
                        )
                    )
        return found

    def agreeing(self, hypotheses: Iterable[Hypothesis]) -> set[tuple[str, str]]:
        """The (cause, mistake) of all hypotheses that this sample of their tensor does not refute."""
        theirs = self.read_theirs(self.name)
        with numpy.errstate(all="ignore"):
            return (
                set()
                if theirs is None
                else {
                    (hypothesis.cause, hypothesis.mistake)
                    for hypothesis in hypotheses
                    if relative_error(
                        hypothesis.tensor,
                        leading(theirs, hypothesis.tensor) if hypothesis.theirs is None else hypothesis.theirs,
                    )
                    <= self._limit(hypothesis)
                }
            )

    def is_right(self) -> bool:
        """Whether ours explains this sample of their tensor."""
        ours, theirs = self.sample(self.name), self.read_theirs(self.name)
        return ours is not None and relative_error(ours, theirs) <= (self.budget or FLOAT32_CONSTANTS)

    def best(self, found: list[Claim]) -> list[Claim]:
        """The claims that do best, of each cause the more usual one. A fit has to be better than what is no fit."""
        exact = min((claim.error for claim in found if not claim.is_fit), default=numpy.inf)
        fit = min((claim.error for claim in found if claim.is_fit), default=numpy.inf)
        if exact <= max(AS_WELL * fit, FLOAT32_CONSTANTS):
            found = [claim for claim in found if not claim.is_fit]
        found = [claim for claim in found if claim.error <= AS_WELL * max(self.shared.rival, FLOAT32_CONSTANTS)]
        best = min((claim.error for claim in found), default=0.0)
        by_name: dict[str, Claim] = {}
        for claim in found:
            if claim.error <= max(AS_WELL * best, FLOAT64_ROUNDING):
                by_name.setdefault(claim.name, claim)
        return list(by_name.values())

    def _limit(self, hypothesis: Hypothesis) -> float:
        """The largest error of a hypothesis that rounding explains."""
        few = LARGEST_ERROR_OF_FEW if hypothesis.tensor.size < FEW else numpy.inf
        rounding = WITHOUT_BUDGET if self.budget is None else max(ROUNDING_FACTOR * self.budget, FLOAT32_CONSTANTS)
        return min(rounding, few)

    def _explains(self, error: float, error_of_ours: float, hypothesis: Hypothesis) -> bool:
        closer = FIT_CLOSER if hypothesis.is_fit else CLOSER
        return bool(error <= self._limit(hypothesis) and error < error_of_ours and error * closer <= error_of_ours)


PARAMETERS = ("weight", "bias", "cls_token", "position_embeddings")


def num_samples(name: str, shape: tuple[int, ...]) -> int:
    """Entries of the first axis, which counts clips, or times or places of clips; 1 for what has no such axis."""
    is_parameter = name.rpartition(".")[2] in PARAMETERS
    return 1 if is_parameter or not shape else shape[0]


def read_sample(source: TensorSource, name: str, index: int = 0) -> numpy.ndarray | None:
    """One entry of a tensor's first axis, that axis kept, or all of what has no samples; None where it is too large."""
    shape = source.shapes[name]
    if 0 in shape:
        return None
    if num_samples(name, shape) > 1:
        shape = (1, *shape[1:])
    size = int(numpy.prod(shape, dtype=int))
    if size > LARGEST_SAMPLE:
        return None
    flat, start, skipped = numpy.empty(size, "float64"), 0, index * size
    for block in source.blocks(name):
        part = block[skipped:][: size - start]
        skipped = max(0, skipped - block.size)
        flat[start : start + part.size] = part
        start += part.size
        if start == size:
            break
    return flat.reshape(shape)


def leading(tensor: numpy.ndarray, like: numpy.ndarray) -> numpy.ndarray | None:
    """The first rows of `tensor`, as many as `like` has; None where the shapes do not agree otherwise."""
    if tensor.ndim != like.ndim or tensor.ndim < 2:
        return tensor if tensor.shape == like.shape else None
    cut = tensor[:, : like.shape[1]]
    return cut if cut.shape == like.shape else None


def relative_error(expected: numpy.ndarray, actual: numpy.ndarray | None) -> float:
    """||actual - expected|| / ||expected||; equal infinities are no error, anything else not finite an infinite one."""
    if actual is None or actual.shape != expected.shape:
        return numpy.inf
    with numpy.errstate(all="ignore"):
        same = actual == expected
        difference = numpy.where(same, 0.0, actual - expected)
        expected = numpy.where(same & ~numpy.isfinite(expected), 0.0, expected)
        scale = float(numpy.abs(expected).max(initial=0.0)) or 1.0
        error = numpy.linalg.norm(difference / scale) / (numpy.linalg.norm(expected / scale) or 1e-300)
    return float(error) if numpy.isfinite(error) else numpy.inf


def weights_of(model: Any, metadata: dict[str, Any]) -> TensorSource | None:
    """The parameters of a model that is at hand, or of the directory that the trace was made from, if it is there."""
    if model is not None:
        return ArraySource(model.state_dict())
    directory = metadata.get("model")
    if not isinstance(directory, str):
        return None
    for path in (Path(directory) / "model.safetensors", Path(directory)):
        try:
            return open_source(path)
        except (InputError, OSError):
            continue
    return None


def config_of(model: Any, metadata: dict[str, Any]) -> VivitConfig | None:
    """The config of a model that is at hand, or the one that the trace's metadata hold."""
    if model is not None:
        return model.config
    try:
        return VivitConfig.from_dict(metadata["config"])
    except (KeyError, InputError):
        return None
