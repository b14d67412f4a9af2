"""What the live page asks of Python in the browser: a clip and a network as the reader wants them, laid open.

The page sends what it wants as JSON, `Live.answer` says what the page then shows, as JSON too. Nothing here knows of a
browser; the tests call it as the page does.
"""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy

from minivivit.bundled import bundled_clip, bundled_model_directory
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.explore.network_steps import attentions, stages
from minivivit.explore.occlusion import cover_tubelets, occlusion
from minivivit.explore.packing import pack
from minivivit.explore.page import page_data
from minivivit.explore.recording import can_occlude, record_network
from minivivit.files.tensor_data import quoted
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.encoders.embeddings import needs_interpolation, token_grid
from minivivit.models.top_classes import check_classifies
from minivivit.training.data.motion.batches import motion_clip_size
from minivivit.training.data.motion.clips import MOTION_CLASSES, TURN, draw_motion_parameters, render_motion
from minivivit.training.data.motion.shapes import GLYPHS, fitted_to_unit_disc
from minivivit.training.optimisers.clipping import global_norm
from minivivit.training.optimisers.sgd import SGD
from minivivit.video.default_processor import load_processor
from minivivit.video.reading import count_frames, read_central_frames

STRIDE = 2  # of the frames of a clip, where it has enough; the paper's, as in `minivivit explore`
STROKE_RADIUS = 0.16  # of a drawn line, where the pad is 2 wide
SHORTEST_PART = 0.05
MOST_PARTS = 96  # of a drawn glyph
LARGEST_RATE = 1.0
LONGEST_ERROR = 600  # letters


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the reader has chosen; the page has the same names.

    Attributes
    ----------
    source : {"motion", "file"}
        Clips of the built-in data, or the clip that was dropped (before one was, the sample).
    motion, glyph : int
        Of `MOTION_CLASSES` and `GLYPHS`.
    strokes : list of lists of (x, y)
        A drawn glyph in its place, from 0 to 1 across and down; empty where there is none.
    speed : float
        How much of its path the glyph covers in the clip, 0 to 1.
    seed : int
        Of everything else about the clip.
    order : {"forward", "reversed", "shuffled"}
    shuffle : int
        Seed of the order.
    covered : list of int
        Numbers of tubelets.
    heads : list of (attention, head)
        That are off; attentions in the order of execution.
    mlps : list of int
        Those that are off, in the order of execution.
    positions : bool
        Whether there are position embeddings.
    label : int or None
        The class of which the loss is taken; None for the most probable.
    """

    source: str = "motion"
    motion: int = 4
    glyph: int = 0
    strokes: list[list[list[float]]] = dataclasses.field(default_factory=list)
    speed: float = 0.85
    seed: int = 1
    order: str = "forward"
    shuffle: int = 1
    covered: list[int] = dataclasses.field(default_factory=list)
    heads: list[list[int]] = dataclasses.field(default_factory=list)
    mlps: list[int] = dataclasses.field(default_factory=list)
    positions: bool = True
    label: int | None = None


class Live:
    """One network and one clip, and what the reader does to them.

    Attributes
    ----------
    model : VivitForVideoClassification
        With the weights that steps of training have made; what is switched off is so for the time of an answer only.
    """

    def __init__(self) -> None:
        self.clip, self.clip_name = bundled_clip(), bundled_clip().name
        self.take_model(bundled_model_directory(), "the bundled model")

    def take_model(self, directory: Path, name: str) -> None:
        """Read a model in place of the one that is here, which stays when that fails.

        Raises
        ------
        InputError
            For a directory that holds no classifier of this package's kinds.
        """
        config = VivitConfig.from_pretrained(directory)
        check_classifies(directory, config)
        processor, notes = load_processor(directory, config)
        model = VivitForVideoClassification.from_pretrained(directory, dtype="float32", backend="numpy")
        self.model, self.processor, self.notes, self.name = model, processor, notes, name
        self.steps, self.before_training = 0, {}  # type: tuple[int, dict[str, numpy.ndarray]]

    def take_clip(self, path: Path) -> None:
        """Choose a file as the clip; the one before stays when it is none.

        Raises
        ------
        InputError
            For a file that is no clip.
        """
        count_frames(path)
        self.clip, self.clip_name = path, path.name

    def answer(self, request: str) -> str:
        """Do what a request says, and describe what there is then.

        Parameters
        ----------
        request : str
            JSON: ``{"do", "wanted"}``, with ``do`` one of ``"show"``; ``"step"`` (with ``"rate"``), a step of training;
            ``"reset"``, the weights before all steps; ``"occlude"`` (with ``"label"``), what covering each tubelet
            does, alone, for it takes as long as all else; ``"model"`` (with ``"folder"``) and ``"clip"`` (with
            ``"file"``), places of what was dropped, null for what the package brings.

        Returns
        -------
        str
            JSON: ``{"error"}``, one line; ``{"occlusion"}``; or ``{"data"}``, what
            `minivivit.explore.page.page_data` returns (with the occlusion where the request has ``"whole"``),
            ``"truth"``, the class that the clip was made for where there is one, ``"steps"``, and after a step
            ``"step"``.
        """
        asked, before = json.loads(request), dict(vars(self))
        try:
            wanted = Wanted(**asked["wanted"])
            if asked["do"] == "occlude":
                return json.dumps({"occlusion": self.occlusion(wanted, asked["label"])})
            return json.dumps(self._do(asked, wanted) | self.shown(wanted, bool(asked.get("whole"))))
        except InputError as error:
            text = " ".join(str(error).split())
        except MemoryError:
            text = "there is too little memory for this; choose something smaller"
        vars(self).update(before)  # a model that cannot be shown does not stay either
        return json.dumps({"error": text if len(text) <= LONGEST_ERROR else f"{text[: LONGEST_ERROR - 1]}…"})

    def _do(self, asked: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
        """What a request asks for beside showing."""
        if asked["do"] == "step":
            return {"step": self.train(wanted, float(asked["rate"]))}
        if asked["do"] == "reset":
            for name, array in self.before_training.items():
                self.model.state_dict()[name][...] = array
            self.steps = 0
        elif asked["do"] == "model":
            folder = asked["folder"]
            given = (bundled_model_directory(), "the bundled model") if folder is None else (Path(folder), "your model")
            self.take_model(*given)
        elif asked["do"] == "clip":
            self.take_clip(bundled_clip() if asked["file"] is None else Path(asked["file"]))
        return {}

    def shown(self, wanted: Wanted, whole: bool = False) -> dict[str, Any]:
        """Run the wanted clip through the wanted network, forward and backward, and describe all of it."""
        pixels, seen = self.pixels(wanted)
        with self.switched(wanted), numpy.errstate(all="ignore"):
            recording = record_network(
                self.model,
                pixels,
                label=wanted.label,
                interpolate_pos_encoding=needs_interpolation(pixels.shape, self.model.config),
                occlude=whole,
            )
        name = self.clip_name if wanted.source == "file" else "a clip made for you"
        about = {"clip": name, "model": self.name, "notes": self.notes}
        return {"data": page_data(recording, seen, about), "truth": self.truth(wanted), "steps": self.steps}

    def occlusion(self, wanted: Wanted, label: int) -> dict[str, Any] | None:
        """What covering each tubelet does to a class's logit, packed; None where there are too many."""
        pixels, _ = self.pixels(wanted)
        interpolate = needs_interpolation(pixels.shape, self.model.config)
        if not can_occlude(token_grid(pixels.shape, self.model.config, interpolate), self.model.config):
            return None
        with self.switched(wanted), numpy.errstate(all="ignore"):
            return pack(occlusion(self.model, pixels, label, interpolate_pos_encoding=interpolate), "float32")

    def truth(self, wanted: Wanted) -> int | None:
        """The class that the clip was made for: none of a file, of frames in random order, and of a glyph at rest."""
        known = tuple(self.model.config.id2label.values()) == MOTION_CLASSES
        if wanted.source != "motion" or not known or wanted.order == "shuffled" or wanted.speed == 0:
            return None
        return wanted.motion ^ (wanted.order == "reversed")

    # ------------------------------------------------------------------------------------------------ the clip

    def pixels(self, wanted: Wanted) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The wanted clip as the model takes it, (1, frames, channels, height, width), and to be seen, in bytes."""
        config, covered = self.model.config, wanted.covered
        if wanted.source == "motion":
            frames = motion_frames(config, wanted)
        else:
            frames = read_central_frames(self.clip, config.num_frames, STRIDE)
        frames = frames[frame_order(len(frames), wanted)]
        pixels = numpy.asarray(self.processor.pixel_values(frames), numpy.float32)
        seen = self.processor.pixel_values(frames, data_format="channels_last", **self.processor.without_arithmetic)[0]
        if covered:
            grid = token_grid(pixels.shape, config, needs_interpolation(pixels.shape, self.model.config))
            if config.temporal_encoding != "tubelet" or not all(0 <= number < numpy.prod(grid) for number in covered):
                raise InputError(f"not all of these tubelets can be covered: {quoted(covered)}")
            size = tuple(config.tubelet_size)
            pixels = cover_tubelets(pixels, size, [covered])
            channels_first = seen.transpose(0, 3, 1, 2)[None].astype(numpy.float32)
            seen = cover_tubelets(channels_first, size, [covered])[0].transpose(0, 2, 3, 1).round().astype(numpy.uint8)
        return pixels, seen

    # ------------------------------------------------------------------------------------------------ the network

    @contextmanager
    def switched(self, wanted: Wanted) -> Iterator[dict[str, numpy.ndarray]]:
        """Multiply the weights of what is off by 0, and put them back afterwards; yields the masks."""
        masks = weight_masks(self.model.config, self.model.state_dict(), wanted)
        parameters = self.model.state_dict()
        kept = {name: parameters[name].copy() for name in masks}
        try:
            for name, mask in masks.items():
                parameters[name] *= mask
            yield masks
        finally:
            for name, array in kept.items():
                parameters[name][...] = array

    def train(self, wanted: Wanted, rate: float) -> dict[str, float]:
        """Take one step of gradient descent on the wanted clip; what is switched off does not learn.

        Returns
        -------
        dict
            ``"before"`` and ``"after"``, the losses of this clip; ``"moved"``, how far the weights went, as a share of
            their length: both are Euclidean norms over all of them.
        """
        if not 0 < rate <= LARGEST_RATE:
            raise InputError(f"the learning rate is {rate}; expected a number above 0, at most {LARGEST_RATE}")
        pixels, _ = self.pixels(wanted)
        parameters, interpolate = self.model.state_dict(), needs_interpolation(pixels.shape, self.model.config)
        if not self.before_training:
            self.before_training = {name: array.copy() for name, array in parameters.items()}
        with self.switched(wanted) as masks, numpy.errstate(all="ignore"):
            label = wanted.label
            if label is None:
                logits = self.model.forward(pixels, interpolate_pos_encoding=interpolate).logits
                label = int(numpy.argmax(logits[0]))
            labels = numpy.array([label])
            before, gradients = self.model.loss_and_gradients(pixels, labels, interpolate_pos_encoding=interpolate)
        del gradients["pixel_values"]
        for name, mask in masks.items():
            gradients[name] *= mask
        length = global_norm(parameters)
        SGD(parameters, momentum=0).step(gradients, rate)
        self.steps += 1
        with self.switched(wanted), numpy.errstate(all="ignore"):
            after = self.model.forward(pixels, labels, interpolate_pos_encoding=interpolate).loss
        return {"before": float(before), "after": float(after), "moved": rate * global_norm(gradients) / length}


def options() -> str:
    """What can be chosen, as JSON: the names of the built-in motions and glyphs; and what is wanted at first."""
    return json.dumps({"motions": MOTION_CLASSES, "glyphs": GLYPHS, "wanted": dataclasses.asdict(Wanted())})


def motion_frames(config: VivitConfig, wanted: Wanted) -> numpy.ndarray:
    """A clip of the built-in data in the size that a model takes, uint8 (frames, side, side, 3).

    It is a path from its beginning to its end, not a loop entered somewhere, so that its motion can be seen.
    """
    num_frames, size = motion_clip_size(config)
    if not (0 <= wanted.motion < len(MOTION_CLASSES) and 0 <= wanted.glyph < len(GLYPHS) and 0 <= wanted.speed <= 1):
        raise InputError("there is no such motion, glyph or speed")
    rng = numpy.random.default_rng(wanted.seed)
    drawn = draw_motion_parameters(rng, numpy.array([wanted.motion]), num_frames, size, loop=False)
    start, travel, moving = drawn.start.copy(), drawn.travel.copy(), wanted.motion // 2
    if moving == 2:
        travel[0, moving] = numpy.radians(TURN[1]) * wanted.speed
    else:
        room = start[0, moving] / (1 - travel[0, moving])  # the drawn place of the path within what is left of 0 to 1
        start[0, moving], travel[0, moving] = room * (1 - wanted.speed), wanted.speed
    shapes = stroke_shapes(wanted.strokes)
    glyph = numpy.array([0 if shapes is not None else wanted.glyph])
    parameters = dataclasses.replace(drawn, start=start, travel=travel, glyph=glyph, mirror=numpy.ones(1))
    return render_motion(parameters, shapes)[0]


def stroke_shapes(strokes: list[list[list[float]]]) -> numpy.ndarray | None:
    """Drawn lines as one glyph of capsules, (1, parts, 6); None where nothing is drawn."""
    parts: list[list[float]] = []
    for stroke in strokes:
        points = [(2 * float(x) - 1, 2 * float(y) - 1) for x, y in stroke]
        last = None
        for x, y in points:
            if last is not None and (x - last[0]) ** 2 + (y - last[1]) ** 2 >= SHORTEST_PART**2:
                parts.append([*last, x, y, STROKE_RADIUS, STROKE_RADIUS])
                last = (x, y)
            last = last or (x, y)
        if last is not None and last == points[0]:  # a dot
            parts.append([*last, last[0] + SHORTEST_PART, last[1], STROKE_RADIUS, STROKE_RADIUS])
    if not parts:
        return None
    if len(parts) > MOST_PARTS or not numpy.isfinite(parts).all():
        raise InputError(
            f"the drawing has {len(parts)} pieces; expected at most {MOST_PARTS}: draw it with fewer lines"
        )
    return fitted_to_unit_disc(parts)[None]


def frame_order(count: int, wanted: Wanted) -> numpy.ndarray:
    """Which frame comes when."""
    order = numpy.arange(count)
    if wanted.order == "reversed":
        return order[::-1]
    if wanted.order == "shuffled":
        return numpy.random.default_rng(wanted.shuffle).permutation(count)
    return order


def weight_masks(config: VivitConfig, parameters: dict[str, Any], wanted: Wanted) -> dict[str, numpy.ndarray]:
    """Zeros and ones by the name of a parameter: without its weights a head, an MLP or a position writes nothing.

    A head is off where the columns of the output projection that read it are 0; an MLP, where its second weight and
    bias are.
    """
    of = stages(config, config.grid_size)
    steps = [step for stage in of for step in stage["steps"]]
    outputs = [step for step in steps if step["role"] == "attention output"]
    assert len(outputs) == len(attentions(of))
    masks: dict[str, numpy.ndarray] = {}
    for attention, head in wanted.heads:
        if not (0 <= attention < len(outputs) and 0 <= head < config.num_attention_heads):
            raise InputError(f"there is no head {head} of attention {attention}")
        name = outputs[attention]["weight"]
        size = parameters[name].shape[1] // config.num_attention_heads
        masks.setdefault(name, numpy.ones(parameters[name].shape, numpy.float32))
        masks[name][:, head * size : (head + 1) * size] = 0
    second = [step for step in steps if step["role"] == "MLP output"]
    for number in wanted.mlps:
        if not 0 <= number < len(second):
            raise InputError(f"there is no MLP {number}")
        for name in (second[number]["weight"], second[number]["bias"]):
            masks[name] = numpy.zeros(parameters[name].shape, numpy.float32)
    if not wanted.positions:
        for step in steps:
            if step["role"] == "place":
                masks[step["positions"]] = numpy.zeros(parameters[step["positions"]].shape, numpy.float32)
    return masks
