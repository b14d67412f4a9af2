"""Lower precisions, emulated in float32: what a port that computes in them makes of the same model.

No operator knows of this. An operator asks its input which array library it belongs to (`array_namespace`), and the
arrays below answer with one of their own, `Emulation`: it computes as NumPy does, except that what goes into a matrix
product is rounded first, and what comes out of it afterwards. A model whose parameters are such arrays computes in that
precision.
"""

import copy
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy
import scipy.special
from numpy.lib.mixins import NDArrayOperatorsMixin

from minivivit.backend import Array, to_numpy
from minivivit.errors import InputError
from minivivit.files.tensor_data import quoted
from minivivit.models.base import VivitBase
from minivivit.models.parameters import map_tree

# Low bits of a float32's 23 bits of fraction that these formats, which share its exponents, do not have.
DROPPED_BITS = {"tf32": 13, "bfloat16": 16}


def round_to_precision(array: numpy.ndarray, precision: str) -> numpy.ndarray:
    r"""The nearest numbers that a precision has, ties to the one whose last bit is 0 (IEEE 754's rounding).

    A number of p significant bits is rounded with a relative error of at most the unit roundoff :math:`u = 2^{-p}`:
    p = 11 for float16 and TF32, 8 for bfloat16. To round to the nearest, add half of the last place that stays, and
    cut; to send ties to even, add one bit less than half, and the last bit that stays. The bits of a float32, read as
    a whole number, carry over into the exponent by themselves.

    Parameters
    ----------
    array : array of float32
        Another dtype is converted to float32 first.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        TF32 and bfloat16 have the exponents of float32; float16 ends at 65504, beyond which is infinity, and below
        2**-14 its numbers are 2**-24 apart.

    Returns
    -------
    array of float32
        A new one, unless `precision` is float32.
    """
    array = array.astype("float32", copy=False)
    if precision == "float32":
        return array
    with numpy.errstate(over="ignore", under="ignore"):
        if precision == "float16":
            return array.astype("float16").astype("float32")
    if precision not in DROPPED_BITS:
        raise InputError(
            f"precision is {quoted(precision)}; expected one of float32, {', '.join(DROPPED_BITS)}, float16"
        )
    dropped = DROPPED_BITS[precision]
    bits = numpy.ascontiguousarray(array).view("uint32")
    rounded = bits >> numpy.uint32(dropped)
    rounded &= numpy.uint32(1)
    rounded += numpy.uint32((1 << (dropped - 1)) - 1)
    rounded += bits
    rounded &= numpy.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
    result = rounded.view("float32").reshape(array.shape)
    numpy.copyto(result, array, where=numpy.isnan(array))  # the bits of a NaN are no number, and carried anywhere
    return result


