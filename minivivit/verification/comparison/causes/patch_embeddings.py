"""What goes wrong where tubelets become tokens."""

from collections.abc import Iterator
from itertools import permutations

import numpy

from minivivit.ops.linear import linear_forward
from minivivit.ops.tubelet_embedding import cut_tubelets, tubelet_embedding_forward
from minivivit.verification.comparison.causes.pixels import pixel_changes
from minivivit.verification.comparison.evidence.evidence import Evidence, Hypothesis
from minivivit.verification.comparison.mistakes.weights import quantised_weights, rounded_weights
from minivivit.verification.rounding.precisions import round_to_precision

# Tokens on which guesses about the kernel and the pixels are tested; all tokens share the kernel.
KERNEL_TOKENS = 256
KERNEL_AXES = ("channels", "time", "height", "width")


def patch_hypotheses(evidence: Evidence) -> Iterator[Hypothesis]:
    """What could be wrong with the tokens, given pixel values that agree or that they do not show."""
    tokens, pixels = evidence.sample(evidence.name), evidence.sample("pixel_values")
    if tokens is None:
        return
    prefix = f"{evidence.name}.projection"
    weight, bias = evidence.parameter(f"{prefix}.weight"), evidence.parameter(f"{prefix}.bias")
    if weight is not None and bias is not None and pixels is not None and pixels.ndim == 5:
        if not evidence.is_ours(tubelet_embedding_forward(pixels, weight, bias)[0]):
            return  # frame sampling, or other weights
        yield from _kernel_hypotheses(pixels, weight, bias)
        frames = _first_frames(pixels, weight)
        for cause, mistake, advice, changed in pixel_changes(pixels):
            yield Hypothesis(cause, mistake, advice, tubelet_embedding_forward(changed[:, :frames], weight, bias)[0])
    yield Hypothesis(
        "reshaped instead of transposed",
        "with (hidden, tokens) reshaped to (tokens, hidden)",
        "transpose the convolution's output: flatten(2).transpose(1, 2)",
        tokens.swapaxes(1, 2).reshape(tokens.shape),
    )
    yield from _token_orders(evidence, tokens)


def _kernel_hypotheses(pixels: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray) -> Iterator[Hypothesis]:
    """The kernel laid out, or used, in another way; bias left out."""
    tubelets = cut_tubelets(pixels, weight.shape[2:])
    tubelets = tubelets.reshape(1, -1, tubelets.shape[-1])[:, :KERNEL_TOKENS]  # (1, tokens, channels * t * h * w)

    def embed(kernel: numpy.ndarray, shift: numpy.ndarray | None = bias) -> numpy.ndarray:
        return linear_forward(tubelets, numpy.ascontiguousarray(kernel).reshape(len(kernel), -1), shift)[0]

    yield Hypothesis("bias left out", "without the convolution's bias", "load projection.bias", embed(weight, None))
    if weight.shape[2] > 1:
        yield Hypothesis(
            "kernel reversed in time",
            "with the kernel reversed in time",
            "frameworks call cross-correlation convolution; do not flip the kernel",
            embed(weight[:, :, ::-1]),
        )
        yield Hypothesis(
            "kernel averaged over time",
            "with the kernel's sum over frames turned into a mean",
            f"do not divide by the tubelet's {weight.shape[2]} frames",
            embed(weight / weight.shape[2]),
        )
    for axis, name in ((3, "height"), (4, "width")):
        if weight.shape[axis] > 1:
            yield Hypothesis(
                "kernel flipped",
                f"with the kernel flipped along its {name}",
                "do not flip the kernel when converting it",
                embed(numpy.flip(weight, axis)),
            )
    yield Hypothesis(
        "channel order", "with the kernel's channels reversed", "the kernel expects RGB", embed(weight[:, ::-1])
    )
    for channels in ((1, 0, 2), (0, 2, 1), (1, 2, 0), (2, 0, 1)) if weight.shape[1] == 3 else ():
        words = f"with the kernel's channels in the order {', '.join(map(str, channels))}"
        yield Hypothesis("channel order", words, "the kernel expects RGB", embed(weight[:, channels]))
    for cause, mistake, advice, kernel in _other_axes(weight):
        yield Hypothesis(cause, mistake, advice, embed(kernel))
    yield from _rounded_kernels(tubelets, weight, bias)


