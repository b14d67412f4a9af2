"""How time and memory grow with a clip: the paper's four models, and Model 1 of transformers (PyTorch, SDPA).

    python tests/benchmarks/cost_curves.py curves     frames, resolution, batch, depth, of a small ViViT
    python tests/benchmarks/cost_curves.py bundled    the bundled model beside PyTorch: batches of 1, 16, 64

Each contender of each point lives in a process of its own, a fork of one that has all libraries and no model; those of
a point take turns, round after round. Time is that of the processor, of one thread: other work on the machine takes
turns with a process, but does not count as its time, as it would on the clock. The bundled model is measured once more
on two threads, on the clock, which wants a machine that nothing else uses. Memory is a process's largest resident
set, above what it had before its model was made. The figures go into `cost_curves.json`, from which `cost_page.py`
makes the page.

Needs  pip install '.[parity]'  (torch and transformers).
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from minivivit import VivitForVideoClassification, backend
from minivivit.bundled import bundled_model_directory
from minivivit.config import VivitConfig
from minivivit.models.counting import count, total
from minivivit.training.experiments.own_process import peak_memory

FIGURES = Path(__file__).with_name("cost_curves.json")
MODELS = {
    "Model 1": "spatio_temporal",
    "Model 2": "factorised_encoder",
    "Model 3": "factorised_self_attention",
    "Model 4": "factorised_dot_product",
}
TORCH = "transformers"
# A sixth of the width of ViViT-B, and of its depth, with heads of its size.
SMALL = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "num_temporal_layers": 1,
    "num_labels": 400,
}
# What a point has unless its curve says otherwise; and the curves.
POINT = {"num_frames": 32, "image_size": 96, "batch": 1}
CURVES: dict[str, tuple[int, ...]] = {
    "num_frames": (8, 16, 32, 64, 128, 256),
    "image_size": (32, 64, 96, 160, 224),
    "batch": (1, 2, 4, 8),
}
DEPTHS = (1, 2, 4, 12)
BATCHES = (1, 16, 64)
THREADS = (1, 2)


def config_of(name: str, point: dict[str, Any]) -> VivitConfig:
    """Of a model at a point, whose other entries are fields of the config."""
    fields = {**SMALL, **point}
    fields.pop("batch")
    return VivitConfig(attention_type=MODELS[name], **fields)


def multiply_accumulates(name: str, point: dict[str, Any]) -> int:
    """Of a batch, forward."""
    return point["batch"] * total(count(config_of(name, point)))["multiply_accumulates"]


# ------------------------------------------------------------------------------------------------------ contenders


def clip_of(config: Any, batch: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(batch, frames, channels, height, width), and labels."""
    shape = (batch, config.num_frames, 3, config.image_size, config.image_size)
    return numpy.random.default_rng(0).standard_normal(shape, dtype=numpy.float32), numpy.arange(batch) % 8


def our_steps(config: VivitConfig, batch: int) -> tuple[Callable, Callable]:
    """A forward pass, and one with gradients."""
    model = VivitForVideoClassification(config, backend="numpy")
    clip, labels = clip_of(config, batch)
    return lambda: model(clip), lambda: model.loss_and_gradients(clip, labels)


def their_steps(config: VivitConfig, batch: int) -> tuple[Callable, Callable]:
    """The same with transformers."""
    import torch
    import transformers

    names = ("image_size", "num_frames", "tubelet_size", "num_labels", "hidden_act", "qkv_bias")
    names += ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    fields = {name: getattr(config, name) for name in names}
    theirs = transformers.VivitConfig(**fields, attn_implementation="sdpa")
    model = transformers.VivitForVideoClassification(theirs)
    clip, labels = map(torch.from_numpy, clip_of(config, batch))

    def forward() -> None:
        with torch.inference_mode():
            model.eval()(clip)

    def training() -> None:
        model.zero_grad(set_to_none=True)
        model.train()(clip, labels=labels).loss.backward()

    return forward, training


def seconds_of(step: Callable, least: float = 0.0, clock: Callable[[], float] = time.process_time) -> float:
    """Processor seconds of one call; of a short one the mean of as many as take `least` seconds."""
    start, calls = clock(), 0
    while calls == 0 or clock() - start < least:
        step()
        calls += 1
    return (clock() - start) / calls


