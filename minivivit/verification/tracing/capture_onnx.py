"""Every intermediate value of an ONNX graph, as ONNX Runtime computes it."""

import os
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy

from minivivit.backend import as_array, num_threads, to_numpy
from minivivit.errors import InputError, MissingExtraError
from minivivit.files.tensor_data import check_data_file, choose_names, quoted

# A protobuf message, which an ONNX model is, has less than 2 GiB; ours then has its external data inside.
MAX_MODEL_BYTES = (1 << 31) - 1
MAX_CAPTURED_BYTES = 8 << 30
FLOATS = {"tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64"}


def capture_onnx(
    path: str | os.PathLike[str],
    pixel_values: Any,
    *,
    names: Iterable[str] | None = None,
    max_bytes: int = MAX_CAPTURED_BYTES,
) -> dict[str, numpy.ndarray]:
    """Run an ONNX graph on the CPU and record what its nodes compute, under the names that the graph has for it.

    On a copy of the model in memory every node's output becomes an output of the graph. ONNX Runtime then runs the
    nodes as they are written, without fusing any, so that the values are those that the exporter meant. (Fused, as in
    production, they differ by rounding; where a fused kernel itself is in doubt, compare the graph's own outputs.)

    Parameters
    ----------
    path : path-like
        An ``.onnx`` file with one input. Its external data, if it has any, must lie in its folder or below.
    pixel_values : array of the shape that the graph takes
        Converted to the dtype of the graph's input, float16, float32 or float64.
    names : iterable of str, optional
        Which values to record. Left out, all of a floating-point type, but for those of ``Constant`` nodes; of nested
        graphs (``If``, ``Loop``) only what the node with the graph gives.
    max_bytes : int
        The most that the values together, or any one value on the way, may take: 8 GiB left out.

    Returns
    -------
    values : dict of str to numpy.ndarray
        The input, under its name in the graph, then the values in topological order, each in the graph's own dtype.

    Raises
    ------
    MissingExtraError
        Without onnx and onnxruntime.
    InputError
        When the file is damaged, is no ONNX model, refers to files outside of its folder or to ones that are too short,
        or is larger than 2 GiB; when it has more than one input, or another shape of it; when ONNX Runtime cannot run
        it; for a name that the graph does not have or whose value is not of these types; and when the values would take
        more than `max_bytes` (as far as their shapes are known before, or else when they have been computed).

    Examples
    --------
    >>> theirs = capture_onnx("vivit.onnx", pixel_values)  # doctest: +SKIP
    """
    path = Path(path)
    model = _read_model(path)
    model_input = _only_input(path, model)
    available = [name for node in model.graph.node if node.op_type != "Constant" for name in node.output if name]
    wanted = choose_names(available, names, path)
    session = _session(path, model, available)
    found = {output.name: output for output in session.get_outputs()}
    refused = [name for name in wanted if found[name].type not in FLOATS]
    if names is not None and refused:
        raise InputError(f"{quoted(refused[0])} of {path} is a {found[refused[0]].type}; expected one of {[*FLOATS]}")
    if any(found[name].type == "tensor(bfloat16)" for name in refused):
        raise InputError(f"{path} computes in bfloat16, which NumPy does not have; export the model in float32")
    wanted = sorted(set(wanted) - set(refused), key=available.index)
    sizes = {name: _known_bytes(output) for name, output in found.items()}
    _check_size(path, max([sum(sizes[name] for name in wanted), *sizes.values()]), max_bytes)
    pixels = _pixels(path, pixel_values, session.get_inputs()[0])
    arrays = _tried(path, lambda: session.run(wanted, {model_input.name: pixels})) if wanted else []
    _check_size(path, sum(array.nbytes for array in arrays), max_bytes)
    return {model_input.name: pixels, **dict(zip(wanted, arrays, strict=True))}


