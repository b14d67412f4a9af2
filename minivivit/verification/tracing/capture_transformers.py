"""Every intermediate value of a transformers ViViT, under the names of our traces."""

import re
import sys
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from typing import Any

import numpy

from minivivit.backend import Array
from minivivit.errors import InputError
from minivivit.files.parameter_names import published_name
from minivivit.layers.trace import Trace, wants

LAYER = r"(?:vivit\.)?encoder\.layer\.\d+"
# Modules whose output a trace has under the module's name.
OUTPUTS = re.compile(
    rf"(?:vivit\.)?(?:embeddings|embeddings\.patch_embeddings|layernorm)|pooler|pooler\.dense|classifier|{LAYER}"
    rf"|{LAYER}\.(?:layernorm_before|layernorm_after|intermediate\.dense|output\.dense|attention\.output\.dense)"
    rf"|{LAYER}\.attention\.attention\.(?:query|key|value)"
)
# Values that are no module's output, but the input of one: its name, and the value's in its place.
INPUTS = {
    rf"({LAYER})\.attention\.output\.dense": r"\1.attention.attention",
    rf"({LAYER})\.layernorm_after": r"\1.attention_residual",
    rf"({LAYER})\.output\.dense": r"\1.intermediate",
    r"pooler\.dense": r"pooler.pooling",
    r"classifier": r"pre_logits",
}
# What PyTorch concatenates within the embeddings, in its order.
CONCATENATED = ("with_cls_token", "interpolated_positions")
# Values whose gradients our own backward pass does not form whole, and so does not record.
WITHOUT_GRADIENT = re.compile(rf"{LAYER}\.intermediate|.*embeddings\.(?:{'|'.join(CONCATENATED)})|loss")


def capture_transformers(
    model: Any,
    pixel_values: Any,
    *,
    labels: Any = None,
    gradients: bool = False,
    interpolate_pos_encoding: bool = False,
    store: MutableMapping[str, Array] | None = None,
) -> MutableMapping[str, Array]:
    """Run a transformers ViViT and record its intermediate values as our own trace would.

    Outputs of modules are recorded by forward hooks. The few values that are no module's output are seen where they
    enter the next one (`INPUTS`), or where they leave a function of PyTorch: the attention's scores and probabilities
    enter and leave softmax, and the tokens leave a concatenation with the CLS token in front. So every value is the one
    that the model itself computed. The hooks are gone, and the parameters' own ``.grad`` back in place, when the
    function returns, by an error too.

    Parameters
    ----------
    model : transformers' VivitModel or VivitForVideoClassification
        Of any dtype, on any device. Not in training mode where there is dropout.
    pixel_values : array or torch tensor, shape (batch, frames, channels, height, width)
        Converted to the model's dtype.
    labels : array or torch tensor, optional
        For the loss.
    gradients : bool
        Run backward from the loss too, and record under the name with ``gradient.`` before it the gradient to each
        value that our own trace has a gradient of, to the pixels, and to each parameter that requires one.
    interpolate_pos_encoding : bool
        Passed to the model.
    store : mutable mapping of names to arrays, optional
        Where the values go as they are made, such as one that writes them to a file; a new dict when left out. One with
        a method ``wants(name) -> bool`` is asked before scores and probabilities are copied, which are large.

    Returns
    -------
    store : dict of str to numpy.ndarray, in the order of execution
        ``pixel_values``; the names of `minivivit.layers.trace.Trace`; ``loss`` where there are labels; gradients in the
        order of our backward pass, then those of the parameters, from the last layer to the first. Of the dtype of the
        model, but bfloat16 widened to float32, since NumPy has no bfloat16. Scores and probabilities are there only
        where the attention has them: with ``attn_implementation="eager"``, not with ``"sdpa"``.

    Raises
    ------
    InputError
        When `model` is not such a model or is in training mode with dropout, when it refuses the input, when it
        runs a module twice, and when gradients are asked of a model without a loss.

    Notes
    -----
    transformers' eager attention computes its softmax in float32 whatever the model's dtype is, so that in float64 it
    agrees with ours to 1e-7 only; ``"sdpa"`` stays in float64.

    Examples
    --------
    >>> from transformers import VivitForVideoClassification  # doctest: +SKIP
    >>> model = VivitForVideoClassification.from_pretrained(directory).eval()  # doctest: +SKIP
    >>> theirs = capture_transformers(model, pixel_values)  # doctest: +SKIP
    """
    torch: Any = sys.modules.get("torch")  # a model of PyTorch cannot exist before PyTorch was imported
    _check_model(model, torch)
    if gradients and labels is None:
        raise InputError("gradients need a loss to start from; pass labels, to a VivitForVideoClassification")
    if labels is not None and not hasattr(model, "classifier"):
        raise InputError(f"labels need a model with a classifier; {type(model).__name__} has none")
    pixels = _as_tensor(torch, pixel_values, model, "pixel_values")
    if pixels.ndim != 5:
        raise InputError(
            f"pixel_values has shape {tuple(pixels.shape)}; expected (batch, frames, channels, height, width)"
        )
    options: dict[str, Any] = {"interpolate_pos_encoding": interpolate_pos_encoding}
    if labels is not None:
        options["labels"] = _as_tensor(torch, labels, model, "labels")
    recorder = _Recorder({} if store is None else store, gradients)
    pixels = pixels.detach().requires_grad_(gradients)
    with ExitStack() as stack:
        _hook(model, recorder, stack)
        recorder.record("pixel_values", pixels)
        stack.enter_context(
            _listener(torch, {"softmax": recorder.record_softmax, "cat": recorder.record_concatenation})
        )
        stack.enter_context(torch.set_grad_enabled(gradients))
        outputs = _run(lambda: model(pixels, **options))
        if labels is not None:
            recorder.record("loss", outputs.loss)
    if gradients:
        _backward(model, outputs.loss, recorder)
    return recorder.store


