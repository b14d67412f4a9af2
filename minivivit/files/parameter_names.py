"""The names that programs store the parameters of a ViT or ViViT under, and the published ones, by which we go.

transformers 5 calls its modules otherwise than the published checkpoints do. ``save_pretrained`` writes the published
names, but ``torch.save(model.state_dict())`` and ``save_pretrained(..., save_original_format=False)`` do not. What
wraps a model puts a prefix before its names: ``module.`` (DataParallel and its kin), ``_orig_mod.`` (torch.compile),
``model.``, or whatever attribute of a LightningModule holds the model.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted

logger = logging.getLogger("minivivit")

# How transformers calls its modules, and how the published checkpoint and our traces do. (Older versions of
# transformers call them as the checkpoint does, and are left as they are.)
PUBLISHED_NAMES = {
    r"layers\.(\d+)\.attention\.q_proj": r"encoder.layer.\1.attention.attention.query",
    r"layers\.(\d+)\.attention\.k_proj": r"encoder.layer.\1.attention.attention.key",
    r"layers\.(\d+)\.attention\.v_proj": r"encoder.layer.\1.attention.attention.value",
    r"layers\.(\d+)\.attention\.o_proj": r"encoder.layer.\1.attention.output.dense",
    r"layers\.(\d+)\.mlp\.fc1": r"encoder.layer.\1.intermediate.dense",
    r"layers\.(\d+)\.mlp\.fc2": r"encoder.layer.\1.output.dense",
    r"\blayers\.(\d+)": r"encoder.layer.\1",
}
# The first parts that the names of a model have, ours and theirs. What stands before them is a wrapper's.
BODY = {"embeddings", "encoder", "layers", "layernorm", "pooler", "spatial_encoder", "temporal_encoder"}
HEAD = {"classifier", "pre_logits"}
BASES = {"vivit", "vit"}
FIRST_PARTS = BODY | HEAD | BASES
# Wrappers may wrap each other, but not without end.
MOST_PREFIXES = 8
# Wrappers also wrap parts of a model, and then stand within the names of these parts alone.
WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Beginnings of names that are a wrapper's, on all names or by mistake.
LEADING_WRAPPERS = WRAPPERS | {"model"}
# The last parts of the names of parameters. Anything else that holds no floating-point numbers is a buffer.
PARAMETERS = {"weight", "bias", "cls_token", "position_embeddings"}


def published_name(name: str) -> str:
    """The name that the published checkpoint has for a module or a parameter of transformers."""
    for pattern, replacement in PUBLISHED_NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def published_names(names: Iterable[str], source: str) -> dict[str, str]:
    """The published name of each parameter of one model.

    Parameters
    ----------
    names : iterable of str
        As they are stored, all of them.
    source : str
        Where, for errors.

    Returns
    -------
    dict
        Stored name -> published name. A prefix is taken off where all names have it and a model's own names follow it.
        Names that are no ViT's or ViViT's stay as they are.

    Raises
    ------
    InputError
        When some names have a wrapper's prefix and others do not; and when two stored names are one parameter's.
    """
    names = list(names)
    depth = _depth_of_prefix(names, source)
    if depth is None:
        return {name: name for name in names}
    published: dict[str, str] = {}
    stored: dict[str, str] = {}
    for name in names:
        own = ".".join(part for part in name.split(".")[depth:] if part not in WRAPPERS)
        published[name] = published_name(own)
        twin = stored.setdefault(published[name], name)
        if twin != name:
            raise InputError(
                f"{source} holds one parameter twice, as {quoted(twin)} and as {quoted(name)}; expected each once: "
                "save the state_dict() of one model"
            )
    return published


def under_published_names(arrays: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Arrays by name, of one model, under the published names; without buffers, which are named in the log.

    Raises
    ------
    InputError
        As `published_names`.
    """
    left_out = buffers({name: str(array.dtype) for name, array in arrays.items()})
    published = published_names((name for name in arrays if name not in left_out), source)
    log_left_out(left_out, source)
    return {new: arrays[name] for name, new in published.items()}


def buffers(dtypes: Mapping[str, str]) -> set[str]:
    """The names of what holds integers or truth values and is no parameter by its name, such as ``position_ids``.

    Parameters
    ----------
    dtypes : mapping of names to the names of dtypes
    """
    return {
        name
        for name, dtype in dtypes.items()
        if dtype.startswith(("int", "uint", "bool")) and name.rpartition(".")[2] not in PARAMETERS
    }


def log_left_out(names: Iterable[str], source: str) -> None:
    """Log a warning that names what was not read of `source`, where that is anything."""
    if names := sorted(names):
        logger.warning("%s: left out %s: no weights", source, listed(names))


def _depth_of_prefix(names: list[str], source: str) -> int | None:
    """How many parts of a wrapper all names begin with; None where what follows is no model of ours."""
    parts = [name.split(".", MOST_PREFIXES + 2) for name in names]
    depth = 0
    while depth < MOST_PREFIXES and _all_wrapped(parts, depth):
        depth += 1
    firsts = [own[depth] for own in parts]
    wrapped = [
        name
        for name, own in zip(names, parts, strict=True)
        if own[depth] in LEADING_WRAPPERS and FIRST_PARTS.intersection(own[depth + 1 :])
    ]
    if 0 < len(wrapped) < len(names):
        plain = next(name for name, first in zip(names, firsts, strict=True) if first not in LEADING_WRAPPERS)
        raise InputError(
            f"{source} holds {quoted(wrapped[0])} beside {quoted(plain)}: a wrapper's prefix on some names only; save "
            "the state_dict() of the model alone"
        )
    return depth if FIRST_PARTS.intersection(firsts) else None


def _all_wrapped(parts: list[list[str]], depth: int) -> bool:
    """Whether all names have the same part at `depth`, and it is no part of the model's own names."""
    if not parts or any(len(own) < depth + 2 or own[depth] != parts[0][depth] for own in parts):
        return False
    # An attribute that is called "vivit" and holds a model with a head has names such as vivit.classifier.weight.
    whole = any(own[depth + 1] in HEAD | BASES for own in parts)
    return parts[0][depth] not in FIRST_PARTS or (parts[0][depth] in BASES and whole)
