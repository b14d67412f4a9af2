"""The package is a guest in a process: forks, threads, the end of the interpreter, and settings that are not its own.

What might hang runs in a process of its own, with minutes to spare.
"""

import io
import os
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import threadpoolctl

from minivivit import VivitConfig, VivitForVideoClassification, backend, progress
from minivivit.backend import num_threads, one_pass, parallel_blocks, parallel_matmul, set_num_threads
from minivivit.commands.common.notes import print_notes
from minivivit.files.quiet import warnings_held_back
from minivivit.training.interruption import Interruption

PREAMBLE = """
import hashlib, os, sys, threading
import numpy, threadpoolctl
from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor
from minivivit.backend import one_pass, parallel_blocks, set_num_threads
from minivivit.training.optimisers.adamw import AdamW

set_num_threads(4)
CONFIG = VivitConfig(image_size=32, num_frames=8, tubelet_size=[2, 4, 4], hidden_size=16, num_hidden_layers=1,
                     num_attention_heads=2, intermediate_size=32, num_labels=3)
PIXELS = numpy.random.default_rng(0).standard_normal((4, 8, 3, 32, 32))  # several blocks in every operator
CLIP = list(numpy.random.default_rng(1).integers(0, 256, (8, 40, 48, 3), dtype="uint8"))
PROCESSOR = VivitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})

def work(_=None):
    "The processor, a forward pass, and two steps of training: their bits."
    model = VivitForVideoClassification(CONFIG, backend="numpy")
    digest = hashlib.sha256(numpy.asarray(PROCESSOR(CLIP)["pixel_values"]).tobytes())
    digest.update(model(PIXELS).logits.tobytes())
    optimiser = AdamW(model.state_dict())
    for _ in range(2):
        loss, gradients = model.loss_and_gradients(PIXELS, numpy.array([0, 1, 2, 0]))
        digest.update(gradients.pop("pixel_values").tobytes())
        optimiser.step(gradients, 1e-3)
    for array in model.state_dict().values():
        digest.update(array.tobytes())
    return digest.hexdigest()

def blas_threads():
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}

def in_a_fork(function):
    "What `function` returns in a forked child, as text."
    end, beginning = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(beginning, str(function()).encode())
        finally:
            os._exit(0)
    os.close(beginning)
    answer = b""
    while part := os.read(end, 4096):
        answer += part
    os.close(end)
    os.waitpid(child, 0)
    return answer.decode()
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def alone(code, **environment):
    """What the code prints in a process of its own; an error on its standard error, or a hang, is a failure."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", **environment}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PREAMBLE + code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture
def _four_threads():
    """Four threads, however many processors there are."""
    count = num_threads()
    set_num_threads(4)
    yield
    set_num_threads(count)


def blas_threads():
    """How many threads each BLAS of the process would use."""
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


# --------------------------------------------------------------------------------------------------------------------
# Forks
# --------------------------------------------------------------------------------------------------------------------


@forks
def test_a_forked_child_computes_as_its_parent_did():
    """The pool's threads stay with the parent. And the child's own child, and the parent afterwards."""
    child, grandchild, parent, again = alone(
        "first = work()\n"
        "print(in_a_fork(work) == first)\n"
        "print(in_a_fork(lambda: work() == in_a_fork(work) == first))\n"
        "print(in_a_fork(blas_threads) == str(blas_threads()))\n"
        "print(work() == first)"
    )
    assert [child, grandchild, parent, again] == ["True"] * 4


@forks
def test_a_pool_of_forked_processes():
    """`multiprocessing.Pool`, whose processes end as the interpreter does."""
    assert alone(
        "import multiprocessing\n"
        "first = work()\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(set(pool.map(work, range(4))) == {first})"
    ) == ["True"]


@forks
def test_a_fork_while_another_thread_is_in_the_middle_of_a_pass():
    """In the child that thread is gone; BLAS has its threads back there, and computes."""
    answers = alone(
        "first, before = work(), str(blas_threads())\n"
        "begun, go_on = threading.Event(), threading.Event()\n"
        "def wait():\n"
        "    begun.set()\n"
        "    assert go_on.wait(600)\n"
        "thread = threading.Thread(target=lambda: parallel_blocks([wait] * 8))\n"
        "thread.start()\n"
        "begun.wait()\n"
        "print(blas_threads() == {1}, in_a_fork(blas_threads) == before, in_a_fork(work) == first)\n"
        "go_on.set()\n"
        "thread.join()\n"
        "print(str(blas_threads()) == before, before == '{2}')"
    )
    assert answers == ["True"] * 5


