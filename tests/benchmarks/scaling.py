"""What training in several processes costs, on this machine.

    python tests/benchmarks/scaling.py ranks       two ranks of one thread against one process of two threads, in turns
    python tests/benchmarks/scaling.py sum         the time of an all-reduce between two processes, by its size
    python tests/benchmarks/scaling.py layer       a layer of ViViT-B, forward and backward, and AdamW, on one processor

Needs mpi4py and mpiexec (pip install '.[mpi]' mpich). `notebooks/scaling.md` says what follows from the figures.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy
from take_turns import serve, take_turns

from minivivit.backend import set_num_threads
from minivivit.config import VivitConfig
from minivivit.layers.transformer_layer import transformer_layer_backward, transformer_layer_forward
from minivivit.models.classification import VivitForVideoClassification
from minivivit.training.loop import make_step
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.parallel.ranks import ALONE
from minivivit.training.parallel.started import find_ranks
from minivivit.training.run import begin_training
from minivivit.training.settings import make_settings

# Of 256 tokens a clip: between the bundled model and ViViT-B.
MODEL = {
    "image_size": 64,
    "num_frames": 8,
    "tubelet_size": [2, 8, 8],
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}
BATCH = 8


def mpiexec() -> str:
    """The one beside this Python, or the system's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("mpiexec", path=path)
    if found is None:
        raise SystemExit("there is no mpiexec: pip install '.[mpi]' mpich")
    return found


def training(ranks, parallel: int):
    """A training on motion clips, begun by the first rank."""
    settings = {"steps": 1000, "batch_size": BATCH, "parallel": parallel, "model": MODEL, "backend": "numpy"}

    def begin():
        with tempfile.TemporaryDirectory() as directory:
            return begin_training("motion", make_settings("motion", settings), Path(directory))

    begun = ranks.from_first(begin)
    begun.ranks = ranks
    return begun


def one_process(parallel: int) -> None:
    """Contender: a step a turn, on two threads."""
    set_num_threads(2)
    begun = training(ALONE, parallel)
    serve(lambda: {"loss": make_step(begun)["loss"]})


def two_ranks() -> None:
    """Contender: the same by two ranks. Between the turns they sleep: a rank that waits in MPI takes a processor."""
    from mpi4py import MPI

    set_num_threads(1)
    ranks, turn = find_ranks(), numpy.zeros(1)
    begun = training(ranks, 1)

    def step() -> dict:
        MPI.COMM_WORLD.Ibcast(turn).Wait()
        return {"loss": make_step(begun)["loss"]}

    if ranks.is_first:
        serve(step)
        return
    while True:
        called = MPI.COMM_WORLD.Ibcast(turn)
        while not called.Test():
            time.sleep(0.001)
        make_step(begun)


def compare_ranks(rounds: int) -> None:
    """Print medians and the ratio of speeds."""
    here = str(Path(__file__))
    commands = {
        "one process, two threads": [here, "one", "1"],
        "one process, two threads, two pieces side by side": [here, "one", "2"],
        "two ranks of one thread": [here, "start"],
    }
    results = take_turns(commands, rounds, threads=1)
    seconds = {name: [result["seconds"] for result in answers] for name, answers in results.items()}
    losses = {name: [result["loss"] for result in answers] for name, answers in results.items()}
    first, *others = losses.values()
    assert numpy.allclose(others, first, rtol=1e-4), "they do not train alike"
    for name, times in seconds.items():
        print(f"{name}: {statistics.median(times):.3f} s a step of {BATCH} clips")
    ranks = seconds.pop("two ranks of one thread")
    for name, times in seconds.items():
        ratio = statistics.median(one / two for one, two in zip(times, ranks, strict=True))
        print(f"speed of two ranks, to that of {name}: {ratio:.3f} (median of {rounds} rounds)")


def measure_sums() -> None:
    """Print how long an all-reduce takes between the ranks of this mpiexec."""
    ranks = find_ranks()
    for megabytes in (0.001, 1, 25, 100):
        buffer = numpy.ones(int(megabytes * 250_000), dtype=numpy.float32)
        times = []
        for _ in range(9):
            ranks.total([0])  # together
            start = time.perf_counter()
            ranks.start_sum(buffer)()
            times.append(time.perf_counter() - start)
        if ranks.is_first:
            middle = statistics.median(times)
            print(f"{megabytes:g} MB: {1000 * middle:.3f} ms, {megabytes / 1000 / middle:.2f} GB/s", flush=True)


def measure_layer() -> None:
    """Print processor seconds of what a training step of ViViT-B is made of, on one thread."""
    set_num_threads(1)
    config = VivitConfig(num_hidden_layers=1)
    model = VivitForVideoClassification(config, backend="numpy")
    params = model.params["vivit"]["encoder"]["layer"]["0"]
    rng = numpy.random.default_rng(0)
    x = rng.standard_normal((1, 3137, 768), dtype=numpy.float32)
    times = []
    for _ in range(3):
        start = time.process_time()
        y, _, cache = transformer_layer_forward(x, params, num_heads=12, activation="gelu_fast", eps=1e-6)
        transformer_layer_backward(y, cache)
        times.append(time.process_time() - start)
    layer = min(times)
    print(f"a layer of ViViT-B, forward and backward, one clip: {layer:.2f} s of one processor")
    parameters = model.state_dict()
    optimiser = AdamW(parameters)
    optimiser.step(parameters, 0.0)
    start = time.process_time()
    optimiser.step(parameters, 0.0)
    number = sum(array.size for array in parameters.values())
    print(f"AdamW: {(time.process_time() - start) / number * 1e9:.1f} s of one processor for 10^9 parameters")


def run() -> None:
    """What the first argument says; `one`, `start`, `two` and `sums` are called from here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["ranks", "sum", "layer", "one", "start", "two", "sums"])
    parser.add_argument("parallel", nargs="?", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    if arguments.what in ("start", "sum"):
        inner = "two" if arguments.what == "start" else "sums"
        os.execv(mpiexec(), [mpiexec(), "-n", "2", sys.executable, str(Path(__file__)), inner])
    elif arguments.what == "ranks":
        compare_ranks(arguments.rounds)
    elif arguments.what == "one":
        one_process(arguments.parallel)
    else:
        {"two": two_ranks, "sums": measure_sums, "layer": measure_layer}[arguments.what]()


if __name__ == "__main__":
    run()
