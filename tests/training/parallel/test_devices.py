"""Which rank has which GPU, and how what is on GPUs is summed; without a GPU and without MPI, by stand-ins of both."""

import json
import sys
from collections import deque
from types import ModuleType, SimpleNamespace

import numpy
import pytest
import stand_in_array
from stand_in_array import StandInArray
from test_gradient_sum import Recorder
from test_parts import MODEL
from tiny_training import TINY

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.cli import main
from minivivit.errors import InputError
from minivivit.models.parameters import map_tree
from minivivit.training.accumulation import batch_gradients
from minivivit.training.parallel import gradient_sum, mpi
from minivivit.training.parallel.devices import (
    NcclSum,
    Place,
    check_one_library,
    find_place,
    gpu_numbers,
    obstacle_to_nccl,
)
from minivivit.training.parallel.gradient_sum import GradientSum
from minivivit.training.parallel.parts import clips_of
from minivivit.training.parallel.ranks import Ranks

FOUR = ("0000:07:00.0", "0000:0a:00.0", "0000:47:00.0", "0000:4d:00.0")


def places(*entries, nccl=True):
    """Of (machine, GPUs) each."""
    return [Place(machine, "cupy", gpus, nccl) for machine, gpus in entries]


# --------------------------------------------------------------------------------------------------------------------
# The decision
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "numbers", "obstacle"),
    [
        ([("a", FOUR)], [0], ""),
        ([("a", FOUR)] * 4, [0, 1, 2, 3], ""),
        ([("a", FOUR)] * 6, [0, 1, 2, 3, 0, 1], "processes 0 and 4 share a GPU"),
        ([("a", FOUR[:1])] * 2, [0, 0], "processes 0 and 1 share a GPU"),
        # machines have GPUs at the same addresses; their ranks need not stand together
        ([("a", FOUR[:2]), ("b", FOUR[:2]), ("a", FOUR[:2]), ("b", FOUR[:2])], [0, 0, 1, 1], ""),
        ([("a", FOUR), ("b", FOUR[:1]), ("b", FOUR[:1])], [0, 0, 0], "processes 1 and 2 share a GPU"),
        # a launcher that shows each rank one GPU, of the number 0: another for each, or the same
        ([("a", FOUR[:1]), ("a", FOUR[1:2]), ("a", FOUR[2:3])], [0, 0, 0], ""),
        ([("a", FOUR[:1]), ("a", FOUR[1:2]), ("a", FOUR[:1])], [0, 0, 0], "processes 0 and 2 share a GPU"),
    ],
)
def test_the_ranks_of_a_machine_take_its_gpus_in_turn_and_nccl_wants_one_for_each(entries, numbers, obstacle):
    assert gpu_numbers(places(*entries)) == numbers
    assert obstacle_to_nccl(places(*entries)) == obstacle


def test_nccl_is_wanted_by_all_or_none():
    both = [*places(("a", FOUR)), *places(("a", FOUR), nccl=False)]
    assert obstacle_to_nccl(both).startswith("process 1 finds no NCCL (pip install nvidia-nccl-cu12")


def test_ranks_with_and_without_a_gpu_are_refused():
    check_one_library(places(("a", FOUR), ("b", FOUR)))
    check_one_library([Place("a", "numpy"), Place("b", "numpy")])
    with pytest.raises(InputError, match=r"^process 1 \(on b\) finds a GPU, and process 0 \(on a\) finds none"):
        check_one_library([Place("a", "numpy"), *places(("b", FOUR))])


# --------------------------------------------------------------------------------------------------------------------
# Stand-ins for CuPy and MPI
# --------------------------------------------------------------------------------------------------------------------


class Stream:
    """A queue of work that its GPU does when it likes."""

    def __init__(self, gpu, name):
        self.gpu, self.name, self.work = gpu, name, deque()

    def do(self, name, function):
        self.work.append((name, function))

    def record(self):
        event = SimpleNamespace(done=False)
        self.work.append(("record", lambda: setattr(event, "done", True)))
        return event

    def wait_event(self, event):
        self.work.append(("wait", event))


