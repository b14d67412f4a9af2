"""The only file that knows there are two array libraries: NumPy on the CPU and CuPy on the GPU.

Every operator asks `array_namespace(x)` which library its input belongs to and computes with that, so arrays stay on
the device that they are on. Threads, too, appear here and nowhere else: our own (`parallel_blocks`, `parallel_matmul`,
`results_ahead`), and those of BLAS (`one_pass`), which a guest borrows and gives back.
"""

import importlib
import itertools
import os
import re
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy
import scipy.special
from threadpoolctl import LibController, ThreadpoolController

from minivivit.errors import InputError

Result = TypeVar("Result")

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
    """The library that `array` belongs to: ``numpy``, ``cupy``, or what its ``__array_namespace__`` names.

    Masked arrays and `numpy.matrix` are refused: their operators compute something else than an array's.
    """
    if type(array) is numpy.ndarray:  # by far the most calls
        return numpy
    if isinstance(array, numpy.ndarray | numpy.generic):
        if isinstance(array, numpy.ma.MaskedArray | numpy.matrix):
            kind = type(array).__name__
            raise InputError(f"expected a NumPy or CuPy array, got a {kind}; convert it with numpy.asarray")
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
    """`values` as a plain array: one of either library as it is; lists and numbers as a NumPy array.

    A subclass of NumPy's array (a memory map, a matrix, a masked array in which nothing is masked) is seen as what it
    is a subclass of, and numbers in the other byte order are turned into the machine's.

    Parameters
    ----------
    values : array, list, tuple or number
    name : str
        What the values are, for the message.

    Raises
    ------
    InputError
        For anything else, a tensor of PyTorch included, for lists whose rows have different lengths, and where entries
        are masked.
    """
    if not isinstance(values, list | tuple | int | float | numpy.ndarray):
        try:
            array_namespace(values)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        return values
    if _holds_masked(values):
        raise InputError(f"{name} has masked entries; fill them first, as numpy.ma.filled does, or leave them out")
    try:
        array = numpy.asarray(values)
    except (ValueError, OverflowError, RuntimeError, TypeError):
        raise InputError(f"{name} is a list that makes no array; expected numbers in rows of one length") from None
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _holds_masked(values: Any) -> bool:
    """Whether entries are masked in an array, or in one of a list of them: NumPy would take what the mask hides."""
    if isinstance(values, list | tuple):
        return any(isinstance(value, list | tuple | numpy.ma.MaskedArray) and _holds_masked(value) for value in values)
    return numpy.ma.is_masked(values)


# Parameters whose model went on to another device with copies of them, for as long as anyone holds them.
_left_behind: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()


def leave_behind(array: Array) -> None:
    """Note that `array` is no longer what its model computes with."""
    _left_behind[id(array)] = array


def is_left_behind(array: Array) -> bool:
    """Whether `array` was a model's parameter, and is none any more since the model has moved."""
    return _left_behind.get(id(array)) is array


def _is_cupy(xp: Any) -> bool:
    """Whether `xp` is CuPy, and not only like it: what only CuPy can do may be asked of it."""
    return xp is not numpy and xp is sys.modules.get("cupy")


def special_functions(xp: Any) -> Any:
    """The module with `erf` and its kin that goes with the array library `xp`."""
    if xp is numpy:
        return scipy.special
    if _is_cupy(xp):
        return importlib.import_module("cupyx.scipy.special")
    return xp.special


def to_numpy(array: Array) -> numpy.ndarray:
    """`array` as a plain NumPy array; a copy only when it comes from another device, or is in the other byte order.

    Raises
    ------
    InputError
        When entries are masked.
    """
    if isinstance(array, numpy.ndarray):
        return as_array(array, "the array")
    if hasattr(array, "get"):  # CuPy's name for a copy from the device
        return array.get()
    return numpy.asarray(array)


def checked_dtype(dtype: Any) -> numpy.dtype:
    """`dtype` as a NumPy dtype, which must be float32 or float64: the two that models compute in.

    In the machine's byte order, whatever order was asked for: a model's numbers are in memory, not in a file.
    """
    try:
        result = numpy.dtype(dtype)
    except TypeError:
        result = None
    if result is None or result.name not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; a model computes in 'float32' or 'float64'")
    return numpy.dtype(result.name)


