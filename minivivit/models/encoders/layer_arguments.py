"""The arguments that every transformer layer takes from the config."""

from typing import Any

from minivivit.config import VivitConfig


def layer_arguments(config: VivitConfig) -> dict[str, Any]:
    """Number of heads, activation and epsilon, by the names that the layers call them."""
    return {
        "num_heads": config.num_attention_heads,
        "activation": config.hidden_act,
        "eps": config.layer_norm_eps,
    }
