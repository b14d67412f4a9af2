"""Starting a video model from an image model (the paper's section 3.4), as scenic does."""

from collections.abc import Mapping
from math import isqrt, prod
from typing import Any

import numpy

from minivivit.backend import to_numpy
from minivivit.checkpoints.image_source import ImageSource, open_image_source
from minivivit.checkpoints.mismatch import mismatch
from minivivit.checkpoints.names import scenic_parameters
from minivivit.checkpoints.positions import POSITION_INITS, adapt_positions, resample_positions_over_time
from minivivit.checkpoints.tubelets import TUBELET_INITS, inflate_kernel
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import check_finite
from minivivit.models.classification import VivitForVideoClassification

TEMPORAL_ATTENTIONS = ("copy", "zero", "random")
# Where the parts of an image model's block go in a block of Model 3; the attention goes to one axis or to both.
MODEL_3_PARTS = {"LayerNorm_0": "LayerNorm_space", "LayerNorm_1": "LayerNorm_mlp", "MlpBlock_0": "MlpBlock"}
ATTENTION, SPATIAL, TEMPORAL = (f"MultiHeadDotProductAttention_{part}" for part in ("0", "space", "time"))
KERNEL, EMBEDDING_BIAS = "embedding/kernel", "embedding/bias"
MOST_POSITIONS = 1 << 16


def init_from_image_model(
    model: VivitForVideoClassification | VivitConfig,
    source: Any,
    *,
    tubelet_init: str = "central_frame",
    position_init: str = "tile",
    temporal_attention: str = "copy",
    restore_classifier: bool = False,
    dtype: Any = "float32",
    backend: str | None = "auto",
    seed: int | numpy.random.Generator = 0,
) -> VivitForVideoClassification:
    """Give a video model the weights of an image model wherever it has a place for them.

    What an image model lacks keeps the values that it has: the head, the temporal encoder of Model 2, and the temporal
    layer norms of Model 3. So does Model 2's spatial CLS token, because scenic finds no place for the image model's.

    Parameters
    ----------
    model : VivitForVideoClassification or VivitConfig
        A model is changed in place; for a config, one is made with `dtype`, `backend` and `seed`.
    source : path-like or mapping
        A directory of Hugging Face's with a ``ViTModel`` or ``ViTForImageClassification``; an ``.npz`` file with the
        names of google-research/vision_transformer or big_vision; or another video model, as scenic fine-tunes from
        one: a scenic train state file, a tree with scenic's names, or a ViViT's directory. A video model's temporal
        encoder goes to that of Model 2, its position embeddings resampled over time.
    tubelet_init : {"central_frame", "filter_inflation", "average_arp"}
        How the patch kernel becomes a tubelet kernel (`minivivit.checkpoints.tubelets`). With frame sampling, and from
        another video model with tubelets of the same size, it is copied.
    position_init : {"tile", "resize", "resize_tile"}
        How position embeddings that do not fit are made to (`minivivit.checkpoints.positions`).
    temporal_attention : {"copy", "zero", "random"}
        Of Model 3: the weights of the image model's attention, as the spatial attention gets them; all weights and
        biases 0, so that the layer is at first the image model's, as the paper and scenic's ``zero`` have it (of a
        value and an output projection that are both 0 neither has a gradient, so that only the output's bias will
        learn); or left as they are.
    restore_classifier : bool
        Take the head too; it must have as many classes.

    Returns
    -------
    VivitForVideoClassification

    Raises
    ------
    InputError
        For a source that is damaged; for an image model of another width, depth or patch size, naming all that does not
        fit; for position embeddings that the chosen rule cannot adapt. The model is then unchanged.

    References
    ----------
    The paper's section 3.4; scenic ``model_utils.initialise_from_train_state``, init_posemb, init_encoderblock and
    init_embedding.
    """
    _check_choice("tubelet_init", tubelet_init, TUBELET_INITS)
    _check_choice("position_init", position_init, POSITION_INITS)
    _check_choice("temporal_attention", temporal_attention, TEMPORAL_ATTENTIONS)
    config = model if isinstance(model, VivitConfig) else model.config
    table = {row.name: (name, row) for name, row in scenic_parameters(config).items()}
    image = open_image_source(source)
    _check_width(image, config)
    plan = _plan(image, set(table), config, temporal_attention, restore_classifier)
    _check_fit(image, plan, {name: row.shape for name, (_, row) in table.items()}, config)

    if isinstance(model, VivitConfig):
        model = VivitForVideoClassification(config, dtype=dtype, backend=backend, seed=seed)
    state_dict = model.state_dict()
    arrays = image.read(set(plan.values()))
    for name, source_name in plan.items():
        check_finite(image.name, source_name, numpy.ascontiguousarray(arrays[source_name]))
        our_name, row = table[name]
        array = arrays[source_name]
        if name == KERNEL and array.ndim == 4 and len(row.shape) == 5:
            array = inflate_kernel(array, row.shape[0], tubelet_init)
        elif name.endswith("pos_embedding"):
            own = row.to_scenic(to_numpy(state_dict[our_name]))
            array = _positions(array, own, name, image, config, position_init)
        state_dict[our_name] = row.from_scenic(array, state_dict[our_name].shape)
    for name, (our_name, _) in table.items():
        if TEMPORAL in name and name not in plan and temporal_attention == "zero":
            state_dict[our_name] = model.xp.zeros_like(state_dict[our_name])
    model.load_state_dict(state_dict)
    return model


# --------------------------------------------------------------------------------------------------------------------
# What goes where
# --------------------------------------------------------------------------------------------------------------------


