"""A recording as one page of HTML: data, style and scripts in one file that asks for nothing from outside.

The page's own sources lie in the folder ``page`` beside this file: ``page.html``, ``style.css`` and modules of
JavaScript. Data and drawing are apart: `page_data` is all that the page knows, as JSON.
"""

import base64
import hashlib
import io
import json
import re
from importlib.resources import files
from typing import Any, NamedTuple

import numpy
from PIL import Image

from minivivit.config import uniform_frame_indices
from minivivit.explore.packing import pack
from minivivit.explore.recording import Recording, shown_classes, space_rows
from minivivit.explore.sight import four_models
from minivivit.explore.source_lines import source_lines

# In the order in which they stand in the page: a module imports from those before it.
MODULES = ("numbers", "network", "terms", "state", "drawing", "clip", "flow", "why", "models", "tour", "main")
LONGEST_LABEL = 120  # letters
LARGEST_SPRITE_SIDE = 128  # frames of up to so many pixels a side are kept without loss


def explore_page(recording: Recording, frames: numpy.ndarray, about: dict[str, Any]) -> str:
    """The page as one string of HTML.

    Parameters
    ----------
    recording : Recording
        What `minivivit.explore.recording.record_network` returns.
    frames : uint8 array, shape (frames, height, width, 3)
        As the model sees them.
    about : dict
        ``"clip"`` and ``"model"``, names to show, and ``"notes"``, sentences.

    Returns
    -------
    str
        UTF-8 text. Names of classes and files are in its data only, and become text in the page, never markup.
    """
    return assemble(page_data(recording, frames, about))


class More(NamedTuple):
    """What a page has beside the recording's: a module of JavaScript, style, markup, and what its policy allows."""

    module: str = ""
    style: str = ""
    markup: str = ""
    scripts: str = ""  # where scripts may come from
    policy: str = ""


def assemble(data: dict[str, Any], more: More | None = None) -> str:
    """Put `data` and the page's sources together, under a policy that lets nothing else in than `more` says."""
    more = More() if more is None else more
    place = files("minivivit.explore") / "page"
    script = "".join(as_script((place / f"{name}.js").read_text("utf-8")) for name in MODULES) + as_script(more.module)
    style = (place / "style.css").read_text("utf-8") + more.style
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'{more.scripts}; style-src '{_digest(style)}'; "
        f"img-src data:; {more.policy}base-uri 'none'; form-action 'none'"
    )
    # What ends a script in HTML cannot stand in it: "<" is spelled as JSON allows.
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    html = (place / "page.html").read_text("utf-8")
    parts = {"POLICY": policy, "STYLE": style, "MORE": more.markup, "DATA": text, "SCRIPT": script}
    for mark, part in parts.items():
        before, _, after = html.partition(f"<!--{mark}-->")
        html = before + part + after
    return html


