"""Mistakes of the pixels, the tubelets, and the embeddings."""

from typing import Any

import numpy
import torch

from minivivit.verification.rounding.precisions import round_to_precision

from .fault import Fault
from .models import crop, normalised
from .planting import Plant, after, change_frames, change_video, change_weights, only, replace

PATCHES, CAT, TOKENS = "vivit.embeddings.patch_embeddings", "vivit.embeddings.with_cls_token", "vivit.embeddings"
LUMA = numpy.array([0.299, 0.587, 0.114])


def clip_0(change: Any) -> Plant:
    """Of (batch, channels, frames, height, width), the first clip alone."""
    return change_video(only(0, 0, change))


def preprocess(change: Any) -> Plant:
    """The decoded frames changed, then cropped and normalised."""
    return change_frames(lambda clips, port: normalised(crop(change(clips))))


def noisy(x: Any) -> Any:
    """With noise, the same in every run."""
    noise = torch.from_numpy(numpy.random.default_rng(1).standard_normal(tuple(x.shape)))
    return x + 0.2 * noise.to(x.dtype)


def convolution(**changes: Any) -> Any:
    """The tubelet embedding's convolution with other arguments; `video` changes what it is given."""

    def forward(self: Any, original: Any, video: Any) -> Any:
        arguments = {"stride": self.stride} | {name: value for name, value in changes.items() if name != "video"}
        video = changes.get("video", lambda x: x)(video)
        return torch.nn.functional.conv3d(video, self.weight, self.bias, **arguments)[:, :, :4]

    return forward


def to_tf32(x: Any) -> Any:
    """Ten bits of fraction."""
    rounded = torch.from_numpy(round_to_precision(x.detach().float().numpy(), "tf32")).to(x.dtype)
    return x + (rounded - x).detach()


def tf32_convolution(self: Any, original: Any, video: Any) -> Any:
    """As torch.backends.cudnn.allow_tf32, which is on unless it is switched off."""
    return torch.nn.functional.conv3d(to_tf32(video), to_tf32(self.weight), self.bias, self.stride)


def quantised(weight: Any) -> Any:
    """Through int8, with one scale for each output."""
    scale = weight.abs().flatten(1).amax(1).view(-1, *[1] * (weight.ndim - 1)) / 127
    return (weight / scale).round() * scale


def half_rounded(weight: Any) -> Any:
    """Through float16."""
    return weight.half().to(weight.dtype)


def plain_norm(x: Any) -> Any:
    """A layer norm without weight and bias."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6)


def wide_crop(clips: numpy.ndarray, port: Any) -> numpy.ndarray:
    """The margin left in, and the frames resized: every pixel the nearest one's."""
    rows = numpy.linspace(0, clips.shape[2] - 1, clips.shape[2] - 4).round().astype(int)
    return normalised(numpy.moveaxis(clips[:, :, rows][:, :, :, rows], -1, 2))


CLIP_0, EVEN = ("clip 0", "sample 0"), ("even frames", "frames 0, 2, 4, 6")

