"""Forward time and memory of scenic's and lucidrains' models beside ours, at full size, as ratios within one run.

    pip install '.[parity]' einops jax flax ml-collections optax immutabledict
    pip install --no-deps vit-pytorch
    git clone --depth 1 https://github.com/google-research/scenic
    python tests/benchmarks/others.py --scenic scenic

scenic's models are the paper's own; run jitted in JAX on the CPU. What its code imports and a forward pass does not use
(clu, TensorFlow) is left out. vit-pytorch has two of the paper's models, and they are look-alikes: layer norms around
the patch embedding, no biases of queries, keys and values, no place for the CLS token in the position table and none
over time in the factorised encoder, one order of time and space in the factorised self-attention. So its outputs cannot
be compared with the paper's, only the cost of about the same arithmetic.

ViViT-B/16x2, one clip of 32 frames of 224 x 224, float32, 400 classes. Each contender lives in a process of its own
with the same number of threads, and they take turns. Peak memory is the process's, its libraries included.
"""

import argparse
import importlib.util
import os
import resource
import statistics
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy
from take_turns import serve, take_turns

# the paper's model: (attention_type, scenic's type, vit-pytorch's variant and its temporal layers)
MODELS = {
    "1": ("spatio_temporal", "spacetime", None),
    "2": ("factorised_encoder", "factorized_encoder", ("factorized_encoder", 4)),
    "3": ("factorised_self_attention", "factorized_self_attention_block", ("factorized_self_attention", 12)),
    "4": ("factorised_dot_product", "factorized_dot_product_attention", None),
}


def the_clip() -> numpy.ndarray:
    """(1, frames, channels, height, width)"""
    return numpy.random.default_rng(0).standard_normal((1, 32, 3, 224, 224), dtype=numpy.float32)


def our_step(number: str, args: argparse.Namespace) -> Callable[[], object]:
    """minivivit's forward pass."""
    from minivivit import VivitConfig, VivitForVideoClassification

    config = VivitConfig(num_labels=400, attention_type=MODELS[number][0], num_temporal_layers=4)
    model, clip = VivitForVideoClassification(config, backend="numpy"), the_clip()
    return lambda: model(clip).logits


def scenic_step(number: str, args: argparse.Namespace) -> Callable[[], object]:
    """scenic's, from a checkout of its repository, with parameters of the right shapes."""
    for name in ("clu", "clu.parameter_overview", "tensorflow", "tensorflow.io"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["clu"].parameter_overview = sys.modules["clu.parameter_overview"]
    sys.modules["tensorflow.io"].gfile = None
    sys.path.insert(0, args.scenic)
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from ml_collections import ConfigDict
    from scenic.projects.vivit import model

    attention = {"type": MODELS[number][1]}
    if number == "3":
        attention |= {"attention_order": "time_space", "attention_kernel_init_method": "xavier"}
    fields = {
        "num_classes": 400,
        "patches": ConfigDict({"size": (16, 16, 2)}),
        "hidden_size": 768,
        "temporal_encoding_config": ConfigDict({"method": "3d_conv"}),
        "attention_config": ConfigDict(attention),
        "classifier": "token" if number in "12" else "gap",
        "dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
    }
    if number == "2":
        parts = {"spatial": 12, "temporal": 4}
        fields |= {f"{part}_num_layers": layers for part, layers in parts.items()}
        fields |= {f"{part}_mlp_dim": 3072 for part in parts} | {f"{part}_num_heads": 12 for part in parts}
        network = model.SpaceTimeViViT(**fields)
    else:
        network = model.ViViT(mlp_dim=3072, num_layers=12, num_heads=12, **fields)
    clip = the_clip().transpose(0, 1, 3, 4, 2)  # channels last
    variables = jax.jit(lambda key: network.init(key, clip, train=False))(jax.random.PRNGKey(0))
    apply = jax.jit(lambda variables, clip: network.apply(variables, clip, train=False))
    return lambda: numpy.asarray(apply(variables, clip))


def vit_pytorch_step(number: str, args: argparse.Namespace) -> Callable[[], object]:
    """lucidrains' model, from its file alone: the package would import torchvision."""
    import torch

    package = importlib.util.find_spec("vit_pytorch")
    if package is None or package.origin is None:
        raise SystemExit("vit-pytorch is not installed; run  pip install einops && pip install --no-deps vit-pytorch")
    spec = importlib.util.spec_from_file_location("their_vivit", Path(package.origin).with_name("vivit.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    variant, temporal_layers = MODELS[number][2]
    torch.set_num_threads(args.threads)
    network = module.ViViT(
        image_size=224, image_patch_size=16, frames=32, frame_patch_size=2, num_classes=400, dim=768, heads=12,
        dim_head=64, mlp_dim=3072, spatial_depth=12, temporal_depth=temporal_layers, variant=variant,
    ).eval()  # fmt: skip
    video = torch.from_numpy(the_clip()).transpose(1, 2).contiguous()  # (batch, channels, frames, height, width)

    def step() -> object:
        with torch.inference_mode():
            return network(video)

    return step


STEPS = {"minivivit": our_step, "scenic": scenic_step, "vit-pytorch": vit_pytorch_step}


def work(args: argparse.Namespace) -> None:
    """A contender."""
    step = STEPS[args.worker](args.model, args)

    def measured() -> dict:
        step()
        return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    serve(measured)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenic", metavar="DIR", help="a checkout of scenic; left out, scenic is not measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
        return
    print(f"{'model':8}{'contender':14}{'median s':>10}{'our time':>10}{'peak MiB':>10}{'our memory':>12}")
    for number, (_, _, variant) in MODELS.items():
        names = ["minivivit"] + (["scenic"] if args.scenic else []) + (["vit-pytorch"] if variant else [])
        options = ["--model", number, "--threads", str(args.threads), "--scenic", args.scenic or ""]
        commands = {name: [__file__, "--worker", name, *options] for name in names}
        results = take_turns(commands, args.rounds, args.threads)
        for name in names:
            ratios = [
                ours["seconds"] / other["seconds"]
                for ours, other in zip(results["minivivit"], results[name], strict=True)
            ]
            seconds = statistics.median(row["seconds"] for row in results[name])
            peak = max(row["peak_mib"] for row in results[name])
            own_peak = max(row["peak_mib"] for row in results["minivivit"])
            ratio, memory = statistics.median(ratios), own_peak / peak
            print(f"{number:8}{name:14}{seconds:10.2f}{ratio:9.2f}x{peak:10.0f}{memory:11.2f}x", flush=True)


if __name__ == "__main__":
    main()