def as_script(module: str) -> str:
    """A module without its imports and exports: all stand in one script, where they know each other by name."""
    module = re.sub(r"^import .*?;\n", "", module, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^export ", "", module, flags=re.MULTILINE)


def page_data(recording: Recording, frames: numpy.ndarray, about: dict[str, Any]) -> dict[str, Any]:
    """Everything that the page shows, fit for JSON; see `explore_page`."""
    config, kept = recording.config, recording.kept
    classes = shown_classes(recording)
    labels = [_label(config.id2label[index]) for index in range(config.num_labels)]
    return {
        "format": 1,
        "about": {name: _label(value) for name, value in about.items() if name != "notes"},
        "notes": [_label(note, 400) for note in about.get("notes", ())],
        "kept": {
            "whole": kept.whole,
            "tubelets": kept.tubelets,
            "heads": kept.heads,
            "sentence": kept_sentence(recording),
        },
        "model": _model_facts(recording, len(frames)),
        "labels": labels,
        "label": recording.label,
        "loss": recording.loss,
        "probabilities": [float(value) for value in recording.probabilities],
        "stages": recording.stages,
        "rows": {space: _rows(recording, space) for space in sorted({stage["space"] for stage in recording.stages})},
        "tensors": _pack_all(recording),
        "rollout": None if recording.rollout is None else pack(recording.rollout, "float32"),
        "occlusion": None if recording.occlusion is None else pack(recording.occlusion, "float32"),
        "shares": {
            "classes": classes,
            "parts": [
                {
                    "stage": share.stage,
                    "part": share.part,
                    "head": share.head,
                    "attention": share.attention,
                    "logits": [float(share.logits[index]) for index in classes],
                }
                for share in recording.shares
            ],
        },
        "models": four_models(config),
        "source": source_lines(config.attention_type),
        "frames": {"count": len(frames), "height": frames.shape[1], "width": frames.shape[2], "image": _sprite(frames)},
    }


def _model_facts(recording: Recording, num_frames: int) -> dict[str, Any]:
    """Sizes of the network."""
    config = recording.config
    return {
        "attention_type": config.attention_type,
        "grid": list(recording.grid),
        "tubelet": list(config.tubelet_size),
        "channels": config.num_channels,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "wide": config.intermediate_size,
        "cls": int(config.use_cls_token),
        "classifier": config.classifier,
        "tubelet_frames": _tubelet_frames(num_frames, recording),
    }


def kept_sentence(recording: Recording) -> str:
    """What of the network is in the page, for the reader."""
    kept, config = recording.kept, recording.config
    if kept.whole:
        return "Every value, gradient and weight of this network is in the page."
    tokens, heads = int(numpy.prod(recording.grid)), ", ".join(str(head) for head in kept.heads)
    cls = " and the CLS token" if config.use_cls_token else ""
    return (
        f"This network is too large for one page, so it holds a sample: of {tokens:,} tubelets the "
        f"{len(kept.tubelets)} that weigh most in the rollout{cls}, with all their features and gradients; the "
        f"attention of heads {heads} of {config.num_attention_heads}, from and to these tokens, in two bytes a number; "
        "the weights of a few outputs of each linear map, and of the most probable classes."
    )


def _rows(recording: Recording, space: str) -> list[int] | None:
    """Which rows of the arrays of a space there are; None for all."""
    if recording.kept.whole:
        return None
    return space_rows(recording.kept, space, recording.grid, int(recording.config.use_cls_token))


def _pack_all(recording: Recording) -> dict[str, Any]:
    """The tensors; one that is equal to another, as a gradient that passes a sum, only names it."""
    packed: dict[str, Any] = {}
    seen: dict[bytes, str] = {}
    for name, (array, rows) in recording.tensors.items():
        values = numpy.ascontiguousarray(array, numpy.float64)
        digest = hashlib.sha256(repr((values.shape, rows)).encode() + values.tobytes()).digest()
        if digest in seen:
            packed[name] = {"same": seen[digest]}
            continue
        seen[digest] = name
        kind = "float16" if name.endswith((".from", ".to")) else None
        packed[name] = pack(values, kind) | ({} if rows is None else {"rows": rows})
    return packed


def _tubelet_frames(count: int, recording: Recording) -> list[list[int]]:
    """Which frames go into the tubelets of each temporal index."""
    depth, times = recording.config.tubelet_size[0], recording.grid[0]
    if recording.config.temporal_encoding == "frame_sampling":
        chosen = list(uniform_frame_indices(count, recording.config.num_sampled_frames or count))
        return [[int(index)] for index in chosen[:times]]
    return [list(range(time * depth, (time + 1) * depth)) for time in range(times)]


def _label(text: object, longest: int = LONGEST_LABEL) -> str:
    """A name from a file as one line of bounded length."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text)[: 4 * longest])
    line = " ".join(line.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _sprite(frames: numpy.ndarray) -> str:
    """All frames beside each other as one image in a data URI."""
    count, height, width, _ = frames.shape
    strip = Image.fromarray(numpy.ascontiguousarray(frames.transpose(1, 0, 2, 3).reshape(height, count * width, 3)))
    buffer = io.BytesIO()
    kind = "PNG" if max(height, width) <= LARGEST_SPRITE_SIDE else "JPEG"
    strip.save(buffer, kind, **({"optimize": True} if kind == "PNG" else {"quality": 82}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _digest(text: str) -> str:
    """What a content security policy calls a script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