# --------------------------------------------------------------------------------------------------------------------
# Matrix products
# --------------------------------------------------------------------------------------------------------------------

# Multiplications in a product below which NumPy's own loops are faster than a call of SciPy's BLAS, which in a
# browser takes 0.17 ms before it begins.
SMALL_PRODUCT = 1 << 18


@cache
def _scipy_blas() -> ModuleType | None:
    """SciPy's BLAS where NumPy was built without one, as for browsers (Pyodide); None where NumPy has its own."""
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return None if blas.get("found") else importlib.import_module("scipy.linalg.blas")


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """``xp.matmul`` of matrices or stacks of them, by a BLAS even where NumPy has none.

    Parameters
    ----------
    a : array, shape (..., rows, inner)
    b : array, shape (..., inner, columns)
    out : array, shape (..., rows, columns), optional
        Where to write the product.
    """
    xp = array_namespace(a)
    if _is_cupy(xp) and _should_turn(a, b, out):
        return xp.matmul(b.swapaxes(-1, -2), a.swapaxes(-1, -2)).swapaxes(-1, -2)
    blas = _scipy_blas() if xp is numpy else None
    if blas is None or a.dtype != b.dtype or a.shape[-2] * a.shape[-1] * b.shape[-1] < SMALL_PRODUCT:
        return xp.matmul(a, b, out=out)
    multiply = blas.sgemm if a.dtype == numpy.float32 else blas.dgemm
    stack = numpy.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    product = numpy.empty((*stack, a.shape[-2], b.shape[-1]), a.dtype) if out is None else out
    a, b = numpy.broadcast_to(a, (*stack, *a.shape[-2:])), numpy.broadcast_to(b, (*stack, *b.shape[-2:]))
    for place in numpy.ndindex(*stack):
        # BLAS counts by columns, so what it sees are transposes: (a b)^T = b^T a^T.
        (left, turn_left), (right, turn_right) = _by_columns(b[place]), _by_columns(a[place])
        product[place] = multiply(1, left, right, trans_a=turn_left, trans_b=turn_right).T
    return product


def _should_turn(a: Array, b: Array, out: Array | None) -> bool:
    """Whether CuPy should multiply (b^T a^T)^T, and not a b.

    It copies each stack of matrices that is not stored by rows. Where `a` is stored by columns, and larger than `b`,
    the transposes leave it the smaller copy.
    """
    return out is None and a.ndim > 2 and a.size > b.size and bool(a.swapaxes(-1, -2).flags.c_contiguous)


def _by_columns(matrix: numpy.ndarray) -> tuple[numpy.ndarray, bool]:
    """The transpose as BLAS takes it without a copy: a matrix stored by columns, and whether BLAS is to turn it."""
    return (matrix, True) if matrix.flags.f_contiguous else (matrix.T, False)


# --------------------------------------------------------------------------------------------------------------------
# GPUs of several processes
# --------------------------------------------------------------------------------------------------------------------


def gpu_addresses(xp: Any) -> tuple[str, ...]:
    """Where on the PCI bus the GPUs are that the array library `xp` sees, by their numbers; none with NumPy."""
    if xp is numpy:
        return ()
    return tuple(xp.cuda.Device(number).pci_bus_id for number in range(xp.cuda.runtime.getDeviceCount()))


def use_gpu(xp: Any, number: int) -> None:
    """Let this thread, which is the one that computes, use the GPU of a number from now on; until then it is 0."""
    xp.cuda.Device(number).use()


