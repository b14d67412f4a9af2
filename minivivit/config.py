"""`VivitConfig`: what a ViViT is made of, its checks, its presets and its JSON."""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from minivivit.errors import InputError
from minivivit.files.atomic import make_directory
from minivivit.files.json_file import DEEPEST_NESTING, dumps_json, nesting, read_json, write_json
from minivivit.files.tensor_data import quoted
from minivivit.model_directory import check_no_training, check_no_weights_file

ACTIVATION_NAMES = ("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "tanh")
ATTENTION_TYPES = ("spatio_temporal", "factorised_encoder", "factorised_self_attention", "factorised_dot_product")
CLASSIFIERS = ("token", "gap", "gmp", "gsp")
ATTENTION_ORDERS = ("time_space", "space_time")
TEMPORAL_ENCODINGS = ("tubelet", "frame_sampling")
PROBLEM_TYPES = (None, "regression", "single_label_classification", "multi_label_classification")

# Numbers beyond these are taken for mistakes, before memory is taken for what they ask for.
LARGEST_SIZE = 1_000_000
LARGEST_NUMBER_OF_LAYERS = 10_000
LARGEST_NUMBER_OF_LABELS = 1_000_000
LONGEST_LABEL = 1000  # letters
LARGEST_FLOAT32 = float(numpy.finfo(numpy.float32).max)

# Scenic's ViViTs use the tanh form of GELU and flax's default epsilon.
_SCENIC_DETAILS = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}

PRESETS: dict[str, dict[str, Any]] = {
    # The published Hugging Face checkpoint google/vivit-b-16x2-kinetics400, and the paper's Model 1.
    "vivit-b-16x2": {"num_labels": 400},
    # The five models of scenic's ViViT model zoo.
    "vivit-b-16x2-kinetics400": {"num_labels": 400, **_SCENIC_DETAILS},
    "vivit-b-16x2-fe-kinetics400": {
        "attention_type": "factorised_encoder",
        "num_temporal_layers": 4,
        "num_labels": 400,
        **_SCENIC_DETAILS,
    },
    "vivit-l-16x2-fe-kinetics400": {
        "attention_type": "factorised_encoder",
        "num_temporal_layers": 24,
        "num_labels": 400,
        **_LARGE,
        **_SCENIC_DETAILS,
    },
    "vivit-l-16x2-fe-kinetics600": {
        "attention_type": "factorised_encoder",
        "num_temporal_layers": 24,
        "num_labels": 600,
        **_LARGE,
        **_SCENIC_DETAILS,
    },
    "vivit-l-16x2-fe-epic-kitchens": {
        "attention_type": "factorised_encoder",
        "num_temporal_layers": 4,
        "num_labels": 397,
        "class_splits": [300, 97],  # nouns, verbs
        "stochastic_droplayer_rate": 0.2,
        **_LARGE,
        **_SCENIC_DETAILS,
    },
}


