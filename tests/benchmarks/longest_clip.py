"""The longest clip with which ViViT-B/16x2 stays below 4 GB, libraries included: the paper's four models, each way.

    python tests/benchmarks/longest_clip.py
    python tests/benchmarks/longest_clip.py --line "Model 1" "Model 2" "Model 3"

Each pass is one of a process of its own, whose largest resident set is its peak. With gradients all twelve layers are
computed; forward one, beside the weights of twelve: what a layer makes the next one overwrites. Matrix products are
left out, and arrays as large filled with zeros: they need no memory, but hours. Both are checked against whole passes
of short clips. `--line` leaves it at what a line through the peaks of two short clips says. The figures go into
`cost_curves.json`, from which `cost_page.py` makes the page.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy
from cost_curves import MODELS, our_steps, seconds_of, write

from minivivit import backend
from minivivit.config import VivitConfig
from minivivit.models.counting import count, total
from minivivit.training.experiments.own_process import peak_memory, run_in_own_process

LIMIT = 4e9  # bytes
NEAR = 0.97  # of them: what comes to that counts as the longest; two frames more may be 2 %
# Frames of the two clips whose peaks make a line, and layers that are computed: forward, and with gradients.
SHORT, LAYERS = ((32, 128), (8, 24)), (1, 12)


def leave_out_products() -> None:
    """Let matrix products be zeros, in arrays as large, and `exp` a sum: the same memory in less time."""

    def zeros(a: Any, b: Any, out: Any = None) -> Any:
        shape = (*numpy.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        product = numpy.empty(shape, dtype=a.dtype) if out is None else out
        product[...] = 0  # written, for memory counts when it is written
        return product

    real = backend.matmul
    real(numpy.ones((512, 512), numpy.float32), numpy.ones((512, 512), numpy.float32))  # BLAS takes its own memory
    for module in [module for name, module in sys.modules.items() if name.startswith("minivivit")]:
        if getattr(module, "matmul", None) is real:
            module.matmul = zeros
    numpy.exp = lambda x, out=None: numpy.add(x, 1, out=out)


def one_pass_of_vivit_b(job: dict, report: Callable) -> dict:
    """Bytes at the peak of this process, libraries included, of one pass of ViViT-B/16x2.

    Layers that are left out leave their weights behind, as numbers that nobody reads.
    """
    fields = {"attention_type": MODELS[job["name"]], "num_frames": job["frames"]}
    whole = VivitConfig.from_preset("vivit-b-16x2", **fields)
    config = VivitConfig.from_preset("vivit-b-16x2", **{**fields, "num_hidden_layers": job["depth"]})
    missing = total(count(whole))["parameters"] - total(count(config))["parameters"]
    ballast = numpy.ones(missing, dtype=numpy.float32)
    step = our_steps(config, 1)[int(job["training"])]
    if not job["products"]:
        leave_out_products()
    seconds = seconds_of(step)
    return {**job, "peak": peak_memory(), "seconds": seconds, "ballast": ballast.nbytes}


def peak(name: str, training: bool, frames: int, depth: int, products: bool = False) -> int:
    """Of `one_pass_of_vivit_b`, in a process of its own."""
    job = {"name": name, "training": training, "frames": frames, "depth": depth, "products": products}
    found = run_in_own_process(one_pass_of_vivit_b, job, print, name)
    print(found, flush=True)
    return found["peak"]


def by_a_line(name: str, training: bool) -> tuple[int, list[float]]:
    """Frames, of an even number, at which the line through two short clips' peaks comes to `LIMIT`; the peaks."""
    short = SHORT[training]
    peaks = [peak(name, training, frames, LAYERS[training]) for frames in short]
    slope = (peaks[1] - peaks[0]) / (short[1] - short[0])
    return 2 * int((short[1] + (LIMIT - peaks[1]) / slope) / 2), peaks


def longest_clip(name: str, training: bool, tried: bool) -> dict:
    """The most frames, of an even number: by a line, and if it is to be `tried` searched on from there, to 3 %."""
    line, (low, _) = by_a_line(name, training)
    if not tried:
        return {"line": line}
    frames, short = line, SHORT[training][0]
    while not NEAR * LIMIT <= (found := peak(name, training, frames, LAYERS[training])) <= LIMIT:
        slope = (found - low) / (frames - short)
        frames = 2 * int((short + ((1 + NEAR) / 2 * LIMIT - low) / slope) / 2)
    return {"line": line, "frames": frames, "peak": found}


def longest(tried: list[str]) -> dict:
    """Of each model, forward and training; whether depth matters to memory forward, and products anywhere."""
    checks = {
        "forward, one layer, without products": peak("Model 1", False, 16, 1),
        "forward, twelve layers": peak("Model 1", False, 16, 12, products=True),
        "with gradients, without products": peak("Model 1", True, 8, 12),
        "with gradients": peak("Model 1", True, 8, 12, products=True),
    }
    found = {name: [longest_clip(name, training, name in tried) for training in (False, True)] for name in MODELS}
    return {"checks": checks, "longest": found}


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--line", nargs="*", default=[], choices=MODELS, help="models to find by a line alone")
    args = parser.parse_args()
    write("longest", longest([name for name in MODELS if name not in args.line]))


if __name__ == "__main__":
    main()
