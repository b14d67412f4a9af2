"""Time and memory of the full-size ViViT-B/16x2 against transformers + PyTorch, as ratios within one run.

"Our time" and "our memory" are minivivit's to the row's; in rows with TF32, those of minivivit with TF32.

    python tests/benchmarks/full_size.py forward
    python tests/benchmarks/full_size.py forward --peers
    python tests/benchmarks/full_size.py training
    python tests/benchmarks/full_size.py training --gradient-checkpointing
    python tests/benchmarks/full_size.py forward --device cuda
    python tests/benchmarks/full_size.py training --device cuda --batch 8

Each contender lives in a process of its own, with the same number of threads, and they take turns: one step each, round
after round, so that a slow minute of the machine falls on all. Peak memory is the process's peak resident set, its
libraries included; on a GPU, it is the memory that its allocator took there. ``gemm`` is the time of the matrix
products alone in NumPy: the floor. Contenders whose names end in ``-tf32`` let the GPU round the inputs of matrix
products to TF32; the others are kept from it. ``--peers`` takes what one would use for inference on a CPU: ONNX Runtime
and OpenVINO, each where it is installed, with transformers' model as PyTorch exports it.

Needs  pip install '.[parity]'  (torch and transformers; ONNX Runtime is there, too), and openvino to be measured.
"""

import argparse
import functools
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

from take_turns import serve, take_turns

FRAMES, SIZE, LABELS = 32, 224, 400


def minivivit_step(args: argparse.Namespace):
    """A batch through minivivit."""

    from minivivit import VivitForVideoClassification

    if args.device == "cuda":  # read by CuPy when it first multiplies
        os.environ["CUPY_TF32"] = "1" if args.worker.endswith("-tf32") else "0"
    backend = {"cpu": "numpy", "cuda": "cupy"}[args.device]
    model = VivitForVideoClassification.from_pretrained(args.checkpoint, backend=backend)
    pixel_values, labels = model.xp.asarray(the_clip(args)), model.xp.asarray([7] * args.batch)

    def forward() -> float:
        return float(model(pixel_values).logits[0, 0])

    def training() -> float:
        loss, _ = model.loss_and_gradients(pixel_values, labels, gradient_checkpointing=args.gradient_checkpointing)
        return float(loss)

    return forward if args.what == "forward" else training


def transformers_step(args: argparse.Namespace):
    """A batch through transformers, attention as the worker's name says."""
    import torch
    from transformers import VivitForVideoClassification

    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.worker.endswith("-tf32")
    attention = args.worker.removesuffix("-tf32")
    model = VivitForVideoClassification.from_pretrained(args.checkpoint, attn_implementation=attention).to(args.device)
    pixel_values, labels = (
        torch.from_numpy(the_clip(args)).to(args.device),
        torch.tensor([7] * args.batch, device=args.device),
    )

    def forward() -> float:
        with torch.no_grad():
            return float(model(pixel_values).logits[0, 0])

    def training() -> float:
        model.zero_grad(set_to_none=True)
        loss = model(pixel_values, labels=labels).loss
        loss.backward()
        return float(loss.detach())

    if args.what == "forward":
        model.eval()
        return forward
    model.train()
    return training


def export(directory: str) -> None:
    """transformers' model of a checkpoint as ONNX, beside it."""
    code = (
        "import sys, torch; from transformers import VivitForVideoClassification;"
        "model = VivitForVideoClassification.from_pretrained(sys.argv[1], attn_implementation='sdpa').eval();"
        f"clip = torch.zeros(1, {FRAMES}, 3, {SIZE}, {SIZE});"
        "torch.onnx.export(model, (clip,), sys.argv[1] + '/model.onnx', dynamo=True)"
    )
    subprocess.run([sys.executable, "-c", code, directory], check=True, stdout=subprocess.DEVNULL)


def the_clip(args: argparse.Namespace):
    """(batch, frames, channels, height, width)"""
    import numpy

    shape = (args.batch, FRAMES, 3, SIZE, SIZE)
    return numpy.random.default_rng(0).standard_normal(shape, dtype=numpy.float32)


