"""What our code asks of an array library, CuPy has: its names, signatures and casting. Run with  pytest -m contract.

No GPU is needed: CuPy's wheel installs and imports without one. The tests on the stand-in array type run once more, in
a process that notes each kind of call; each is then held against what CuPy says of itself: the signatures of its
functions and methods, and for which types its ufuncs have a loop. So the stand-in cannot promise what CuPy lacks. That
the numbers are right only a GPU can tell (``pytest -m gpu``).
"""

import ast
import contextlib
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy
import pytest
import stand_in_array

from minivivit import backend

try:
    import cupy
except ImportError:
    cupy = None

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(cupy is None, reason="needs CuPy's wheel, no GPU: pip install '.[test,cuda12]'"),
]
ROOT = Path(__file__).parents[2]
ON_THE_STAND_IN = ("tests/models/test_stand_in.py", "tests/test_guest_arrays.py")

# Operators, and the ufuncs that CuPy makes of them.
BINARY = {
    **{"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide"},
    **{"mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
}
COMPARING = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
# What CuPy's ufuncs take beside arrays (cupy/_core/_kernel.pyx, ufunc.__call__).
UFUNC_KEYWORDS = {"out", "dtype", "casting"}
# Python's numbers are weak: they take the dtype of the array that they meet.
WEAK = {"bool": "?", "int": "l", "float": "d"}


def calls():
    """What the tests on the stand-in ask for, each kind of call once: [place, name, arguments, keywords, result]."""
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"stand_in_calls_{os.getpid()}.jsonl"
    environment = {**os.environ, "STAND_IN_CALLS": str(path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *ON_THE_STAND_IN]
    try:
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-3000:]
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    finally:
        path.unlink(missing_ok=True)


def dtype_of(kind):
    """Of an array or one of NumPy's scalars."""
    words = kind.split() if isinstance(kind, str) else []
    return numpy.dtype(words[1]) if words and words[0] in ("array", "scalar", "host") else None


def signature_of(function):
    """Of a function, or of a method in C, whose documentation begins with it."""
    try:
        return inspect.signature(function)
    except ValueError:
        pass
    match = re.match(r"[\w.]*\((.*)\)", (function.__doc__ or "").splitlines()[0])
    assert match, f"{function} does not say how it is called"
    kinds = {"*": inspect.Parameter.VAR_POSITIONAL, "**": inspect.Parameter.VAR_KEYWORD}
    parameters = []
    for text in re.split(r",\s*", match[1]):
        stars, name, default = re.match(r"(\**)(?:\w+ )*(\w+)(=.*)?$", text).groups()
        kind = kinds.get(stars, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters) and not stars:
            kind = inspect.Parameter.KEYWORD_ONLY
        empty = inspect.Parameter.empty if default is None else default
        parameters.append(inspect.Parameter(name, kind, default=empty))
    return inspect.Signature(parameters)


def loop_of(ufunc, inputs):
    """The types of the outputs of the first loop that takes arguments of these kinds; CuPy chooses so."""
    strong = [dtype_of(kind) for kind in inputs]
    for types in ufunc.types:
        takes, gives = types.split("->")
        if not set(takes + gives) <= set(numpy.typecodes["All"]):
            continue  # bfloat16, which CuPy knows where ml_dtypes is installed
        if len(takes) == len(inputs) and all(
            numpy.can_cast(numpy.dtype(there), one)
            if there is not None
            else numpy.dtype(one).kind in {"bool": "?biufc", "int": "iufc", "float": "fc"}[kind]
            for one, there, kind in zip(takes, strong, inputs, strict=True)
        ):
            return [numpy.dtype(one) for one in gives]
    return None


def fault_of_ufunc(ufunc, inputs, keywords, result):
    """What CuPy would not do with this call of a ufunc; None for nothing."""
    unknown = keywords.keys() - UFUNC_KEYWORDS
    if unknown:
        return f"takes no {unknown}"
    if any(not isinstance(kind, str) or kind.startswith("host") for kind in inputs):
        return f"takes no {inputs}"
    scalars = {kind for kind in inputs if kind.startswith("scalar")}
    if scalars and len({dtype_of(kind) for kind in inputs if dtype_of(kind)}) > 1:
        return f"meets {scalars}, which CuPy's versions cast differently; make it a number of Python"
    asked = keywords.get("dtype")
    if asked is not None:
        return None
    gives = loop_of(ufunc, inputs)
    if gives is None:
        return f"has no loop for {inputs}"
    into = dtype_of(keywords.get("out", result))
    if "out" in keywords:
        return None if numpy.can_cast(gives[0], into, "same_kind") else f"does not cast {gives[0]} to {into}"
    return None if gives[0] == into else f"gives {gives[0]}, and NumPy {into}"


def fault_of_index(index):
    """What cannot be an index of a device array; None for nothing."""
    parts = index[1:] if isinstance(index, list) and index[0] == "tuple" else [index]
    for part in parts:
        simple = part in ("int", "...", "NoneType") or (isinstance(part, list) and part[0] == "slice")
        whole = isinstance(part, str) and part.startswith(("array int", "array bool"))
        numbers = isinstance(part, list) and part[0] == "list" and set(part[1:]) <= {"int"}
        if not simple and not whole and not numbers:
            return f"cannot be indexed by {part}"
    return None


def fault_of_method(name, args, keywords, result):
    """What CuPy's array would not do; None for nothing."""
    bare = name.strip("_")
    if name in ("__getitem__", "__setitem__"):
        return fault_of_index(args[1])
    if name.startswith("__"):
        if bare.removeprefix("i") == "matmul" or bare == "rmatmul":
            return None if hasattr(cupy.ndarray, name) else "is missing"
        plain = bare if bare in {**BINARY, **COMPARING, **UNARY} else bare[1:]
        if name not in vars(cupy.ndarray) and not hasattr(cupy.ndarray, name):
            return "is missing"
        keywords = {"out": args[0]} if bare[0] == "i" and bare != "invert" else {}
        inputs = [args[1], args[0]] if bare[0] == "r" else args
        return fault_of_ufunc(getattr(cupy, {**BINARY, **COMPARING, **UNARY}[plain]), inputs, keywords, result)
    return fault_of_function(getattr(cupy.ndarray, name, None), args, keywords, result)


def fault_of_function(function, args, keywords, result):
    """What CuPy's function would not do; None for nothing."""
    if function is None:
        return "is missing"
    if isinstance(function, cupy.ufunc):
        return fault_of_ufunc(function, args, keywords, result)
    if any(isinstance(kind, str) and kind.startswith("host") for kind in args) and function is not cupy.asarray:
        return "takes no array of the host"
    try:
        signature_of(function).bind(*args, **keywords)
    except TypeError as error:
        return f"is called otherwise: {error}"
    return None


def fault_of(place, name, args, keywords, result):
    """What CuPy would not do with a call; None for nothing."""
    if place == "array":
        return fault_of_method(name, args, keywords, result)
    library = cupy if place == "xp" else importlib.import_module("cupyx.scipy.special")
    return fault_of_function(getattr(library, name, None), args, keywords, result)


@pytest.fixture(scope="module")
def seen():
    """The calls, noted once."""
    return calls()


def test_all_that_the_code_asks_for_cupy_has(seen):
    faults = {}
    for place, name, args, keywords, result in seen:
        fault = fault_of(place, name, args, keywords, result)
        if fault:
            faults[f"{place}.{name}({args}, {keywords})"] = fault
    assert faults == {}
    names = {(place, name) for place, name, *_ in seen}
    assert {("special", "erf"), ("array", "__setitem__"), ("xp", "einsum"), ("array", "__iadd__")} <= names
    assert {"float32", "float64"} <= {str(dtype_of(result)) for *_, result in seen}
    assert len(names) > 40


def test_all_that_the_stand_in_offers_cupy_has():
    """Whether or not anything asks for it."""
    for name in (*stand_in_array.FUNCTIONS, "asarray", "ndarray"):
        assert callable(getattr(cupy, name, None)), name
    pythons = {"__array_namespace__", "__module__", "__weakref__", "__dict__"}
    for name in vars(stand_in_array.StandInArray).keys() - pythons:
        assert hasattr(cupy.ndarray, name), name
    assert callable(cupy.cuda.runtime.getDeviceCount)


ARRAY = "array float32 n-d"


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (("xp", "nan_to_zero", [ARRAY], {}, ARRAY), "is missing"),
        (("special", "no_such", [ARRAY], {}, ARRAY), "is missing"),
        (("array", "partition_all", [ARRAY], {}, ARRAY), "is missing"),
        (("xp", "sum", [ARRAY], {"where": ARRAY}, ARRAY), "is called otherwise"),
        (("array", "sum", [ARRAY, "int"], {"where": ARRAY}, ARRAY), "is called otherwise"),
        (("array", "swapaxes", [ARRAY, "int"], {}, ARRAY), "is called otherwise"),
        (("xp", "exp", [ARRAY], {"where": ARRAY}, ARRAY), "takes no"),
        (("xp", "exp", [ARRAY], {}, "array float64 n-d"), "gives float32"),
        (("xp", "exp", ["array float64 n-d"], {"out": "array int32 n-d"}, ARRAY), "does not cast"),
        (("array", "__iadd__", ["array int64 n-d", ARRAY], {}, "array int64 n-d"), "does not cast"),
        (("array", "__mul__", [ARRAY, "scalar float64"], {}, "array float64 n-d"), "cast differently"),
        (("xp", "add", [ARRAY, "host float32"], {}, ARRAY), "takes no"),
        (("array", "__and__", [ARRAY, ARRAY], {}, ARRAY), "has no loop"),
        (("array", "__getitem__", [ARRAY, ["tuple", "host int64"]], {}, ARRAY), "cannot be indexed"),
        (("xp", "concatenate", [["list", ARRAY]], {"axes": "int"}, ARRAY), "is called otherwise"),
    ],
)
def test_a_call_that_cupy_lacks_is_found(call, fault):
    assert fault in fault_of(*call)