class VivitConfig:
    """Everything that decides the shapes and the arithmetic of a ViViT.

    The first block of arguments has the names, defaults and meaning of Hugging Face transformers' ``VivitConfig``; the
    second names the other models of the paper (arXiv:2103.15691, section 3.3) with the options of
    google-research/scenic. A ``config.json`` written by transformers, which has none of the second block, is Model 1.

    Parameters
    ----------
    image_size : int or (height, width), default 224
        Size of a frame, in pixels.
    num_frames : int, default 32
        Frames in a clip.
    tubelet_size : (frames, height, width), default (2, 16, 16)
        What becomes one token. A remainder of the clip that no tubelet covers is dropped, as a strided convolution
        without padding drops it.
    num_channels : int, default 3
    hidden_size : int, default 768
    num_hidden_layers : int, default 12
        Transformer layers; in the factorised encoder those of the spatial encoder.
    num_attention_heads : int, default 12
        Must divide `hidden_size`.
    intermediate_size : int, default 3072
        Width of the hidden layer of the MLP.
    hidden_act : str, default "gelu_fast"
        Activation of the MLP: gelu, gelu_fast, gelu_new, gelu_pytorch_tanh, quick_gelu, relu, silu or tanh.
    hidden_dropout_prob, attention_probs_dropout_prob : float, default 0.0
        Dropout while training, after the embeddings and each branch, and on the attention probabilities.
    initializer_range : float, default 0.02
        Standard deviation of the initial weights.
    layer_norm_eps : float, default 1e-6
    qkv_bias : bool, default True
    pooler_output_size : int, optional
        Width of the pooler of the bare model; `hidden_size` when left out.
    pooler_act : str, default "tanh"
    attention_type : str, default "spatio_temporal"
        The paper's Model 1 "spatio_temporal", 2 "factorised_encoder", 3 "factorised_self_attention" or 4
        "factorised_dot_product".
    classifier : {"token", "gap", "gmp", "gsp"}, optional
        What the head sees: the CLS token, or the mean, maximum or sum over all tokens. Left out, it is "token" for
        Models 1 and 2 and "gap" for Models 3 and 4, which have no CLS token and refuse "token".
    representation_size : int, optional
        Width of a dense layer with tanh between the pooling and the classifier; none when left out.
    num_temporal_layers : int, default 4
        Layers of the temporal encoder of Model 2.
    attention_order : {"time_space", "space_time"}, default "time_space"
        Which attention of Model 3 comes first.
    temporal_encoding : {"tubelet", "frame_sampling"}, default "tubelet"
        Tubelet embedding (section 3.2), or uniform frame sampling, with which a tubelet is one frame deep.
    num_sampled_frames : int, optional
        Frames that frame sampling takes from a clip.
    spatial_only_baseline : bool, default False
        Model 2 without its temporal encoder: the frames' representations are averaged.
    stochastic_droplayer_rate : float, default 0.0
        Stochastic depth while training: the probability with which a residual branch of the last layer is dropped. It
        grows linearly from 0 in the first layer.
    class_splits : list of int, optional
        Sizes of several heads that share the classifier (Epic Kitchens: 300 nouns, 97 verbs); they sum to `num_labels`.
    num_labels : int, optional
        Number of classes; 2 when neither it nor `id2label` is given, as in transformers.
    id2label, label2id : dict, optional
        Names of the classes by index, and back.
    problem_type : str, optional
        "regression", "single_label_classification" or "multi_label_classification"; left out, the labels decide.
    output_attentions, output_hidden_states : bool, default False
    return_dict : bool, default True
        Defaults of the arguments of `forward` of the same names.
    **other
        Keys that this class does not know; they are kept in `other` and written back.

    Raises
    ------
    InputError
        When no model can be made of the values; the message is a sentence that says why.

    References
    ----------
    transformers ``models/vivit/configuration_vivit.py``; scenic ``projects/vivit/configs``.
    """

    model_type = "vivit"

    def __init__(
        self,
        /,
        image_size: int | Sequence[int] = 224,
        num_frames: int = 32,
        tubelet_size: Sequence[int] = (2, 16, 16),
        num_channels: int = 3,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        hidden_act: str = "gelu_fast",
        hidden_dropout_prob: float = 0.0,
        attention_probs_dropout_prob: float = 0.0,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-6,
        qkv_bias: bool = True,
        pooler_output_size: int | None = None,
        pooler_act: str = "tanh",
        *,
        attention_type: str = "spatio_temporal",
        classifier: str | None = None,
        representation_size: int | None = None,
        num_temporal_layers: int = 4,
        attention_order: str = "time_space",
        temporal_encoding: str = "tubelet",
        num_sampled_frames: int | None = None,
        spatial_only_baseline: bool = False,
        stochastic_droplayer_rate: float = 0.0,
        class_splits: Sequence[int] | None = None,
        num_labels: int | None = None,
        id2label: Mapping[Any, str] | None = None,
        label2id: Mapping[str, int] | None = None,
        problem_type: str | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **other: Any,
    ):
        self.image_size = image_size if isinstance(image_size, int) else _list(image_size, "image_size", 2)
        self.num_frames = num_frames
        self.tubelet_size = _list(tubelet_size, "tubelet_size", 3)
        self.num_channels = num_channels
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.qkv_bias = qkv_bias
        self.pooler_output_size = hidden_size if pooler_output_size in (None, 0) else pooler_output_size
        self.pooler_act = pooler_act
        self.attention_type = attention_type
        self.classifier = _default_classifier(attention_type) if classifier is None else classifier
        self.representation_size = representation_size
        self.num_temporal_layers = num_temporal_layers
        self.attention_order = attention_order
        self.temporal_encoding = temporal_encoding
        self.num_sampled_frames = num_sampled_frames
        self.spatial_only_baseline = spatial_only_baseline
        self.stochastic_droplayer_rate = stochastic_droplayer_rate
        self.class_splits = None if class_splits is None else _list(class_splits, "class_splits")
        self.problem_type = problem_type
        self.output_attentions = output_attentions
        self.output_hidden_states = output_hidden_states
        self.return_dict = return_dict
        other.pop("model_type", None)
        if nesting(other) > DEEPEST_NESTING:
            raise InputError(f"a setting of the config is nested more than {DEEPEST_NESTING} deep; remove it")
        self.other = other
        self._set_labels(num_labels, id2label, label2id)
        self.check()

    # ---------------------------------------------------------------------------------------------------- labels

    def _set_labels(
        self, num_labels: int | None, id2label: Mapping[Any, str] | None, label2id: Mapping[str, int] | None
    ) -> None:
        if id2label is None:
            self.num_labels = 2 if num_labels is None else num_labels
        else:
            self.id2label = _labels_by_index(id2label)
            self.label2id = {label: index for index, label in self.id2label.items()}
            if num_labels is not None and num_labels != len(self.id2label):
                raise InputError(f"num_labels is {quoted(num_labels)}, but id2label names {len(self.id2label)} classes")
        if label2id is not None and id2label is not None:
            self.label2id = _indices_by_label(label2id, len(self.id2label))

    @property
    def num_labels(self) -> int:
        """Number of classes. Setting it names them ``LABEL_0``, ``LABEL_1``, ... unless the number stays the same."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if not _is_whole(count) or count < 0:
            raise InputError(f"num_labels is {quoted(count)}; expected a whole number of classes")
        if count > LARGEST_NUMBER_OF_LABELS:
            limit = LARGEST_NUMBER_OF_LABELS
            raise InputError(f"num_labels is {quoted(count)}; more than {limit:,} is taken for a mistake")
        if getattr(self, "id2label", None) is None or count != len(self.id2label):
            self.id2label = {index: f"LABEL_{index}" for index in range(count)}
            self.label2id = {label: index for index, label in self.id2label.items()}

    # ---------------------------------------------------------------------------------------------------- geometry

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of a frame."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size[0], self.image_size[1]

    @property
    def grid_size(self) -> tuple[int, int, int]:
        """(temporal indices, rows, columns) of the grid of tokens that a clip of the configured size becomes."""
        height, width = self.frame_size
        frames = self.num_frames
        if self.temporal_encoding == "frame_sampling":
            frames = len(uniform_frame_indices(self.num_frames, self.num_sampled_frames or self.num_frames))
        tubelet_frames, tubelet_height, tubelet_width = self.tubelet_size
        return frames // tubelet_frames, height // tubelet_height, width // tubelet_width

    @property
    def use_cls_token(self) -> bool:
        """Whether a CLS token stands before the others."""
        return self.classifier == "token"

    # ---------------------------------------------------------------------------------------------------- checks

    def check(self) -> None:
        """Refuse what cannot be a model, with a sentence that says why.

        Raises
        ------
        InputError
        """
        for name in ("num_frames", "num_channels", "hidden_size", "num_attention_heads", "intermediate_size"):
            _check_whole(name, getattr(self, name), 1)
        for name in ("num_hidden_layers", "num_temporal_layers"):
            _check_whole(name, getattr(self, name), 0, LARGEST_NUMBER_OF_LAYERS)
        for name in ("qkv_bias", "spatial_only_baseline", "output_attentions", "output_hidden_states", "return_dict"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {quoted(getattr(self, name))}; expected True or False")
        for name in ("pooler_output_size", "representation_size", "num_sampled_frames"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), 1)
        for size in (*self.frame_size, *self.tubelet_size):
            _check_whole("each of image_size and tubelet_size", size, 1)
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "stochastic_droplayer_rate"):
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 <= value < 1.0:
                raise InputError(f"{name} is {quoted(value)}; expected a probability of at least 0 and less than 1")
        if not _is_number(self.initializer_range) or self.initializer_range < 0:
            raise InputError(
                f"initializer_range is {quoted(self.initializer_range)}; expected a standard deviation, 0 or more"
            )
        if not _is_number(self.layer_norm_eps) or self.layer_norm_eps <= 0:
            raise InputError(f"layer_norm_eps is {quoted(self.layer_norm_eps)}; expected a small number above 0")
        _check_choice("hidden_act", self.hidden_act, ACTIVATION_NAMES)
        _check_choice("pooler_act", self.pooler_act, ACTIVATION_NAMES)
        _check_choice("attention_type", self.attention_type, ATTENTION_TYPES)
        _check_choice("classifier", self.classifier, CLASSIFIERS)
        _check_choice("attention_order", self.attention_order, ATTENTION_ORDERS)
        _check_choice("temporal_encoding", self.temporal_encoding, TEMPORAL_ENCODINGS)
        _check_choice("problem_type", self.problem_type, PROBLEM_TYPES)
        self._check_heads()
        self._check_model_of_the_paper()
        self._check_grid()

    def _check_heads(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}: "
                "each head takes an equal part of the hidden size"
            )
        head_size = self.hidden_size // self.num_attention_heads
        if self.other.get("head_dim", head_size) != head_size:
            raise InputError(
                f"head_dim is {quoted(self.other['head_dim'])}; only hidden_size / num_attention_heads = {head_size} "
                "is known"
            )

    def _check_model_of_the_paper(self) -> None:
        factorised_attention = self.attention_type in ("factorised_self_attention", "factorised_dot_product")
        if factorised_attention and self.classifier == "token":
            raise InputError(
                f"attention_type {self.attention_type!r} has no CLS token, so classifier cannot be 'token': "
                "use 'gap', 'gmp' or 'gsp'"
            )
        if self.attention_type == "factorised_dot_product" and self.num_attention_heads % 2:
            raise InputError(
                f"num_attention_heads is {self.num_attention_heads}; 'factorised_dot_product' needs an even number: "
                "one half attends over time, the other over space"
            )
        if self.spatial_only_baseline and self.attention_type != "factorised_encoder":
            raise InputError(
                "spatial_only_baseline leaves out the temporal encoder of attention_type 'factorised_encoder'; "
                f"it means nothing with {self.attention_type!r}"
            )
        if self.class_splits is not None:
            for size in self.class_splits:
                _check_whole("each of class_splits", size, 1)
            if sum(self.class_splits) != self.num_labels:
                raise InputError(
                    f"class_splits {quoted(self.class_splits)} sum to {sum(self.class_splits)}, not to num_labels "
                    f"{self.num_labels}"
                )

    def _check_grid(self) -> None:
        if self.temporal_encoding == "frame_sampling":
            if self.tubelet_size[0] != 1:
                raise InputError(
                    f"tubelet_size is {self.tubelet_size}; with temporal_encoding 'frame_sampling' a tubelet is one "
                    f"frame deep: use {[1, *self.tubelet_size[1:]]}"
                )
            if self.num_sampled_frames is None:
                raise InputError("temporal_encoding 'frame_sampling' needs num_sampled_frames: how many frames to take")
        height, width = self.frame_size
        clip = (self.num_frames, height, width)
        if any(tubelet > extent for tubelet, extent in zip(self.tubelet_size, clip, strict=True)):
            raise InputError(
                f"tubelet_size {self.tubelet_size} (frames, height, width) is larger than the clip {list(clip)}: "
                "not one tubelet fits"
            )

    # ---------------------------------------------------------------------------------------------------- JSON

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON, unknown keys included."""
        fields = {name: copy.deepcopy(value) for name, value in vars(self).items() if name != "other"}
        return {**copy.deepcopy(self.other), **fields, "model_type": self.model_type}

    def to_json_string(self) -> str:
        """`to_dict` as indented JSON."""
        return dumps_json(self.to_dict())

    def to_json_file(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON to `path`."""
        write_json(path, self.to_dict())

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write ``config.json`` into `directory`, which is made if need be."""
        make_directory(directory)
        self.to_json_file(Path(directory) / "config.json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], /, **overrides: Any) -> "VivitConfig":
        """A config from a dict as `to_dict` or transformers make it; `overrides` win."""
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            raise InputError("a config is made of a dict whose keys are strings")
        merged = {**values, **overrides}
        model_type = merged.pop("model_type", cls.model_type)
        if model_type != cls.model_type:
            raise InputError(f"the config's model_type is {quoted(model_type)}; expected 'vivit'")
        if "id2label" in overrides and "label2id" not in overrides:  # the file's indices are of its own names
            merged.pop("label2id", None)
        if "num_labels" in overrides and "id2label" not in overrides:  # the file's names are of its own classes
            labels = values.get("id2label")
            if not isinstance(labels, Mapping) or len(labels) != overrides["num_labels"]:
                merged.pop("id2label", None)
                merged.pop("label2id", None)
        return cls(**merged)

    @classmethod
    def from_json_file(cls, path: str | os.PathLike[str], **overrides: Any) -> "VivitConfig":
        """A config from a JSON file; `overrides` win."""
        try:
            return cls.from_dict(read_json(path), **overrides)
        except InputError as error:
            raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str], **overrides: Any) -> "VivitConfig":
        """The config of a model directory (or of the JSON file itself); `overrides` win."""
        path = Path(directory)
        if not path.exists():
            raise InputError(
                f"{directory} does not exist; expected a directory with a config.json (nothing is downloaded)"
            )
        if path.is_dir():
            check_no_training(path)
            path = path / "config.json"
        else:
            check_no_weights_file(path)
        return cls.from_json_file(path, **overrides)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "VivitConfig":
        """The config of a published model by name; the names are the keys of ``minivivit.config.PRESETS``."""
        if not isinstance(name, str) or name not in PRESETS:
            raise InputError(f"{quoted(name)} is not a preset; expected one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **overrides})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VivitConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # a config can change

    def __repr__(self) -> str:
        return f"VivitConfig {self.to_json_string()}"


def uniform_frame_indices(num_frames: int, num_sampled_frames: int) -> list[int]:
    r"""Indices of the frames that uniform frame sampling takes.

    With n frames to take of T, and n < T, they are the multiples of the stride T / (n + 1) from the first one up to T,

    .. math:: \mathrm{round}\left(k \frac{T}{n + 1}\right), \quad k = 1, 2, \dots

    rounded half to even and clipped to T - 1. Rounding of the stride can yield one index more or fewer than n; we do as
    scenic does. All frames are taken when n >= T.

    References
    ----------
    The paper's section 3.2, "uniform frame sampling"; scenic ``common_lib/video_utils.py``, sample_frames_uniformly.
    """
    if num_sampled_frames >= num_frames:
        return list(range(num_frames))
    stride = num_frames / (num_sampled_frames + 1)
    indices = numpy.round(numpy.arange(stride, num_frames, stride)).astype(int)
    return numpy.minimum(indices, num_frames - 1).tolist()


def _default_classifier(attention_type: str) -> str:
    return "token" if attention_type in ("spatio_temporal", "factorised_encoder") else "gap"


def _list(value: Any, name: str, length: int | None = None) -> list[int]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != (length or len(value)):
        raise InputError(f"{name} is {quoted(value)}; expected {length or 'a list of'} whole numbers")
    return list(value)


def _labels_by_index(id2label: Mapping[Any, str]) -> dict[int, str]:
    """JSON has string keys only: ``{"0": ...}`` becomes ``{0: ...}``, which must count from 0 without gaps."""
    try:
        labels = {int(index): _label(label) for index, label in id2label.items()}
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise InputError("id2label must map whole numbers to names of classes") from None
    if len(labels) < len(id2label):
        raise InputError("id2label gives one class two names, such as '1' and '01'; leave one of them out")
    if sorted(labels) != list(range(len(labels))):
        raise InputError(f"id2label must number its {len(labels)} classes from 0 to {len(labels) - 1} without gaps")
    return dict(sorted(labels.items()))


def _indices_by_label(label2id: Mapping[str, int], num_labels: int) -> dict[str, int]:
    """Names of classes to their indices; two names may stand for one class."""
    indices: dict[str, int] = {}
    for label, index in label2id.items() if isinstance(label2id, Mapping) else [("", None)]:
        if (
            isinstance(index, str) and index.isdecimal() and len(index) < 10
        ):  # widely used fine-tuning scripts write {"cat": "0"}
            index = int(index)
        if not _is_whole(index) or not 0 <= index < num_labels:
            raise InputError(f"label2id must map names of classes to their indices, 0 to {num_labels - 1}")
        indices[_label(label)] = index
    return indices


def _label(label: Any) -> str:
    """The name of a class; one that no line could show is taken for a mistake."""
    if not isinstance(label, str | int | float | None):
        raise TypeError
    text = str(label)
    if len(text) > LONGEST_LABEL:
        raise InputError(
            f"a class is called {quoted(text)}, {len(text):,} letters; more than {LONGEST_LABEL:,} are taken "
            "for a mistake"
        )
    return text


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """Whether `value` is a number that float32 can hold; NaN and infinity are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_FLOAT32


def _check_whole(name: str, value: Any, minimum: int, maximum: int = LARGEST_SIZE) -> None:
    if not _is_whole(value) or value < minimum:
        raise InputError(f"{name} is {quoted(value)}; expected a whole number of at least {minimum}")
    if value > maximum:
        raise InputError(f"{name} is {quoted(value)}; more than {maximum:,} is taken for a mistake")


def _check_choice(name: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise InputError(f"{name} is {quoted(value)}; expected one of {', '.join(map(repr, choices))}")
