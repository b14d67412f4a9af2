"""Learning rates that fall with the depth: what is near the input, and general, changes less than the head."""

import re
from collections.abc import Iterable


def layer_scales(names: Iterable[str], layer_decay: float) -> dict[str, float]:
    r"""A factor for the learning rate of each parameter.

    Of L layers, the head (with the last norm) has the factor 1, layer l the factor

    .. math:: d^{\,L - l}, \qquad l = 0, \dots, L - 1,

    and the embeddings, below the first layer, :math:`d^{L + 1}`. In the factorised encoder the layers of the temporal
    encoder follow those of the spatial one.

    Parameters
    ----------
    names : iterable of str
        Flat names of parameters, those of a whole model.
    layer_decay : float
        d, above 0 and at most 1. Usual are 0.65 to 0.9; small models and long trainings bear more.

    References
    ----------
    Clark et al. (2020), ELECTRA; Bao et al. (2022), BEiT, appendix, from whose code VideoMAE's and others' come.
    """
    names = list(names)
    depths: dict[str, int] = {}  # of each encoder
    for name in names:
        match = _LAYER.search(name)
        if match:
            depths[match[1]] = max(depths.get(match[1], 0), int(match[2]) + 1)
    below = {"temporal_encoder": depths.get("spatial_encoder", 0)}  # layers of another encoder
    total = sum(depths.values())
    return {name: layer_decay ** (total + 1 - _group(name, depths, below)) for name in names}


_LAYER = re.compile(r"(?:^|\.)((?:spatial_|temporal_)?encoder)\.layer\.([0-9]+)\.")


def _group(name: str, depths: dict[str, int], below: dict[str, int]) -> int:
    """0 for the embeddings, 1 to L for the layers, L + 1 for what comes after them."""
    match = _LAYER.search(name)
    if match:
        return below.get(match[1], 0) + int(match[2]) + 1
    if "temporal_encoder." in name and not name.split("temporal_encoder.")[1].startswith("layernorm"):
        return below["temporal_encoder"] + 1  # its own CLS token and positions come in with its first layer
    if "spatial_encoder.layernorm" in name:
        return depths.get("spatial_encoder", 0)
    if "embeddings" in name or "cls_token" in name:
        return 0
    return sum(depths.values()) + 1
