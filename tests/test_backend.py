"""The backend: which array library, and threads over blocks."""

import os
import subprocess
import sys
import threading
import time
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy
import pytest
import scipy.linalg.blas
import scipy.special
import threadpoolctl
from model_cases import clip_for, tiny_config, tiny_model
from stand_in_array import xp

from minivivit import InputError, VivitConfig, VivitModel, backend
from minivivit.backend import (
    array_namespace,
    as_array,
    checked_dtype,
    get_namespace,
    matmul,
    num_threads,
    parallel_blocks,
    parallel_matmul,
    row_blocks,
    set_num_threads,
    special_functions,
    to_numpy,
)
from minivivit.verification.rounding.precisions import Emulation


def refusal(function, *args, **kwargs):
    """The message with which a call is refused; one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(autouse=True)
def _no_choice_in_the_environment(monkeypatch):
    monkeypatch.delenv("MINIVIVIT_BACKEND", raising=False)


@pytest.fixture
def _four_threads():
    """Four threads, however many processors there are."""
    count = num_threads()
    set_num_threads(4)
    yield
    set_num_threads(count)


# --------------------------------------------------------------------------------------------------------------------
# Which library
# --------------------------------------------------------------------------------------------------------------------


def fake_cupy(monkeypatch, devices):
    """A module that looks like CuPy; `devices` is how many GPUs it finds, or the error that it raises."""

    def count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    class Array:
        """An array of that library."""

        def get(self):
            return numpy.arange(3)

    module = ModuleType("cupy")
    module.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count))
    module.ndarray = Array
    special = ModuleType("cupyx.scipy.special")
    monkeypatch.setitem(sys.modules, "cupy", module)
    for name in ("cupyx", "cupyx.scipy"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupyx.scipy.special", special)
    return module


def test_names_with_a_gpu(monkeypatch):
    cupy = fake_cupy(monkeypatch, 1)
    assert get_namespace("numpy") is numpy
    assert get_namespace("cupy") is cupy
    assert get_namespace("auto") is cupy
    assert get_namespace(None) is cupy
    assert get_namespace() is cupy


def test_the_environment_decides_what_auto_means(monkeypatch):
    cupy = fake_cupy(monkeypatch, 1)
    monkeypatch.setenv("MINIVIVIT_BACKEND", "numpy")
    assert get_namespace() is numpy
    assert get_namespace("cupy") is cupy
    monkeypatch.setenv("MINIVIVIT_BACKEND", "cupy")
    assert get_namespace("auto") is cupy
    assert get_namespace("numpy") is numpy
    for value in ("auto", ""):
        monkeypatch.setenv("MINIVIVIT_BACKEND", value)
        assert get_namespace() is cupy
    monkeypatch.setenv("MINIVIVIT_BACKEND", "torch")
    expected = "the environment variable MINIVIVIT_BACKEND is 'torch'; expected one of 'numpy', 'cupy', 'auto'"
    assert refusal(get_namespace) == expected
    assert get_namespace("numpy") is numpy


@pytest.mark.parametrize("name", ["torch", "NumPy", 3, ["numpy"]])
def test_names_that_are_none(name):
    assert refusal(get_namespace, name) == f"backend is {name!r}; expected one of 'numpy', 'cupy', 'auto'"


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        (None, "CuPy cannot be imported (import of cupy halted"),
        (
            ImportError("libcuda.so.1: cannot open\nlong explanation"),
            "CuPy cannot be imported (libcuda.so.1: cannot open)",
        ),
        (0, "CuPy is installed but finds no GPU:"),
        (
            RuntimeError("cudaErrorInsufficientDriver: too old\nmore"),
            "finds no GPU (cudaErrorInsufficientDriver: too old)",
        ),
        (RuntimeError(), "finds no GPU (RuntimeError)"),
    ],
)
def test_without_cupy_or_a_gpu(devices, reason, monkeypatch):
    """One line for "cupy", NumPy for "auto"."""
    if isinstance(devices, ImportError):
        broken = devices

        def import_module(name):
            raise broken

        monkeypatch.setattr(backend.importlib, "import_module", import_module)
    elif devices is None:
        monkeypatch.setitem(sys.modules, "cupy", None)
    else:
        fake_cupy(monkeypatch, devices)
    assert get_namespace("auto") is numpy
    message = refusal(get_namespace, "cupy")
    assert message.startswith("backend is 'cupy', but CuPy ")
    assert reason in message
    assert "pip install 'minivivit[cuda12]'" in message
    assert "or use 'numpy'" in message
    monkeypatch.setenv("MINIVIVIT_BACKEND", "cupy")
    message = refusal(get_namespace)
    assert message.startswith("the environment variable MINIVIVIT_BACKEND is 'cupy', but CuPy ")
    config = VivitConfig(image_size=8, num_frames=2, tubelet_size=[2, 8, 8], hidden_size=4, num_attention_heads=1)
    assert "MINIVIVIT_BACKEND" in refusal(VivitModel, config)
    model = VivitModel(config, backend="numpy")
    assert "backend is 'cupy'" in refusal(model.to, "cupy")
    assert model.xp is numpy


def test_arrays_know_their_library(monkeypatch):
    cupy = fake_cupy(monkeypatch, 1)
    assert array_namespace(numpy.zeros(2)) is numpy
    assert array_namespace(numpy.float32(2)) is numpy
    assert array_namespace(cupy.ndarray()) is cupy
    other = SimpleNamespace(__array_namespace__=lambda: "its own")
    assert array_namespace(other) == "its own"
    for value in ([1, 2], 3.0, None, "array"):
        name = type(value).__name__
        assert refusal(array_namespace, value) == (
            f"expected a NumPy or CuPy array, got {name}; convert it with numpy.asarray"
        )


def test_special_functions(monkeypatch):
    cupy = fake_cupy(monkeypatch, 1)
    assert special_functions(numpy) is scipy.special
    assert special_functions(cupy) is sys.modules["cupyx.scipy.special"]
    assert special_functions(SimpleNamespace(__name__="other", special="its own")) == "its own"


def test_to_numpy(monkeypatch):
    cupy = fake_cupy(monkeypatch, 1)
    array = numpy.zeros(2)
    assert to_numpy(array) is array
    numpy.testing.assert_array_equal(to_numpy(cupy.ndarray()), [0, 1, 2])
    numpy.testing.assert_array_equal(to_numpy([1, 2]), [1, 2])


def test_as_array():
    array = numpy.zeros(2)
    assert as_array(array, "x") is array
    assert as_array([[1, 2], [3, 4]], "x").shape == (2, 2)
    assert as_array((1.0, 2.0), "x").dtype == "float64"
    assert as_array(True, "x").dtype == bool
    assert as_array(5, "x").shape == ()
    assert refusal(as_array, [[1], [2, 3]], "x").startswith("x is a list that makes no array; expected numbers in rows")
    assert refusal(as_array, {1: 2}, "x").startswith("x: expected a NumPy or CuPy array, got dict")


@pytest.mark.parametrize("dtype", ["float32", "float64", numpy.float32, numpy.dtype("float64"), float])
def test_checked_dtype(dtype):
    assert checked_dtype(dtype) == numpy.dtype(dtype)


@pytest.mark.parametrize("dtype", ["float16", int, "bfloat16", [], {"names": 1}, object])
def test_dtypes_that_models_do_not_compute_in(dtype):
    assert refusal(checked_dtype, dtype).endswith("a model computes in 'float32' or 'float64'")


def test_importing_the_package_imports_no_other_array_library():
    """CuPy is looked for when it is asked for, and no framework is ever imported."""
    code = (
        "import sys, minivivit; "
        "print([name for name in ('cupy', 'torch', 'tensorflow', 'jax', 'transformers', 'av', 'matplotlib') "
        "if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------------------------------
# Threads
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "openmp", "expected"),
    [
        *[("3", "5", 3), (" 3\n", "5", 3), ("4096", None, 4096), ("007", None, 7)],
        *[("", "5", 5), (" ", "5", 5), (None, "5", 5), (None, "4,2", 4), (None, " 4 , 2", 4)],
        *[(None, text, None) for text in (None, "", "0", "-2", "abc", ",2", "1e3", "٣", "²", "9" * 5000)],
    ],
)
def test_number_of_threads_from_the_environment(ours, openmp, expected, monkeypatch):
    for name, value in (("MINIVIVIT_NUM_THREADS", ours), ("OMP_NUM_THREADS", openmp)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(backend, "_num_threads", None)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert num_threads() == (processors if expected is None else expected)


@pytest.mark.parametrize("text", ["abc", "0", "-1", "+2", "1.5", "4,2", "0x4", "٣", "²", "4097", "9" * 5000])
def test_a_number_of_threads_in_the_environment_that_is_none(text, monkeypatch):
    """Said when it is first needed, whatever runs then, and by the command line before it begins."""
    monkeypatch.setenv("MINIVIVIT_NUM_THREADS", text)
    monkeypatch.setattr(backend, "_num_threads", None)
    expected = (
        f"the environment variable MINIVIVIT_NUM_THREADS is {text[:40]!r}; expected a whole number from 1 to 4096"
    )
    assert refusal(num_threads) == expected
    assert refusal(parallel_blocks, [lambda: None]) == expected


def test_the_command_line_refuses_such_a_number():
    command = [sys.executable, "-m", "minivivit", "info", "--preset", "vivit-b-16x2"]
    environment = {**os.environ, "MINIVIVIT_NUM_THREADS": "many"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("minivivit: error: the environment variable MINIVIVIT_NUM_THREADS is 'many'; expec")
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("_four_threads")
def test_set_num_threads():
    set_num_threads(3)
    assert num_threads() == 3
    for count in (0, -1, 1.5, "2", None, True, numpy.True_, 4097, 10**5000, numpy.float64(2), [2]):
        assert "expected a whole number from 1 to 4096" in refusal(set_num_threads, count)
    assert num_threads() == 3
    set_num_threads(numpy.int64(2))
    assert num_threads() == 2
    assert type(num_threads()) is int


@pytest.mark.parametrize("num_rows", [1, 2, 255, 256, 257, 511, 512, 513, 3137, 25096])
@pytest.mark.parametrize("block_rows", [1, 7, 256, 800])
def test_row_blocks_cover_all_rows_once(num_rows, block_rows):
    blocks = row_blocks(num_rows, block_rows)
    rows = [row for block in blocks for row in range(block.start, block.stop)]
    assert rows == list(range(num_rows))
    sizes = [block.stop - block.start for block in blocks]
    assert max(sizes) <= block_rows
    assert max(sizes) - min(sizes) <= 1
    assert len(blocks) == 1 or len(blocks) % 2 == 0 or num_rows < 2 * len(blocks)
    assert row_blocks(num_rows, block_rows, SimpleNamespace(__name__="cupy")) == [slice(0, num_rows)]


@pytest.mark.usefixtures("_four_threads")
def test_row_blocks_do_not_depend_on_the_number_of_threads():
    blocks = row_blocks(3137, 256)
    set_num_threads(1)
    assert row_blocks(3137, 256) == blocks


@pytest.mark.usefixtures("_four_threads")
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_every_task_runs_once(count):
    done = numpy.zeros(count, dtype=int)

    def task(index):
        done[index] += 1

    parallel_blocks([lambda index=index: task(index) for index in range(count)])
    assert (done == 1).all()


@pytest.mark.usefixtures("_four_threads")
def test_tasks_run_at_the_same_time_on_threads_of_the_pool():
    """Each task waits for all others: in a plain loop the barrier would break."""
    barrier, names = threading.Barrier(4, timeout=30), []

    def task():
        barrier.wait()
        names.append(threading.current_thread().name)

    parallel_blocks([task] * 4)
    assert len(set(names)) == 4  # the calling thread's own among them
    others = set(names) - {threading.current_thread().name}
    assert len(others) == 3
    assert all(name.startswith("minivivit") for name in others)


@pytest.mark.usefixtures("_four_threads")
def test_one_task_a_gpu_or_one_thread_mean_a_plain_loop():
    names = []

    def task():
        names.append(threading.current_thread().name)

    parallel_blocks([task])
    parallel_blocks([task] * 5, SimpleNamespace(__name__="cupy"))
    set_num_threads(1)
    parallel_blocks([task] * 5)
    assert set(names) == {threading.current_thread().name}
    assert len(names) == 11


@pytest.mark.usefixtures("_four_threads")
def test_nested_blocks_are_a_plain_loop_on_the_same_thread():
    """Otherwise tasks would wait for threads that wait for them."""
    pairs = []

    def outer():
        own = threading.current_thread().name
        parallel_blocks([lambda: pairs.append((own, threading.current_thread().name))] * 3)

    parallel_blocks([outer] * 8)
    assert len(pairs) == 24
    assert all(own == nested for own, nested in pairs)
    barrier = threading.Barrier(4, timeout=30)
    parallel_blocks([barrier.wait] * 4)  # and the threads are free again for tasks at the same time


@pytest.mark.usefixtures("_four_threads")
def test_the_first_error_is_raised_after_all_tasks_have_ended():
    ended = []

    def slow():
        time.sleep(0.05)
        ended.append(True)

    def broken(message):
        raise RuntimeError(message)

    tasks = [slow, lambda: broken("first"), slow, lambda: broken("second"), slow, slow, slow]
    with pytest.raises(RuntimeError, match="first"):
        parallel_blocks(tasks)
    assert len(ended) == 5
    names = []
    barrier = threading.Barrier(4, timeout=30)

    def task():
        barrier.wait()
        names.append(threading.current_thread().name)

    parallel_blocks([task] * 4)  # a thread on which a task failed is not taken for busy
    assert len(set(names)) == 4


def blas_threads():
    """How many threads each BLAS of the process would use."""
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.usefixtures("_four_threads")
@pytest.mark.parametrize("count", [1, 4])
def test_blas_has_one_thread_a_task_and_gets_its_own_back(count):
    set_num_threads(count)
    inside = []
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        parallel_blocks([lambda: inside.append(blas_threads())] * 4)
        assert blas_threads() == before
        with pytest.raises(ZeroDivisionError):
            parallel_blocks([lambda: 1 // 0] * 4)
        assert blas_threads() == before
    assert before
    assert all(threads == 1 for counts in inside for threads in counts)
    assert len(inside) == 4


@pytest.mark.usefixtures("_four_threads")
@pytest.mark.parametrize(("rows", "columns"), [(37, 5), (5, 37), (8, 8), (3, 2), (1, 1), (40, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_product_is_cut_into_parts(rows, columns, dtype, monkeypatch):
    monkeypatch.setattr(backend, "LARGE_PRODUCT", 1)
    monkeypatch.setattr(backend, "PRODUCT_PART", 4)
    rng = numpy.random.default_rng(rows)
    a, b = rng.standard_normal((6, rows)).astype(dtype).T, rng.standard_normal((6, columns)).astype(dtype)
    product = parallel_matmul(a, b)
    assert product.shape == (rows, columns)
    assert product.dtype == dtype
    numpy.testing.assert_allclose(product, a @ b, rtol=0, atol=100 * numpy.finfo(dtype).eps)


# ---- where NumPy has no BLAS ----


@pytest.fixture
def numpy_without_blas(monkeypatch):
    """A NumPy as Pyodide has it; where it has one, products are counted."""
    products = []
    multiply = {name: getattr(scipy.linalg.blas, name) for name in ("sgemm", "dgemm")}

    def counted(name, *matrices, **turns):
        products.append(name)
        return multiply[name](*matrices, **turns)

    blas = SimpleNamespace(**{name: partial(counted, name) for name in multiply})
    monkeypatch.setattr(backend, "_scipy_blas", lambda: blas)
    monkeypatch.setattr(backend, "SMALL_PRODUCT", 1 << 12)
    return products


LAYOUTS = {
    "by rows": lambda a: numpy.ascontiguousarray(a),
    "by columns": lambda a: numpy.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2),
    "with gaps": lambda a: numpy.repeat(numpy.repeat(a, 2, -1), 3, -2)[..., ::3, ::2],
    "backwards": lambda a: numpy.ascontiguousarray(a[..., ::-1, ::-1])[..., ::-1, ::-1],
}


@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("stacks", [((), ()), ((2, 3), (2, 3)), ((2, 1), (3,))], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scipys_blas_multiplies_as_numpy_does(numpy_without_blas, left, right, stacks, dtype):
    """Small whole numbers, so that every sum is exact: entries and their places must be the same."""
    rng = numpy.random.default_rng(0)
    a = LAYOUTS[left](rng.integers(-9, 10, (*stacks[0], 17, 19)).astype(dtype))
    b = LAYOUTS[right](rng.integers(-9, 10, (*stacks[1], 19, 23)).astype(dtype))
    expected = numpy.matmul(a, b)
    numpy.testing.assert_array_equal(matmul(a, b), expected, strict=True)
    numpy.testing.assert_array_equal(parallel_matmul(a, b), expected, strict=True)
    out = LAYOUTS[left](numpy.zeros(expected.shape, dtype))
    assert matmul(a, b, out=out) is out
    numpy.testing.assert_array_equal(out, expected)
    assert set(numpy_without_blas) == {"sgemm" if dtype == "float32" else "dgemm"}


def test_what_scipys_blas_does_not_take_numpy_multiplies(numpy_without_blas):
    for a, b in (
        (numpy.ones((2, 3)), numpy.ones((3, 2))),
        (numpy.ones((64, 64)), numpy.ones((64, 64), "float32")),
        (numpy.ones((0, 64, 64)), numpy.ones((64, 64))),
        (numpy.ones((64, 0)), numpy.ones((0, 64))),
    ):
        numpy.testing.assert_array_equal(matmul(a, b), numpy.matmul(a, b), strict=True)
    assert not numpy_without_blas


def test_a_model_computes_the_same_with_scipys_blas(numpy_without_blas, monkeypatch):
    monkeypatch.setattr(backend, "SMALL_PRODUCT", 1)
    model = tiny_model(tiny_config("1"), numpy.random.default_rng(1))
    clip = clip_for(model.config, numpy.random.default_rng(0))
    loss, gradients = model.loss_and_gradients(clip, labels=[1] * len(clip))
    assert len(numpy_without_blas) > 10
    monkeypatch.setattr(backend, "_scipy_blas", lambda: None)
    expected_loss, expected = model.loss_and_gradients(clip, labels=[1] * len(clip))
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for name, gradient in gradients.items():
        numpy.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-12 * abs(expected[name]).max() + 1e-15)


def test_only_a_large_product_is_cut(monkeypatch):
    cut = []

    def run_and_note(tasks):
        cut.extend(tasks)
        for task in tasks:
            task()

    monkeypatch.setattr(backend, "parallel_blocks", run_and_note)
    a = numpy.ones((16, 16))
    parallel_matmul(a, a)
    assert not cut
    monkeypatch.setattr(backend, "LARGE_PRODUCT", 16**3)
    monkeypatch.setattr(backend, "PRODUCT_PART", 4)
    parallel_matmul(a[:-1], a)
    assert not cut
    assert (parallel_matmul(a, a) == 16).all()
    assert len(cut) == 4


def test_a_product_leaves_no_thread_of_blas_waiting_busily():
    """BLAS would keep one for a tenth of a second, which a task of ours would then have to share a processor with."""
    code = (
        "import time, numpy; from minivivit import backend; backend.set_num_threads(2)\n"
        "def computed():\n"
        "    begin = time.process_time(); time.sleep(0.3); return time.process_time() - begin\n"
        "while computed() > 0.01: pass  # they begin so, too\n"
        "a = numpy.ones((1024, 1024), dtype='float32'); backend.parallel_matmul(a, a)\n"
        "print(computed())"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 0.02


@pytest.mark.usefixtures("_four_threads")
def test_a_model_gives_the_same_bits_on_any_number_of_threads():
    """Large enough for several blocks in every operator that has them."""
    config = VivitConfig(
        image_size=32, num_frames=8, tubelet_size=[2, 4, 4], hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = VivitModel(config, backend="numpy")
    pixels = numpy.random.default_rng(0).standard_normal((5, 8, 3, 32, 32))
    results = []
    for threads in (1, 2, 5):
        set_num_threads(threads)
        outputs = model(pixels)
        gradients = model.gradients(pixels, dpooler_output=outputs.pooler_output)
        results.append([array.tobytes() for array in (*outputs.values(), *gradients.values())])
    assert results[0] == results[1] == results[2]


# --------------------------------------------------------------------------------------------------------------------
# Results made ahead
# --------------------------------------------------------------------------------------------------------------------


def test_results_come_in_order_and_no_more_are_ahead_than_asked_for():
    asked = []

    def tasks():
        for number in range(20):
            asked.append(number)
            yield partial(pow, number, 2)

    results = backend.results_ahead(tasks(), workers=2, waiting=3)
    assert asked == []
    assert next(results) == 0
    assert asked == [0, 1, 2, 3]
    assert list(results) == [number**2 for number in range(1, 20)]


def test_an_error_stands_in_the_place_of_its_result_and_ends_it():
    results = backend.results_ahead([partial(divmod, 7, d) for d in (2, 0, 1)], workers=2, waiting=2)
    assert next(results) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_closing_ends_the_threads_and_what_has_not_begun_never_does():
    before, begun = threading.active_count(), []
    results = backend.results_ahead([partial(begun.append, number) for number in range(1000)], workers=1, waiting=10)
    next(results)
    results.close()
    assert threading.active_count() == before
    assert len(begun) <= 12


def test_without_threads_results_are_made_when_they_are_asked_for(monkeypatch):
    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    results = backend.results_ahead([partial(pow, number, 2) for number in range(9)], workers=2, waiting=3)
    assert list(results) == [number**2 for number in range(9)]


def test_within_a_result_there_is_no_second_level_of_threads():
    seen = []

    def task():
        backend.parallel_blocks([lambda: seen.append(threading.current_thread()) for _ in range(8)])
        return threading.current_thread()

    (own,) = backend.results_ahead([task], workers=1, waiting=1)
    assert set(seen) == {own} != {threading.current_thread()}


# --------------------------------------------------------------------------------------------------------------------
# Several operations in one
# --------------------------------------------------------------------------------------------------------------------


def halve_and_shift(xp, half, shifted, x, shift, by):
    """A chain for the tests."""
    xp.multiply(x, by, out=half)
    xp.add(half, shift, out=shifted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_chain_on_the_cpu_is_its_operations(dtype):
    x, shift = numpy.arange(6, dtype=dtype).reshape(2, 3), numpy.array([[10], [20]], dtype)
    half, shifted = numpy.empty_like(x), numpy.empty_like(x)
    backend.one_kernel(halve_and_shift, (half, shifted), (x, shift), by=0.5)
    assert (half == x / 2).all()
    assert (shifted == x / 2 + shift).all()


@pytest.mark.parametrize("as_array", [numpy.asarray, xp.asarray], ids=["cpu", "stand_in"])
def test_products_of_rows_and_columns(as_array):
    a, b = numpy.random.default_rng(0).standard_normal((2, 4, 5, 6))
    rows = to_numpy(backend.row_dots(as_array(a), as_array(b)))
    columns = to_numpy(backend.column_dots(as_array(a[0]), as_array(b[0])))
    numpy.testing.assert_allclose(rows, (a * b).sum(axis=-1), rtol=1e-13)
    numpy.testing.assert_allclose(columns, (a[0] * b[0]).sum(axis=0), rtol=1e-13)


def test_where_a_large_operation_is_faster_than_many_small_ones():
    assert backend.is_gpu(xp)
    assert not backend.is_gpu(numpy)
    assert not backend.is_gpu(Emulation("bfloat16", rounds_results=True))