def onnxruntime_step(args: argparse.Namespace):
    """A clip through ONNX Runtime, with all that it can do to a graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(f"{args.checkpoint}/model.onnx", options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: the_clip(args)}
    return lambda: float(session.run(None, inputs)[0][0, 0])


def openvino_step(args: argparse.Namespace):
    """A clip through OpenVINO, held to float32."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": args.threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(f"{args.checkpoint}/model.onnx", "CPU", settings)
    clip = the_clip(args)
    return lambda: float(model([clip])[0][0, 0])


PEERS = {"onnxruntime": onnxruntime_step, "openvino": openvino_step}


def gemm_step(args: argparse.Namespace):
    """The matrix products of a step in NumPy, cut into the blocks that minivivit works in, and nothing else."""
    import numpy

    from minivivit.backend import parallel_blocks, row_blocks

    tokens, hidden, wide, heads, layers = 3137, 768, 3072, 12, 12
    rng = numpy.random.default_rng(0)
    x = rng.standard_normal((tokens, hidden), dtype=numpy.float32)
    square = rng.standard_normal((hidden, hidden), dtype=numpy.float32)
    widen = rng.standard_normal((hidden, wide), dtype=numpy.float32)
    widened = x @ widen
    query = rng.standard_normal((tokens, hidden // heads), dtype=numpy.float32)
    key = numpy.ascontiguousarray(query.T)

    def mlp(rows: slice) -> None:
        (x[rows] @ widen) @ widen.T

    def head(backward: bool) -> None:
        for rows in row_blocks(tokens, 256):
            scores = query[rows] @ key
            scores @ query  # forward: the values; backward: the gradient of the queries
            if backward:  # and of the probabilities, the values and the keys
                query[rows] @ key
                scores.T @ query[rows]
                scores.T @ query[rows]

    def forward() -> float:
        for _ in range(layers):
            for _ in range(4):
                x @ square
            parallel_blocks([lambda: head(False)] * heads)
            parallel_blocks([functools.partial(mlp, rows) for rows in row_blocks(tokens, 800)])
        return 0.0

    def training() -> float:
        forward()
        for _ in range(layers):
            for _ in range(4):
                x @ square
                x.T @ x
            parallel_blocks([lambda: head(True)] * heads)
            parallel_blocks([functools.partial(mlp, rows) for rows in row_blocks(tokens, 800)])
            widened.T @ x
            x.T @ widened
        return 0.0

    return forward if args.what == "forward" else training


def peak_mib(args: argparse.Namespace) -> float:
    """The most memory that this process held: resident, or on the GPU taken by the allocator of its library."""
    if args.device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if args.worker.startswith("minivivit"):
        import cupy

        return cupy.get_default_memory_pool().total_bytes() / 2**20  # the pool gives nothing back: this is its peak
    import torch

    return torch.cuda.max_memory_reserved() / 2**20


def work(args: argparse.Namespace) -> None:
    """A contender. A step ends when all that was asked of a GPU is done: the gradients come after the loss."""
    makers = {
        "minivivit": minivivit_step,
        "sdpa": transformers_step,
        "eager": transformers_step,
        "gemm": gemm_step,
        **PEERS,
    }
    step = makers[args.worker.removesuffix("-tf32")](args)

    def measured() -> dict:
        value = step()
        wait_for_the_gpu(args)
        return {"value": value, "peak_mib": peak_mib(args)}

    serve(measured)


def wait_for_the_gpu(args: argparse.Namespace) -> None:
    """Until all that was asked of it is done."""
    if args.device == "cpu":
        return
    if args.worker.startswith("minivivit"):
        import cupy

        cupy.cuda.Device().synchronize()
    else:
        import torch

        torch.cuda.synchronize()


def write_checkpoint(directory: str, layers: int) -> None:
    """A randomly initialised full-size checkpoint, written by transformers."""
    code = (
        "import sys, torch; from transformers import VivitConfig, VivitForVideoClassification;"
        f"torch.manual_seed(0); config = VivitConfig(num_labels={LABELS}, num_hidden_layers={layers});"
        "model = VivitForVideoClassification(config);"
        "model.save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, directory], check=True, stderr=subprocess.DEVNULL)


def compare(args: argparse.Namespace) -> dict:
    """Run the contenders in turns; medians of time, peaks of memory."""
    names = ["minivivit", "sdpa", "gemm"] if args.what == "training" else ["minivivit", "sdpa", "eager", "gemm"]
    groups = [[*names[:2], *(name for name in PEERS if importlib.util.find_spec(name))]] if args.peers else [names]
    if args.device == "cuda":
        # With several clips, eager's probabilities of all layers are more than a card holds, 12 GB a clip; and TF32 has
        # turns of its own, for all contenders of a group hold their memory at once.
        groups = [["minivivit", "sdpa", "eager"][: 2 if args.batch > 1 else 3], ["minivivit-tf32", "sdpa-tf32"]]
    options = ["--checkpoint", args.checkpoint, "--device", args.device, "--threads", str(args.threads)]
    options += ["--batch", str(args.batch)]
    options += ["--gradient-checkpointing"] if args.gradient_checkpointing else []
    table = {}
    for names in groups:
        commands = {name: [__file__, args.what, "--worker", name, *options] for name in names}
        table |= compared(take_turns(commands, args.rounds, args.threads), args)
    return table


def compared(answers: dict[str, list[dict]], args: argparse.Namespace) -> dict:
    """The rows of contenders that took turns; ratios are of the first one's time and memory."""
    clock = "processor_seconds" if args.processor_time else "seconds"
    first, table = next(iter(answers)), {}
    for name, steps in answers.items():
        seconds, ours = ([result[clock] for result in answers[whose]] for whose in (name, first))
        table[name] = {
            "seconds": statistics.median(seconds),
            "fastest": min(seconds),
            "ratios": sorted(our / their for our, their in zip(ours, seconds, strict=True)),  # of each round
            "peak_mib": max(result["peak_mib"] for result in steps),
            "our_peak_mib": max(result["peak_mib"] for result in answers[first]),
            "value": steps[0]["value"],
        }
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["forward", "training"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="clips in a step (gemm, the floor, has one)")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--layers", type=int, default=12, help="of the model (gemm, the floor, has 12)")
    parser.add_argument("--peers", action="store_true", help="forward: ONNX Runtime and OpenVINO, too")
    parser.add_argument(
        "--processor-time", action="store_true", help="not on the clock: for --threads 1 beside other work"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peers and (args.what, args.device) != ("forward", "cpu"):
        parser.error("--peers is for forward passes on the CPU")
    if args.worker:
        work(args)
        return
    with tempfile.TemporaryDirectory() as directory:
        args.checkpoint = directory
        write_checkpoint(directory, args.layers)
        if args.peers:
            export(directory)
        table = compare(args)
    if args.json:
        print(json.dumps(table))
        return
    print(
        f"ViViT-B/16x2, {args.what}, batch of {args.batch}, clips of {FRAMES} frames, float32, {args.device}, "
        f"{args.threads} threads, {args.layers} layers, {args.rounds} rounds"
    )
    print(f"{'':16}{'median s':>10}{'fastest s':>11}{'peak MiB':>10}{'our time':>24}{'our memory':>12}   value")
    for name, row in table.items():
        print(
            f"{name:16}{row['seconds']:10.3f}{row['fastest']:11.3f}{row['peak_mib']:10.0f}"
            f"{statistics.median(row['ratios']):9.2f}x ({row['ratios'][0]:.2f} to {row['ratios'][-1]:.2f})"
            f"{row['our_peak_mib'] / row['peak_mib']:11.2f}x   {row['value']:.6f}"
        )


if __name__ == "__main__":
    main()