@forks
def test_a_fork_from_within_a_pass():
    """What this thread is in the middle of, it is in the middle of in the child too."""
    assert alone(
        "first = work()\n"
        "def child():\n"
        "    inside = blas_threads() == {1} and work() == first and blas_threads() == {1}\n"
        "    return inside\n"
        "with one_pass():\n"
        "    print(in_a_fork(child))\n"
        "def leave():\n"
        "    with one_pass():\n"
        "        child = os.fork()\n"
        "    if child == 0:\n"
        "        os._exit(0 if blas_threads() == {2} else 1)\n"
        "    return os.waitpid(child, 0)[1]\n"
        "print(leave(), blas_threads())"
    ) == ["True", "0", "{2}"]


@forks
def test_a_forked_child_ends_as_any_interpreter_does():
    """Its end waits for no thread of the parent."""
    assert alone(
        "work()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    work()\n"
        "    sys.exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    ) == ["7"]


@forks
def test_forks_while_other_threads_keep_computing():
    """Whatever lock a thread holds at that moment."""
    assert alone(
        "first, stop = work(), threading.Event()\n"
        "def keep_computing():\n"
        "    while not stop.is_set():\n"
        "        parallel_blocks([lambda: None] * 8)\n"
        "threads = [threading.Thread(target=keep_computing) for _ in range(3)]\n"
        "[thread.start() for thread in threads]\n"
        "print({in_a_fork(work) == first for _ in range(3)})\n"
        "stop.set()\n"
        "[thread.join() for thread in threads]\n"
        "print(blas_threads())"
    ) == ["{True}", "{2}"]


# --------------------------------------------------------------------------------------------------------------------
# Threads
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_four_threads")
def test_blas_gets_its_threads_back_when_calls_overlap():
    """Each of two that saved what it found would leave behind what the other had set."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before, inside = blas_threads(), []
        first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

        def first():
            with one_pass():
                first_is_in.set()
                assert second_is_in.wait(600)
            first_is_out.set()

        def second():
            assert first_is_in.wait(600)
            with one_pass():
                second_is_in.set()
                assert first_is_out.wait(600)
                inside.extend(blas_threads())

        threads = [threading.Thread(target=target) for target in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(before) == {2}
        assert set(inside) == {1}
        assert blas_threads() == before


@pytest.mark.usefixtures("_four_threads")
def test_concurrent_calls_of_four_threads():
    """Some of which raise. The bits are those of one call alone."""
    rng = numpy.random.default_rng(0)
    config = VivitConfig(image_size=32, num_frames=8, tubelet_size=[2, 4, 4], hidden_size=16, num_hidden_layers=1,
                         num_attention_heads=2, intermediate_size=32, num_labels=3)  # fmt: skip
    model = VivitForVideoClassification(config, backend="numpy")
    pixels, labels = rng.standard_normal((3, 8, 3, 32, 32)), numpy.array([0, 1, 2])

    def bits(_=None):
        with pytest.raises(ZeroDivisionError):
            parallel_blocks([lambda: 1 // 0] * 5)
        loss, gradients = model.loss_and_gradients(pixels, labels)
        return loss.tobytes(), *(gradient.tobytes() for gradient in gradients.values())

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before, alone = blas_threads(), bits()
        with ThreadPoolExecutor(4) as pool:
            assert all(result == alone for result in pool.map(bits, range(12)))
        assert blas_threads() == before


@pytest.mark.usefixtures("_four_threads")
@pytest.mark.parametrize("can_start", [0, 1, 2])
def test_where_no_more_threads_can_start(can_start, monkeypatch):
    """As under WebAssembly. Every task runs once, whatever threads there are, and the same again and again."""
    started = []

    def start(thread, start=threading.Thread.start):
        if len(started) >= can_start:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(backend, "_thread_pools", {})
    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(3):
        done, held = numpy.zeros(50, dtype=int), threading.Lock()

        def task(index, done=done, held=held):
            with held:
                done[index] += 1

        parallel_blocks([lambda index=index, task=task: task(index) for index in range(50)])
        assert (done == 1).all()
        with pytest.raises(ZeroDivisionError):
            parallel_blocks([lambda: 1 // 0] * 5)


def test_libraries_are_looked_for_while_another_thread_imports_some():
    """The loader has a lock of its own: who holds it must not wait for Python's, which a thread that imports holds."""
    assert alone(
        "import importlib, mmap, os, pkgutil\n"
        "from minivivit import backend\n"
        "over = threading.Event()\n"
        "def look():\n"
        "    while not over.is_set():\n"
        "        backend._blas_libraries.cache_clear()\n"
        "        backend._blas_libraries(False)\n"
        "thread = threading.Thread(target=look)\n"
        "thread.start()\n"
        "for module in pkgutil.iter_modules([os.path.dirname(getattr(mmap, '__file__', ''))]):\n"
        "    if not module.ispkg and 'test' not in module.name and module.name not in sys.modules:\n"
        "        try:\n"
        "            importlib.import_module(module.name)\n"
        "        except ImportError:\n"
        "            pass\n"
        "over.set()\n"
        "thread.join()\n"
        "print(len(backend._blas_libraries(False)) > 0)"
    ) == ["True"]


def test_a_call_while_the_interpreter_ends():
    """From a thread that outlives the main one, and from an atexit handler: no thread can be started any more."""
    assert alone(
        "import atexit\n"
        "first = work()\n"
        "def last():\n"
        "    threading.main_thread().join()\n"
        "    print(work() == first)\n"
        "threading.Thread(target=last).start()\n"
        "atexit.register(lambda: print(work() == first))"
    ) == ["True", "True"]


def test_a_first_call_from_an_atexit_handler():
    """There is no pool of threads yet, and none can be made."""
    assert len(alone("import atexit; atexit.register(lambda: print(work()))")) == 1


@pytest.mark.usefixtures("_four_threads")
def test_an_interruption_ends_what_has_not_begun():
    """Ctrl-C in one of many tasks, which the calling thread runs, whichever thread comes first."""
    done, interrupted, calling_thread = [], threading.Event(), threading.current_thread()

    def task():
        done.append(None)
        if threading.current_thread() is calling_thread:
            interrupted.set()
            raise KeyboardInterrupt
        if interrupted.is_set():
            time.sleep(0.1)  # time enough to end the rest, also on a busy machine: 500 would take 16 s
        else:
            assert interrupted.wait(600)  # or the other threads might have run all before the calling one begins

    before = blas_threads()
    with pytest.raises(KeyboardInterrupt):
        parallel_blocks([task] * 500)
    assert len(done) < 500
    assert blas_threads() == before


# --------------------------------------------------------------------------------------------------------------------
# Settings of the process
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_four_threads")
@pytest.mark.parametrize("attention_type", ["spatio_temporal", "factorised_encoder", "factorised_dot_product"])
def test_numpys_error_state_is_the_users(attention_type):
    """Where the user has asked for errors, a softmax may still make numbers too small to be held."""
    config = VivitConfig(image_size=16, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=32, num_hidden_layers=2,
                         num_attention_heads=2, intermediate_size=32, num_labels=3, initializer_range=1.0,
                         attention_type=attention_type)  # fmt: skip
    model = VivitForVideoClassification(config, backend="numpy")
    pixels = numpy.random.default_rng(0).standard_normal((2, 4, 3, 16, 16))
    expected = model(pixels, output_attentions=True)
    with numpy.errstate(all="raise"):
        state = numpy.geterr()
        numpy.testing.assert_array_equal(model(pixels, output_attentions=True).logits, expected.logits)
        model.loss_and_gradients(pixels, numpy.array([0, 1]))
        assert numpy.geterr() == state


@pytest.mark.usefixtures("_four_threads")
@pytest.mark.parametrize("count", [1, 4])
def test_an_error_state_holds_on_every_thread(count):
    """What is said of an overflow does not depend on which thread it happens on."""
    set_num_threads(count)
    barrier = threading.Barrier(count, timeout=600)

    def overflow():
        if count > 1:
            barrier.wait()
        numpy.float32(3e38) * numpy.ones(3, dtype="float32") * 10

    with warnings.catch_warnings(), numpy.errstate(over="ignore"):
        warnings.simplefilter("error")
        parallel_blocks([overflow] * 4)
    with numpy.errstate(over="raise"), pytest.raises(FloatingPointError):
        parallel_blocks([overflow] * 4)


def test_warnings_filters_are_the_users_when_readers_overlap(tmp_path):
    """Two threads in the middle of files: the last one out gives back the filters that the first one found."""
    with warnings.catch_warnings():
        before = list(warnings.filters)
        both, first_is_out = threading.Barrier(2, timeout=600), threading.Event()

        def read(is_first):
            with warnings_held_back():
                both.wait()
                if not is_first:
                    assert first_is_out.wait(600)
                    warnings.warn("not to be seen", stacklevel=1)
            if is_first:
                first_is_out.set()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(read, (True, False)))
        assert warnings.filters == before