class Gpu:
    """Two streams. Of what can be done, that on the preferred stream is done first."""

    def __init__(self):
        self.computing, self.side, self.done = Stream(self, "computing"), Stream(self, "side"), []

    def cuda(self):
        """What of `cupy.cuda` is asked for."""

        def new_stream(non_blocking):
            assert non_blocking  # another one would wait for all that is computed
            return self.side

        return SimpleNamespace(Stream=new_stream, get_current_stream=lambda: self.computing)

    def run(self, preferred):
        """Until all is done."""
        streams = sorted((self.computing, self.side), key=lambda stream: stream.name != preferred)
        while any(stream.work for stream in streams):
            stream = next(stream for stream in streams if stream.work and self.can_begin(*stream.work[0]))
            name, function = stream.work.popleft()
            if name != "wait":
                function()
            if name not in ("wait", "record"):
                self.done.append(name)

    @staticmethod
    def can_begin(name, event):
        return name != "wait" or event.done


class Communicator:
    """Of two ranks, of which the other one's buffers are all 10."""

    def all_reduce(self, in_array, out_array, op="sum", stream=None):
        assert op == "sum"
        stream.do(f"sum {in_array.size}", lambda: numpy.add(in_array, 10, out=out_array))


@pytest.mark.parametrize("preferred", ["computing", "side"])
def test_a_sum_by_nccl_begins_with_what_was_computed_and_is_waited_for(preferred):
    """Whichever stream is the faster one; and the backward pass goes on meanwhile."""
    gpu, begun = Gpu(), []
    summing = NcclSum(SimpleNamespace(cuda=gpu.cuda()), lambda: begun.append(1) or Communicator())
    assert begun == []
    buffers, waits, results = [numpy.zeros(1), numpy.zeros(2)], [], []
    for buffer in buffers:
        gpu.computing.do(f"backward {buffer.size}", lambda buffer=buffer: buffer.fill(buffer.size))
        waits.append(summing.start(buffer))
    for wait in waits:
        wait()
    gpu.computing.do("update", lambda: results.extend(buffer.copy() for buffer in buffers))
    gpu.run(preferred)
    numpy.testing.assert_array_equal(results[0], [11])
    numpy.testing.assert_array_equal(results[1], [12, 12])
    first = ["backward 1", "backward 2", "sum 1"] if preferred == "computing" else ["backward 1", "sum 1", "backward 2"]
    assert gpu.done == [*first, "sum 2", "update"]
    assert begun == [1]


def test_what_nccl_cannot_do_is_said_in_a_line():
    def begin():
        raise RuntimeError("NCCL_ERROR_SYSTEM_ERROR:\n unhandled system error")

    summing = NcclSum(SimpleNamespace(cuda=Gpu().cuda()), begin)
    with pytest.raises(
        InputError, match=r"cannot begin \(NCCL_ERROR_SYSTEM_ERROR: unhandled system error\); with NCCL"
    ):
        summing.start(numpy.zeros(1))


class Request:
    """What was begun, and ends when it has been asked for twice."""

    def __init__(self, end=lambda: None):
        self.end, self.asked = end, 0

    def Test(self):
        self.asked += 1
        if self.asked == 2:
            self.end()
        return self.asked >= 2


class World:
    """The world of MPI of two ranks: this one, and one whose place is given and whose buffers are all 10."""

    def __init__(self, rank, other):
        self.rank, self.other = rank, other

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return 2

    def Dup(self):
        return self

    def Ibarrier(self):
        return Request()

    def Iallreduce(self, sendbuf, recvbuf, op):
        assert (sendbuf, op) == ("in place", "sum")
        assert type(recvbuf) is numpy.ndarray
        return Request(lambda: numpy.add(recvbuf, 10, out=recvbuf))

    def allgather(self, value):
        return [self.other, value] if self.rank == 1 else [value, self.other]

    def allreduce(self, value, op):
        return value

    def bcast(self, value, root):
        assert root == self.rank
        return value


@pytest.fixture
def two_ranks(monkeypatch):
    """Makes `MpiRanks` in the world of `World`, on the machine a."""
    monkeypatch.setenv("MINIVIVIT_NUM_THREADS", "1")

    def make(rank, other):
        names = {"Query_thread": lambda: 3, "THREAD_SERIALIZED": 2, "Get_processor_name": lambda: "a"}
        operations = {"IN_PLACE": "in place", "SUM": "sum", "MIN": "min"}
        fake = SimpleNamespace(COMM_WORLD=World(rank, other), **names, **operations)
        monkeypatch.setattr(mpi, "_load_mpi", lambda: fake)
        return mpi.MpiRanks()

    return make


