"""What the grader computes for a student's code: functions of the package that a task allows, the model's methods."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy

from minivivit.checks.case import Case
from minivivit.checks.run_check import Task
from minivivit.grading.apart.wire import Tagged
from minivivit.models.classification import VivitForVideoClassification

# Numbers of all arrays that may be sent to be computed with at once (a right answer sends 40,000 at most), and requests
# that one call may make. Attention among so many tokens of one feature takes the grader seconds, and no hours.
MOST_NUMBERS = 1 << 17
MOST_REQUESTS = 2000


class Lender:
    """Answers what a student's code asks for during a call.

    Parameters
    ----------
    task : Task
        Its `may_use` is all that there is.
    case : Case
        Its model, where it has one, is what the model's methods compute with.

    Attributes
    ----------
    refused : str
        The first function that was asked for and not lent; empty when there was none.
    """

    def __init__(self, task: Task, case: Case):
        self.task, self.refused, self._requests = task, "", 0
        models = [value for value in case.arguments.values() if isinstance(value, VivitForVideoClassification)]
        self._model = models[0] if models else None

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The message that answers a request; what cannot be computed is an error in it."""
        self._requests += 1
        try:
            name, arguments, keywords = request["name"], list(request["arguments"]), dict(request["keywords"])
            if self._requests > MOST_REQUESTS or _count((arguments, keywords)) > MOST_NUMBERS:
                raise ValueError("too much is asked of the functions that are given")
            with numpy.errstate(all="ignore"):
                return {"error": None, "value": self._computed(str(name), arguments, keywords)}
        except _NotLentError as error:
            self.refused = self.refused or str(request.get("name"))[:200]
            return {"error": ["", str(error)], "value": None}
        except (Exception, MemoryError) as error:
            return {"error": [type(error).__name__, " ".join(str(error).split())[:1000]], "value": None}

    def _computed(self, name: str, arguments: list, keywords: dict) -> Any:
        owner, _, method = name.rpartition(".")
        if owner == "model" and self._model is not None:
            state, *others = arguments
            model = model_with(self._model, state)
            if method == "loss_and_gradients":
                return model.loss_and_gradients(*others, **keywords)
            output = model.forward(*others, **keywords)
            return output.loss, output.logits
        for allowed in self.task.may_use:
            module, _, function = allowed.rpartition(".")
            if function == method:  # whichever of the package's names it was imported by
                return getattr(importlib.import_module(module), function)(*arguments, **keywords)
        names = ", ".join(self.task.may_use) or "nothing"
        raise _NotLentError(f"{name[:200]} is not there while grading; of minivivit this task allows {names}")


class _NotLentError(Exception):
    """Something was asked for that the task does not allow."""


def model_with(model: VivitForVideoClassification, state: Any) -> VivitForVideoClassification:
    """A model like another with other parameters, which come from a student's code.

    Raises
    ------
    ValueError
        When they are not the parameters of such a model, in name, shape and dtype.
    """
    own = model.state_dict()
    if not isinstance(state, Mapping) or state.keys() != own.keys():
        raise ValueError("the model has other parameters than before")
    for name, array in own.items():
        found = state[name]
        if not isinstance(found, numpy.ndarray) or found.shape != array.shape or found.dtype != array.dtype:
            raise ValueError(f"the model's parameter {name} is no array of shape {array.shape} and {array.dtype}")
    new = VivitForVideoClassification(model.config, dtype=model.dtype, backend="numpy")
    for name, array in new.state_dict().items():
        array[...] = state[name]
    return new


def sendable(value: Any) -> Any:
    """An argument of a case as it can be sent."""
    if isinstance(value, VivitForVideoClassification):
        config = {name: part for name, part in value.config.to_dict().items() if _is_plain(part)}
        return Tagged("model", {"config": config, "state": value.state_dict()})
    if isinstance(value, numpy.random.Generator):
        return Tagged("generator", value.bit_generator.state)
    return value


def received(case: Case, left: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a case as a student's function left them; the answer may hold anything.

    Raises
    ------
    ValueError
        When something of another kind stands where a model was.
    """
    arguments = {}
    for name, value in case.arguments.items():
        found = left.get(name)
        if isinstance(value, VivitForVideoClassification):
            if not isinstance(found, Tagged):
                raise ValueError("the model is no model any more")
            found = model_with(value, found.value)
        arguments[name] = found
    return arguments


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _count(value: Any) -> int:
    """Numbers of all arrays within a value."""
    if isinstance(value, Mapping):
        return sum(map(_count, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_count, value))
    return int(getattr(value, "size", 0)) if isinstance(value, numpy.ndarray | numpy.generic) else 0