def _plan(
    image: ImageSource, targets: set[str], config: VivitConfig, temporal_attention: str, restore_classifier: bool
) -> dict[str, str]:
    """Scenic's name of a parameter of the video model -> that of the parameter that it is made from."""
    spatial = "SpatialTransformer" if config.attention_type == "factorised_encoder" else "Transformer"
    plan: dict[str, str] = {}
    for name in image.shapes:
        module, *parts = name.split("/")
        if module in ("output_projection", "MAPHead_0"):
            destinations = [name] if restore_classifier else []
        elif module == "pre_logits":
            destinations = [name] if config.representation_size is not None else []
        elif module in ("Transformer", "SpatialTransformer"):
            destinations = [
                "/".join((spatial, *path)) for path in _paths_in_encoder(parts, targets, temporal_attention)
            ]
        elif module == "TemporalTransformer" or module.startswith("cls"):
            destinations = [name] if name in targets else []
        else:
            destinations = [name]
        plan |= dict.fromkeys(destinations, name)
    return plan


def _paths_in_encoder(parts: list[str], targets: set[str], temporal_attention: str) -> list[list[str]]:
    """Where a parameter of an encoder goes: to its own name, except for the blocks of Model 3."""
    is_model_3 = any(SPATIAL in name for name in targets)
    block, *rest = parts
    if not is_model_3 or not block.startswith("encoderblock") or rest[0] in (SPATIAL, TEMPORAL):
        return [parts]
    if rest[0] == ATTENTION:
        destinations = [SPATIAL, TEMPORAL] if temporal_attention == "copy" else [SPATIAL]
    else:
        destinations = [MODEL_3_PARTS.get(rest[0], rest[0])]
    return [[block, destination, *rest[1:]] for destination in destinations]


def _check_width(image: ImageSource, config: VivitConfig) -> None:
    """The most frequent mistake gets a line of its own."""
    kernel = image.shapes.get(KERNEL)
    if kernel is None:
        raise InputError(
            f"{image.name} holds no {KERNEL}; expected an image model: a ViT's directory of Hugging Face's, or an .npz "
            "file with the names of google-research/vision_transformer or big_vision"
        )
    if len(kernel) not in (4, 5) or kernel[-1] != config.hidden_size:
        raise InputError(
            f"{image.name} is an image model of hidden size {kernel[-1] if kernel else None}, but the video model's is "
            f"{config.hidden_size}: choose models of the same width"
        )


def _check_fit(
    image: ImageSource, plan: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], config: VivitConfig
) -> None:
    """Every part of the encoder is there, nothing is left over, and all shapes fit once adapted."""
    found = {name: image.shapes[source_name] for name, source_name in plan.items()}
    for name, shape in found.items():
        own = shapes.get(name, ())
        if name == KERNEL and len(own) == 5 and tuple(shape) == own[1:]:
            found[name] = own
        is_positions = len(shape) == 3 and shape[0] == 1 and 1 <= shape[1] <= MOST_POSITIONS
        if name.endswith("pos_embedding") and is_positions and tuple(shape[2:]) == own[2:]:
            found[name] = own
    wanted = {name: shape for name, shape in shapes.items() if name in found or _is_required(name, config)}
    problems = mismatch(wanted, found)
    if problems:
        raise InputError(f"{image.name} does not fit the video model: {problems}")


def _is_required(name: str, config: VivitConfig) -> bool:
    """Whether every image model must have what this parameter is made from."""
    optional = ("output_projection", "pre_logits", "cls", "TemporalTransformer")
    return not (name.startswith(optional) or TEMPORAL in name or "LayerNorm_time" in name)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")


# --------------------------------------------------------------------------------------------------------------------
# Position embeddings
# --------------------------------------------------------------------------------------------------------------------


def _positions(
    positions: numpy.ndarray, own: numpy.ndarray, name: str, image: ImageSource, config: VivitConfig, method: str
) -> numpy.ndarray:
    """The image model's position embeddings (1, [1 +] tokens, hidden) in the shape of `own`, the video model's.

    The CLS token's embedding is no place: it is kept beside the others, or left out where the video model has no CLS
    token, or stays `own` where the image model has none.
    """
    if positions.shape == own.shape:
        return positions
    image_has_cls = any(name.startswith("cls") for name in image.shapes)
    places = positions[0, 1:] if image_has_cls else positions[0]
    cls = (positions if image_has_cls else own)[0, :1] if config.use_cls_token else places[:0]
    grid = _grid_of(name, config)
    if name.startswith("TemporalTransformer"):
        places = places if len(places) == grid[0] else resample_positions_over_time(places, grid[0])
    elif len(places) != prod(grid):
        places = adapt_positions(places, _image_grid(len(places), image), grid, method)
    return numpy.concatenate([cls, places])[None]


def _grid_of(name: str, config: VivitConfig) -> tuple[int, int, int]:
    """(times, rows, columns) of the tokens that the video model's encoder sees."""
    times, rows, columns = config.grid_size
    if name.startswith("TemporalTransformer"):
        return times, 1, 1
    return (1, rows, columns) if name.startswith("SpatialTransformer") else (times, rows, columns)


def _image_grid(tokens: int, image: ImageSource) -> tuple[int, int]:
    """(rows, columns) of the image model's tokens."""
    side = isqrt(tokens)
    if image.grid is not None and prod(image.grid) == tokens:
        return image.grid
    if side * side != tokens:
        raise InputError(
            f"{image.name} has position embeddings for {tokens} tokens, which is no square grid: they cannot be adapted"
        )
    return side, side
