"""An array type that stands in for CuPy's where there is no GPU, so that a call of NumPy on a device array shows.

`StandInArray` holds a NumPy array and computes with it, but only through its own methods and its own namespace `xp`.
When NumPy is called on it, it raises, and it refuses to meet a NumPy array in an operator or an index, as CuPy does.
`xp` offers functions that CuPy has too, and no others.

Where the environment variable STAND_IN_CALLS names a file, the process writes into it what it was asked for: each kind
of call once, as a line of JSON. `tests/gpu/test_cupy_contract.py` holds these against CuPy.
"""

import atexit
import json
import os
from types import SimpleNamespace
from typing import Any

import numpy
import scipy.special

_calls: set[str] | None = None


def _begin_to_note(path: str) -> None:
    global _calls
    _calls = set()

    def write() -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(f"{call}\n" for call in sorted(_calls or ()))

    atexit.register(write)


def _kind(value: Any) -> Any:
    """What an argument is, without its numbers: a string; of a tuple or list, the kinds of what is in it."""
    if isinstance(value, StandInArray):
        return f"array {value.dtype.name} {'0-d' if value.ndim == 0 else 'n-d'}"
    if isinstance(value, numpy.ndarray):
        return f"host {value.dtype.name}"
    if isinstance(value, numpy.generic):
        return f"scalar {value.dtype.name}"
    if isinstance(value, tuple | list):
        return [type(value).__name__, *(_kind(item) for item in value)]
    if isinstance(value, slice):
        return ["slice", *(_kind(part) for part in (value.start, value.stop, value.step))]
    if isinstance(value, numpy.dtype) or (isinstance(value, type) and issubclass(value, numpy.generic)):
        return f"dtype {numpy.dtype(value).name}"
    return "..." if value is ... else type(value).__name__


def _note(place: str, name: str, args: Any, kwargs: Any, result: Any) -> None:
    """Note a call of the function of a place, be that the namespace, its special functions, or an array."""
    if _calls is not None:
        keywords = {key: _kind(value) for key, value in sorted(kwargs.items())}
        _calls.add(json.dumps([place, name, [_kind(value) for value in args], keywords, _kind(result)]))


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
        _note("array", "get", (self,), {}, None)
        return self.inside.copy()

    dtype = property(lambda self: self.inside.dtype)
    shape = property(lambda self: self.inside.shape)
    ndim = property(lambda self: self.inside.ndim)
    size = property(lambda self: self.inside.size)
    nbytes = property(lambda self: self.inside.nbytes)
    T = property(lambda self: StandInArray(self.inside.T))

    def __getitem__(self, index: Any) -> "StandInArray":
        result = _wrapped(self.inside[_unwrapped(index)])
        _note("array", "__getitem__", (self, index), {}, result)
        return result

    def __setitem__(self, index: Any, value: Any) -> None:
        self.inside[_unwrapped(index)] = _unwrapped(value)
        _note("array", "__setitem__", (self, index, value), {}, None)

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
            inside = {key: _unwrapped(value) for key, value in kwargs.items()}
            before = self.dtype
            result = getattr(self.inside, name)(*_unwrapped(args), **inside)
            result = self if result is self.inside else _wrapped(result)
            assert self.dtype == before
            _note("array", name, (self, *args), kwargs, result)
            return result

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
    operators.remove("__imatmul__")  # which CuPy's arrays lack
    unary = ["neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"]
    for name in (*methods, *operators, *(f"__{name}__" for name in unary)):
        setattr(StandInArray, name, forward(name))


_add_methods()


def _computing(function: Any, place: str = "xp") -> Any:
    """A function of NumPy for device arrays."""

    def compute(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        inside = {key: _unwrapped(value) for key, value in kwargs.items()}
        if out is None:
            result = _wrapped(function(*_unwrapped(args), **inside))
        else:
            function(*_unwrapped(args), out=_unwrapped(out), **inside)
            result, kwargs = out, {**kwargs, "out": out}
        _note(place, function.__name__, args, kwargs, result)
        return result

    return compute


def _asarray(value: Any, dtype: Any = None) -> StandInArray:
    """From the host to the device, or a device array as it is. CuPy copies what it takes from the host; so do we."""
    if isinstance(value, StandInArray):
        result = value if dtype is None else StandInArray(value.inside.astype(dtype, copy=False))
    else:
        result = StandInArray(numpy.array(value, dtype=dtype))
    _note("xp", "asarray", (value,), {} if dtype is None else {"dtype": dtype}, result)
    return result


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
    special=SimpleNamespace(erf=_computing(scipy.special.erf, "special")),
    **{name: _computing(getattr(numpy, name)) for name in FUNCTIONS},
)

if "STAND_IN_CALLS" in os.environ:
    _begin_to_note(os.environ["STAND_IN_CALLS"])
