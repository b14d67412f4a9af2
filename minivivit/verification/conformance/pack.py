"""A conformance pack: what a port must compute, in files that need none of our code to be read.

DIR/README.md                     the formats and the conventions, for whoever ports
DIR/index.json                    every tensor: its file, shape, dtype, place in the order, SHA-256
DIR/SHA256SUMS                    of all files, for  sha256sum -c
DIR/CASE/config.json              one of the paper's models, small
DIR/CASE/model.safetensors        its weights
DIR/CASE/trace/                   the input, every intermediate value and every gradient, as `trace_model` writes,
                                  and in its index the rounding budgets
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
from threadpoolctl import threadpool_limits

from minivivit.backend import num_threads, set_num_threads
from minivivit.config import VivitConfig
from minivivit.files.atomic import atomic_directory, write_text
from minivivit.files.json_file import read_json
from minivivit.files.safetensors_file import SafetensorsReader
from minivivit.models.classification import VivitForVideoClassification
from minivivit.verification.comparison.judgement import FACTORS, GRADIENT_FACTORS, NOISE, NOISE_FACTORS
from minivivit.verification.conformance.readme import readme
from minivivit.verification.rounding.budget import rounding_budgets
from minivivit.verification.tensors.error import PRECISIONS, unit_roundoff
from minivivit.verification.tensors.source import TRACE_INDEX, open_source
from minivivit.verification.tracing.recording import trace_model

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
# Runs that a budget is the largest of: the loss is a single number, whose error in one run may be 0 by luck.
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
FRAMES = {"temporal_encoding": "frame_sampling", "num_sampled_frames": 3, "num_frames": 7, "tubelet_size": [1, 4, 4]}

# Name of a case -> (what it is, what its config has beside `SMALL`).
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "model1_token": ("Model 1, joint attention, read from the CLS token: the published kind", MODEL_1),
    "model1_gap": (
        "Model 1 read from the mean of the tokens, with a representation layer; GELU by erf; no bias in Q, K and V",
        {**MODEL_1, "classifier": "gap", "representation_size": 7, "hidden_act": "gelu", "qkv_bias": False},
    ),
    "model1_frame_sampling": ("Model 1 on 3 of 7 frames, in tubelets of one frame", {**MODEL_1, **FRAMES}),
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


def write_conformance_pack(
    directory: str | os.PathLike[str], *, on_case: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """Write the conformance pack.

    On one machine the bytes are always the same: seeds are fixed, one thread computes, nothing says when. Another
    processor may add in another order, which shows in the last bits of float64.

    Parameters
    ----------
    directory : path-like
        To be made; may be there if it is empty. It appears when the pack is complete.
    on_case : callable, optional
        Called with the name of each case when it is written: a progress bar listens here.

    Returns
    -------
    index : dict
        What ``index.json`` holds; the formats are described in the pack's README.md.

    Raises
    ------
    InputError
        When the directory is not empty, is a file, or cannot be made.
    """
    with atomic_directory(directory) as place, _one_thread():
        cases = {}
        for name, (description, fields) in CASES.items():
            cases[name] = _write_case(place, name, description, VivitConfig(**{**SMALL, **fields}))
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
        write_text(place / "README.md", readme(index, DRAWS))
        _write_checksums(place)
    return index


def case_model(config: VivitConfig) -> tuple[VivitForVideoClassification, numpy.ndarray, numpy.ndarray]:
    """A case's model, in float64, its pixel values (2 clips) and their labels, all of which float32 can hold too.

    Every parameter is drawn: many start as 0 or 1 in training, and what multiplies 0 or 1 is not tested.
    """
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy")
    rng = numpy.random.default_rng(2021)
    for name, array in model.state_dict().items():
        spread = 0.3 if array.ndim == 1 else array[0].size ** -0.5
        if name.endswith(("cls_token", "position_embeddings")):
            spread = 0.5
        mean = 1.0 if "layernorm" in name and name.endswith("weight") else 0.0
        array[...] = (mean + spread * rng.standard_normal(array.shape)).astype("float32")
    shape = (2, config.num_frames, config.num_channels, *config.frame_size)
    pixels = rng.uniform(-1, 1, shape).astype("float32").astype("float64")
    return model, pixels, numpy.array([3, 1])


def _write_case(place: Path, name: str, description: str, config: VivitConfig) -> dict[str, Any]:
    """Write a case's files, and return what the index says about it."""
    model, pixels, labels = case_model(config)
    model.save_pretrained(place / name)
    trace = place / name / "trace"
    trace_model(model, pixels, trace, labels=labels, gradients=True, only="*")
    budgets = rounding_budgets(
        model,
        pixels,
        open_source(trace),
        PRECISIONS,
        labels=labels,
        gradients=True,
        draws=DRAWS,
        rng=numpy.random.default_rng(2021),
    )
    rounded = {
        precision: {tensor: {key: float(f"{value:.4g}") for key, value in of.items()} for tensor, of in tensors.items()}
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