class _Recorder:
    """Keeps what the hooks see: values in `store` at once, gradients in `gradients` for later."""

    def __init__(self, store: MutableMapping[str, Array], with_gradients: bool):
        self.store = store
        self.with_gradients = with_gradients
        self.gradients: dict[str, Array] = {}
        self.attention = ""  # the attention that the model is in, with a dot; empty outside of one
        self.concatenated: list[str] = []  # names for what the embeddings will concatenate, while the model is in them
        self.names: list[str] = []

    def record(self, name: str, tensor: Any) -> None:
        """A value of the forward pass; its gradient will be kept when backward reaches it."""
        if name in self.names:
            raise InputError(f"the model computes {name} twice in one pass; give each layer a module of its own")
        self.names.append(name)
        if self.with_gradients and not WITHOUT_GRADIENT.fullmatch(name):
            tensor.register_hook(lambda gradient: self.gradients.__setitem__(name, as_numpy(gradient)))
        self.store[name] = as_numpy(tensor)

    def record_output(self, name: str, output: Any) -> None:
        """What a module gave: a tensor, or a tuple that begins with it."""
        self.record(name, output[0] if isinstance(output, tuple) else output)
        if name.endswith(".attention.attention.query"):
            self.attention = name.removesuffix("query")
        elif name.endswith("embeddings.patch_embeddings"):
            self.concatenated = [name.removesuffix("patch_embeddings") + part for part in CONCATENATED]
        elif name.endswith("embeddings"):
            self.concatenated = []

    def record_input(self, name: str, value: Any) -> None:
        """What a module was given."""
        self.record(name, value)
        if name.endswith(".attention.attention"):
            self.attention = ""

    def record_softmax(self, scores: Any, probs: Any) -> None:
        """Scores and probabilities of the attention that the model is in, once for each."""
        if not self.attention:
            return
        for name, tensor in (("scores", scores), ("probs", probs.to(scores.dtype))):
            if wants(Trace(self.store, self.attention), name):
                self.store[self.attention + name] = as_numpy(tensor)

    def record_concatenation(self, parts: Any, whole: Any) -> None:
        """What the embeddings concatenated."""
        if self.concatenated:
            self.record(self.concatenated.pop(0), whole)


def as_numpy(tensor: Any) -> numpy.ndarray:
    """A copy of a torch tensor in NumPy; bfloat16 is widened to float32."""
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return numpy.array(tensor.numpy())


