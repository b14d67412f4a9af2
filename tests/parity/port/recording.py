"""Recording what the port computes, with its own hooks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from minivivit.verification.tensors.source import ArraySource

from .models import LABELS, Setting, pixel_values, port_model
from .network import Block, DividedBlock, Encoder

LAYERS = (Block, DividedBlock)
COARSE = ("proj", "cat", "tokens", "norm", "pooled", "head")


@dataclass
class Port:
    """The port, with what it is given; a fault changes any of it.

    Attributes
    ----------
    model : Module
    setting : Setting
    video : tensor, (batch, channels, frames, height, width)
    labels : tensor, (batch,)
    loss : callable
        Of logits and labels.
    edits : list of callable
        Each changes the recording in place, afterwards: a dict of names to tensors.
    """

    model: torch.nn.Module
    setting: Setting
    video: torch.Tensor
    labels: torch.Tensor
    loss: Callable[..., Any] = torch.nn.functional.cross_entropy
    edits: list[Callable[[dict[str, torch.Tensor]], Any]] = field(default_factory=list)


def make_port(setting: Setting, dtype: str = "float32") -> Port:
    """A port without a fault."""
    video = torch.from_numpy(pixel_values(setting)).movedim(2, 1).contiguous().to(getattr(torch, dtype))
    return Port(port_model(setting, dtype), setting, video, torch.tensor(LABELS))


def record(port: Port, coarse: bool = False, gradients: bool = True) -> dict[str, torch.Tensor]:
    """What leaves each module, under the module's name, in the order of execution; gradients follow as d_NAME.

    Coarse recordings have what stands between the layers, and the layers' outputs.
    """
    values: dict[str, torch.Tensor] = {}
    slopes: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def seen(module: Any, inputs: Any, output: Any) -> None:
            values[name] = output.detach().clone()
            if gradients and output.requires_grad:
                output.register_hook(lambda slope: slopes.__setitem__(f"d_{name}", slope.detach().clone()))

        return seen

    video = port.video.detach().requires_grad_(gradients)
    values["video"] = video.detach().clone()
    hooks = [
        module.register_forward_hook(hook(name))
        for name, module in port.model.named_modules()
        if _recorded(name, module, coarse)
    ]
    logits = port.model(video)
    loss = port.loss(logits, port.labels)
    values["loss"] = loss.detach()
    if gradients:
        port.model.zero_grad()
        loss.backward()
        slopes["d_video"] = video.grad
        for name, parameter in reversed(list(port.model.named_parameters())):
            slopes[f"d_{name}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for one in hooks:
        one.remove()
    values |= slopes
    for edit in port.edits:
        edit(values)
    return values


def _recorded(name: str, module: torch.nn.Module, coarse: bool) -> bool:
    if isinstance(module, LAYERS):
        return True
    if not name or isinstance(module, Encoder) or list(module.children()):
        return False
    return not coarse or ("blocks" not in name and name.rpartition(".")[2] in COARSE)


def as_source(values: dict[str, torch.Tensor]) -> ArraySource:
    """The recording as a file would give it: NumPy has no bfloat16, and the file's reader says what was stored."""
    arrays = {name: _numpy(value) for name, value in values.items()}
    source = ArraySource(arrays, path="theirs")
    for name, value in values.items():
        if value.dtype is torch.bfloat16:
            source.dtypes[name] = "bfloat16"
    return source


def _numpy(value: torch.Tensor) -> numpy.ndarray:
    return (value.float() if value.dtype is torch.bfloat16 else value).detach().cpu().numpy()
