"""The random masks of one training pass, drawn before the layers run."""

import math
from typing import Any

import numpy

from minivivit.backend import Array, array_namespace
from minivivit.config import VivitConfig
from minivivit.layers.residual_branch import draw_branch
from minivivit.ops.stochastic_depth import layer_drop_rate


class PartOfBatch(numpy.random.Generator):
    """A generator for some samples of a batch: what it gives them is what one for the whole batch would.

    So a batch can be computed in parts, by several processes, and is still the same batch: with the masks that it would
    have had as a whole. What the other samples would get is passed over, which costs next to nothing.

    Parameters
    ----------
    seed : int
        Of the batch's generator, ``numpy.random.default_rng(seed)``.
    samples : (start, stop)
        The part: at least one sample.
    batch : int
        How many samples the whole batch has.
    """

    def __init__(self, seed: int, samples: tuple[int, int], batch: int):
        super().__init__(numpy.random.PCG64(seed))
        self.samples, self.batch = samples, batch

    def random(self, size: Any = None, dtype: Any = numpy.float32, out: Any = None) -> Any:
        """Random numbers of the shape `size`, whose first axis is the part's: some for each sample."""
        start, stop = self.samples
        a_sample = math.prod(size) // (stop - start)
        self._pass_over(start * a_sample)
        numbers = super().random(size, dtype=numpy.float32)
        self._pass_over((self.batch - stop) * a_sample)
        return numbers

    def _pass_over(self, count: int) -> None:
        """Leave out numbers of float32, of which PCG64 makes two at a time and keeps the second."""
        if count and self.bit_generator.state["has_uint32"]:
            super().random(dtype=numpy.float32)
            count -= 1
        if count > 1:
            self.bit_generator.advance(count // 2)  # type: ignore[attr-defined]
        super().random(count % 2, dtype=numpy.float32)


def draw_layers(
    rng: numpy.random.Generator | None,
    config: VivitConfig,
    branches: tuple[str, ...],
    tokens: Array,
    num_layers: int,
    *,
    stochastic_depth: bool = True,
    copies: int = 1,
) -> list[dict] | None:
    """Draw the masks of every layer of a stack.

    Drawn beforehand, they make each layer an ordinary function with an ordinary gradient, and a layer that is computed
    again (`gradient_checkpointing`) gets the same masks.

    Parameters
    ----------
    rng : numpy.random.Generator or None
        None while not training: nothing is drawn.
    branches : names of the residual branches of a layer, as ``("attention", "mlp")``
        All but ``"mlp"`` are attentions and get a seed for dropout of their probabilities too.
    tokens : array, shape (batch, tokens, hidden)
        What goes into the first layer; the masks have its shape and lie on its device.
    stochastic_depth : bool
        False for Model 3, which has none.
    copies : int
        How many sequences of the batch belong to one sample (the frames, in Model 2's spatial encoder): a sample is
        dropped whole.
    """
    if rng is None:
        return None
    xp, shape = array_namespace(tokens), tokens.shape
    rate = config.attention_probs_dropout_prob
    part = (rng.samples,) if isinstance(rng, PartOfBatch) else ()
    layers = []
    for layer in range(num_layers):
        drop_rate = layer_drop_rate(layer, num_layers, config.stochastic_droplayer_rate) if stochastic_depth else 0.0
        draws: dict[str, Any] = {}
        for branch in branches:
            if branch != "mlp":
                draws[f"{branch}_probs"] = (int(rng.integers(2**62)), rate, *part) if rate else None
            draws[branch] = draw_branch(rng, shape, config.hidden_dropout_prob, drop_rate, copies, xp)
        layers.append(draws)
    return layers
