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
# A guess explains a tensor when it comes this many times closer to theirs than ours does ...
CLOSER = 5.0
# ... and rounding explains the rest, or comes this many times closer (a fit needs that),
MUCH_CLOSER = 100.0
# and is no worse than this all the same: a hundredth of a huge error explains nothing.
LARGEST_ERROR = 1e-2
# Of a handful of numbers, a guess that is about right may be right by chance.
FEW, LARGEST_ERROR_OF_FEW = 8, 1e-4
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
    """

    cause: str
    mistake: str
    advice: str
    tensor: numpy.ndarray
    theirs: numpy.ndarray | None = None
    is_fit: bool = False


class Evidence:
    """Our tensors and theirs at one name, our weights and config.

    Everything here is of the first sample of the batch, with the batch axis kept at 1, unless it says otherwise: a
    mistake in a port is the same for every sample.

    Parameters
    ----------
    name : str
        The tensor that differs.
    ours : TensorSource
    read_theirs : callable
        From our name to the first sample of their tensor in our layout, or None where they have none.
    weights : TensorSource or None
        Our parameters by their published names.
    config : VivitConfig or None
    budget : float or None
        The relative error that rounding explains.
    """

    def __init__(
        self,
        name: str,
        ours: TensorSource,
        read_theirs: Callable[[str], numpy.ndarray | None],
        weights: TensorSource | None = None,
        config: VivitConfig | None = None,
        budget: float | None = None,
    ):
        self.name, self.ours, self.read_theirs = name, ours, read_theirs
        self.weights, self.config, self.budget = weights, config, budget

    def sample(self, name: str) -> numpy.ndarray | None:
        """The first sample of our tensor; None where there is none, or it is too large."""
        return first_sample(self.ours, name) if name in self.ours else None

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
        ours, theirs = self.sample(self.name), self.read_theirs(self.name)
        if ours is None or theirs is None:
            return []
        found: list[tuple[float, bool, Cause]] = []
        with numpy.errstate(all="ignore"):  # numbers may be huge; what overflows explains nothing
            for hypothesis in hypotheses:  # one after the other, so that one of their tensors is in memory at a time
                target = leading(theirs, hypothesis.tensor) if hypothesis.theirs is None else hypothesis.theirs
                error = relative_error(hypothesis.tensor, target)
                reference = leading(ours, hypothesis.tensor)
                error_of_ours = numpy.inf if reference is None else relative_error(reference, target)
                if self._explains(error, error_of_ours, hypothesis):
                    sentence = (
                        f"{hypothesis.cause}: theirs equals ours {hypothesis.mistake}, to {error:.0e} "
                        f"(without that, to {error_of_ours:.0e}); {hypothesis.advice}"
                    )
                    found.append((error, hypothesis.is_fit, Cause(hypothesis.cause, sentence)))
        return self._best(found)

    def _best(self, found: list[tuple[float, bool, Cause]]) -> list[Cause]:
        """Of the causes that explain their tensor, with their errors and whether numbers were fitted, the best."""
        rounding = max(self.budget or 0.0, FLOAT32_CONSTANTS)
        if any(error <= rounding and not is_fit for error, is_fit, _ in found):
            found = [entry for entry in found if not entry[1]]  # a fit is as good as what it is fitted to, or better
        best = min((error for error, _, _ in found), default=0.0)
        ties = [entry for entry in found if entry[0] <= max(3 * best, self.budget or 0.0)]
        by_name: dict[str, Cause] = {}
        for _, _, cause in ties:
            by_name.setdefault(cause.name, cause)  # the more usual one comes first
        return list(by_name.values())

    def _explains(self, error: float, error_of_ours: float, hypothesis: Hypothesis) -> bool:
        if not error < error_of_ours:  # the first clip may be right, and another one wrong
            return False
        if not numpy.isfinite(error) or (hypothesis.tensor.size < FEW and error > LARGEST_ERROR_OF_FEW):
            return False
        is_rounding = error <= (self.budget or 0.0) and error * CLOSER <= error_of_ours
        is_much_closer = error * MUCH_CLOSER <= error_of_ours and error <= LARGEST_ERROR
        return is_much_closer if hypothesis.is_fit else is_rounding or is_much_closer


def first_sample(source: TensorSource, name: str) -> numpy.ndarray | None:
    """The first entry of a tensor's first axis, the axis kept; None where it is too large or there is none."""
    shape = source.shapes[name]
    if 0 in shape:
        return None
    shape = (1, *shape[1:]) if shape else ()
    size = int(numpy.prod(shape, dtype=int))
    if size > LARGEST_SAMPLE:
        return None
    flat, start = numpy.empty(size, "float64"), 0
    for block in source.blocks(name):
        part = block[: size - start]
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
