"""The only file that knows there are two array libraries: NumPy on the CPU and CuPy on the GPU.

Every operator asks `array_namespace(x)` which library its input belongs to and computes with that, so arrays stay on
the device that they are on. Threads, too, appear here and nowhere else (`parallel_blocks`, `parallel_matmul`).
"""

import importlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy
import scipy.special
from threadpoolctl import ThreadpoolController

from minivivit.errors import InputError

BACKENDS = ("numpy", "cupy", "auto")
DTYPES = ("float32", "float64")

# An array of either library (or of a stand-in, in the tests). Both spell their arrays' methods alike.
Array = Any


# --------------------------------------------------------------------------------------------------------------------
# Which library
# --------------------------------------------------------------------------------------------------------------------


def _load_cupy() -> tuple[ModuleType | None, str]:
    """CuPy if it is installed and finds a GPU, else None and the reason why not."""
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # a broken CUDA installation can raise anything while it is imported
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        return None, f"CuPy cannot be imported ({first_line})"
    try:
        if cupy.cuda.runtime.getDeviceCount() > 0:
            return cupy, ""
        return None, "CuPy is installed but finds no GPU"
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        return None, f"CuPy is installed but finds no GPU ({first_line})"


def get_namespace(backend: str | None = "auto") -> ModuleType:
    """The array library that a backend's name stands for.

    Parameters
    ----------
    backend : {"numpy", "cupy", "auto"} or None
        ``"auto"`` takes the environment variable ``MINIVIVIT_BACKEND`` when it is set, else CuPy when it is installed
        and there is a GPU, else NumPy. None is the same as ``"auto"``.

    Raises
    ------
    InputError
        For another name, and for ``"cupy"`` where CuPy or a GPU is missing.
    """
    name, source = backend or "auto", "backend"
    if name == "auto":
        name, source = os.environ.get("MINIVIVIT_BACKEND") or "auto", "the environment variable MINIVIVIT_BACKEND"
    if name not in BACKENDS:
        raise InputError(f"{source} is {name!r}; expected one of {', '.join(map(repr, BACKENDS))}")
    if name == "numpy":
        return numpy
    cupy, reason = _load_cupy()
    if cupy is not None:
        return cupy
    if name == "cupy":
        raise InputError(
            f"{source} is 'cupy', but {reason}: run  pip install 'minivivit[cuda12]'  (or cuda13) on a machine with an "
            "NVIDIA GPU, or use 'numpy'"
        )
    return numpy


def array_namespace(array: Array) -> Any:
    """The library that `array` belongs to: ``numpy``, ``cupy``, or what its ``__array_namespace__`` names."""
    if isinstance(array, numpy.ndarray | numpy.generic):
        return numpy
    cupy = sys.modules.get("cupy")  # an array of CuPy cannot exist before CuPy was imported
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    raise InputError(f"expected a NumPy or CuPy array, got {type(array).__name__}; convert it with numpy.asarray")


def floating_namespace(array: Array, name: str) -> Any:
    """`array_namespace`, for an operator that computes with real numbers in the dtype that it is given.

    Whole numbers would be cut off or wrap around on the way, in silence; an empty array has neither a mean nor a
    maximum.

    Raises
    ------
    InputError
        When `array` is empty, or holds anything but floats.
    """
    xp = array_namespace(array)
    if numpy.dtype(array.dtype).kind != "f":
        raise InputError(f"{name} has dtype {array.dtype}; expected floats: convert it with .astype('float64')")
    if array.size == 0:
        raise InputError(f"{name} has shape {tuple(array.shape)}: it is empty")
    return xp


def as_array(values: Any, name: str) -> Array:
    """`values` as they are when they are an array of either library; lists and numbers as a NumPy array.

    Parameters
    ----------
    values : array, list, tuple or number
    name : str
        What the values are, for the message.

    Raises
    ------
    InputError
        For anything else, a tensor of PyTorch included, and for lists whose rows have different lengths.
    """
    if not isinstance(values, list | tuple | int | float):
        try:
            array_namespace(values)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        return values
    try:
        return numpy.asarray(values)
    except (ValueError, OverflowError, RuntimeError):
        raise InputError(f"{name} is a list that makes no array; expected numbers in rows of one length") from None


def special_functions(xp: Any) -> Any:
    """The module with `erf` and its kin that goes with the array library `xp`."""
    if xp is numpy:
        return scipy.special
    if xp is sys.modules.get("cupy"):
        return importlib.import_module("cupyx.scipy.special")
    return xp.special


def to_numpy(array: Array) -> numpy.ndarray:
    """`array` as a NumPy array; a copy only when it comes from another device."""
    if isinstance(array, numpy.ndarray):
        return array
    if hasattr(array, "get"):  # CuPy's name for a copy from the device
        return array.get()
    return numpy.asarray(array)