@pytest.mark.parametrize(
    "call",
    [
        ("xp", "exp", [ARRAY], {"out": ARRAY}, ARRAY),
        ("array", "__rsub__", [ARRAY, "int"], {}, ARRAY),
        ("array", "__rtruediv__", [ARRAY, "float"], {}, ARRAY),
        ("array", "__imul__", [ARRAY, "float"], {}, ARRAY),
        ("array", "transpose", [ARRAY, "int", "int"], {}, ARRAY),
        ("array", "reshape", [ARRAY, "int", "int"], {"order": "str"}, ARRAY),
        ("xp", "einsum", ["str", ARRAY, ARRAY], {}, ARRAY),
        ("array", "__invert__", ["array bool n-d"], {}, "array bool n-d"),
    ],
)
def test_a_call_that_it_has_is_not(call):
    assert fault_of(*call) is None


# --------------------------------------------------------------------------------------------------------------------
# Chains that become one kernel
# --------------------------------------------------------------------------------------------------------------------


def chains():
    """What `one_kernel` is called with in the package: (module, function, number of results, names of constants)."""
    found = []
    for path in sorted((ROOT / "minivivit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "one_kernel":
                function, results, _ = node.args
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                constants = tuple(keyword.arg for keyword in node.keywords)
                found.append((module, function.id, len(results.elts), constants))
    return sorted(set(found))


def some_array(dtype):
    """An array of CuPy; where there is no GPU, of memory that does not exist, which nothing will read."""
    try:
        return cupy.zeros((3, 4), dtype)
    except cupy.cuda.runtime.CUDARuntimeError:
        memory = cupy.cuda.UnownedMemory(1, 1 << 20, None, 0)
        return cupy.ndarray((3, 4), dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))


def kernel_of(fused, arguments):
    """The kernel that CuPy makes of a chain; it runs only where there is a GPU."""
    fused.clear_cache()
    with contextlib.suppress(cupy.cuda.runtime.CUDARuntimeError):
        fused(*arguments)
    assert fused.new_fusion is None, "it is no simple chain: CuPy would have to synchronise within it"
    ((kernel, _),) = fused._memo.values()
    return kernel


def test_chains_are_found():
    names = {name for _, name, *_ in chains()}
    assert {"_exp_above", "_softmax_gradient", "_gelu_tanh", "_scale_and_shift", "_update", "_descend"} <= names


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chain", chains(), ids=lambda chain: chain[1])
def test_a_chain_becomes_one_kernel(chain, dtype):
    """In the dtype of its arrays: that a constant is a number of Python must not make float32 float64."""
    module, name, results, constants = chain
    function = getattr(importlib.import_module(module), name)
    kinds = {parameter: kind.annotation for parameter, kind in list(inspect.signature(function).parameters.items())[1:]}
    values = {parameter: True if kind is bool else 0.5 for parameter, kind in kinds.items() if kind in (bool, float)}
    fused = backend._fused(function, results, tuple((constant, values[constant]) for constant in constants))
    others = [name for name in kinds if name not in constants]
    kernel = kernel_of(fused, [values.get(name) or some_array(dtype) for name in others])
    types = set(re.findall(r"^(float|double) v\d+", kernel.operation, re.MULTILINE))
    assert types == {{"float32": "float", "float64": "double"}[dtype]}
    assert isinstance(kernel, cupy.ElementwiseKernel)


@pytest.mark.parametrize("axis", [0, -1])
def test_a_sum_of_products_becomes_one_kernel(axis):
    kernel = kernel_of(backend._fused_sum_of_products(axis), [some_array("float32"), some_array("float32")])
    assert isinstance(kernel, cupy.ReductionKernel)
    assert "double" not in kernel.preamble


# --------------------------------------------------------------------------------------------------------------------
# Several processes
# --------------------------------------------------------------------------------------------------------------------


def bound(function, *args, **keywords):
    """What a call with these arguments is to the function's parameters; a TypeError where it takes them not."""
    return signature_of(function).bind(*args, **keywords).arguments


def test_streams_and_events_are_called_as_cupy_has_them():
    """By `minivivit.training.parallel.devices.NcclSum` and `minivivit.backend.use_gpu`."""
    stream, event = object(), object()
    assert bound(cupy.cuda.Stream, non_blocking=True) == {"non_blocking": True}
    assert bound(cupy.cuda.Stream.record, stream) == {"self": stream}
    assert bound(cupy.cuda.Stream.wait_event, stream, event) == {"self": stream, "event": event}
    assert bound(cupy.cuda.get_current_stream) == {}
    assert issubclass(cupy.cuda.Stream, type(cupy.cuda.Stream.null))
    assert bound(cupy.cuda.Device.use, cupy.cuda.Device(3)).keys() == {"self"}
    assert cupy.cuda.Device(3).id == 3
    assert inspect.isdatadescriptor(cupy.cuda.Device.pci_bus_id)


def test_nccl_is_called_as_cupy_has_it():
    """Whether or not its library is here; where it is not, no warning shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there = backend.has_nccl()
    assert there is cupy.cuda.nccl.available
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cupyx.distributed import NCCLBackend
    made = bound(NCCLBackend, 4, 2, use_mpi=True)
    assert made == {"n_devices": 4, "rank": 2, "use_mpi": True}
    buffer, stream = object(), object()
    asked = bound(NCCLBackend.all_reduce, None, buffer, buffer, op="sum", stream=stream)
    assert asked == {"self": None, "in_array": buffer, "out_array": buffer, "op": "sum", "stream": stream}