def serve(connection: Any, name: str, point: dict[str, Any]) -> None:
    """A contender: each turn is a forward pass and one with gradients. Its memory is that of the first of each."""
    bundled, threads = point.pop("bundled", False), point.pop("threads", 1)
    set_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    before = peak_memory()
    config = VivitConfig.from_pretrained(bundled_model_directory()) if bundled else None
    config = config or config_of("Model 1" if name == TORCH else name, point)
    steps = (their_steps if name == TORCH else our_steps)(config, point["batch"])
    memory = []
    for step in steps:
        step()
        memory.append(peak_memory() - before)
    connection.send(memory)
    while connection.recv():
        connection.send([seconds_of(step, 0.3 if bundled else 0.0, clock) for step in steps])


def set_threads(count: int) -> None:
    """Of both contenders."""
    import torch

    backend.set_num_threads(count)
    torch.set_num_threads(count)


def measure(contenders: dict[str, tuple[str, dict]], rounds: int) -> dict[str, dict]:
    """By contender: medians of the times of both steps, of their ratios to those of the first contender, and memory.

    Each is a fork of this process, which has the libraries and no model.
    """
    import transformers.models.vivit.modeling_vivit  # noqa: F401

    set_threads(1)  # a fork has no threads of its parent's
    context = multiprocessing.get_context("fork")
    ends, processes = {}, []
    for name, job in contenders.items():
        ends[name], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, *job), daemon=True))
        processes[-1].start()
    memory = {name: end.recv() for name, end in ends.items()}
    turns: dict[str, list[list[float]]] = {name: [] for name in ends}
    for _ in range(rounds):
        for name, end in ends.items():
            end.send(True)
            turns[name].append(end.recv())
    for process in processes:
        process.kill()
        process.join()
    firsts = list(zip(*next(iter(turns.values())), strict=True))
    found = {}
    for name, answers in turns.items():
        times = list(zip(*answers, strict=True))  # forward, training
        ratios = [[a / b for a, b in zip(*pair, strict=True)] for pair in zip(times, firsts, strict=True)]
        found[name] = {
            "seconds": [statistics.median(seconds) for seconds in times],
            "ratios": [statistics.median(ratio) for ratio in ratios],
            "spread": [[min(ratio), max(ratio)] for ratio in ratios],
            "memory": memory[name],
        }
        print(name, json.dumps(found[name]), flush=True)
    return found


# ----------------------------------------------------------------------------------------------------- what is measured


def curves(rounds: int) -> dict:
    """Each curve, point by point, and how time depends on the depth."""
    found: dict[str, Any] = {}
    for field, values in CURVES.items():
        found[field] = {}
        for value in values:
            point = {**POINT, field: value}
            contenders = {name: (name, point) for name in (*MODELS, TORCH)}
            print(field, value, flush=True)
            found[field][str(value)] = measure(contenders, rounds)
    print("depth", flush=True)
    depths = {str(depth): ("Model 1", {**POINT, "num_hidden_layers": depth}) for depth in DEPTHS}
    return {"curves": found, "depth": measure(depths, rounds)}


def bundled(rounds: int) -> dict:
    """The bundled model beside transformers with its sizes, on one thread and on two."""
    found: dict[str, Any] = {}
    for threads in THREADS:
        found[str(threads)] = {}
        for batch in BATCHES:
            point = {"batch": batch, "bundled": True, "threads": threads}
            print("threads", threads, "batch", batch, flush=True)
            found[str(threads)][str(batch)] = measure({name: (name, point) for name in ("Model 1", TORCH)}, rounds)
    return {"bundled": found}


def write(what: str, found: dict, **how: float) -> None:
    """Put figures beside the others in the file, and how they were measured."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {"how": {}}
    how = {**figures["how"], what: how}
    FIGURES.write_text(json.dumps(rounded({**figures, **found, "how": how})) + "\n", encoding="utf-8")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["curves", "bundled"])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    start = time.perf_counter()
    found = {"curves": curves, "bundled": bundled}[args.what](args.rounds)
    write(args.what, found, rounds=args.rounds, minutes=(time.perf_counter() - start) / 60)


def rounded(value: Any) -> Any:
    """Figures to four digits: the rest is noise."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
