"""What a token may see in each of the paper's four models, layer by layer, and what each model costs."""

from typing import Any

from minivivit.config import VivitConfig
from minivivit.models.counting import count, total

# For each model: what the steps of one layer read. "all": every token; "temporal": the same place at all times;
# "spatial": all places of the same time; "either": half of the heads the one, half the other.
READS: dict[str, tuple[str, ...]] = {
    "spatio_temporal": ("all",),
    "factorised_encoder": ("spatial",),
    "factorised_self_attention": ("temporal", "spatial"),
    "factorised_dot_product": ("either",),
}
MODELS = tuple(READS)


def four_models(config: VivitConfig) -> list[dict[str, Any]]:
    """The paper's four models in the size of `config`, side by side.

    Parameters
    ----------
    config : VivitConfig

    Returns
    -------
    list of dict
        ``{"attention_type", "number", "layers", "parameters", "multiply_accumulates", "attention_products"}``. layers
        says, for each layer from the first to the last, what its steps read, see `READS`; the temporal encoder of
        Model 2 has layers that read ``"moments"``: every temporal index as a whole.
    """
    result = []
    for number, attention_type in enumerate(MODELS, 1):
        fields = config.to_dict() | {
            "attention_type": attention_type,
            "spatial_only_baseline": False,
            "classifier": "token" if number < 3 else "gap",
        }
        own = VivitConfig.from_dict(fields)
        rows = count(own)
        reads = READS[attention_type]
        if attention_type == "factorised_self_attention" and own.attention_order == "space_time":
            reads = reads[::-1]
        layers = [list(reads)] * own.num_hidden_layers
        if attention_type == "factorised_encoder":
            layers = [*layers, *[["moments"]] * own.num_temporal_layers]
        products = sum(row["multiply_accumulates"] for row in rows if row["component"].endswith("attention products"))
        entry: dict[str, Any] = {"attention_type": attention_type, "number": number, "layers": layers}
        result.append(entry | total(rows) | {"attention_products": products})
    return result