def _check_model(model: Any, torch: Any) -> None:
    if torch is None or not isinstance(model, torch.nn.Module):
        raise InputError(f"expected a VivitModel or VivitForVideoClassification of transformers, got {type(model)}")
    names = {published_name(name) for name, _ in model.named_modules()}
    if not any(OUTPUTS.fullmatch(name) and name.endswith("embeddings.patch_embeddings") for name in names):
        raise InputError(f"{type(model).__name__} is no ViViT of transformers: it has no embeddings.patch_embeddings")
    rates = {name: getattr(model.config, name) for name in ("hidden_dropout_prob", "attention_probs_dropout_prob")}
    if model.training and any(rates.values()):
        raise InputError("the model is in training mode and has dropout, so its values are random; call model.eval()")


def _as_tensor(torch: Any, values: Any, model: Any, name: str) -> Any:
    """`values` on the model's device; real numbers in its dtype, labels that are whole numbers as they are."""
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} makes no tensor: {_first_line(error)}") from error
    parameter = next(model.parameters())
    is_class = name == "labels" and not tensor.dtype.is_floating_point
    return tensor.to(parameter.device, None if is_class else parameter.dtype)


def _hook(model: Any, recorder: _Recorder, stack: ExitStack) -> None:
    """Register the hooks; `stack` will remove them."""
    for module_name, module in model.named_modules():
        name = published_name(module_name)
        for pattern, replacement in INPUTS.items():
            if re.fullmatch(pattern, name):
                hook = _input_hook(recorder, re.sub(pattern, replacement, name))
                stack.callback(module.register_forward_pre_hook(hook).remove)
        if OUTPUTS.fullmatch(name):
            stack.callback(module.register_forward_hook(_output_hook(recorder, name)).remove)


def _input_hook(recorder: _Recorder, name: str) -> Callable[..., None]:
    return lambda module, inputs: recorder.record_input(name, inputs[0])


def _output_hook(recorder: _Recorder, name: str) -> Callable[..., None]:
    return lambda module, inputs, output: recorder.record_output(name, output)


def _listener(torch: Any, listeners: dict[str, Callable[[Any, Any], None]]) -> Any:
    """A context within which functions of PyTorch tell, by their names, their first argument and their result."""

    class Listener(torch.overrides.TorchFunctionMode):
        """PyTorch calls it in place of each of its functions."""

        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            listen = listeners.get(getattr(function, "__name__", ""))
            if listen is not None and args:
                listen(args[0], result)
            return result

    return Listener()


def _run(call: Callable[[], Any]) -> Any:
    """`call()`, with PyTorch's and transformers' complaints about the input as one line."""
    try:
        return call()
    except InputError:
        raise
    except (ValueError, RuntimeError, IndexError) as error:
        raise InputError(f"the model refuses the input: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _backward(model: Any, loss: Any, recorder: _Recorder) -> None:
    """Differentiate, and store the gradients; the parameters' own ``.grad`` are put back."""
    before = {name: parameter.grad for name, parameter in model.named_parameters()}
    try:
        for parameter in model.parameters():
            parameter.grad = None
        _run(loss.backward)
        for name in _backward_order(recorder.names):
            if name in recorder.gradients:
                recorder.store[f"gradient.{name}"] = recorder.gradients[name]
        found = {published_name(name): parameter.grad for name, parameter in model.named_parameters()}
        for name in sorted(found, key=lambda name: _place_of_owner(name, recorder.names))[::-1]:
            if found[name] is not None:
                recorder.store[f"gradient.{name}"] = as_numpy(found[name])
    finally:
        for name, parameter in model.named_parameters():
            parameter.grad = before[name]


def _backward_order(names: list[str]) -> list[str]:
    """The order in which our backward pass comes to the values that were made in the order of `names`."""
    order = list(names)
    for place, name in enumerate(names):
        if name.endswith(".attention.attention.query"):  # query, key, value come in this order both ways
            order[place : place + 3] = reversed(names[place : place + 3])
    return order[::-1]


def _place_of_owner(name: str, names: list[str]) -> int:
    """How early the module that a parameter belongs to gave its output."""
    while name and name not in names:
        name = name.rpartition(".")[0]
    return names.index(name) if name else -1
