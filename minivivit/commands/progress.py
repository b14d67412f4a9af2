"""How far a pass through a network has come, layer by layer, for a progress bar."""

import re
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from minivivit.backend import Array
from minivivit.config import VivitConfig

# The names under which a trace records what comes out of a layer; a bare model's lack the first word.
LAYER = re.compile(r"(vivit\.)?(spatial_|temporal_)?encoder\.layer\.\d+")


def num_layers(config: VivitConfig) -> int:
    """How many layers one pass goes through."""
    temporal = config.attention_type == "factorised_encoder" and not config.spatial_only_baseline
    return config.num_hidden_layers + (config.num_temporal_layers if temporal else 0)


def num_attentions(config: VivitConfig) -> int:
    """How many attentions one rollout goes through."""
    return num_layers(config) * (2 if config.attention_type == "factorised_self_attention" else 1)


def step_when_done(bar: tqdm) -> Callable[[str], Any]:
    """A listener that moves the bar by one step at each layer of the network and each attention rolled out."""

    def listen(name: str) -> None:
        if LAYER.fullmatch(name) or name.startswith("rollout."):
            bar.update()

    return listen


class NameListener(dict):
    """A store for `minivivit.layers.trace.Trace` that keeps nothing and tells a listener each name."""

    def __init__(self, on_record: Callable[[str], Any]):
        super().__init__()
        self.on_record = on_record

    def wants(self, name: str) -> bool:
        """Neither scores nor probabilities."""
        return False

    def __setitem__(self, name: str, array: Array) -> None:
        self.on_record(name)
