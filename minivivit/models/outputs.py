"""What `forward` returns: by attribute, by key and by index, as in transformers."""

from collections.abc import Iterator
from typing import Any

from minivivit.models.encoders.forward_options import ForwardOptions


def layer_outputs(outputs: dict, options: ForwardOptions) -> dict[str, Any]:
    """``hidden_states`` and ``attentions`` as they are handed out, each None unless asked for."""
    return {
        "hidden_states": _as_tuples(outputs["hidden_states"]) if options.output_hidden_states else None,
        "attentions": _as_tuples(outputs["attentions"]) if options.explicit else None,
    }


def _as_tuples(value: Any) -> Any:
    """Lists of arrays as tuples; in the factorised models apart for "spatial" and "temporal"."""
    if isinstance(value, dict):
        return {name: tuple(arrays) for name, arrays in value.items()}
    if value and isinstance(value[0], dict):  # one dict a layer
        return {name: tuple(layer[name] for layer in value) for name in value[0]}
    return tuple(value)


class ModelOutput:
    """Named values in a fixed order.

    ``out.logits``, ``out["logits"]`` and ``out[0]`` are the same when the loss was not asked for: values that are None
    can be read by attribute, but neither counted nor found by index or key.
    """

    def __init__(self, **values: Any):
        self.__dict__.update(values)

    def to_tuple(self) -> tuple:
        """The values that are not None, in order."""
        return tuple(self.values())

    def keys(self) -> list[str]:
        """Names of the values that are not None."""
        return [name for name, value in vars(self).items() if value is not None]

    def values(self) -> list:
        """The values that are not None."""
        return [value for value in vars(self).values() if value is not None]

    def items(self) -> list[tuple[str, Any]]:
        """Names and values that are not None."""
        return list(zip(self.keys(), self.values(), strict=True))

    def get(self, name: str, default: Any = None) -> Any:
        """The value called `name`, or `default`."""
        return default if name not in self else getattr(self, name)

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self:
            raise KeyError(f"{key!r} is not among the outputs: {', '.join(self.keys())}")
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.keys())})"


class VivitModelOutput(ModelOutput):
    """Output of `VivitModel`: last_hidden_state, pooler_output, hidden_states, attentions."""


class VideoClassifierOutput(ModelOutput):
    """Output of `VivitForVideoClassification`: loss, logits, hidden_states, attentions."""