def has_nccl() -> bool:
    """Whether CuPy finds NCCL's library, which sums over GPUs; it is no part of CuPy's wheels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy warns that there is none; we do without
        return bool(importlib.import_module("cupy.cuda.nccl").available)


def nccl_communicator(rank: int, size: int) -> Any:
    """NCCL's link from this process's GPU to those of all others under ``mpiexec``, who ask for theirs meanwhile."""
    return importlib.import_module("cupyx.distributed").NCCLBackend(size, rank, use_mpi=True)


# --------------------------------------------------------------------------------------------------------------------
# Several operations in one
# --------------------------------------------------------------------------------------------------------------------


def is_gpu(xp: Any) -> bool:
    """Whether the array library `xp` computes on a GPU, where a large operation is faster than many small ones."""
    return xp is not numpy and not getattr(xp, "is_emulation", False)


def one_kernel(function: Callable[..., None], results: tuple, inputs: tuple, **constants: float) -> None:
    """Call ``function(xp, *results, *inputs, **constants)``; with CuPy it becomes a single kernel of the GPU.

    A GPU has no cache in which an array could wait for the next operation: a chain of them reads and writes its memory
    at each link. `cupy.fuse` compiles the chain, when it first sees the function and the dtypes.

    Parameters
    ----------
    function : callable
        One of a module, not made anew for each call. It computes entry by entry, with ufuncs of xp and operators, and
        writes into the results.
    results : tuple of arrays, all of one shape
        They may hold what the function begins with.
    inputs : tuple of arrays that broadcast to that shape, and of numbers
    constants : numbers and truth values that the function takes by name
        It may ask what they are; each new one is a kernel of its own.
    """
    xp = array_namespace(results[0])
    if _is_cupy(xp):
        _fused(function, len(results), tuple(constants.items()))(*results, *inputs)
    else:
        function(xp, *results, *inputs, **constants)


@cache
def _fused(function: Callable[..., None], num_results: int, constants: tuple) -> Callable[..., None]:
    """`function` as one kernel of CuPy."""
    cupy = importlib.import_module("cupy")

    def on_registers(*arrays: Array) -> None:
        # written in place, a result would go to memory at each operation
        results = [cupy.copy(result) for result in arrays[:num_results]]
        function(cupy, *results, *arrays[num_results:], **dict(constants))
        for array, result in zip(arrays, results, strict=False):
            array[...] = result

    return cupy.fuse(kernel_name=function.__name__.strip("_"))(on_registers)


def row_dots(a: Array, b: Array) -> Array:
    """The product of each row of `a` with that of `b`: the sum over the last axis, without an array of the products."""
    xp = array_namespace(a)
    if _is_cupy(xp):
        return _fused_sum_of_products(-1)(a, b)
    return xp.einsum("...i,...i->...", a, b)


def column_dots(a: Array, b: Array) -> Array:
    """The product of each column of the matrix `a` with that of `b`: as `row_dots`, over the first axis."""
    xp = array_namespace(a)
    if _is_cupy(xp):
        return _fused_sum_of_products(0)(a, b)
    return xp.einsum("ij,ij->j", a, b)


@cache
def _fused_sum_of_products(axis: int) -> Callable[[Array, Array], Array]:
    """Products and their sum as one kernel of CuPy, whose einsum makes a matrix product of each row."""
    cupy = importlib.import_module("cupy")

    def sum_of_products(a: Array, b: Array) -> Array:
        return cupy.sum(a * b, axis=axis)

    return cupy.fuse(kernel_name="sum_of_products")(sum_of_products)


# --------------------------------------------------------------------------------------------------------------------
# Threads
# --------------------------------------------------------------------------------------------------------------------


class _ThisThread(threading.local):
    """What the calling thread is in the middle of."""

    in_a_pass = False
    in_a_task = False
    own_blas: list[tuple[LibController, int]] = []  # noqa: RUF012  (replaced, never changed)


_this_thread = _ThisThread()

# Multiplications in a matrix product from which on `parallel_matmul` cuts it (a quarter of a millisecond of work, some
# times what it takes to wake a thread), and the most rows or columns of a part.
LARGE_PRODUCT = 1 << 24
PRODUCT_PART = 640

# More threads than any machine has processors: who asks for more has mistyped.
MOST_THREADS = 4096


def _threads_from_environment() -> int:
    text = os.environ.get("MINIVIVIT_NUM_THREADS", "").strip()
    if text:
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_THREADS:
            raise InputError(
                f"the environment variable MINIVIVIT_NUM_THREADS is {text[:40]!r}; expected a whole number from 1 to "
                f"{MOST_THREADS}"
            )
        return int(text)
    # OpenMP's own variable may be a list, one number for each level of nested threads: ours is the outermost. What
    # OpenMP's runtimes pass over, we pass over: the variable is theirs.
    outermost = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if re.fullmatch("[0-9]{1,9}", outermost) and 1 <= int(outermost) <= MOST_THREADS:
        return int(outermost)
    return num_processors()


def num_processors() -> int:
    """How many processors this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