def checked_dtype(dtype: Any) -> numpy.dtype:
    """`dtype` as a NumPy dtype, which must be float32 or float64: the two that models compute in."""
    try:
        result = numpy.dtype(dtype)
    except TypeError:
        result = None
    if result is None or result.name not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; a model computes in 'float32' or 'float64'")
    return result


# --------------------------------------------------------------------------------------------------------------------
# Threads
# --------------------------------------------------------------------------------------------------------------------

_inside_a_task = threading.local()

# Multiplications in a matrix product from which on `parallel_matmul` cuts it (a millisecond or two of work), and the
# most rows or columns of a part.
LARGE_PRODUCT = 1 << 27
PRODUCT_PART = 640


def _threads_from_environment() -> int:
    text = os.environ.get("MINIVIVIT_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    if text.isdigit() and int(text) > 0:
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


_num_threads = _threads_from_environment()


def num_threads() -> int:
    """How many threads `parallel_blocks` uses.

    ``MINIVIVIT_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the number of processors this process may run on.
    """
    return _num_threads


def set_num_threads(count: int) -> None:
    """Set how many threads `parallel_blocks` uses, from now on."""
    if not isinstance(count, int) or count < 1:
        raise InputError(f"the number of threads is {count!r}; expected a whole number of at least 1")
    global _num_threads
    _num_threads = count


@cache
def _thread_pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="minivivit")


@cache
def _blas_controller() -> ThreadpoolController:
    return ThreadpoolController()


def _run_marked(task: Callable[[], None]) -> None:
    """Run one task on a pool thread, so marked that a nested `parallel_blocks` becomes a plain loop."""
    _inside_a_task.active = True
    try:
        task()
    finally:
        _inside_a_task.active = False


def row_blocks(num_rows: int, block_rows: int, xp: Any = numpy) -> list[slice]:
    """Cut `num_rows` rows into slices of at most `block_rows`, as equal as can be; one slice on the GPU.

    The cut does not depend on the number of threads, so neither do the bits. It is even in number, for a pair of
    threads to share, when there is more than one block.
    """
    if xp is not numpy or num_rows <= block_rows:
        return [slice(0, num_rows)]
    count = -(-num_rows // block_rows)
    count += count % 2
    edges = [num_rows * index // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]


def parallel_blocks(tasks: Sequence[Callable[[], None]], xp: Any = numpy) -> None:
    """Run `tasks`: threads over blocks on the CPU, a plain loop on the GPU.

    Each task owns its part of the output and reads only what no task writes, so the bits of the result depend neither
    on the scheduling nor on the number of threads. Meanwhile BLAS runs on one thread a task: two levels of threads
    would fight for the same processors.

    Parameters
    ----------
    tasks : sequence of callables without arguments
        Each writes its block of an array made beforehand.
    xp : module
        The array library of the blocks. A GPU runs the loop in order: its parallelism lies within each operation.

    Raises
    ------
    Exception
        The first error of a task, after all have ended.
    """
    if xp is not numpy or len(tasks) == 1 or getattr(_inside_a_task, "active", False):
        for task in tasks:
            task()
        return
    with _blas_controller().limit(limits=1, user_api="blas"):
        if num_threads() == 1:
            for task in tasks:
                task()
            return
        futures = [_thread_pool(num_threads()).submit(_run_marked, task) for task in tasks]
        for future in futures:
            future.exception()
        for future in futures:
            future.result()


def parallel_matmul(a: Array, b: Array) -> Array:
    """The product of two matrices; a large one in parts, by `parallel_blocks`.

    BLAS has threads of its own, and would be as fast. But each of these waits for its next product by asking again and
    again, for a tenth of a second, and meanwhile takes a processor from the tasks of the next `parallel_blocks`: a
    whole forward pass takes a tenth longer. Besides, the parts do not depend on the number of threads, so neither do
    the bits.

    Parameters
    ----------
    a : array, shape (rows, inner)
    b : array, shape (inner, columns)

    Returns
    -------
    array, shape (rows, columns)
    """
    xp = array_namespace(a)
    rows, columns = a.shape[0], b.shape[1]
    if xp is not numpy or rows * a.shape[1] * columns < LARGE_PRODUCT:
        return xp.matmul(a, b)
    product = numpy.empty((rows, columns), dtype=numpy.result_type(a, b))
    parts = row_blocks(max(rows, columns), PRODUCT_PART)
    if rows >= columns:
        tasks = [partial(numpy.matmul, a[part], b, out=product[part]) for part in parts]
    else:
        tasks = [partial(numpy.matmul, a, b[:, part], out=product[:, part]) for part in parts]
    parallel_blocks(tasks)
    return product
