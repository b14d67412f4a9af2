"""What both optimisers check before they change a single number."""

import math
from collections.abc import Mapping

import numpy

from minivivit.backend import DTYPES, Array, array_namespace, is_left_behind
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted


def check_setting(name: str, value: float, *, below: float = math.inf) -> float:
    """`value` as a float, which must lie in [0, `below`)."""
    if not isinstance(value, int | float | numpy.number) or not 0.0 <= value < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise InputError(f"{name} is {quoted(value)}; expected a finite number of at least 0{limit}")
    return float(value)


def check_parameters(parameters: Mapping[str, Array]) -> dict[str, Array]:
    """`parameters` as a dict of the same arrays, which must be such that they can be updated in place.

    Raises
    ------
    InputError
        When one is no plain array of float32 or float64 in the machine's byte order, or cannot be written to.
    """
    for name, array in parameters.items():
        try:
            xp = array_namespace(array)
        except InputError as error:
            raise InputError(f"the parameter {quoted(name)}: {error}") from None
        dtype = numpy.dtype(array.dtype)
        if dtype.name not in DTYPES or not dtype.isnative or array.ndim == 0:
            raise InputError(
                f"the parameter {quoted(name)} is {dtype.str} {tuple(array.shape)}; expected float32 or float64 in "
                "this machine's byte order, with at least one axis"
            )
        if xp is numpy and not array.flags.writeable:
            raise InputError(f"the parameter {quoted(name)} is read-only; an optimiser writes to it: give it a copy")
    return dict(parameters)


def check_step(gradients: Mapping[str, Array], parameters: Mapping[str, Array]) -> None:
    """Raise unless there is one gradient for each parameter, and these are still what their model computes with."""
    for name, parameter in parameters.items():
        if is_left_behind(parameter):
            raise InputError(
                f"{quoted(name)} is no longer the model's: model.to() has moved it to another device; make a new "
                "optimiser of model.state_dict(), and load this one's state_dict() into it"
            )
    advice = "; pass only those of the parameters being trained"
    check_same_tensors(gradients, parameters, "gradients", advice=advice)
    for name, parameter in parameters.items():
        own, other = array_namespace(parameter).__name__, array_namespace(gradients[name]).__name__
        if own != other:
            raise InputError(
                f"the gradients hold {quoted(name)} in an array of {other}, but the optimiser's parameter is "
                f"one of {own}"
            )


def check_same_tensors(
    arrays: Mapping[str, Array], expected: Mapping[str, Array], what: str, *, advice: str = ""
) -> None:
    """Raise unless `arrays` has the names, shapes and dtypes of `expected`.

    Parameters
    ----------
    arrays, expected : dict of str to array
    what : str
        What the arrays are, for the message: ``"gradients"``.
    advice : str
        What to do about a name too many.
    """
    missing = expected.keys() - arrays.keys()
    if missing:
        raise InputError(
            f"the {what} lack {quoted(min(missing))} ({len(missing)} missing); expected one for each of "
            f"{len(expected)} names"
        )
    unexpected = arrays.keys() - expected.keys()
    if unexpected:
        raise InputError(
            f"the {what} hold {quoted(min(unexpected))} ({len(unexpected)} such), which is unknown{advice}"
        )
    for name, array in arrays.items():
        want = expected[name]
        if array.shape != want.shape or array.dtype != want.dtype:
            raise InputError(
                f"the {what} hold {quoted(name)} as {array.dtype} {tuple(array.shape)}; "
                f"expected {want.dtype} {tuple(want.shape)}"
            )
