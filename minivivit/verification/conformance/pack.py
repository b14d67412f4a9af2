"""A conformance pack: what a port must compute, in files that need none of our code to be read.

DIR/README.md                     the formats and the conventions, for whoever ports
DIR/index.json                    every tensor: its file, shape, dtype, place in the order, SHA-256
DIR/*.schema.json                 JSON Schemas of the JSON files
DIR/SHA256SUMS                    of all files, for  sha256sum -c
DIR/CASE/config.json              one of the paper's models, small
DIR/CASE/model.safetensors        its weights
DIR/CASE/trace/                   the input, every intermediate value and every gradient, as `trace_model` writes,
                                  and in its index the rounding budgets
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
from threadpoolctl import threadpool_limits

from minivivit.backend import num_threads, set_num_threads
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.atomic import atomic_directory, write_text
from minivivit.files.json_file import read_json
from minivivit.files.safetensors_file import SafetensorsReader
from minivivit.models.classification import VivitForVideoClassification
from minivivit.verification.comparison.judgement import (
    FACTORS,
    FEW,
    GRADIENT_FACTORS,
    NOISE,
    NOISE_FACTORS,
    Budget,
    budgets_before,
)
from minivivit.verification.conformance.readme import readme
from minivivit.verification.conformance.schemas import config_schema, index_schema, trace_schema
from minivivit.verification.rounding.budget import rounding_budgets
from minivivit.verification.tensors.error import PRECISIONS, unit_roundoff
from minivivit.verification.tensors.layout_sizes import named_sizes
from minivivit.verification.tensors.source import TRACE_INDEX, TensorSource, open_source
from minivivit.verification.tracing.recording import trace_model
from minivivit.verification.tracing.telling_weights import deviation

# The number goes up when a reader written for older packs would misread a new one.
FORMAT = "minivivit-conformance/1"
INDEX, CHECKSUMS = "index.json", "SHA256SUMS"
# The README's rule of what passes, with the factors of `minivivit compare`: (of the rms, of the largest error).
RULE = {
    "factors": list(FACTORS),
    "gradient_factors": list(GRADIENT_FACTORS),
    "noise_factors": list(NOISE_FACTORS),
    "noise": NOISE,
}
# Runs that a budget is the largest of: few entries of a tensor may differ by little in one run, by luck.
DRAWS = 8

# Sides that are easy to confuse differ: rows and columns, times and places, hidden and intermediate, heads and their
# size. The frame is one pixel higher and wider than its tubelets, and the rest is dropped.
SMALL: dict[str, Any] = {
    "image_size": [13, 9],
    "num_frames": 4,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 28,
    "num_temporal_layers": 1,
    "num_labels": 5,
}
MODEL_1: dict[str, Any] = {"attention_type": "spatio_temporal"}
MODEL_2: dict[str, Any] = {"attention_type": "factorised_encoder"}
MODEL_3: dict[str, Any] = {"attention_type": "factorised_self_attention"}
MODEL_4: dict[str, Any] = {"attention_type": "factorised_dot_product"}
# 3 of 6 frames: those at 1.5, 3 and 4.5, of which rounding half to even makes 2, 3 and 4, and no other rounding does.
FRAMES = {"temporal_encoding": "frame_sampling", "num_sampled_frames": 3, "num_frames": 6, "tubelet_size": [1, 4, 4]}

# Name of a case -> (what it is, what its config has beside `SMALL`).
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "model1_token": ("Model 1, joint attention, read from the CLS token: the published kind", MODEL_1),
    "model1_gap": (
        "Model 1 read from the mean of the tokens, with a representation layer; GELU by erf; no bias in Q, K and V",
        {**MODEL_1, "classifier": "gap", "representation_size": 7, "hidden_act": "gelu", "qkv_bias": False},
    ),
    "model1_frame_sampling": (
        "Model 1 on 3 of 6 frames, two of which lie half way between frames, in tubelets of one frame",
        {**MODEL_1, **FRAMES},
    ),
    "model1_saturated": (
        "Model 1 with softmax, GELU and loss far in saturation: probabilities of 0 and 1, logits whose exponentials "
        "overflow even in float64",
        MODEL_1,
    ),
    "model1_overflow": (
        "Model 1 with products of query and key that float16 cannot hold (above 65504), and scores, divided by "
        "sqrt(d), that it can",
        MODEL_1,
    ),
    "model2_token": ("Model 2, factorised encoder, read from CLS tokens", MODEL_2),
    "model2_gap": ("Model 2 with means instead of CLS tokens", {**MODEL_2, "classifier": "gap"}),
    "model2_spatial_only": (
        "Model 2 without its temporal encoder: the mean over time of what the frames become",
        {**MODEL_2, "spatial_only_baseline": True},
    ),
    "model3_time_space": ("Model 3, factorised self-attention, time first", MODEL_3),
    "model3_space_time": ("Model 3, space first", {**MODEL_3, "attention_order": "space_time"}),
    "model4_gap": ("Model 4, factorised dot-product attention: half of the heads see time, half space", MODEL_4),
}
# What weights are multiplied by where a case must go to the end of some range: by what the names end in.
GAINS: dict[str, dict[str, float]] = {
    "model1_saturated": {"query.weight": 6, "key.weight": 6, "intermediate.dense.weight": 10, "classifier.weight": 900},
    "model1_overflow": {"query.weight": 100, "key.weight": 100},
}
# A pack of one's own config holds everything that its pass makes; more than this is meant for no one's disk.
MOST_BYTES = 2 << 30


def write_conformance_pack(
    directory: str | os.PathLike[str],
    *,
    config: VivitConfig | None = None,
    on_case: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """Write the conformance pack.

    On one machine the bytes are always the same: seeds are fixed, one thread computes, nothing says when. Another
    processor may add in another order, which shows in the last bits of float64.

    Parameters
    ----------
    directory : path-like
        To be made; may be there if it is empty. It appears when the pack is complete.
    config : VivitConfig, optional
        The pack then has one case, ``"own"``, of this config, instead of ours.
    on_case : callable, optional
        Called with the name of each case when it is written: a progress bar listens here.

    Returns
    -------
    index : dict
        What ``index.json`` holds; the formats are described in the pack's README.md.

    Raises
    ------
    InputError
        When the directory is not empty, is a file, or cannot be made; for a config without classes, and one whose case
        would take more than 2 GB.
    """
    chosen = {name: (text, VivitConfig(**{**SMALL, **fields})) for name, (text, fields) in CASES.items()}
    if config is not None:
        check_own(config)
        chosen = {"own": ("a config of your own", config)}
    with atomic_directory(directory) as place, _one_thread():
        cases = {}
        for name, (description, of_case) in chosen.items():
            cases[name] = _write_case(place, name, description, of_case)
            if on_case is not None:
                on_case(name)
        index = {
            "format": FORMAT,
            "versions": {"minivivit": version("minivivit"), "numpy": numpy.__version__},
            "rule": RULE,
            "unit_roundoff": {precision: unit_roundoff(precision) for precision in PRECISIONS},
            "cases": cases,
        }
        write_text(place / INDEX, json.dumps(index, indent=1, allow_nan=False) + "\n")
        for part, schema in (("index", index_schema()), ("config", config_schema()), ("trace", trace_schema())):
            write_text(place / f"{part}.schema.json", json.dumps(schema, indent=1) + "\n")
        write_text(place / "README.md", readme(index, DRAWS))
        _write_checksums(place)
    return index


def check_own(config: VivitConfig) -> None:
    """Refuse a config that no case can be made of.

    Raises
    ------
    InputError
        When it has no classes, or its values, forward and back, would take more than `MOST_BYTES`.
    """
    if config.num_labels == 0:
        raise InputError("the config has no classes, and a case needs a loss; give it num_labels or id2label")
    sizes = named_sizes(config, None)
    tokens, heads = (sizes["times"] + 1) * (sizes["places"] + 1), config.num_attention_heads
    keys = tokens if config.attention_type == "spatio_temporal" else sizes["times"] + sizes["places"] + 2
    layers = config.num_hidden_layers + (config.num_temporal_layers or 0)
    features = 24 * config.hidden_size + 4 * config.intermediate_size  # of a token in a layer, forward and back
    num_bytes = 8 * 2 * layers * tokens * (features + 2 * heads * keys)
    if num_bytes > MOST_BYTES:
        raise InputError(
            f"a case of this config would take about {num_bytes / 1e9:.0f} GB; give one of the same kind with fewer "
            "frames, smaller frames or fewer layers: what a port gets wrong it gets wrong there too"
        )


def case_model(
    config: VivitConfig, gains: Mapping[str, float] | None = None
) -> tuple[VivitForVideoClassification, numpy.ndarray, numpy.ndarray]:
    """A case's model, in float64, its pixel values (2 clips) and their labels, all of which float32 can hold too.

    Every parameter is drawn: many start as 0 or 1 in training, and what multiplies 0 or 1 is not tested. Those whose
    names end in a key of `gains` are multiplied by its number.
    """
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy")
    rng = numpy.random.default_rng(2021)
    for name, array in model.state_dict().items():
        mean = 1.0 if "layernorm" in name and name.endswith("weight") else 0.0
        gain = next((gain for end, gain in (gains or {}).items() if name.endswith(end)), 1.0)
        array[...] = (gain * (mean + deviation(name, array.shape, rng))).astype("float32")
    shape = (2, config.num_frames, config.num_channels, *config.frame_size)
    pixels = rng.uniform(-1, 1, shape).astype("float32").astype("float64")
    heads = config.class_splits or [config.num_labels]
    labels = numpy.array([[min(label, size - 1) for size in heads] for label in (3, 1)])  # (clips, heads)
    return model, pixels, labels if config.class_splits else labels[:, 0]


def _write_case(place: Path, name: str, description: str, config: VivitConfig) -> dict[str, Any]:
    """Write a case's files, and return what the index says about it."""
    model, pixels, labels = case_model(config, GAINS.get(name))
    model.save_pretrained(place / name)
    trace = place / name / "trace"
    trace_model(model, pixels, trace, labels=labels, gradients=True, only="*")
    ours = open_source(trace)
    budgets = rounding_budgets(
        model,
        pixels,
        ours,
        PRECISIONS,
        labels=labels,
        gradients=True,
        draws=DRAWS,
        rng=numpy.random.default_rng(2021),
    )
    rounded = {
        precision: {
            tensor: {key: _short(value) for key, value in of.items()} for tensor, of in _widened(ours, tensors).items()
        }
        for precision, tensors in budgets.items()
    }
    trace_index = read_json(trace / TRACE_INDEX)
    trace_index["metadata"]["rounding_budgets"] = rounded  # where `minivivit compare` looks for them
    write_text(trace / TRACE_INDEX, json.dumps(trace_index, indent=1, allow_nan=False) + "\n")
    return {
        "description": description,
        "config": f"{name}/config.json",
        "labels": labels.tolist(),
        "weights": _entries(place, dict.fromkeys(model.state_dict(), f"{name}/model.safetensors")),
        "tensors": _entries(place, {t: f"{name}/trace/{file}" for t, file in trace_index["weight_map"].items()}),
        "rounding_budgets": f"{name}/trace/{TRACE_INDEX}",
    }