@pytest.fixture
def cupy(monkeypatch):
    """CuPy with two GPUs, whose arrays are stand-ins; it notes which GPU is used, and who begins to talk."""
    module, nccl, distributed = ModuleType("cupy"), ModuleType("cupy.cuda.nccl"), ModuleType("cupyx.distributed")
    vars(module).update({name: getattr(stand_in_array.xp, name) for name in ("asarray", "zeros")})
    module.used, module.begun = [], []

    def device(number):
        return SimpleNamespace(pci_bus_id=FOUR[number], use=lambda: module.used.append(number))

    def backend(n_devices, rank, use_mpi):
        module.begun.append((n_devices, rank, use_mpi))
        return Communicator()

    module.ndarray, module.gpu = StandInArray, Gpu()
    module.cuda = module.gpu.cuda()
    module.cuda.Device, module.cuda.runtime = device, SimpleNamespace(getDeviceCount=lambda: 2)
    nccl.available, distributed.NCCLBackend = True, backend
    for name, stand_in in (("cupy", module), ("cupy.cuda.nccl", nccl), ("cupyx.distributed", distributed)):
        monkeypatch.setitem(sys.modules, name, stand_in)
    return module


@pytest.mark.parametrize("backend", ["auto", "cupy"])
def test_a_rank_takes_its_gpu_and_sums_by_nccl(backend, cupy, two_ranks):
    ranks = two_ranks(1, Place("a", "cupy", FOUR[:2], True))
    ranks.take_device(backend)
    assert cupy.used == [1]
    assert ranks.summing == "by NCCL, each process on its own GPU"
    assert cupy.begun == []
    on_host = numpy.ones(3)
    ranks.start_sum(on_host)()
    numpy.testing.assert_array_equal(on_host, [11, 11, 11])
    assert cupy.begun == []
    ranks._nccl.start(numpy.zeros(1))
    assert cupy.begun == [(2, 1, True)]
    assert [name for name, _ in cupy.gpu.side.work] == ["wait", "sum 1", "record"]


def test_what_is_on_a_gpu_goes_to_nccl_where_it_was_chosen(cupy, two_ranks, monkeypatch):
    ranks, sums = two_ranks(0, Place("b", "cupy", FOUR[:2], True)), []
    ranks.take_device("cupy")
    assert cupy.used == [0]
    monkeypatch.setattr(NcclSum, "start", lambda self, buffer: sums.append(buffer))
    buffer = StandInArray(numpy.ones(3))
    ranks.start_sum(buffer)
    assert sums == [buffer]


@pytest.mark.parametrize(
    ("other", "used", "why"),
    [
        (Place("a", "cupy", FOUR[1:2], True), 1, "processes 0 and 1 share a GPU"),
        (Place("b", "cupy", FOUR[:2], False), 0, "process 0 finds no NCCL"),
    ],
)
def test_where_it_was_not_sums_go_over_the_host(other, used, why, cupy, two_ranks):
    ranks = two_ranks(1, other)
    ranks.take_device("cupy")
    assert cupy.used == [used]
    assert ranks.summing.startswith(f"by MPI, over the host, for {why}")
    buffer = StandInArray(numpy.arange(3.0))
    wait = ranks.start_sum(buffer)
    ranks.progress()
    numpy.testing.assert_array_equal(buffer.inside, [0, 1, 2])
    wait()
    numpy.testing.assert_array_equal(buffer.inside, [10, 11, 12])
    assert cupy.begun == []


def test_no_gpu_is_looked_for_that_is_not_wanted(cupy, two_ranks):
    ranks = two_ranks(1, Place("a", "numpy"))
    ranks.take_device("numpy")
    assert cupy.used == []
    assert ranks.summing == ""


