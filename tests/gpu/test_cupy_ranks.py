"""Several ranks on GPUs. Run with  pytest -m gpu.

One GPU is enough: NCCL refuses two ranks on one, so they sum over the host there, and NCCL sums for one rank alone.
What only several GPUs can show is how NCCL sums between them.
"""

import os
import pickle
import shutil
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.backend import _load_cupy, gpu_addresses, has_nccl
from minivivit.training.parallel import gradient_sum
from minivivit.training.parallel.devices import NcclSum, find_place, obstacle_to_nccl
from minivivit.training.parallel.gradient_sum import GradientSum
from minivivit.training.parallel.ranks import ALONE

CUPY, REASON = _load_cupy()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(CUPY is None, reason=f"needs CuPy and an NVIDIA GPU: {REASON}")]

ROOT = Path(__file__).parents[2]
SEVERAL = ROOT / "tests" / "training" / "parallel" / "several.py"
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
TIMEOUT = 600  # seconds after which a hang is a failure
MODEL = {
    "image_size": 16,
    "num_frames": 4,
    "tubelet_size": [2, 8, 8],
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "num_labels": 3,
    "initializer_range": 0.3,
}
SPIN = """
extern "C" __global__ void spin(long long cycles) {
    long long start = clock64();
    while (clock64() - start < cycles) {}
}
"""
CYCLES = 200_000_000  # a tenth of a second, or more


def spin():
    """Keep the current stream busy."""
    CUPY.RawKernel(SPIN, "spin")((1,), (1,), (numpy.int64(CYCLES),))


class TimesThree:
    """A communicator of three ranks that all have the same; it sums on the stream that it is given."""

    def all_reduce(self, in_array, out_array, op="sum", stream=None):
        with stream:
            CUPY.multiply(in_array, 3, out=out_array)


@pytest.mark.parametrize("slow", ["computing", "summing", "neither"])
def test_the_streams_wait_for_each_other_and_the_host_for_neither(slow):
    """A sum sees what was computed before it, and what is computed afterwards sees the sum."""
    summing = NcclSum(CUPY, TimesThree)
    spin()  # compiled before it counts
    buffers, waits, results = [CUPY.zeros(1 << size) for size in (4, 20)], [], []
    CUPY.cuda.Device().synchronize()
    for number, buffer in enumerate(buffers, start=1):
        if slow == "computing":
            spin()
        buffer += number
        if slow == "summing":
            with summing._stream:
                spin()
        waits.append(summing.start(buffer))
    if slow != "neither":
        assert not summing._stream.done  # it waits, and here we are
    for wait in waits:
        wait()
    for buffer in buffers:
        results.append(buffer + 1)
        buffer.fill(-1)
    for number, result in enumerate(results, start=1):
        numpy.testing.assert_array_equal(result.get(), numpy.full(result.shape, 3 * number + 1))


def test_this_rank_finds_its_gpu():
    place = find_place("cupy", "here")
    assert place.gpus == gpu_addresses(CUPY)
    assert len(place.gpus) == CUPY.cuda.runtime.getDeviceCount()
    assert len(set(place.gpus)) == len(place.gpus)
    for number, address in enumerate(place.gpus):
        assert int(CUPY.cuda.Device.from_pci_bus_id(address)) == number
    two = [place] * (len(place.gpus) + 1)
    assert obstacle_to_nccl(two) == f"processes 0 and {len(place.gpus)} share a GPU"


