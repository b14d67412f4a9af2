"""Peak memory and time of tracing ViViT-B/16x2 in float64, and of comparing two such traces.

    python tests/benchmarks/trace_memory.py               full size: 32 frames, ten minutes or so, 30 GB of disk
    python tests/benchmarks/trace_memory.py --frames 4    a clip of 4 frames, as CI does it

The weights are drawn at random, and the clip too. Each step is the command, in a process of its own; its memory is the
largest resident set that it ever had. The two traces that are compared differ by the rounding of float32. A step that
needs more memory than it may makes the exit code 1.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS = {"trace": 4.0, "trace --gradients": 4.0, "compare": 1.0}  # GB

MAKE = """
import sys, numpy
from minivivit import VivitConfig, VivitForVideoClassification
directory, frames = sys.argv[1], int(sys.argv[2])
config = VivitConfig.from_preset("vivit-b-16x2", num_frames=frames)
VivitForVideoClassification(config, backend="numpy").save_pretrained(directory)
shape = (frames, config.num_channels, *config.frame_size)
numpy.save(directory + "/pixels.npy", numpy.random.default_rng(0).uniform(-1, 1, shape).astype("float32"))
"""

# VmHWM is the process's own largest resident set; getrusage would count what its parent had before it began.
RUN = """
import sys
from minivivit.cli import main
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print("peak KiB", peak)
sys.exit(code)
"""


def run(*arguments: object) -> tuple[float, float]:
    """Seconds, and GB at the peak, of a command."""
    start = time.perf_counter()
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}: exit code {result.returncode}")
    return time.perf_counter() - start, int(result.stdout.split()[-1]) * 1024 / 1e9


def size(directory: Path) -> float:
    """GB of the files in a directory."""
    return sum(path.stat().st_size for path in directory.iterdir()) / 1e9


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=32, help="of the clip and the model (default: 32)")
    parser.add_argument("--budget", nargs="*", default=["float32"], help="of the traces (default: float32)")
    parser.add_argument("--directory", help="where the traces go for a while (default: a temporary directory)")
    args = parser.parse_args()
    failed = False

    def report(what: str, seconds: float, peak: float, note: str = "") -> None:
        nonlocal failed
        failed |= peak > LIMITS[what]
        print(f"{what:20}{peak:8.2f}{LIMITS[what]:8.1f}{seconds:10.0f}  {note}", flush=True)

    with tempfile.TemporaryDirectory(dir=args.directory) as name:
        root = Path(name)
        subprocess.run([sys.executable, "-c", MAKE, str(root / "model"), str(args.frames)], check=True)
        clip, ours, theirs = root / "model" / "pixels.npy", root / "ours", root / "theirs"
        common = ["--model", root / "model", "--backend", "numpy"]
        budget = ["--budget", *args.budget]
        print(
            f"ViViT-B/16x2, {args.frames} frames, random weights, float64, budget of {' '.join(args.budget) or 'none'}"
        )
        print(f"{'':20}{'GB':>8}{'at most':>8}{'seconds':>10}")
        report("trace --gradients", *run("trace", clip, ours, *common, *budget, "--gradients", "--label", 7))
        print(f"{'':20}the trace has {size(ours):.2f} GB")
        report("trace", *run("trace", clip, ours, *common, *budget))
        print(f"{'':20}the trace has {size(ours):.2f} GB")
        run("trace", clip, theirs, *common, "--dtype", "float32")
        report("compare", *run("compare", ours, theirs), "with float32: nothing but rounding")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