def _widened(ours: TensorSource, budgets: dict[str, Budget]) -> dict[str, Budget]:
    """Budgets with that of the tensor before where there are few entries, whose errors may cancel in ours.

    That is what `minivivit compare` does when it judges; here it is done beforehand, which leaves the reader one rule.
    """
    before = budgets_before(ours, budgets)
    return {
        name: budget | {key: max(budget[key], before[name][key]) for key in ("rms", "max_abs")}
        if name in before and math.prod(ours.shapes[name]) < FEW
        else budget
        for name, budget in budgets.items()
    }


def _short(value: float) -> float:
    """Four digits of a number; JSON has no infinity, and the largest number, which bounds as little, stands for it."""
    return min(float(f"{value:.4g}"), sys.float_info.max)


def _entries(place: Path, files: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What the index says of each tensor, in order; `files` are by name, relative to `place`."""
    readers = {file: SafetensorsReader(place / file) for file in dict.fromkeys(files.values())}
    entries = {}
    for order, (name, file) in enumerate(files.items()):
        shape, dtype = readers[file].index[name]
        values = readers[file].read_elements(name, 0, int(numpy.prod(shape, dtype=int)))
        digest = hashlib.sha256(numpy.ascontiguousarray(values, values.dtype.newbyteorder("<")).data).hexdigest()
        entries[name] = {"file": file, "shape": list(shape), "dtype": dtype, "order": order, "sha256": digest}
    return entries


def _write_checksums(place: Path) -> None:
    """SHA-256 of every file, as sha256sum writes and reads them."""
    paths = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((place / path).read_bytes()).hexdigest()}  {path}\n" for path in paths]
    write_text(place / CHECKSUMS, "".join(lines))


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread, ours and BLAS's: how a sum is divided among threads shows in its last bits."""
    count = num_threads()
    set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        set_num_threads(count)
