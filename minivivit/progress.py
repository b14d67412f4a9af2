"""Progress: a bar for work longer than a second, on standard error and only on a terminal; how far a pass has come."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

import numpy
from tqdm import tqdm

from minivivit.backend import Array
from minivivit.config import VivitConfig


class Bar(tqdm):
    """tqdm's bar, without the thread that tqdm starts beside its first bar and leaves running in the user's process."""

    monitor_interval = 0


def is_open(stream: TextIO | None) -> bool:
    """Whether there is a stream to write to: none under ``pythonw``. In a browser it may know of no end."""
    return stream is not None and not getattr(stream, "closed", False)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether someone reads along."""
    return stream is not None and is_open(stream) and hasattr(stream, "isatty") and stream.isatty()


def say(bar: tqdm, line: str) -> None:
    """Print a line on standard output, above the bar; nothing where there is no standard output."""
    if is_open(sys.stdout):
        bar.write(line, file=sys.stdout)
        sys.stdout.flush()


def progress_bar(total: int, description: str, unit: str = "step") -> tqdm:
    """A bar that appears after a second, if standard error is a terminal, and is wiped away at the end."""
    return Bar(
        total=total,
        desc=description,
        delay=1,
        leave=False,
        file=sys.stderr,
        disable=not is_terminal(sys.stderr),
        unit=unit,
    )


def counted(
    batches: Iterable[tuple[list[numpy.ndarray], numpy.ndarray]], bar: tqdm
) -> Iterator[tuple[list[numpy.ndarray], numpy.ndarray]]:
    """The batches, (clips, labels) each; `bar` moves by a batch's clips when the next one is asked for."""
    for clips, labels in batches:
        yield clips, labels
        bar.update(len(labels))


# The names under which a trace records what comes out of a layer; a bare model's lack the first word.
LAYER = re.compile(r"(vivit\.)?(spatial_|temporal_)?encoder\.layer\.\d+")


def num_layers(config: VivitConfig) -> int:
    """How many layers one pass goes through."""
    temporal = config.attention_type == "factorised_encoder" and not config.spatial_only_baseline
    return config.num_hidden_layers + (config.num_temporal_layers if temporal else 0)


def num_attentions(config: VivitConfig) -> int:
    """How many attentions one rollout goes through."""
    return num_layers(config) * (2 if config.attention_type == "factorised_self_attention" else 1)


def step_when_done(bar: tqdm) -> Callable[[str], Any]:
    """A listener that moves the bar by one step at each layer of the network and each attention rolled out."""

    def listen(name: str) -> None:
        if LAYER.fullmatch(name) or name.startswith("rollout."):
            bar.update()

    return listen


class NameListener(dict):
    """A store for `minivivit.layers.trace.Trace` that keeps nothing and tells a listener each name."""

    def __init__(self, on_record: Callable[[str], Any]):
        super().__init__()
        self.on_record = on_record

    def wants(self, name: str) -> bool:
        """Neither scores nor probabilities."""
        return False

    def __setitem__(self, name: str, array: Array) -> None:
        self.on_record(name)