INPUT_FAULTS = [
    Fault("clip 0 in BGR", clip_0(lambda x: x.flip(1)), "pixel_values", "channel order", where=CLIP_0),
    Fault("clip 0 never filled", clip_0(torch.zeros_like), "pixel_values", "never written", where=CLIP_0),
    Fault("clip 1 reversed in time", change_video(only(0, 1, lambda x: x.flip(2))), "pixel_values", "frame order",
          where=("clip 1", "sample 1")),
    Fault("clips exchanged", change_video(lambda x: x.flip(0)), "pixel_values", "batch order"),
    Fault("clip 0 twice", change_video(lambda x: x[[0, 0]]), "pixel_values", "batch order",
          ("a clip twice",), where=("clip 1", "sample 1")),
    Fault("RBG for RGB", change_video(lambda x: x[:, [0, 2, 1]]), "pixel_values", "channel order"),
    Fault("GBR for RGB", change_video(lambda x: x[:, [1, 2, 0]]), "pixel_values", "channel order"),
    Fault("grey by luma", preprocess(lambda f: numpy.broadcast_to((f @ LUMA)[..., None], f.shape)), "pixel_values",
          "grey frames"),
    Fault("grey by the mean", change_video(lambda x: x.mean(1, keepdim=True).expand_as(x)), "pixel_values",
          "grey frames"),
    Fault("video range 16 to 235", preprocess(lambda f: 16 + f * (219 / 255)), "pixel_values", "limited range",
          ("pixel range",), vague=("pixel scaling",)),
    Fault("16 to 235 stretched", preprocess(lambda f: ((f - 16.0) * (255 / 219)).clip(0, 255)), "pixel_values",
          "limited range", ("pixel range",)),
    Fault("the crop a column off", change_frames(lambda f, port: normalised(crop(f, 2, 3))), "pixel_values",
          "crop off by one"),
    Fault("the crop a row off", change_frames(lambda f, port: normalised(crop(f, 1, 2))), "pixel_values",
          "crop off by one"),
    Fault("resized in place of cropped", change_frames(wide_crop), "pixel_values", None),
    Fault("bytes taken as signed", preprocess(lambda f: f.view("int8").astype("float64")), "pixel_values",
          "wrapped uint8"),
    Fault("bytes that wrap around", preprocess(lambda f: f + numpy.uint8(40)), "pixel_values", "wrapped uint8"),
    Fault("pixels clipped to [-1, 1]", change_video(lambda x: x.clamp(-1, 1)), "pixel_values", "pixels clipped"),
    Fault("gamma", preprocess(lambda f: 255 * (f / 255) ** 2.2), "pixel_values", None),
    Fault("the even frames noisy", change_video(only(2, [0, 2, 4, 6], noisy)), "pixel_values", None, where=EVEN),
    Fault("the even frames upside down", change_video(only(2, [0, 2, 4, 6], lambda x: x.flip(3))), "pixel_values",
          "flipped", where=EVEN),
    Fault("the last column of pixels black", change_video(only(4, 31, lambda x: 0 * x - 3)), "pixel_values", None,
          where=("column 31", "the last column")),
    Fault("TF32 in the convolution", replace(r"embed\.proj", "forward", tf32_convolution), PATCHES, "TF32"),
    Fault("dilated tubelets", replace(r"embed\.proj", "forward",
          convolution(padding=(1, 0, 0), dilation=(2, 1, 1))), PATCHES, "dilated tubelets"),
    Fault("causal tubelets", replace(r"embed\.proj", "forward",
          convolution(video=lambda x: torch.nn.functional.pad(x, (0, 0, 0, 0, 1, 0)))), PATCHES, "causal tubelets"),
    Fault("tubelets of stride 1", replace(r"embed\.proj", "forward", convolution(stride=(1, 8, 8))), PATCHES,
          "tubelet stride"),
    Fault("the last row of the grid lost", after(r"embed\.proj", only(3, 3, torch.zeros_like)), PATCHES, None,
          ("never written",), where=("last row of the grid", "row 3")),
    Fault("the first time of the grid doubled", after(r"embed\.proj", only(2, 0, lambda x: 2 * x)), PATCHES, None,
          where=("time 0", "the first time")),
    Fault("features 12 to 23 never loaded", change_weights(r"embed\.proj\.(weight|bias)",
          only(0, range(12, 24), torch.zeros_like)), PATCHES, None, ("never written",),
          where=("features 12 to 23", "columns 12 to 23")),
    Fault("kernel upside down", change_weights(r"embed\.proj\.weight", lambda w: w.flip(3)), PATCHES,
          "kernel flipped", ("kernel reversed in height",)),
    Fault("kernel through float16", change_weights(r"embed\.proj\.weight", half_rounded), PATCHES, "weights rounded"),
    Fault("kernel through int8", change_weights(r"embed\.proj\.weight", quantised), PATCHES, "weights quantised"),
    Fault("kernel's channels permuted", change_weights(r"embed\.proj\.weight", lambda w: w[:, [1, 0, 2]]), PATCHES,
          "channel order"),
    Fault("grid with columns first", after(r"embed\.proj", lambda y: y.transpose(3, 4)), PATCHES,
          "height and width swapped", ("token order",)),
    Fault("tokens times sqrt(hidden)", after("body", lambda x: x * 48**0.5, "with_cls"), CAT, "embeddings scaled",
          ("a constant factor",)),
    Fault("positions in reverse", change_weights(r"body\.pos", lambda p: p.flip(1)), TOKENS, "position order",
          ("positions reversed",)),
    Fault("CLS token without its position", change_weights(r"body\.pos", only(1, 0, torch.zeros_like)), TOKENS,
          "position embeddings left out", where=("token 0", "CLS token")),
    Fault("positions halved", change_weights(r"body\.pos", lambda p: p / 2), TOKENS, None,
          ("position embeddings scaled",)),
    Fault("positions of another clip length", change_weights(r"body\.pos", lambda p: torch.cat(
          [p[:, :33], p[:, 1:33]], 1)), TOKENS, None, ("position order",),
          where=("tokens 33 to 64", "times 2 to 3", "times 2 and 3")),
    Fault("token 64 lost", after("body", only(1, 64, torch.zeros_like), "with_cls"), CAT, None,
          ("never written",), where=("token 64", "the last token")),
    Fault("CLS token of clip 0 alone", after("body", only(0, 1, lambda x: torch.cat([0 * x[:, :1], x[:, 1:]], 1)),
          "with_cls"), CAT, "CLS token left at zero", ("never written",), where=("clip 1", "sample 1", "token 0")),
    Fault("a norm before the layers", after("body", plain_norm, "add_positions"), TOKENS, "extra layer norm"),
]  # fmt: skip