class Emulation:
    """An array library that computes in float32 on the CPU, with the matrix products of another precision.

    Every function of NumPy is a function of it: given `EmulatedArray`, it returns one.

    Parameters
    ----------
    precision : {"tf32", "bfloat16", "float16"}
        To which what goes into a matrix product is rounded.
    rounds_results : bool
        Whether what comes out of it is rounded too, and with it every operator's output.
    module : module
        Where the functions come from.
    """

    is_emulation = True  # `minivivit.backend.is_gpu` asks: its arrays are in the memory of the CPU

    def __init__(self, precision: str, rounds_results: bool, module: ModuleType = numpy):
        self.precision, self.rounds_results, self.module = precision, rounds_results, module

    @property
    def special(self) -> "Emulation":
        """The error function and its kin."""
        return Emulation(self.precision, self.rounds_results, scipy.special)

    def __getattr__(self, name: str) -> Callable:
        function = getattr(self.module, name)
        return lambda *args, **kwargs: self.call(function, *args, **kwargs)

    def asarray(self, values: Any, dtype: Any = None) -> "EmulatedArray":
        """An array of this library; of a NumPy array without a copy."""
        return EmulatedArray(numpy.asarray(_values(values), dtype), self)

    def matmul(self, a: Any, b: Any, out: Any = None) -> Any:
        """The product of rounded matrices, summed up in float32."""
        a, b = (round_to_precision(_values(matrix), self.precision) for matrix in (a, b))
        product = self.call(numpy.matmul, a, b, out=out)
        if self.rounds_results:
            product.values[...] = round_to_precision(product.values, self.precision)
        return product

    def call(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """A function of NumPy on the arrays' values."""
        with numpy.errstate(over="ignore", invalid="ignore"):  # float16 overflows where float32 does not
            result = function(*_values(args), **{name: _values(value) for name, value in kwargs.items()})
        out = kwargs.get("out")
        if out is not None:
            return out[0] if isinstance(out, tuple) else out
        # asarray on a NumPy array makes one of ours; a scalar becomes an array without axes, as on the GPU
        return self.asarray(result) if isinstance(result, numpy.ndarray | numpy.generic) else result


class EmulatedArray(NDArrayOperatorsMixin):
    """A float32 array of an `Emulation`. It cannot become a NumPy array unseen.

    Attributes
    ----------
    values : numpy.ndarray
    namespace : Emulation
    """

    def __init__(self, values: numpy.ndarray, namespace: Emulation):
        self.values, self.namespace = values, namespace

    def __array_namespace__(self, api_version: str | None = None) -> Emulation:
        """What `minivivit.backend.array_namespace` asks for."""
        return self.namespace

    def __array_ufunc__(self, ufunc: numpy.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """What Python's operators come to."""
        if ufunc is numpy.matmul:
            return self.namespace.matmul(*inputs, **kwargs)
        return self.namespace.call(getattr(ufunc, method), *inputs, **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
        """Refused: what followed would not round."""
        raise TypeError("an emulated array was about to become a NumPy array; use its values")

    def get(self) -> numpy.ndarray:
        """The values: `minivivit.backend.to_numpy` asks for them by this name."""
        return self.values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own protocols are those that are written out here
            raise AttributeError(name)
        attribute = getattr(self.values, name)
        if callable(attribute):
            return lambda *args, **kwargs: self.namespace.call(attribute, *args, **kwargs)
        return self.namespace.asarray(attribute) if isinstance(attribute, numpy.ndarray) else attribute

    def __getitem__(self, index: Any) -> "EmulatedArray":
        return self.namespace.asarray(self.values[_values(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[_values(index)] = _values(value)

    def __len__(self) -> int:
        return len(self.values)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __int__(self) -> int:
        return int(self.values)

    def __float__(self) -> float:
        return float(self.values)


EMULATIONS = {
    "tf32": Emulation("tf32", rounds_results=False),
    "bfloat16": Emulation("bfloat16", rounds_results=True),
    "float16": Emulation("float16", rounds_results=True),
}


def in_precision(model: VivitBase, precision: str) -> VivitBase:
    """A copy of a model that computes in another precision.

    Parameters
    ----------
    model : VivitModel or VivitForVideoClassification
        Of any dtype and device; it stays as it is.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        "float32" computes where the model does. The others are emulated on the CPU: the parameters are rounded once
        (in TF32 they are not: a product rounds what it takes), what goes into every matrix product is rounded, sums are
        taken in float32, and the product's result is rounded (not in TF32). What other operators put out is rounded
        where it is recorded, by `minivivit.verification.rounding.budget`.

    Raises
    ------
    InputError
        For another precision.

    Notes
    -----
    Attention is computed block by block or explicitly, as the pass is asked for. Either way scores and probabilities
    are rounded: the scores as a product's result, the probabilities as another's input. A port that keeps the scores
    in float32 (a fused kernel) errs less than this. Resampling position embeddings stays in float32.
    """
    other = copy.copy(model)
    other.dtype = numpy.dtype("float32")
    if precision == "float32":
        other.params = map_tree(lambda array: array.astype("float32"), model.params)
        return other
    if precision not in EMULATIONS:
        raise InputError(f"precision is {quoted(precision)}; expected one of float32, {', '.join(EMULATIONS)}")
    emulation = EMULATIONS[precision]
    other.params = map_tree(lambda array: emulation.asarray(stored(array, precision)), model.params)
    return other


def stored(values: Array, precision: str) -> numpy.ndarray:
    """A copy of `values` in float32, as the precision holds parameters and pixels: rounded, but for TF32 and float32.

    TF32 is a way to multiply; what is stored is float32.
    """
    with numpy.errstate(over="ignore"):
        array = numpy.array(to_numpy(values), "float32")
    if precision in EMULATIONS and EMULATIONS[precision].rounds_results:
        return round_to_precision(array, precision)
    return array


def _values(value: Any) -> Any:
    """The NumPy arrays inside, in tuples and lists too."""
    if isinstance(value, EmulatedArray):
        return value.values
    if isinstance(value, tuple | list):
        return type(value)(_values(item) for item in value)
    return value