def test_ctrl_c_is_the_users_after_a_training():
    """Whatever handler there was; one that Python did not set is left alone."""
    usual = signal.getsignal(signal.SIGINT)
    for handler in (lambda *arguments: None, signal.SIG_IGN, signal.SIG_DFL, usual):
        signal.signal(signal.SIGINT, handler)
        try:
            with Interruption():
                pass
            assert signal.getsignal(signal.SIGINT) is handler
            with ThreadPoolExecutor(1) as pool:  # not from the main thread, which alone can set one
                pool.submit(Interruption().__enter__).result()
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, usual)


def test_a_bar_starts_no_thread_and_a_missing_stream_is_no_error(monkeypatch):
    """Under ``pythonw`` there are no streams; a service may have closed them; a browser's only take text."""
    closed, listener = io.StringIO(), io.StringIO()
    closed.close()
    only_writes = types.SimpleNamespace(write=listener.write, flush=listener.flush)
    threads = threading.active_count()
    for stream in (None, closed, only_writes, io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        with progress.progress_bar(3, "counting") as bar:
            bar.update()
            progress.say(bar, "one")
        print_notes(["a note"])
    assert stream.getvalue() == listener.getvalue() == "one\nminivivit: note: a note\n"
    progress.Bar(total=2, file=io.StringIO()).close()
    assert threading.active_count() == threads


@pytest.mark.parametrize("closed", ["1", "2", "12"])
def test_the_command_runs_with_closed_streams(closed, tmp_path):
    command = f"{sys.executable} -m minivivit info --preset vivit-b-16x2 " + " ".join(f"{n}>&-" for n in closed)
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


# --------------------------------------------------------------------------------------------------------------------
# The same bits on any number of threads
# --------------------------------------------------------------------------------------------------------------------

BITS = """
import numpy.random
digest = hashlib.sha256()
for kind in ("spatio_temporal", "factorised_encoder", "factorised_self_attention", "factorised_dot_product"):
    for frames, hidden in ((4, 72), (4, 160)):
        config = VivitConfig(image_size=64, num_frames=frames, tubelet_size=[2, 8, 8], hidden_size=hidden,
                             num_hidden_layers=1, num_attention_heads=4, intermediate_size=2 * hidden, num_labels=7,
                             attention_type=kind, num_temporal_layers=1)
        model = VivitForVideoClassification(config, backend="numpy")
        rng = numpy.random.default_rng(0)
        pixels, labels = rng.standard_normal((4, frames, 3, 64, 64)), rng.integers(0, 7, 4)
        digest.update(model(pixels, output_attentions=True).logits.tobytes())
        larger = rng.standard_normal((1, frames, 3, 80, 72))
        digest.update(model(larger, interpolate_pos_encoding=True).logits.tobytes())
        optimiser = AdamW(model.state_dict())
        for _ in range(2):
            loss, gradients = model.loss_and_gradients(pixels, labels)
            for array in gradients.values():
                digest.update(array.tobytes())
            gradients.pop("pixel_values")
            optimiser.step(gradients, 1e-3)
        digest.update(model(pixels).logits.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.thorough
def test_the_bits_do_not_depend_on_the_number_of_threads():
    """Neither ours nor BLAS's: products under `LARGE_PRODUCT` and over it, heads, single tasks, a training."""
    assert 512 * 160 * 2 * 160 > backend.LARGE_PRODUCT > 512 * 72 * 2 * 72
    code = "from minivivit import backend; backend._num_threads = None" + BITS
    results = {
        (ours, blas): alone(code, MINIVIVIT_NUM_THREADS=str(ours), OPENBLAS_NUM_THREADS=str(blas))[0]
        for ours, blas in ((1, 1), (2, 1), (3, 2), (4, 4), (1, 4))
    }
    assert len(set(results.values())) == 1, results


@pytest.mark.parametrize("shape", [(100, 300, 200), (255, 256, 256), (257, 256, 256), (2, 130, 256, 256)])
def test_a_product_called_alone_runs_on_one_thread_of_blas(shape):
    """Just under and over the size from which it is cut."""
    *stack, rows, inner, columns = shape
    rng = numpy.random.default_rng(0)
    a, b = rng.standard_normal((*stack, rows, inner)), rng.standard_normal((*stack, inner, columns))
    results = set()
    for count in (1, 2, 3, 4):
        with threadpoolctl.threadpool_limits(count, user_api="blas"):
            results.add(parallel_matmul(a, b).tobytes())
    assert len(results) == 1
