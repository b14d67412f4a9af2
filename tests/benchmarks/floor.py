"""Where the time of a layer goes: each part of a full-size layer beside what its arithmetic needs, alone, in NumPy.

    python tests/benchmarks/floor.py
    python tests/benchmarks/floor.py --rounds 9 --threads 1

The floor of a part is the time of its matrix products, of `exp` or `tanh`, of the softmax's maximum, difference and
sum, and of a layer norm's two sums and two passes: in the blocks that minivivit works in, on as many threads, into
arrays that are there already. A part that takes 1.05 times its floor has 5 % left to be found, biases and copies
included. What is ours and its floor take turns; printed are medians in milliseconds, and the median of the rounds' own
ratios. The layer is that of ViViT-B/16x2 (3,137 tokens, 768 wide, 12 heads), one clip, float32; a pass has 12 of them.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy

from minivivit.backend import matmul, one_pass, parallel_blocks, row_blocks, set_num_threads
from minivivit.layers.mlp import BLOCK_ROWS as MLP_ROWS
from minivivit.layers.mlp import mlp_backward, mlp_forward
from minivivit.layers.transformer_layer import transformer_layer_backward, transformer_layer_forward
from minivivit.ops.blockwise_attention import (
    BLOCK_KEYS,
    BLOCK_ROWS,
    blockwise_attention_backward,
    blockwise_attention_forward,
)
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward
from minivivit.ops.linear import linear_backward, linear_forward

TOKENS, HIDDEN, WIDE, HEADS = 3137, 768, 3072, 12
SETTINGS: dict[str, Any] = {"num_heads": HEADS, "activation": "gelu_fast", "eps": 1e-6}
Step = Callable[[], object]


class Layer:
    """The arrays of one layer, and steps over them; `spare` are arrays that floors write into."""

    def __init__(self, rng: numpy.random.Generator):
        def normal(*shape: int, scale: float = 1.0) -> numpy.ndarray:
            return rng.standard_normal(shape, dtype=numpy.float32) * numpy.float32(scale)

        def dense(outputs: int, inputs: int) -> dict[str, numpy.ndarray]:
            return {"weight": normal(outputs, inputs, scale=0.02), "bias": normal(outputs, scale=0.02)}

        norm = {"weight": normal(HIDDEN), "bias": normal(HIDDEN)}
        self.params: dict[str, Any] = {
            "layernorm_before": norm,
            "layernorm_after": norm,
            "attention": {
                "attention": {name: dense(HIDDEN, HIDDEN) for name in ("query", "key", "value")},
                "output": {"dense": dense(HIDDEN, HIDDEN)},
            },
            "intermediate": {"dense": dense(WIDE, HIDDEN)},
            "output": {"dense": dense(HIDDEN, WIDE)},
        }
        self.x = normal(1, TOKENS, HIDDEN)
        self.rows = self.x[0]
        self.wide = normal(TOKENS, WIDE)
        projected = [normal(1, TOKENS, HEADS, HIDDEN // HEADS) for _ in range(3)]
        self.heads = [array.transpose(0, 2, 1, 3) for array in projected]  # as `split_heads` leaves them
        self.spare, self.spare_wide = numpy.empty_like(self.rows), numpy.empty_like(self.wide)

    # The floors.

    def product(self, a: numpy.ndarray, b: numpy.ndarray, out: numpy.ndarray) -> None:
        """a @ b, in as many parts as there may be threads for, along the longer side of what it makes."""
        if out.shape[0] >= out.shape[1]:
            parts = row_blocks(out.shape[0], -(-out.shape[0] // 2))
            tasks = [partial(matmul, a[part], b, out=out[part]) for part in parts]
        else:
            parts = row_blocks(out.shape[1], -(-out.shape[1] // 2))
            tasks = [partial(matmul, a, b[:, part], out=out[:, part]) for part in parts]
        parallel_blocks(tasks)

    def attention(self, with_products: bool, with_softmax: bool, backward: bool) -> None:
        """Of all heads, block by block: 2 products forward and 5 backward, and what is done to the scores."""

        def head(number: int) -> None:
            query, key, value = (numpy.ascontiguousarray(array[0, number]) for array in self.heads)
            transposed_key, transposed_value = (numpy.ascontiguousarray(array.T) for array in (key, value))
            scores = numpy.full((BLOCK_ROWS, BLOCK_KEYS), -1.0, dtype=numpy.float32)
            dscores, output = numpy.zeros_like(scores), numpy.empty_like(query)
            dkey, dvalue = numpy.empty_like(key), numpy.empty_like(key)
            for rows in _slices(TOKENS, BLOCK_ROWS):
                for keys in _slices(TOKENS, BLOCK_KEYS):
                    block = scores[: rows.stop - rows.start, : keys.stop - keys.start]
                    if with_products:
                        matmul(query[rows], transposed_key[:, keys], out=block)
                    if with_softmax:
                        block -= block[:, :1] if backward else block.max(axis=-1, keepdims=True)  # kept from forward
                        numpy.exp(block, out=block)
                    if backward:
                        dblock = dscores[: len(block), : block.shape[1]]
                        if with_products:
                            matmul(query[rows], transposed_value[:, keys], out=dblock)
                            matmul(block.T, query[rows], out=dvalue[keys])
                            matmul(dblock.T, query[rows], out=dkey[keys])
                            matmul(dblock, key[keys], out=output[rows])
                        if with_softmax:  # the rows' sums of P dP, and P (dP - sum)
                            numpy.einsum("ij,ij->i", block, dblock)
                            dblock -= 1
                            dblock *= block
                    elif with_softmax:
                        block.sum(axis=-1)
                    if with_products and not backward:
                        matmul(block, value[keys], out=output[rows])

        parallel_blocks([partial(head, number) for number in range(HEADS)])

    def mlp(self, backward: bool) -> None:
        """Two products and tanh forward; backward two more, tanh, and the gradients of both weights."""
        wide, narrow = self.params["intermediate"]["dense"]["weight"], self.params["output"]["dense"]["weight"]

        def compute(rows: slice) -> None:
            block = self.spare_wide[rows]
            matmul(self.rows[rows], narrow if backward else wide.T, out=block)
            numpy.tanh(block, out=block)
            matmul(block, wide if backward else narrow.T, out=self.spare[rows])

        parallel_blocks([partial(compute, rows) for rows in row_blocks(TOKENS, MLP_ROWS)])
        if backward:
            self.product(self.wide.T, self.rows, numpy.empty_like(wide))
            self.product(self.rows.T, self.wide, numpy.empty_like(narrow))

    def projections(self, count: int, backward: bool) -> None:
        """A product each; backward two, of which one makes the gradient of the weight."""
        weight = self.params["attention"]["output"]["dense"]["weight"]
        for _ in range(count):
            self.product(self.rows, weight, self.spare)
            if backward:
                self.product(self.rows.T, self.rows, numpy.empty_like(weight))

    def norms(self, backward: bool) -> None:
        """Twice: sums over each row, a difference and a product; backward a second time as much."""

        def compute(rows: slice) -> None:
            for _ in range(2 if backward else 1):
                block = self.spare[rows]
                mean = self.rows[rows].mean(axis=-1, keepdims=True)
                numpy.subtract(self.rows[rows], mean, out=block)
                block *= numpy.einsum("ij,ij->i", block, block)[:, None]

        for _ in range(2):
            parallel_blocks([partial(compute, rows) for rows in row_blocks(TOKENS, 400)])


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def forward_parts(layer: Layer) -> dict[str, tuple[Step, Step]]:
    """Part -> (ours, its floor) of a forward pass."""
    params, x = layer.params, layer.x
    projection, norm = params["attention"]["output"]["dense"], params["layernorm_before"]
    mlp = {name: params[name] for name in ("intermediate", "output")}
    return {
        "four projections": (
            lambda: [linear_forward(x, projection["weight"], projection["bias"]) for _ in range(4)],
            lambda: layer.projections(4, False),
        ),
        "attention": (
            lambda: blockwise_attention_forward(*layer.heads),
            lambda: layer.attention(True, True, False),
        ),
        "MLP": (lambda: mlp_forward(x, mlp, "gelu_fast", keep_cache=False), lambda: layer.mlp(False)),
        "two layer norms": (
            lambda: [layer_norm_forward(x, norm["weight"], norm["bias"], 1e-6) for _ in range(2)],
            lambda: layer.norms(False),
        ),
    }


def backward_parts(layer: Layer) -> dict[str, tuple[Step, Step]]:
    """Part -> (ours, its floor) of a backward pass."""
    params, x = layer.params, layer.x
    projection, norm = params["attention"]["output"]["dense"], params["layernorm_before"]
    linear_cache = linear_forward(x, projection["weight"], projection["bias"])[1]
    attention_cache = blockwise_attention_forward(*layer.heads)[1]
    mlp_cache = mlp_forward(x, {name: params[name] for name in ("intermediate", "output")}, "gelu_fast")[1] or {}
    norm_cache = layer_norm_forward(x, norm["weight"], norm["bias"], 1e-6)[1]
    return {
        "four projections": (
            lambda: [linear_backward(x, linear_cache) for _ in range(4)],
            lambda: layer.projections(4, True),
        ),
        "attention": (
            lambda: blockwise_attention_backward(layer.heads[0], attention_cache),
            lambda: layer.attention(True, True, True),
        ),
        "MLP": (lambda: mlp_backward(x, mlp_cache), lambda: layer.mlp(True)),
        "two layer norms": (
            lambda: [layer_norm_backward(x, norm_cache) for _ in range(2)],
            lambda: layer.norms(True),
        ),
    }


def whole(layer: Layer, backward: bool) -> Step:
    """The layer itself: forward alone, or both ways."""

    def step() -> None:
        _, _, cache = transformer_layer_forward(layer.x, layer.params, **SETTINGS, keep_cache=backward)
        if cache is not None:
            transformer_layer_backward(layer.x, cache)

    return step


def take_turns(steps: Sequence[Step], rounds: int) -> list[list[float]]:
    """Milliseconds of each step, round by round; a first round warms up."""
    found: list[list[float]] = [[] for _ in steps]
    for number in range(rounds + 1):
        for step, milliseconds in zip(steps, found, strict=True):
            start = time.perf_counter()
            with one_pass():
                step()
            if number:
                milliseconds.append(1000 * (time.perf_counter() - start))
    return found


def print_table(title: str, parts: dict[str, tuple[Step, Step]], layer_step: Step, rounds: int) -> None:
    """A row each part, and one for the whole layer beside the sum of the floors."""
    steps = [step for pair in parts.values() for step in pair]
    times = take_turns([*steps, layer_step], rounds)
    ours, floors, layer = times[:-1:2], times[1:-1:2], times[-1]
    print(f"{title:24}{'ours, ms':>10}{'floor, ms':>11}{'ratio':>7}")
    sums = [sum(numbers) for numbers in zip(*floors, strict=True)]
    for name, own, floor in [*zip(parts, ours, floors, strict=True), ("the whole layer", layer, sums)]:
        ratio = statistics.median(a / b for a, b in zip(own, floor, strict=True))
        print(f"{name:24}{statistics.median(own):10.1f}{statistics.median(floor):11.1f}{ratio:7.2f}")


def main() -> None:
    """Print a table forward, one backward, and what attention's floor is made of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    set_num_threads(args.threads)
    layer = Layer(numpy.random.default_rng(0))
    forward, backward = forward_parts(layer), backward_parts(layer)
    print_table("forward", forward, whole(layer, False), args.rounds)
    print()
    both = {f"{name}, {way}": pair for way, of in (("->", forward), ("<-", backward)) for name, pair in of.items()}
    print_table("forward and backward", both, whole(layer, True), args.rounds)
    print()
    for way, is_backward in (("forward", False), ("backward", True)):
        alone = take_turns(
            [
                lambda way=is_backward: layer.attention(True, False, way),
                lambda way=is_backward: layer.attention(False, True, way),
            ],
            args.rounds,
        )
        products, rest = map(statistics.median, alone)
        print(f"attention's floor, {way}: products {products:.1f} ms, exp and passes over the scores {rest:.1f} ms")


if __name__ == "__main__":
    main()
