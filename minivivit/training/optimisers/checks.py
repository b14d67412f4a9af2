"""What both optimisers check before they change a single number."""

import math
from collections.abc import Mapping

import numpy

from minivivit.backend import Array
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted


def check_setting(name: str, value: float, *, below: float = math.inf) -> float:
    """`value` as a float, which must lie in [0, `below`)."""
    if not isinstance(value, int | float | numpy.number) or not 0.0 <= value < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise InputError(f"{name} is {quoted(value)}; expected a finite number of at least 0{limit}")
    return float(value)


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