def _other_axes(weight: numpy.ndarray) -> Iterator[tuple[str, str, str, numpy.ndarray]]:
    """(cause, mistake, advice, kernel): the kernel's axes in every other order."""
    for axes in permutations(range(4)):
        if axes == (0, 1, 2, 3):
            continue
        order = ", ".join(KERNEL_AXES[axis] for axis in axes)
        rearranged = weight.transpose(0, *(1 + axis for axis in axes))
        if rearranged.shape == weight.shape:
            cause, advice = "kernel's axes", "transpose the kernel when converting it"
            if axes == (0, 1, 3, 2):
                cause, advice = "height and width swapped", "swap the kernel's last two axes when converting it"
            yield cause, f"with the kernel laid out as ({order})", advice, rearranged
        else:
            yield (
                "kernel's axes",
                f"with the kernel stored as ({order}) and reshaped to (channels, time, height, width)",
                "transpose the kernel, or flatten a tubelet's pixels in the kernel's order",
                rearranged,
            )


def _rounded_kernels(tubelets: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray) -> Iterator[Hypothesis]:
    """The kernel, or the factors of the convolution, in a lower precision."""

    def embed(kernel: numpy.ndarray, shift: numpy.ndarray = bias) -> numpy.ndarray:
        return linear_forward(tubelets, kernel.reshape(len(kernel), -1), shift)[0]

    for name, rounded in rounded_weights(weight):
        yield Hypothesis(
            "weights rounded",
            f"with the weights rounded to {name}",
            f"the checkpoint went through {name}; convert it from the original",
            embed(rounded, rounded_weights_of(bias, name)),
        )
        yield Hypothesis(
            "weights rounded",
            f"with the kernel, and not the bias, rounded to {name}",
            f"the kernel went through {name}; convert it from the original",
            embed(rounded),
        )
    for words, quantised in quantised_weights(weight):
        yield Hypothesis(
            "weights quantised",
            f"with the kernel quantised to int8, {words}",
            "compare with the weights before they are quantised",
            embed(quantised),
        )
    factors = [round_to_precision(factor, "tf32").astype("float64") for factor in (tubelets, weight)]
    yield Hypothesis(
        "TF32",
        "with pixels and kernel rounded to TF32",
        "the GPU convolves in TF32: torch.backends.cudnn.allow_tf32 = False, NVIDIA_TF32_OVERRIDE=0",
        linear_forward(factors[0], factors[1].reshape(len(weight), -1), bias)[0],
    )


def _first_frames(pixels: numpy.ndarray, weight: numpy.ndarray) -> int:
    """Frames enough for the tokens on which guesses are tested, and then one tubelet's more."""
    _, _, t, h, w = weight.shape
    tokens_a_time = (pixels.shape[-2] // h) * (pixels.shape[-1] // w)
    return t * (KERNEL_TOKENS // tokens_a_time + 1)


def rounded_weights_of(bias: numpy.ndarray, precision: str) -> numpy.ndarray:
    """The bias, rounded as the weights are."""
    return dict(rounded_weights(bias))[precision]


def _token_orders(evidence: Evidence, tokens: numpy.ndarray) -> Iterator[Hypothesis]:
    """The right tokens, in another order."""
    config = evidence.config
    if config is None or numpy.prod(config.grid_size) != tokens.shape[1]:
        return
    grid = tokens.reshape(1, *config.grid_size, -1)  # (1, times, rows, columns, hidden)
    names = ("time", "rows", "columns")
    for axes in permutations(range(3)):
        if axes == (0, 1, 2):
            continue
        order = ", ".join(names[axis] for axis in axes)
        yield Hypothesis(
            "height and width swapped" if axes == (0, 2, 1) else "token order",
            f"with the tokens in the order ({order}), the first slowest",
            "flatten the grid in the order (time, rows, columns)",
            grid.transpose(0, *(1 + axis for axis in axes), 4).reshape(tokens.shape),
        )
    for axis, name in enumerate(names, start=1):
        yield Hypothesis(
            "token order",
            f"with the grid of tokens reversed along {name}",
            "flatten the grid from its beginning",
            numpy.flip(grid, axis).reshape(tokens.shape),
        )
