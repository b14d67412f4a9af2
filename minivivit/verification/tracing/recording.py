"""Run a model and write down every intermediate value by name: our side of a comparison."""

import hashlib
import os
import platform
import sys
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import Array, as_array, to_numpy
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed
from minivivit.files.weights import weight_files
from minivivit.layers.trace import Trace
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.vivit import VivitModel
from minivivit.verification.rounding.budget import rounding_budgets
from minivivit.verification.tensors.error import PRECISIONS
from minivivit.verification.tensors.source import open_source
from minivivit.verification.tracing.directory import FORMAT, INPUT, TraceWriter, check_replaceable, new_trace_directory
from minivivit.verification.tracing.telling_weights import hiding_weights, write_model

Model = VivitForVideoClassification | VivitModel
BLOCK_BYTES = 1 << 22


def trace_model(
    model: Model,
    pixel_values: Array,
    directory: str | os.PathLike[str],
    *,
    labels: Array | None = None,
    gradients: bool = False,
    only: str | Sequence[str] | None = None,
    budgets: Sequence[str] = (),
    interpolate_pos_encoding: bool = False,
    model_directory: str | os.PathLike[str] | None = None,
    perturbed: int | None = None,
    on_record: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """Write every intermediate value of one pass into a directory.

    Each value is written as it is made and let go, one safetensors file a layer, so that beside what the pass itself
    needs no more than one tensor is in memory. The names are those of `notebooks/trace_names.md`; the first is the
    input, ``pixel_values``. With `gradients` the backward pass follows, names with ``gradient.`` before them: the
    gradients of the intermediate values as they are made, then those of the parameters, from the last layer to the
    first. The layers are computed again on the way back (gradient checkpointing), which gives the same bits.

    The trace appears when it is complete, in the place of an older one; see
    `minivivit.verification.tracing.directory.new_trace_directory`.

    Parameters
    ----------
    model : VivitForVideoClassification or VivitModel
        float64 is what others should be compared with.
    pixel_values : array, shape (batch, frames, channels, height, width)
    directory : path-like
        To be made; what is there must be a trace, or empty.
    labels : array, optional
        For the loss; see `minivivit.models.loss`.
    gradients : bool
        Run backward too. A bare `VivitModel` has no loss to start from: it needs no labels, and has no gradients.
    only : str or list of str, optional
        Shell patterns of the names to write; see `minivivit.verification.tracing.directory.TraceWriter`. Left out,
        everything is written but attention scores and probabilities.
    budgets : sequence of {"float64", "float32", "tf32", "bfloat16", "float16"}
        Precisions whose rounding to measure and note in the metadata, for `minivivit compare`. The model must be in
        float64 then.
    interpolate_pos_encoding : bool
        As in ``model.forward``.
    model_directory : path-like, optional
        Where the model was read from, for the metadata.
    perturbed : int, optional
        The seed by which the weights were perturbed since, see `minivivit.verification.tracing.telling_weights`. The
        model is then written beside the trace, in float32, and the metadata name it there.
    on_record : callable, optional
        Called with each name as it is made, and with ``"rounding_budgets"`` at the end: a progress bar listens here.

    Returns
    -------
    metadata : dict
        What the index says of the trace: ``format``, ``config``, ``dtype``, ``input_sha256`` and ``input_shape`` (of
        the ``pixel_values`` of the trace, little-endian, row-major), ``model`` (its absolute path, or None),
        ``weights_sha256`` (of the bytes of its weight files, in the order of their names, or None),
        ``hiding_weights`` (what of its weights is all 0 or all 1), ``versions``, ``gradients``, ``labels``,
        ``total_size`` in bytes, ``unwritten`` (names that came by and were not written), ``rounding_budgets``:
        precision -> name -> budget; and where weights were perturbed ``perturbed``: the ``seed``, and the ``model``
        that they are of.

    Raises
    ------
    InputError
        For what the model refuses; gradients without labels; a pattern that no name matches; budgets of a model that is
        not in float64; and when something that is no trace is in the place of `directory`. Nothing is written then.

    Examples
    --------
    >>> metadata = trace_model(model, pixel_values, "ours", only="*.layer.0.*")  # doctest: +SKIP
    """
    _check(model, labels, gradients, budgets)
    check_replaceable(Path(directory))
    pixels = model.checked_pixels(pixel_values)
    arguments: dict[str, Any] = {
        "labels": labels,
        "gradients": gradients,
        "interpolate_pos_encoding": interpolate_pos_encoding,
    }
    metadata = {"format": FORMAT, **_describe(model, pixels, labels, gradients, model_directory, perturbed)}
    with new_trace_directory(directory) as place, closing(TraceWriter(place, only, on_record)) as store:
        if perturbed is not None:
            write_model(model, place, model_directory)
            metadata |= {"model": os.path.realpath(directory), "weights_sha256": weights_sha256(place)}
        record_pass(model, pixels, store, **arguments)
        if store.unmatched():
            raise InputError(
                f"no name matches the pattern {store.unmatched()[0]!r}; names are {listed(store.names[1:], 3)}"
            )
        metadata |= {"total_size": store.total_size, "unwritten": store.unwritten(), "rounding_budgets": {}}
        store.write_index(metadata)
        if budgets:
            measured = rounding_budgets(model, pixels, open_source(place), budgets, **arguments)
            metadata["rounding_budgets"] = _in_json(measured)
            store.write_index(metadata)
            if on_record is not None:
                on_record("rounding_budgets")
    return metadata


def record_pass(
    model: Model,
    pixel_values: Array,
    store: MutableMapping[str, Array],
    *,
    labels: Array | None = None,
    gradients: bool = False,
    interpolate_pos_encoding: bool = False,
) -> None:
    """Run `model` and give every intermediate value to `store`, in the order of execution.

    Parameters
    ----------
    pixel_values : array, shape (batch, frames, channels, height, width)
        As ``model.checked_pixels`` returns them.
    store : mutable mapping of names to arrays
        See `minivivit.layers.trace.Trace`; a plain dict keeps references, to arrays that may change later.
    other : see `trace_model`
    """
    trace = Trace(store)
    trace.record(INPUT, pixel_values)
    if isinstance(model, VivitForVideoClassification) and gradients:
        _, by_name = model.loss_and_gradients(
            pixel_values,
            labels,
            interpolate_pos_encoding=interpolate_pos_encoding,
            gradient_checkpointing=True,
            trace=trace,
        )
        del by_name[INPUT]  # the trace has it by now
        for name in reversed(list(by_name)):
            trace.record(f"gradient.{name}", by_name.pop(name))
        return
    with_labels = {} if labels is None else {"labels": labels}
    model.forward(
        pixel_values,
        **with_labels,
        interpolate_pos_encoding=interpolate_pos_encoding,
        output_attentions=False,
        output_hidden_states=False,
        trace=trace,
    )


def _check(model: Model, labels: Array | None, gradients: bool, budgets: Sequence[str]) -> None:
    """Refuse, before anything is computed, what does not go together."""
    if not isinstance(model, VivitForVideoClassification | VivitModel):
        raise InputError(f"model is a {type(model).__name__}; expected a VivitForVideoClassification or a VivitModel")
    if isinstance(model, VivitModel) and (gradients or labels is not None):
        raise InputError(
            "a bare VivitModel has no head and so no loss: it needs no labels and has no gradients to trace; trace it "
            "without them, or trace a VivitForVideoClassification"
        )
    if gradients and labels is None:
        raise InputError("gradients start from the loss, which needs labels: pass the class of each clip")
    unknown = [precision for precision in budgets if precision not in PRECISIONS]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no precision; expected one of {', '.join(PRECISIONS)}")
    if budgets and model.dtype != numpy.float64:
        raise InputError(
            f"a rounding budget is measured from float64, and the model is in {model.dtype}: make it with "
            "dtype='float64', or ask for no budgets"
        )


def _describe(
    model: Model,
    pixels: Array,
    labels: Array | None,
    gradients: bool,
    model_directory: str | os.PathLike[str] | None,
    perturbed: int | None,
) -> dict[str, Any]:
    """What the metadata says before anything has been computed."""
    source = None if model_directory is None else str(Path(model_directory).resolve())
    own = numpy.ascontiguousarray(to_numpy(pixels), model.dtype.newbyteorder("<"))
    return {
        "config": model.config.to_dict(),
        "dtype": model.dtype.name,
        "input_sha256": hashlib.sha256(own.data).hexdigest(),
        "input_shape": list(own.shape),
        "model": source,
        "weights_sha256": None if model_directory is None else weights_sha256(model_directory),
        "hiding_weights": hiding_weights(model.state_dict()),
        **({} if perturbed is None else {"perturbed": {"seed": perturbed, "model": source}}),
        "versions": {
            "minivivit": version("minivivit"),
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "gradients": gradients,
        "labels": None if labels is None else to_numpy(as_array(labels, "labels")).tolist(),
    }


def weights_sha256(directory: str | os.PathLike[str]) -> str:
    """The SHA-256, in hexadecimal, of the bytes of a model's weight files, one after the other by name."""
    digest = hashlib.sha256()
    for path in sorted(weight_files(Path(directory))):
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _in_json(budgets: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """JSON has no infinity: the largest number takes its place, which bounds as little."""

    def finite(budget: dict[str, float]) -> dict[str, float]:
        return {key: min(value, sys.float_info.max) for key, value in budget.items()}

    return {precision: {name: finite(of[name]) for name in of} for precision, of in budgets.items()}