_num_threads: int | None = None


def num_threads() -> int:
    """How many threads `parallel_blocks` uses.

    ``MINIVIVIT_NUM_THREADS``, else ``OMP_NUM_THREADS`` (of a list, the first), else the number of processors this
    process may run on; read when it is first asked for.

    Raises
    ------
    InputError
        When ``MINIVIVIT_NUM_THREADS`` is no whole number from 1 to 4096.
    """
    global _num_threads
    if _num_threads is None:
        _num_threads = _threads_from_environment()
    return _num_threads


def set_num_threads(count: int) -> None:
    """Set how many threads `parallel_blocks` uses, from now on: a whole number from 1 to 4096."""
    whole = isinstance(count, int | numpy.integer) and not isinstance(count, bool)
    if not whole or not 1 <= count <= MOST_THREADS:
        shown = repr(count)[:40] if not isinstance(count, int) or abs(count) < 10**40 else "a huge number"
        raise InputError(f"the number of threads is {shown}; expected a whole number from 1 to {MOST_THREADS}")
    global _num_threads
    _num_threads = int(count)


class _Libraries(ThreadpoolController):
    """threadpoolctl's, which before version 3.7 asks the loader for the libraries, and may so wait for ever.

    Meanwhile the loader holds a lock of its own, and its answer needs Python's. A thread that imports an extension for
    the first time holds Python's, and needs the loader's. On Linux a file lists the libraries as well.
    """

    def _find_libraries_with_dl_iterate_phdr(self) -> None:
        try:
            lines = Path("/proc/self/maps").read_bytes().splitlines()
        except OSError:
            super()._find_libraries_with_dl_iterate_phdr()
            return
        names = {line[line.index(b"/") :] for line in lines if b"/" in line and b".so" in line}
        for name in sorted(name for name in names if not name.endswith(b" (deleted)")):
            self._make_controller_from_path(os.fsdecode(name))


@cache
def _blas_libraries(per_thread: bool) -> list[LibController]:
    """What sets the threads of each BLAS in the process: those with OpenMP's threads, which every thread of Python has
    for itself, or all others.
    """
    libraries = _Libraries().select(user_api="blas").lib_controllers
    return [library for library in libraries if (getattr(library, "threading_layer", "") == "openmp") == per_thread]


def _set_blas_threads(library: LibController, count: int) -> None:
    # Newer versions of threadpoolctl (3.8 is one) let but one thread set the number, and pass over what others ask for.
    # Here it is we who count who is inside, in all threads; and the user's own limits stay the user's.
    getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


def _limit_blas(libraries: list[LibController]) -> list[tuple[LibController, int]]:
    """Set each library to one thread; returns what they had."""
    found = [(library, library.get_num_threads()) for library in libraries]
    for library, _ in found:
        _set_blas_threads(library, 1)
    return found


def _restore_blas(found: list[tuple[LibController, int]]) -> None:
    """Give back what `_limit_blas` found."""
    while found:
        _set_blas_threads(*found.pop())


