"""The goldens that scenic computed, as configs, trees and inputs of ours."""

import json
from pathlib import Path
from typing import Any

import numpy

from minivivit import VivitConfig

DATA = Path(__file__).parent.parent / "data" / "scenic"
NAMES = sorted(path.stem for path in DATA.glob("*.npz"))

ATTENTION_TYPES = {
    "spacetime": "spatio_temporal",
    "factorized_encoder": "factorised_encoder",
    "factorized_self_attention_block": "factorised_self_attention",
    "factorized_dot_product_attention": "factorised_dot_product",
}


def config_from_scenic(values: dict[str, Any]) -> VivitConfig:
    """Our config for the settings that the goldens were made with."""
    attention = values["att"]
    height, width = values["patch"][:2]
    frames = values["patch"][2] if len(values["patch"]) == 3 else 1
    sampled = values.get("enc", {}).get("n_sampled_frames")
    return VivitConfig(
        image_size=(values["height"], values["width"]),
        num_frames=values["num_frames"],
        tubelet_size=(1 if sampled else frames, height, width),
        hidden_size=values["hidden"],
        intermediate_size=values["mlp"],
        num_attention_heads=values["heads"],
        num_hidden_layers=values["layers"],
        num_temporal_layers=values.get("tlayers", 4),
        attention_type=ATTENTION_TYPES[attention["type"]],
        attention_order=attention.get("attention_order", "time_space"),
        spatial_only_baseline=attention.get("spatial_only_baseline", False),
        classifier=values["classifier"],
        representation_size=values.get("rep"),
        temporal_encoding="frame_sampling" if sampled else "tubelet",
        num_sampled_frames=sampled,
        num_labels=values["num_classes"],
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-6,
    )


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """{"A/B": x} as {"A": {"B": x}}"""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *branches, last = name.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[last] = leaf
    return tree


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Undo `nested`."""
    leaves = {}
    for key, node in tree.items():
        leaves |= flat(node, f"{prefix}{key}/") if isinstance(node, dict) else {f"{prefix}{key}": node}
    return leaves


class Golden:
    """One file of goldens."""

    def __init__(self, name: str):
        with numpy.load(DATA / f"{name}.npz") as archive:
            self.arrays = {key: archive[key] for key in archive.files}
        self.config = config_from_scenic(json.loads(str(self.arrays["config_json"])))
        self.pixel_values = to_pixel_values(self.arrays["video"])
        self.labels = self.arrays["labels"]
        self.tree = nested(self.part("param"))

    def part(self, name: str) -> dict[str, numpy.ndarray]:
        return {key.partition("/")[2]: array for key, array in self.arrays.items() if key.startswith(f"{name}/")}


def to_pixel_values(video: numpy.ndarray) -> numpy.ndarray:
    """(batch, frames, height, width, channels) -> (batch, frames, channels, height, width)"""
    return video.transpose(0, 1, 4, 2, 3)
