"""Ways to plant mistakes into the port. Each function returns a `plant(port)`, which changes it in place."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .recording import Port

Plant = Callable[[Port], Any]


def replace(module: str, method: str, function: Callable[..., Any]) -> Plant:
    """A method of all modules whose names match does `function(module, original, *arguments)`."""

    def plant(port: Port) -> None:
        found = [one for name, one in port.model.named_modules() if re.fullmatch(module, name)]
        if not found:
            raise ValueError(f"no module is called {module}")
        for one in found:
            setattr(one, method, partial(function, one, getattr(one, method)))

    return plant


def after(module: str, change: Callable[[Any], Any], method: str = "forward") -> Plant:
    """What such a method returns is changed."""
    return replace(module, method, lambda self, original, *given: change(original(*given)))


def before(module: str, change: Callable[[Any], Any], method: str = "forward") -> Plant:
    """What such a method is given is changed."""
    return replace(module, method, lambda self, original, *given: original(*map(change, given)))


def change_weights(name: str, change: Callable[[Any], Any]) -> Plant:
    """A fault of the conversion: the parameters whose names match come out wrong."""

    def plant(port: Port) -> None:
        found = [one for called, one in port.model.named_parameters() if re.fullmatch(name, called)]
        if not found:
            raise ValueError(f"no parameter is called {name}")
        for parameter in found:
            parameter.data = change(parameter.detach().clone()).contiguous()

    return plant


def load_as(pairs: dict[str, str]) -> Plant:
    """Modules get the parameters of others: name -> whose."""

    def plant(port: Port) -> None:
        states = {
            name: {key: value.clone() for key, value in port.model.get_submodule(whose).state_dict().items()}
            for name, whose in pairs.items()
        }
        for name, state in states.items():
            port.model.get_submodule(name).load_state_dict(state)

    return plant


def change_video(change: Callable[[Any], Any]) -> Plant:
    """A fault of what comes before the model; of (batch, channels, frames, height, width)."""

    def plant(port: Port) -> None:
        port.video = change(port.video).to(port.video.dtype).contiguous()

    return plant


def change_frames(preprocess: Callable[[Any, Port], Any]) -> Plant:
    """The same, from the decoded frames: (batch, frames, height + 4, width + 4, 3) in uint8 to pixel values."""
    from .models import frames

    def plant(port: Port) -> None:
        pixels = torch.from_numpy(preprocess(frames(port.setting).copy(), port))
        port.video = pixels.movedim(2, 1).contiguous().to(port.video.dtype)

    return plant


def change_loss(loss: Callable[..., Any]) -> Plant:
    """Another loss of logits and labels."""
    return lambda port: setattr(port, "loss", loss)


def edit(name: str, change: Callable[[Any], Any]) -> Plant:
    """What was recorded under matching names is changed, afterwards."""

    def edit_all(values: dict) -> None:
        found = [called for called in values if re.fullmatch(name, called)]
        for called in found:
            values[called] = change(values[called])

    return lambda port: port.edits.append(edit_all)


def edit_with(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Plant:
    """The same, from all that was recorded: `change` returns what is new."""
    return lambda port: port.edits.append(lambda values: values.update(change(values)))


def both(*plants: Plant) -> Plant:
    """One after the other."""

    def plant(port: Port) -> None:
        for one in plants:
            one(port)

    return plant


def only(axis: int, places: Any, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A change to some places of an axis alone."""

    def changed(x: Any) -> Any:
        index = torch.as_tensor(places).reshape(-1)
        return x.index_copy(axis, index % x.shape[axis], change(x).index_select(axis, index % x.shape[axis]))

    return changed
