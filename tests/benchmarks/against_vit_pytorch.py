"""Forward time and parameters of lucidrains' ViViT beside ours, at full size, as ratios within one run.

    pip install '.[parity]' einops && pip install --no-deps vit-pytorch
    python tests/benchmarks/against_vit_pytorch.py

vit-pytorch has two of the paper's models, and they are look-alikes: layer norms around the patch embedding, no biases
of queries, keys and values, one position table without a place for the CLS token, none over time in the factorised
encoder, and in its factorised self-attention one order of time and space.
So the outputs cannot be compared, only the cost of about the same arithmetic. B/16x2, one clip of 32 frames of
224 x 224, float32, 400 classes; the contenders take turns, round after round.
"""

import argparse
import importlib.util
import statistics
import time
from pathlib import Path

import numpy
import torch

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.models.counting import TABLE_2

THEIR_NAMES = {
    "factorised_encoder": ("factorized_encoder", 4),
    "factorised_self_attention": ("factorized_self_attention", 12),
}


def their_model(variant: str, temporal_layers: int) -> torch.nn.Module:
    """lucidrains' model, from its file alone: the package would import torchvision."""
    package = importlib.util.find_spec("vit_pytorch")
    if package is None or package.origin is None:
        raise SystemExit("vit-pytorch is not installed; run  pip install einops && pip install --no-deps vit-pytorch")
    spec = importlib.util.spec_from_file_location("their_vivit", Path(package.origin).with_name("vivit.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    return module.ViViT(
        image_size=224, image_patch_size=16, frames=32, frame_patch_size=2, num_classes=400, dim=768, heads=12,
        dim_head=64, mlp_dim=3072, spatial_depth=12, temporal_depth=temporal_layers, variant=variant,
    ).eval()  # fmt: skip


def measure(name: str, fields: dict, rounds: int) -> None:
    """Print a line: median seconds of each, and the median of the rounds' ratios."""
    ours = VivitForVideoClassification(VivitConfig(num_labels=400, **fields), backend="numpy")
    theirs = their_model(*THEIR_NAMES[name])
    pixel_values = numpy.random.default_rng(0).standard_normal((1, 32, 3, 224, 224), dtype=numpy.float32)
    video = torch.from_numpy(pixel_values).transpose(1, 2).contiguous()  # (batch, channels, frames, height, width)
    seconds: list[tuple[float, float]] = []
    for round_number in range(rounds + 1):  # the first round warms up
        start = time.perf_counter()
        ours(pixel_values)
        middle = time.perf_counter()
        with torch.inference_mode():
            theirs(video)
        if round_number:
            seconds.append((middle - start, time.perf_counter() - middle))
    own, their = (statistics.median(column) for column in zip(*seconds, strict=True))
    ratio = statistics.median(one / other for one, other in seconds)
    millions = ours.num_parameters() / 1e6, sum(parameter.numel() for parameter in theirs.parameters()) / 1e6
    print(f"{name:28}{own:9.2f}{their:13.2f}{ratio:7.2f}{millions[0]:13.1f}{millions[1]:19.1f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{'model':28}{'seconds':>9}{'vit-pytorch':>13}{'ratio':>7}{'parameters':>13}{'vit-pytorch':>19}")
    for name, fields, _, _ in TABLE_2:
        if name in THEIR_NAMES:
            measure(name, fields, rounds)


if __name__ == "__main__":
    main()
