"""An array type that stands in for CuPy's where there is no GPU, so that a call of NumPy on a device array shows.

`StandInArray` holds a NumPy array and computes with it, but only through its own methods and its own namespace `xp`.
When NumPy is called on it, it raises, and it refuses to meet a NumPy array in an operator or an index, as CuPy does.
`xp` offers functions that CuPy has too, and no others.
"""

from types import SimpleNamespace
from typing import Any

import numpy
import scipy.special


def _unwrapped(value: Any) -> Any:
    """The NumPy array inside; what CuPy takes beside its arrays are scalars of Python and NumPy, and plain lists."""
    if isinstance(value, StandInArray):
        return value.inside
    if isinstance(value, numpy.ndarray):
        raise TypeError("unsupported type numpy.ndarray: a NumPy array met a device array")
    if isinstance(value, tuple | list):
        return type(value)(_unwrapped(item) for item in value)
    return value


def _wrapped(value: Any) -> Any:
    """A result of NumPy as a device array. Scalars are 0-dimensional arrays, as CuPy returns them."""
    if isinstance(value, numpy.ndarray | numpy.generic):
        return StandInArray(numpy.asarray(value))
    if isinstance(value, tuple | list):
        return type(value)(_wrapped(item) for item in value)
    return value


class StandInArray:
    """A NumPy array that NumPy may not touch."""

    def __init__(self, inside: numpy.ndarray):
        self.inside = inside

    # What NumPy would call.

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("NumPy was asked to convert a device array")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called on a device array")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        raise TypeError(f"numpy.{ufunc.__name__} was called on a device array")

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return xp

    # What CuPy's arrays have.

    def get(self) -> numpy.ndarray:
        """A copy on the host."""
        return self.inside.copy()

    dtype = property(lambda self: self.inside.dtype)
    shape = property(lambda self: self.inside.shape)
    ndim = property(lambda self: self.inside.ndim)
    size = property(lambda self: self.inside.size)
    nbytes = property(lambda self: self.inside.nbytes)
    T = property(lambda self: StandInArray(self.inside.T))

    def __getitem__(self, index: Any) -> "StandInArray":
        return _wrapped(self.inside[_unwrapped(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.inside[_unwrapped(index)] = _unwrapped(value)

    def __len__(self) -> int:
        return len(self.inside)

    def __bool__(self) -> bool:
        return bool(self.inside)

    def __int__(self) -> int:
        return int(self.inside)

    def __float__(self) -> float:
        return float(self.inside)

    def __repr__(self) -> str:
        return f"StandInArray({self.inside!r})"

    __hash__ = None  # type: ignore[assignment]


def _add_methods() -> None:
    """Methods and operators of the array inside, with everything unwrapped on the way in and wrapped on the way out."""

    def forward(name: str) -> Any:
        def method(self: StandInArray, *args: Any, **kwargs: Any) -> Any:
            kwargs = {key: _unwrapped(value) for key, value in kwargs.items()}
            result = getattr(self.inside, name)(*_unwrapped(args), **kwargs)
            return self if result is self.inside else _wrapped(result)

        return method

    methods = [
        "astype",
        "reshape",
        "transpose",
        "swapaxes",
        "sum",
        "mean",
        "max",
        "min",
        "all",
        "any",
        "copy",
        "ravel",
        "squeeze",
        "repeat",
        "argmax",
        "fill",
    ]
    binary = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"]
    operators = [f"__{prefix}{name}__" for name in binary for prefix in ("", "r", "i")]
    unary = ["neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"]
    for name in (*methods, *operators, *(f"__{name}__" for name in unary)):
        setattr(StandInArray, name, forward(name))


_add_methods()


def _computing(function: Any) -> Any:
    """A function of NumPy for device arrays."""

    def compute(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        kwargs = {key: _unwrapped(value) for key, value in kwargs.items()}
        if out is None:
            return _wrapped(function(*_unwrapped(args), **kwargs))
        function(*_unwrapped(args), out=_unwrapped(out), **kwargs)
        return out

    return compute


def _asarray(value: Any, dtype: Any = None) -> StandInArray:
    """From the host to the device, or a device array as it is. CuPy copies what it takes from the host; so do we."""
    if isinstance(value, StandInArray):
        return value if dtype is None else StandInArray(value.inside.astype(dtype, copy=False))
    return StandInArray(numpy.array(value, dtype=dtype))


# Every name is one of CuPy's: https://docs.cupy.dev/en/stable/reference/
FUNCTIONS = (
    *("empty", "empty_like", "zeros", "zeros_like", "ones", "ones_like", "full", "full_like", "arange"),
    *("ascontiguousarray", "broadcast_to", "concatenate", "stack", "moveaxis", "reshape", "transpose", "where"),
    *(
        "matmul",
        "einsum",
        "tensordot",
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
        "exp",
        "log",
        "log1p",
    ),
    *("tanh", "sqrt", "square", "abs", "isfinite", "isnan", "sum", "mean", "max", "min", "all", "any"),
)

xp = SimpleNamespace(
    __name__="stand_in",
    asarray=_asarray,
    special=SimpleNamespace(erf=_computing(scipy.special.erf)),
    **{name: _computing(getattr(numpy, name)) for name in FUNCTIONS},
)