def _packages() -> tuple[Any, Any]:
    """onnx and onnxruntime."""
    for package in ("onnx", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtraError(package, "parity", "running an ONNX model") from None
    import onnx
    import onnxruntime

    return onnx, onnxruntime


def _read_model(path: Path) -> Any:
    """The model with its external data inside, once it is known where that lies and how large it is."""
    onnx, _ = _packages()
    check_data_file(path)
    _check_model_size(path, path.stat().st_size)
    model = _tried(path, lambda: onnx.load(path, load_external_data=False), "is damaged or no ONNX model")
    external = [tensor for tensor in _tensors(model, onnx) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    places = [_external_place(path, tensor) for tensor in external]
    _check_model_size(path, path.stat().st_size + sum(length for _, _, length in places))
    for tensor, (file, offset, length) in zip(external, places, strict=True):
        with open(file, "rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    _tried(path, lambda: onnx.checker.check_model(model), "is no valid ONNX model")
    return model


def _tensors(message: Any, onnx: Any) -> Iterator[Any]:
    """Every tensor within a message of the model, wherever it is nested."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if hasattr(value, "__len__") else [value]:
                yield from _tensors(part, onnx)


def _external_place(path: Path, tensor: Any) -> tuple[Path, int, int]:
    """The file that a tensor's numbers lie in, from where and how many bytes; it is in the model's folder or below."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, folder = Path(entries.get("location", "")), path.parent.resolve()
    file = (folder / location).resolve()
    if location.is_absolute() or folder not in file.parents:
        raise InputError(f"{path} keeps numbers in {quoted(str(location))}, outside of its own folder: not read")
    if not file.is_file():
        raise InputError(f"{path} keeps numbers in {quoted(str(location))}, which is missing; copy it beside the model")
    size = file.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size - offset))
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > size:
        raise InputError(
            f"{file} has {size:,} bytes, too few for the tensor {quoted(tensor.name)} of {path}; copy both again"
        )
    return file, offset, length


def _only_input(path: Path, model: Any) -> Any:
    """The graph's one input that is not a parameter."""
    parameters = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in parameters]
    if len(inputs) != 1:
        names = ", ".join(quoted(value.name) for value in inputs) or "none"
        raise InputError(f"{path} has {len(inputs)} inputs ({names}); export it with the pixel values as its only one")
    return inputs[0]


def _session(path: Path, model: Any, names: list[str]) -> Any:
    """The model, ready to run, with `names` among its outputs."""
    onnx, onnxruntime = _packages()
    have = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in have)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what is wrong comes as an exception too
    options.intra_op_num_threads = num_threads()

    def start() -> Any:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    return _tried(path, start)


def _pixels(path: Path, pixel_values: Any, expected: Any) -> numpy.ndarray:
    """`pixel_values` in the dtype of the graph's input, when the graph takes their shape."""
    if expected.type not in FLOATS:
        raise InputError(f"the input {quoted(expected.name)} of {path} is a {expected.type}; expected a floating type")
    pixels = to_numpy(as_array(pixel_values, "pixel_values"))
    sizes = expected.shape or ()
    fits = len(sizes) == pixels.ndim and all(
        not isinstance(size, int) or size == own for size, own in zip(sizes, pixels.shape, strict=True)
    )
    if not fits or pixels.dtype.kind not in "fiu":
        raise InputError(
            f"pixel_values is {pixels.dtype} of shape {pixels.shape}; {path} takes numbers of shape {tuple(sizes)}"
        )
    return numpy.ascontiguousarray(pixels, FLOATS[expected.type])


def _check_model_size(path: Path, size: int) -> None:
    if size > MAX_MODEL_BYTES:
        raise InputError(
            f"{path} and its data are {size:,} bytes; a model of at most {MAX_MODEL_BYTES:,} can be captured"
        )


def _known_bytes(value: Any) -> int:
    """How many bytes a value of the graph takes at least: sizes that depend on the input count as 1."""
    sizes = [size for size in value.shape or () if isinstance(size, int)]
    return prod(sizes) * (numpy.dtype(FLOATS[value.type]).itemsize if value.type in FLOATS else 1)


def _check_size(path: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise InputError(
            f"the values of {path} take {size:,} bytes, more than max_bytes = {max_bytes:,}; choose some by names, or "
            "capture fewer clips at a time"
        )


def _tried(path: Path, call: Any, what: str = "cannot be run by ONNX Runtime") -> Any:
    """`call()`, with whatever onnx or ONNX Runtime raises as one line. (Their errors have no class in common.)"""
    try:
        return call()
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{path} {what}: {reason}") from error
