"""Traces: every intermediate value of the network by name, recorded as it is made."""

from collections.abc import MutableMapping

from minivivit.backend import Array


class Trace:
    """Where layers record their outputs.

    Parameters
    ----------
    store : mutable mapping of names to arrays
        A plain dict keeps everything. A mapping with a method ``wants(name) -> bool`` is asked before attention scores
        and probabilities are made, which are large; without that method they are recorded. One with a method
        ``take_gradients(name, tree)`` gets the gradients of a layer's parameters as soon as they are there, on the way
        back; they are the caller's too, and only to be read. One whose ``follows_layers`` is False wants nothing of all
        that happens within a stack of layers, which then may go through it in parts (`minivivit.layers.layer_stack`).
    prefix : str
        Comes before every name, as in ``"vivit.encoder.layer.0."``.
    """

    def __init__(self, store: MutableMapping[str, Array], prefix: str = ""):
        self.store = store
        self.prefix = prefix

    def record(self, name: str, array: Array) -> None:
        """Keep `array` under the prefix and `name`."""
        self.store[self.prefix + name] = array

    def wants(self, name: str) -> bool:
        """Whether the store asks for an array of this name."""
        wants = getattr(self.store, "wants", None)
        return wants is None or wants(self.prefix + name)

    def scope(self, name: str) -> "Trace":
        """A trace into the same store, with `name` and a dot added to the prefix."""
        return Trace(self.store, f"{self.prefix}{name}.")


def record(trace: Trace | None, name: str, array: Array) -> None:
    """Record when there is a trace."""
    if trace is not None:
        trace.record(name, array)


def hand_over(trace: Trace | None, name: str, gradients: dict) -> None:
    """Give the gradients of a layer's parameters to a trace whose store takes them."""
    take = None if trace is None else getattr(trace.store, "take_gradients", None)
    if trace is not None and take is not None:
        take(trace.prefix + name, gradients)


def follows_layers(trace: Trace | None) -> bool:
    """Whether there is a trace that wants to know what happens within a stack of layers."""
    return trace is not None and getattr(trace.store, "follows_layers", True)


def scope(trace: Trace | None, name: str) -> Trace | None:
    """Scope of a trace when there is one."""
    return None if trace is None else trace.scope(name)


def wants(trace: Trace | None, name: str) -> bool:
    """Whether there is a trace that asks for `name`."""
    return trace is not None and trace.wants(name)