class WorldOfOne:
    """What MPI says to a process without others, where mpi4py or the library of an MPI is missing."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1

    def Dup(self):
        return self

    def Barrier(self):
        return None

    def Ibarrier(self):
        return SimpleNamespace(Test=lambda: True)

    def allgather(self, value):
        return [value]

    def allreduce(self, value, op):
        return value

    def bcast(self, value, root=0):
        return value


@pytest.fixture
def one_rank(monkeypatch):
    """The only rank, with NCCL; MPI's world is that of a process without mpiexec."""
    if not has_nccl():
        pytest.skip("needs NCCL: pip install nvidia-nccl-cu12 (or nvidia-nccl-cu13)")
    monkeypatch.setenv("MINIVIVIT_NUM_THREADS", "2")  # which are the tests', and not to be dealt out
    try:
        from mpi4py import MPI  # noqa: F401
    except (ImportError, RuntimeError):
        names = {"Query_thread": lambda: 3, "THREAD_SERIALIZED": 2, "MIN": "min", "Get_processor_name": lambda: "here"}
        alone = SimpleNamespace(MPI=SimpleNamespace(COMM_WORLD=WorldOfOne(), **names))
        monkeypatch.setitem(sys.modules, "mpi4py", alone)
    from minivivit.training.parallel.mpi import MpiRanks

    ranks = MpiRanks()
    assert ranks.size == 1
    ranks.take_device("cupy")
    assert ranks.summing.startswith("by NCCL")
    return ranks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nccl_sums_the_gradients_of_one_rank(dtype, one_rank, monkeypatch):
    """Bucket by bucket, in the order of the backward pass, and to the bit: to what there is it adds nothing."""
    monkeypatch.setattr(gradient_sum, "BUCKET_BYTES", 1)
    model = VivitForVideoClassification(VivitConfig(**MODEL), dtype=dtype, backend="cupy", seed=1)
    pixels, labels = numpy.random.default_rng(0).standard_normal((4, 4, 3, 16, 16)), numpy.arange(4) % 3
    _, gradients = model.loss_and_gradients(pixels, labels)
    communicator, sizes = one_rank._nccl._communicator, []
    assert type(communicator).__name__ == "NCCLBackend"

    def noted(in_array, out_array, op, stream):
        sizes.append(in_array.size)
        type(communicator).all_reduce(communicator, in_array, out_array, op=op, stream=stream)

    monkeypatch.setattr(communicator, "all_reduce", noted)
    parameters = model.state_dict()
    total = GradientSum(one_rank, parameters, 1)
    for names in total.buckets:
        spin()
        total.take(0, {name: gradients[name] for name in names})
    found = total.finish()
    assert sizes == [buffer.size for buffer in total.buffers]
    assert len(sizes) == 4
    assert found.keys() == parameters.keys()
    for name, array in found.items():
        assert isinstance(array, CUPY.ndarray)
        assert array.dtype == dtype
        numpy.testing.assert_array_equal(array.get(), gradients[name].get())


@pytest.mark.skipif(
    not (MPIEXEC and find_spec("mpi4py")), reason="needs mpi4py and mpiexec: pip install '.[mpi]' mpich"
)
@pytest.mark.parametrize("count", [2, 3])
def test_ranks_that_share_a_gpu_come_to_what_one_process_does(count, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SEVERAL.parent)
    import several

    expected = several.trainings(ALONE, tmp_path / "alone", several.ON_GPUS, "cupy")
    paths = [ROOT, ROOT / "tests", SEVERAL.parent, SEVERAL.parents[1], *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "MINIVIVIT_NUM_THREADS": "2"}
    command = [MPIEXEC, "-n", str(count), sys.executable, str(SEVERAL), "gpu", str(tmp_path)]
    run = partial(subprocess.run, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    ran = run(command)
    assert ran.returncode == 0, ran.stderr
    summing, found = pickle.loads((tmp_path / f"gpu {count}").read_bytes())
    if len(gpu_addresses(CUPY)) < count:
        assert summing.startswith("by MPI, over the host, for processes 0 and ")
    assert found.keys() == expected.keys() == set(several.ON_GPUS)
    for name, arrays in expected.items():
        for key, array in arrays.items():
            atol = 1e-12 * numpy.abs(array).max() + 1e-15
            numpy.testing.assert_allclose(found[name][key], array, rtol=0, atol=atol, err_msg=f"{name}: {key}")
