"""The ten kernels that cost the most in a pass of ViViT-B/16x2 on the GPU.

    python tests/gpu/profile_kernels.py forward
    python tests/gpu/profile_kernels.py training

PyTorch's profiler reads the GPU's own record, which has the kernels of every library in the process, CuPy's too. On a
CPU (``--device cpu``) there is no such record: then it is PyTorch's operators in some products that are listed, which
shows that this script works, and nothing of minivivit.
"""

import argparse
from collections import Counter

import numpy

from minivivit import VivitConfig, VivitForVideoClassification

MOST = 10


def step_of(what: str, device: str):
    """What is profiled: a pass over one clip."""
    if device == "cpu":
        import torch

        x = torch.ones(300, 300)
        return lambda: (x @ x).exp().sum()
    import cupy

    model = VivitForVideoClassification(VivitConfig(num_labels=400), backend="cupy")
    pixels = cupy.asarray(numpy.random.default_rng(0).standard_normal((1, 32, 3, 224, 224), dtype=numpy.float32))

    def step() -> None:
        if what == "forward":
            model(pixels)
        else:
            model.loss_and_gradients(pixels, cupy.asarray([7]))
        cupy.cuda.Device().synchronize()

    return step


def times_by_name(step, device: str) -> tuple[Counter, Counter]:
    """Microseconds and calls of each kernel in one step, once warm."""
    from torch.profiler import ProfilerActivity, profile

    step()
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        step()
    times, calls = Counter(), Counter()
    for event in profiler.events():
        times[event.name] += event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        calls[event.name] += 1
    return times, calls


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["forward", "training"])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    arguments = parser.parse_args()
    times, calls = times_by_name(step_of(arguments.what, arguments.device), arguments.device)
    total = times.total()
    print(f"{arguments.what} on {arguments.device}: {total / 1000:.1f} ms in {calls.total():,} kernels, the costliest:")
    for name, time in times.most_common(MOST):
        print(f"{time / 1000:10.2f} ms {100 * time / total:5.1f} % {calls[name]:7,} calls  {name[:100]}")


if __name__ == "__main__":
    main()