def test_a_rank_that_lacks_a_gpu_says_which_it_is(monkeypatch, two_ranks):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(InputError, match=r"^process 1 of 2, on a: backend is 'cupy', but CuPy cannot be imported"):
        two_ranks(1, Place("a", "cupy", FOUR, True)).take_device("cupy")
    with pytest.raises(InputError, match=r"^process 0 \(on b\) finds a GPU, and process 1 \(on a\) finds none"):
        two_ranks(1, Place("b", "cupy", FOUR, True)).take_device("auto")


def test_a_place_tells_what_is_there(cupy):
    assert find_place("auto", "a") == Place("a", "cupy", FOUR[:2], True)
    sys.modules["cupy.cuda.nccl"].available = False
    assert find_place("cupy", "a") == Place("a", "cupy", FOUR[:2], False)
    assert find_place("numpy", "a") == Place("a", "numpy", (), False)


# --------------------------------------------------------------------------------------------------------------------
# Gradients
# --------------------------------------------------------------------------------------------------------------------


def test_gradients_on_a_device_are_summed_there(monkeypatch):
    """The buckets are of the parameters' library, and what comes out is what the host's come to."""
    monkeypatch.setattr(gradient_sum, "BUCKET_BYTES", 1)
    config = VivitConfig(**MODEL, num_labels=3)
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=1)
    pixels, labels = numpy.random.default_rng(0).standard_normal((5, 4, 3, 16, 16)), numpy.arange(5) % 3
    results = []
    own, names = clips_of(0, 2, 5), [*model.state_dict()]
    for on_device in (False, True):
        if on_device:
            model.params = map_tree(stand_in_array.xp.asarray, model.params)
        ranks = Recorder()
        result = batch_gradients(model, pixels[own], labels, names, accumulate=2, ranks=ranks)
        sent = [event[2] for event in ranks.events if event[0] == "sum"]
        assert len(sent) == 3
        for array in (*sent, *result.gradients.values()):
            assert type(array) is (StandInArray if on_device else numpy.ndarray)
        results.append(result)
    for name, expected in results[0].gradients.items():
        atol = 1e-12 * abs(expected).max() + 1e-16
        numpy.testing.assert_allclose(results[1].gradients[name].get(), expected, rtol=0, atol=atol)


def test_gradients_on_a_device_go_over_the_host_and_back(cupy, two_ranks):
    ranks = two_ranks(1, Place("a", "cupy", FOUR[1:2], True))
    ranks.take_device("auto")
    parameters = {name: StandInArray(numpy.zeros(shape)) for name, shape in (("a", (2, 3)), ("b", (4,)))}
    total = GradientSum(ranks, parameters, 2)
    for piece in (1, 0):
        total.take(
            piece, {name: StandInArray(numpy.full(array.shape, piece + 1.0)) for name, array in parameters.items()}
        )
    for name, array in total.finish().items():
        numpy.testing.assert_array_equal(array.get(), numpy.full(parameters[name].shape, 13.0))


def test_a_training_learns_its_device_before_anything_is_opened(tmp_path, monkeypatch, capsys):
    """That of the settings; of a training that goes on, that which it began with."""
    output, settings, taken = tmp_path / "run", tmp_path / "settings.json", []
    settings.write_text(json.dumps({**TINY, "steps": 2}))

    class Noted(Ranks):
        def take_device(self, backend):
            taken.append((backend, (output / "last").exists()))

    monkeypatch.setattr("minivivit.commands.train.find_ranks", Noted)
    monkeypatch.setattr("minivivit.training.loop.draw_curves", lambda entries, path: None)
    monkeypatch.setenv("MINIVIVIT_BACKEND", "numpy")
    command = ["train", "motion", "--output", str(output)]
    assert main([*command, "--config", str(settings), "--backend", "auto"]) == 0
    assert main([*command, "--resume", "--steps", "3"]) == 0
    monkeypatch.setattr("minivivit.commands.evaluate.find_ranks", Noted)
    assert main(["evaluate", "--clips", "1", "--model", str(output / "last"), "--backend", "numpy"]) == 0
    assert taken == [("auto", False), ("auto", True), ("numpy", True)]
    assert main(command) == 2
    capsys.readouterr()
    assert main([*command, "--resume", "--backend", "cupy"]) == 2  # said before anybody looks for a GPU
    assert "the training in" in (told := capsys.readouterr().err)
    assert "began with 'auto'" in told.replace('"', "'")
    assert len(taken) == 3