class _OneBlasThread:
    """BLAS on one thread while anyone in the process is inside; the last one out gives back what the first one found.

    How many threads BLAS has is one number for the whole process. Were each call to save and restore it, the second of
    two that overlap would save the first one's 1, and leave it behind. So it is known which threads are inside, and
    each remembers whether it is one of them: after a fork, of all threads the child has only the one that forked.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._inside: set[threading.Thread] = set()
        self._found: list[tuple[LibController, int]] = []

    def __enter__(self) -> None:
        shared, per_thread = _blas_libraries(False), _blas_libraries(True)
        _this_thread.in_a_pass = True
        _this_thread.own_blas = _limit_blas(per_thread)
        with self.lock:
            self._give_back_if_empty()
            if not self._inside:
                self._found = _limit_blas(shared)
            self._inside.add(threading.current_thread())

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self._inside.discard(threading.current_thread())
            self._give_back_if_empty()
        _restore_blas(_this_thread.own_blas)
        _this_thread.in_a_pass = False

    def _give_back_if_empty(self) -> None:
        """The dead do not count: a thread that was stopped from outside may not have come to its exit."""
        self._inside = {thread for thread in self._inside if thread.is_alive()}
        if not self._inside:
            _restore_blas(self._found)

    def after_fork(self) -> None:
        """In the child, which has but one thread."""
        self.lock = threading.RLock()
        self._inside = {threading.current_thread()} if _this_thread.in_a_pass else set()
        self._give_back_if_empty()


_one_blas_thread = _OneBlasThread()


@contextmanager
def _outermost_pass() -> Iterator[None]:
    num_threads()  # a number in the environment that is none is said, whether or not there will be several tasks
    with _one_blas_thread, numpy.errstate(under="ignore"):
        yield


_PASS_WITHIN_A_PASS = nullcontext()


def one_pass() -> AbstractContextManager[None]:
    """A context for computing, in which the bits and the errors are the package's own, whatever the process has set.

    BLAS computes on one thread, so that the bits of a product do not depend on how many it has. And a number too small
    to be held is 0, whatever the user has asked of `numpy.seterr`: every softmax makes such numbers, and rightly.

    Around a whole pass it costs some 20 microseconds, and within another one next to nothing: models enter it once a
    pass, `parallel_blocks` and `parallel_matmul` for themselves where they are called alone. It may be entered from
    several threads at once, and the process may fork meanwhile.
    """
    return _PASS_WITHIN_A_PASS if _this_thread.in_a_pass else _outermost_pass()


# Threads by how many there are at most; they are started when they are needed.
_thread_pools: dict[int, ThreadPoolExecutor] = {}


def _lend_threads(count: int, work: Callable[[], None]) -> list[Future]:
    """Let up to `count` threads of the pool do `work`, each with the caller's context (NumPy's error state is in it).

    There may be fewer, or none: where no thread can be started (under WebAssembly, or at the limit of the system), and
    when the interpreter is about to end.
    """
    size = num_threads() - 1  # the caller is one, too
    pool = _thread_pools.get(size)
    if pool is None:
        pool = _thread_pools.setdefault(size, ThreadPoolExecutor(size, thread_name_prefix="minivivit"))
    futures: list[Future] = []
    try:
        while len(futures) < count:
            futures.append(pool.submit(copy_context().run, work))
    except RuntimeError:  # "can't start new thread", "cannot schedule new futures after shutdown"
        _thread_pools.pop(size, None)  # its queue now holds what no thread will take out
        pool.shutdown(wait=False)
    return futures


def _after_fork_in_child() -> None:
    _thread_pools.clear()  # their threads have stayed with the parent
    _one_blas_thread.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _one_blas_thread.lock.acquire(),
        after_in_parent=lambda: _one_blas_thread.lock.release(),
        after_in_child=_after_fork_in_child,
    )


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

    The calling thread takes tasks like any other, and waits only for those that others have begun. So it is a plain
    loop where there are no other threads: under WebAssembly, or while the interpreter ends.

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
    if xp is not numpy or (len(tasks) == 1 and _this_thread.in_a_pass):
        for task in tasks:
            task()
        return
    count = min(num_threads(), len(tasks))
    with one_pass():
        if count > 1 and not _this_thread.in_a_task:
            _run_on_threads(tasks, count)
        else:
            for task in tasks:
                task()


def _run_on_threads(tasks: Sequence[Callable[[], None]], count: int) -> None:
    """Run `tasks` on up to `count` threads, of which the calling one is the first."""
    waiting = deque(enumerate(tasks))
    errors: dict[int, BaseException] = {}

    def work() -> None:
        _this_thread.in_a_task = True  # a nested `parallel_blocks` becomes a plain loop
        try:
            with one_pass():
                while waiting:
                    try:
                        index, task = waiting.popleft()
                    except IndexError:  # another thread was faster
                        return
                    try:
                        task()
                    except BaseException as error:
                        errors[index] = error
                        if not isinstance(error, Exception):  # an interruption: what has not begun never will
                            waiting.clear()
        finally:
            _this_thread.in_a_task = False

    futures: list[Future] = []
    try:
        futures = _lend_threads(count - 1, work)
        work()
    finally:
        waiting.clear()
        for future in futures:
            if not future.cancel():  # it has begun
                future.exception()
    if errors:
        try:
            raise errors[min(errors)]
        finally:
            errors.clear()  # or error, traceback, frame and error would keep each other, and what the frames hold


def results_ahead(tasks: Iterable[Callable[[], Result]], workers: int, waiting: int) -> Generator[Result, None, None]:
    """The results of `tasks`, in their order, computed on threads of their own while earlier ones are used.

    For what a processor can do while others compute: clips are read and decoded ahead of the model. Which thread makes
    what does not matter to a result, so a task must draw from no generator that another task draws from.

    The threads begin with the first result and end with the last, or when the iterator is closed: what has not begun
    then never does. Where no thread can be started, each result is computed when it is asked for.

    Parameters
    ----------
    tasks : iterable of callables without arguments
        Asked for one by one, by the thread that takes the results. Within one of them `parallel_blocks` is a plain
        loop, and BLAS has one thread.
    workers : int
        How many threads.
    waiting : int
        How many results, at most, are ahead of the one that is used: what fits into memory.

    Raises
    ------
    Exception
        The error of a task, in the place of its result; later tasks are given up.
    """

    def work(task: Callable[[], Result]) -> Result:
        _this_thread.in_a_task = True
        try:
            with one_pass():
                return task()
        finally:
            _this_thread.in_a_task = False

    pool = ThreadPoolExecutor(workers, thread_name_prefix="minivivit-ahead")
    alone, ahead = False, deque[Callable[[], Result]]()
    try:
        for task in tasks:
            result: Callable[[], Result] = partial(work, task)
            if not alone:
                try:
                    result = pool.submit(copy_context().run, work, task).result
                except RuntimeError:  # "can't start new thread", "cannot schedule new futures after shutdown"
                    alone = True
            ahead.append(result)
            if len(ahead) > waiting:
                yield ahead.popleft()()
        while ahead:
            yield ahead.popleft()()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def parallel_matmul(a: Array, b: Array) -> Array:
    """The product of two matrices, or of two stacks of them; a large one in parts, by `parallel_blocks`.

    BLAS has threads of its own, and would be as fast. But each of these waits for its next product by asking again and
    again, for a tenth of a second, and meanwhile takes a processor from the tasks of the next `parallel_blocks`: a
    whole forward pass takes a tenth longer. Besides, the parts do not depend on the number of threads, so neither do
    the bits; and a small product runs on one thread of BLAS, for the same reason.

    Parameters
    ----------
    a : array, shape (..., rows, inner)
    b : array, shape (..., inner, columns)

    Returns
    -------
    array, shape (..., rows, columns)
    """
    xp = array_namespace(a)
    if xp is not numpy:
        return xp.matmul(a, b)
    if a.size * b.shape[-1] < LARGE_PRODUCT:
        if _this_thread.in_a_pass:
            return matmul(a, b)
        with one_pass():
            return matmul(a, b)
    (rows, inner), columns = a.shape[-2:], b.shape[-1]
    stack = numpy.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    product = numpy.empty((*stack, rows, columns), dtype=numpy.result_type(a, b))
    if stack:
        a, b = numpy.broadcast_to(a, (*stack, rows, inner)), numpy.broadcast_to(b, (*stack, inner, columns))
        tasks = [partial(matmul, a[place], b[place], out=product[place]) for place in numpy.ndindex(*stack)]
    elif rows >= columns:
        parts = row_blocks(rows, min(PRODUCT_PART, -(-rows // 2)))
        tasks = [partial(matmul, a[part], b, out=product[part]) for part in parts]
    else:
        parts = row_blocks(columns, min(PRODUCT_PART, -(-columns // 2)))
        tasks = [partial(matmul, a, b[:, part], out=product[:, part]) for part in parts]
    parallel_blocks(tasks)
    return product
