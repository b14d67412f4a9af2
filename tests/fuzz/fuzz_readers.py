"""What is fuzzed: each reader of the package, with small valid files to begin from, made here."""

import contextlib
import io
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy
from byte_mutations import (
    mutate_boxes,
    mutate_bytes,
    mutate_msgpack,
    mutate_npy,
    mutate_pickles,
    mutate_png,
    mutate_safetensors,
    mutate_zip,
)
from json_mutations import mutate_json, mutate_lines
from PIL import Image

sys.path.append(str(Path(__file__).parent.parent / "files"))
from file_writers import assemble, legacy_storage, tensor, write_legacy_file

import minivivit
from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor, VivitModel, VivitVideoProcessor
from minivivit.checkpoints.convert import CHECKPOINT, is_scenic
from minivivit.checkpoints.image_model import init_from_image_model
from minivivit.checkpoints.image_source import open_image_source
from minivivit.checkpoints.names import scenic_parameters
from minivivit.checkpoints.scenic import load_scenic, read_scenic, save_scenic, to_scenic
from minivivit.cli import main
from minivivit.commands import compare as compare_command
from minivivit.commands.experiments import variants as variants_command
from minivivit.commands.experiments.ablation_figures import Figures, read_figures, write_figures
from minivivit.commands.experiments.ablation_page import ablation_page
from minivivit.commands.trace import read_input
from minivivit.errors import InputError
from minivivit.files.npz_file import npz_index, read_npz
from minivivit.files.safetensors_file import SafetensorsReader, read_safetensors, write_safetensors
from minivivit.files.torch_file import read_torch, torch_index
from minivivit.files.weights import read_weights, tensor_index, write_weights
from minivivit.models.parameters import classification_shapes, flatten
from minivivit.training.checkpoints import load_optimiser, read_state
from minivivit.training.data.lists.classes import indices_of_model
from minivivit.training.data.lists.label_names import read_label_names
from minivivit.training.data.lists.listed_clips import find_listed
from minivivit.training.data.lists.reading import read_list
from minivivit.training.experiments.ablation_runs import start_name
from minivivit.training.experiments.ablations import all_trials
from minivivit.training.experiments.variants import variant_settings
from minivivit.training.log import read_log
from minivivit.training.measurement.answers import Answer
from minivivit.training.measurement.predictions import merge_predictions, write_predictions
from minivivit.training.measurement.scores import scores_of
from minivivit.training.optimisers.freezing import trainable_names
from minivivit.training.run import begin_training, make_optimiser, resume_training, settings_of
from minivivit.training.settings import make_settings, model_config, read_settings_file, warm_up_steps
from minivivit.verification.comparison.mapping import apply_mapping, read_mapping
from minivivit.verification.comparison.page import comparison_page
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.tensors.source import open_source
from minivivit.verification.tracing.recording import trace_model
from minivivit.video.default_processor import load_processor

DATA = Path(__file__).parent.parent / "data" / "transformers" / "tiny"
Files = dict[str, bytes]  # a sample: path within its directory -> content

SMALL: dict[str, Any] = {
    "image_size": 8,
    "num_frames": 4,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "num_labels": 3,
}


@dataclass(frozen=True)
class Reader:
    """A reader, and what it is given.

    Attributes
    ----------
    name : str
    make : callable
        Writes valid samples into a directory: a folder for each.
    read : callable
        Reads a mutated sample, of the folder that it is given, and does with it what a command does.
    mutated : tuple of str
        Which files of a sample are mutated, as ends of their names; the others stay as they are.
    share : int
        How many inputs it gets for one that the slowest gets.
    writes : bool
        Whether the reader also changes files in the folder, as the resuming of a training does.
    may_be_large : bool
        Whether a file may ask for more memory than a child has, in so many words (frames of 20,000 pixels).
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path, Random], Any]
    mutated: tuple[str, ...]
    share: int = 3
    writes: bool = False
    may_be_large: bool = False


def mutate(rng: Random, name: str, data: bytes, others: list[bytes]) -> bytes:
    """The content of a file of this name, mutated as its format suggests; or now and then cut, or another file's."""
    other = rng.choice(others)
    if rng.random() < 0.01:
        return rng.choice((b"", b"\x00", other, data[: rng.randrange(len(data) + 1)], b"version https://git-lfs"))
    by_format: dict[str, Callable[[Random, bytes], bytes]] = {
        ".json": mutate_json,
        ".jsonl": mutate_lines,
        ".safetensors": mutate_safetensors,
        ".bin": mutate_zip,
        ".pt": mutate_pickles,
        ".npz": mutate_zip,
        ".npy": mutate_npy,
        ".png": mutate_png,
        ".mp4": mutate_boxes,
        CHECKPOINT: mutate_msgpack,
    }
    path = Path(name)
    special = by_format.get(path.suffix) or by_format.get(path.name)
    return mutate_bytes(rng, data, other) if special is None else special(rng, data)


# --------------------------------------------------------------------------------------------------------------------
# Weights
# --------------------------------------------------------------------------------------------------------------------


def small_model(**fields: Any) -> VivitForVideoClassification:
    """A classifier with a thousand parameters."""
    return VivitForVideoClassification(VivitConfig(**{**SMALL, **fields}), backend="numpy")


def _tensors() -> dict[str, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((3, 4)).astype("float32"),
        "a.bias": rng.standard_normal(4),
        "scalar": numpy.array(2.5, "float32"),
        "half": rng.standard_normal((2, 3)).astype("float16"),
    }


def _make_safetensors(place: Path) -> None:
    (place / "a").mkdir()
    write_safetensors(place / "a" / "model.safetensors", _tensors(), {"note": "x"})


def _read_safetensors(place: Path, rng: Random) -> None:
    path = place / "model.safetensors"
    for name, (shape, _) in SafetensorsReader(path).index.items():
        SafetensorsReader(path).read_elements(name, 0, int(numpy.prod(shape, dtype=int)))
    read_safetensors(path)
    read_safetensors(path, "float64")


def _make_shards(place: Path) -> None:
    write_weights(place / "safetensors", _tensors(), max_shard_bytes=60)
    torch = place / "torch"
    torch.mkdir()
    (torch / "pytorch_model-00001-of-00001.bin").write_bytes((DATA / "pytorch_model.bin").read_bytes())
    names = torch_index(DATA / "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "pytorch_model-00001-of-00001.bin")}
    (torch / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def _read_shards(place: Path, rng: Random) -> None:
    tensor_index(place)
    read_weights(place, "float32")


def _make_torch(place: Path) -> None:
    for name in ("zip", "legacy"):
        (place / name).mkdir()
    (place / "zip" / "pytorch_model.bin").write_bytes((DATA / "pytorch_model.bin").read_bytes())
    numbers = {"0": numpy.arange(12, dtype="<f4"), "1": numpy.ones(3, dtype="<f4")}
    tensors = {
        "w": tensor(legacy_storage("0", 12), 0, (3, 4), (4, 1)),
        "b": tensor(legacy_storage("1", 3), 0, (3,), (1,)),
    }
    write_legacy_file(place / "legacy" / "legacy.pt", assemble({"state_dict": tensors, "epoch": 3}), numbers)


def _read_torch(place: Path, rng: Random) -> None:
    (path,) = place.iterdir()
    torch_index(path)
    read_torch(path, rng.choice((None, "float64")))


def _make_npz(place: Path) -> None:
    for name, save in (("plain", numpy.savez), ("compressed", numpy.savez_compressed)):
        (place / name).mkdir()
        save(place / name / "file.npz", **_tensors(), fortran=numpy.asfortranarray(numpy.ones((3, 4))))


def _read_npz(place: Path, rng: Random) -> None:
    path = place / "file.npz"
    npz_index(path)
    source = open_source(path)
    for name in source.shapes:
        source.read(name)
    read_npz(path)


def _make_scenic(place: Path) -> None:
    for name, fields in (("first", {}), ("second", {"attention_type": "factorised_encoder"})):
        model = small_model(**fields)
        model.config.save_pretrained(place / name)
        save_scenic(model, place / name / CHECKPOINT)


def _read_scenic(place: Path, rng: Random) -> None:
    is_scenic(place)
    config = VivitConfig.from_pretrained(place)
    read_scenic(place / CHECKPOINT)
    load_scenic(place / CHECKPOINT, config, backend="numpy")


def _make_image_models(place: Path) -> None:
    config = VivitConfig(**{**SMALL, "num_frames": 1, "tubelet_size": [1, 4, 4]}, temporal_encoding="frame_sampling",
                         num_sampled_frames=1)  # fmt: skip
    model = VivitForVideoClassification(config, backend="numpy")
    (place / "npz").mkdir()
    originals = {"MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1", "LayerNorm_1": "LayerNorm_2",
                 "MlpBlock_0": "MlpBlock_3", "output_projection": "head"}  # fmt: skip
    tree = flatten(to_scenic(model.state_dict(), config))
    paths = {"/".join(row.path): ".".join(row.path) for row in scenic_parameters(config).values()}
    arrays = {
        "/".join(originals.get(part, part) for part in name.split("/")): tree[dotted] for name, dotted in paths.items()
    }
    numpy.savez(place / "npz" / "file.npz", **arrays)
    values = {**SMALL, "model_type": "vit", "patch_size": 4}
    tensors = {}
    for name, array in model.state_dict().items():
        name = name.replace("vivit.", "vit.")
        tensors[name] = numpy.ascontiguousarray(array[:, :, 0] if name.endswith("projection.weight") else array)
    write_weights(place / "directory", tensors)
    (place / "directory" / "config.json").write_text(json.dumps(values))


def _read_image_model(place: Path, rng: Random) -> None:
    path = place / "file.npz" if (place / "file.npz").is_file() else place
    open_image_source(path)
    init_from_image_model(VivitConfig(**SMALL), path, backend="numpy", restore_classifier=rng.random() < 0.5)


def _make_models(place: Path) -> None:
    for name in ("spatio_temporal", "factorised_encoder", "factorised_self_attention"):
        small_model(attention_type=name).save_pretrained(place / name)
        VivitImageProcessor(size=8, crop_size=8).save_pretrained(place / name)


def _read_model(place: Path, rng: Random) -> None:
    config = VivitConfig.from_pretrained(place)
    load_processor(place, config)
    kind = rng.choice((VivitForVideoClassification, VivitModel))
    kind.from_pretrained(place, dtype=rng.choice(("float32", "float64")), backend="numpy")


# --------------------------------------------------------------------------------------------------------------------
# JSON
# --------------------------------------------------------------------------------------------------------------------


def _make_configs(place: Path) -> None:
    fields = ({}, {"attention_type": "factorised_encoder", "class_splits": [1, 2], "representation_size": 5},
              {"temporal_encoding": "frame_sampling", "num_sampled_frames": 3, "tubelet_size": [1, 4, 4],
               "image_size": [8, 12], "id2label": {0: "x", 1: "y", 2: "z"}, "num_labels": None})  # fmt: skip
    for number, more in enumerate(fields):
        VivitConfig(**{**SMALL, **more}).save_pretrained(place / str(number))


def _read_config(place: Path, rng: Random) -> None:
    """The config itself; then the command that shows one: its one line must be the message of the config's error."""
    try:
        config = VivitConfig.from_pretrained(place)
        flatten(classification_shapes(config))
        assert VivitConfig.from_dict(json.loads(config.to_json_string())).to_json_string() == config.to_json_string()
    finally:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["info", "--model", str(place), *rng.choice(([], ["--json"]))])
        assert (code, err.getvalue().count("\n")) in ((0, 0), (2, 1)), (code, err.getvalue()[:200])


def _make_processors(place: Path) -> None:
    settings = VivitImageProcessor(size=12, crop_size={"height": 8, "width": 10}).to_dict()
    video = VivitVideoProcessor(size={"height": 9, "width": 11}, crop_size=8, resample=3, do_sample_frames=True)
    contents = {
        "preprocessor_config.json": settings,
        "video_preprocessor_config.json": {**video.to_dict(), "num_frames": 2},
        "processor_config.json": {"image_processor": settings, "processor_class": "x"},
    }
    for number, (name, content) in enumerate(contents.items()):
        (place / str(number)).mkdir()
        (place / str(number) / name).write_text(json.dumps(content))


def _read_processor(place: Path, rng: Random) -> None:
    processor, _ = load_processor(place, VivitConfig(**SMALL))
    frames = numpy.random.default_rng(0).integers(0, 256, (2, 14, 18, 3), dtype=numpy.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of numbers beyond float32, which the model then refuses
        processor(frames, return_tensors="np")
    type(processor).from_dict(json.loads(processor.to_json_string()))


def _make_settings(place: Path) -> None:
    contents = (
        {"steps": 10, "learning_rate": 0.01, "freeze": ["vivit.embeddings.*"], "model": {"hidden_size": 24}},
        {
            "epochs": 2,
            "augmentation": {"crop_size": [8, 8], "do_random_flip": True},
            "model": {"preset": "vivit-b-16x2"},
        },
        {"steps": 5, "optimiser": "sgd", "momentum": 0.5, "warm_up": 2, "label_smoothing": 0.1, "batch_size": 4},
    )
    for number, content in enumerate(contents):
        (place / str(number)).mkdir()
        (place / str(number) / "settings.json").write_text(json.dumps(content))


def _read_settings(place: Path, rng: Random) -> None:
    given = read_settings_file(place / "settings.json")
    data = "motion" if "steps" in given and rng.random() < 0.5 else "clips"
    if rng.random() < 0.3 and data == "motion":
        variant_settings(given)
        return
    settings = make_settings(data, given, fine_tuning=rng.random() < 0.2)
    config = model_config(settings, ["a", "b"])
    warm_up_steps(settings, 100)
    if config.hidden_size <= 96 and config.num_hidden_layers < 10:
        names = list(flatten(classification_shapes(config)))
        trainable_names(names, settings.freeze)
        arrays = type("Arrays", (), {"state_dict": lambda self: {name: numpy.zeros(2, "float32") for name in names}})
        make_optimiser(arrays(), names, settings)  # type: ignore[arg-type]


def _make_mapping(place: Path) -> None:
    content = {
        "vivit.encoder.layer.{N}": "blocks.{N}",
        "vivit.encoder.layer.{N}.attention": {"name": "blocks.{N}.qkv", "layout": "qkv[0]"},
        "pixel_values": None,
    }
    (place / "a").mkdir()
    (place / "a" / "mapping.json").write_text(json.dumps(content))


def _read_mapping(place: Path, rng: Random) -> None:
    mapping = read_mapping(place / "mapping.json")
    names = [f"vivit.encoder.layer.{number}{end}" for number in range(12) for end in ("", ".attention")]
    apply_mapping([*names, "pixel_values", "1" * 500, "1a" * 200], mapping)


def _make_variants(place: Path) -> None:
    settings = variant_settings({"steps": 10})
    row = {"name": "", "start": "scratch", "steps": 10, "accuracy": 0.5, "accuracy_shuffled": 0.25, "loss": 1.5,
           "parameters": 10, "multiply_accumulates": 100, "seconds_per_step": 0.1, "peak_memory_bytes": 100,
           "paper": 70.5, "weights_sha256": "0" * 64}  # fmt: skip
    rows = {variant.name: {**row, "name": variant.name} for variant in variants_command.VARIANTS}
    (place / "a").mkdir()
    variants_command._write_json(place / "a", settings, 8, rows)


def _read_variants(place: Path, rng: Random) -> None:
    settings = variant_settings({"steps": 10})
    rows = variants_command._rows_so_far(place / "variants.json", settings, 8)
    for variant in (*variants_command.MODELS, *variants_command.ENCODINGS):
        if variant.name in rows:
            variants_command._cells(rows[variant.name])
    if len(rows) == len(variants_command.VARIANTS):
        variants_command._markdown(settings, 8, rows)


def _make_ablations(place: Path) -> None:
    trial = {"accuracy": 0.5, "loss": 1.5, "pool_accuracy": 0.75, "pool_loss": 0.5, "seconds": 30.0}
    figures = Figures(1, 10, 8)
    figures.trials = {trial_kind.name(0): trial for trial_kind in all_trials()}
    names = {start_name(trial_kind) for trial_kind in all_trials()} - {None}
    figures.starts = {name: {"accuracy": 0.5, "weights_sha256": "0" * 64} for name in names}
    (place / "a").mkdir()
    write_figures(place / "a" / "ablations.json", figures)


def _read_ablations(place: Path, rng: Random) -> None:
    figures = read_figures(place / "ablations.json")
    if len(figures.trials) == figures.seeds * len(all_trials()) and len(figures.starts) == 3:
        ablation_page(figures, "a command", with_picture=False)


# --------------------------------------------------------------------------------------------------------------------
# Trainings
# --------------------------------------------------------------------------------------------------------------------


def _make_trainings(place: Path) -> None:
    for optimiser in ("adamw", "sgd"):
        fields = {name: SMALL[name] for name in SMALL if name != "num_labels"}
        given = {"model": fields, "steps": 3, "batch_size": 2, "parallel": 1, "validation_clips": 2,
                 "optimiser": optimiser, "backend": "numpy", "warm_up": 1}  # fmt: skip
        training = begin_training("motion", make_settings("motion", given), place / optimiser)
        training.write_log(step=1, loss=2.0, accuracy=0.5)
        training.step = 1
        training.save(is_best=True)


def _read_training(place: Path, rng: Random) -> None:
    state = read_state(place / "last")
    settings_of(state, place / "last")
    training = resume_training("motion", place)
    load_optimiser(place / "last", training.optimiser, state["optimiser"])
    read_log(place / "log.jsonl")


def _make_log(place: Path) -> None:
    lines = [{"step": 1, "loss": 2.0, "accuracy": 0.5}, {"step": 2, "validation_loss": 2.0, "validation_accuracy": 0.5}]
    (place / "a").mkdir()
    (place / "a" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


# --------------------------------------------------------------------------------------------------------------------
# Lists of clips, names of classes, predictions
# --------------------------------------------------------------------------------------------------------------------


OF_LISTS = VivitConfig(**{**SMALL, "num_labels": 2}, id2label={0: "open", 1: "close"})


def _make_lists(place: Path) -> None:
    something = [{"id": "7", "template": "[open]"}, {"id": "8", "template": "[close]"}]
    epic = "narration_id,participant_id,video_id,start_frame,stop_frame,verb_class,noun_class\n"
    lists = {
        "header.csv": 'path,label,start,end\na.mp4,open,1.5,2\n"b, c.mp4",close,00:01:02.5,\n',
        "spaced.csv": "a/b.mp4 0\nc d.mp4 1\n",
        "frames.txt": "a/b 12 163 0\nc 0 99 1\n",
        "something.json": json.dumps(something),
        "epic.csv": f"{epic}P01_01_0,P01,P01_01,8,202,3,3\nP01_01_1,P01,P01_01,210,240,0,2\n",
    }
    names = {"names.json": '{"open": 0, "close": "1"}', "names.txt": "open\nclose\n", "names.csv": "open,0\nclose,1\n"}
    answers = [
        Answer(0, "a.mp4", (1,), (1,), (1,), 1, 0.25, (((1,), 0.75), ((0,), 0.25))),
        Answer(1, "b", (0,), damage="x"),
    ]
    for index, (name, content) in enumerate(lists.items()):
        folder = place / str(index)
        folder.mkdir()
        (folder / name).write_text(content)
        other = list(names)[index % 3]
        (folder / "names").mkdir()
        (folder / "names" / other).write_text(names[other])
        write_predictions(folder / "predictions.csv", "0" * 16, answers, OF_LISTS)


def _read_lists(place: Path, rng: Random) -> None:
    (names,) = (place / "names").iterdir()
    (data,) = (path for path in place.iterdir() if path.is_file() and path.name != "predictions.csv")

    def read_predictions() -> None:
        _, answers = merge_predictions([place / "predictions.csv"], OF_LISTS)
        scores_of(answers, OF_LISTS)

    def read_for_a_model() -> None:
        clips = read_list(data)
        if len(clips.heads) == 1:
            indices_of_model(clips, OF_LISTS)

    calls = [
        lambda: find_listed(data).by_name(),
        read_for_a_model,
        lambda: read_label_names(names, ("label",)),
        read_predictions,
    ]
    for call in rng.sample(calls, 2):
        call()


# --------------------------------------------------------------------------------------------------------------------
# Traces
# --------------------------------------------------------------------------------------------------------------------


def _make_traces(place: Path) -> None:
    """Pairs that agree but for rounding, that differ, and that have other names and shapes."""
    pixels = numpy.random.default_rng(0).standard_normal((1, 4, 3, 8, 8))
    for attention in ("spatio_temporal", "factorised_encoder"):
        model = VivitForVideoClassification(VivitConfig(**SMALL, attention_type=attention), dtype="float64")
        only = ["vivit.embeddings*", "*.layer.0", "*.layer.0.attention.attention*", "classifier", "loss"]
        trace_model(model, pixels, place / attention / "ours", only=only, labels=[1], budgets=("float32",))
        model.save_pretrained(place / attention / "model")
        index = place / attention / "ours" / "trace.safetensors.index.json"
        content = json.loads(index.read_text())
        content["metadata"]["model"] = "../input/model"  # as seen from where the fuzzer's children are
        index.write_text(json.dumps(content))
        ours = open_source(place / attention / "ours")
        theirs = {name: ours.read(name) for name in ours.shapes}
        theirs["vivit.embeddings"] = (
            theirs["vivit.embeddings"] * 1.01 if "vivit.embeddings" in theirs else numpy.ones(3)
        )
        write_safetensors(place / attention / "theirs.safetensors", theirs)
    (place / "npz").mkdir()
    ours = {"pixel_values": pixels, "vivit.layernorm": pixels[0, 0], "classifier": numpy.ones((1, 3))}
    numpy.savez(place / "npz" / "ours.npz", **ours)
    numpy.savez_compressed(place / "npz" / "theirs.npz", **{name: a.T * 1e200 for name, a in ours.items()})


def _read_traces(place: Path, rng: Random) -> None:
    ours = place / "ours.npz" if (place / "ours.npz").exists() else place / "ours"
    theirs = place / "theirs.npz" if (place / "theirs.npz").exists() else place / "theirs.safetensors"
    by_order = rng.random() < 0.4
    options: dict[str, Any] = {"by_order": by_order, "find_layouts": rng.random() < 0.4}
    if rng.random() < 0.5 or ours.suffix == ".npz":
        options |= {"rtol": rng.choice((0.0, 1e-6)), "atol": 1e-9}
    ours_source, theirs_source = open_source(ours), open_source(theirs)
    comparison = compare(ours_source, theirs_source, **options)
    json.dumps(comparison.to_json(), allow_nan=False)
    comparison_page(comparison, ours_source, theirs_source)
    with contextlib.redirect_stdout(io.StringIO()):
        compare_command._print_comparison(comparison, everything=rng.random() < 0.5)


def _make_inputs(place: Path) -> None:
    pixels = numpy.random.default_rng(0).standard_normal((1, 4, 3, 8, 8)).astype("float32")
    for kind in ("npy", "npz", "safetensors"):
        (place / kind).mkdir()
    numpy.save(place / "npy" / "input.npy", pixels)
    numpy.savez(place / "npz" / "input.npz", pixel_values=pixels)
    write_safetensors(place / "safetensors" / "input.safetensors", {"pixel_values": pixels})


def _read_input(place: Path, rng: Random) -> None:
    (path,) = place.iterdir()
    read_input(path, place, VivitConfig(**SMALL))


# --------------------------------------------------------------------------------------------------------------------
# Clips
# --------------------------------------------------------------------------------------------------------------------


def _clip() -> numpy.ndarray:
    across = numpy.arange(24, dtype=numpy.uint8)
    return numpy.stack([numpy.stack([across * 3 + 9 * t] * 16, 0) for t in range(3)])[..., None] * numpy.uint8(
        [1, 2, 3]
    )


def _make_pictures(place: Path) -> None:
    first, *rest = map(Image.fromarray, _clip())
    for suffix in ("gif", "png", "webp", "tiff"):
        (place / suffix).mkdir()
        first.save(place / suffix / f"clip.{suffix}", save_all=True, append_images=rest)
    (place / "folder" / "clip").mkdir(parents=True)
    for suffix in ("jpg", "bmp", "png", "ppm"):
        first.save(place / "folder" / "clip" / f"frame.{suffix}")
    (place / "npy").mkdir()
    numpy.save(place / "npy" / "clip.npy", _clip())


def _make_films(place: Path) -> None:
    encoders = {
        **{"mp4": ("mpeg4", "yuv420p"), "mkv": ("ffv1", "bgr0"), "avi": ("mjpeg", "yuvj420p"), "mov": ("png", "rgb24")},
        **{"ts": ("mpeg2video", "yuv420p"), "mpg": ("mpeg1video", "yuv420p"), "flv": ("flv", "yuv420p")},
        **{"wmv": ("wmv2", "yuv420p"), "nut": ("ffv1", "bgr0")},
    }
    for suffix, (encoder, pixel_format) in encoders.items():
        (place / suffix).mkdir()
        with av.open(str(place / suffix / f"clip.{suffix}"), "w") as output:
            stream = output.add_stream(encoder, rate=25)
            stream.height, stream.width, stream.pix_fmt = 16, 24, pixel_format
            for frame in [*_clip()] * (8 if suffix in ("ts", "mpg") else 1):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            output.mux(stream.encode())


def _read_clip(place: Path, rng: Random) -> None:
    (path,) = place.iterdir()
    calls = [
        lambda: minivivit.count_frames(path) if hasattr(minivivit, "count_frames") else None,
        lambda: minivivit.read_video(path),
        lambda: minivivit.read_video(path, [0]),
        lambda: minivivit.read_video(path, [2, 0, 2]),
    ]
    for call in rng.sample(calls, 2):
        call()


SAFETENSORS, INDEX, JSON = "model.safetensors", ".index.json", ".json"
READERS = {
    reader.name: reader
    for reader in (
        Reader("safetensors", _make_safetensors, _read_safetensors, (".safetensors",), share=6),
        Reader("shards", _make_shards, _read_shards, (".safetensors", INDEX, ".bin"), share=4),
        Reader("torch", _make_torch, _read_torch, (".bin", ".pt"), share=8),
        Reader("npz", _make_npz, _read_npz, (".npz",), share=6),
        Reader("scenic", _make_scenic, _read_scenic, (CHECKPOINT,), share=4),
        Reader("image_model", _make_image_models, _read_image_model, (".npz", JSON, ".safetensors"), share=3),
        Reader("model", _make_models, _read_model, (JSON, ".safetensors"), share=4),
        Reader("config", _make_configs, _read_config, (JSON,), share=6),
        Reader("processor", _make_processors, _read_processor, (JSON,), share=5, may_be_large=True),
        Reader("settings", _make_settings, _read_settings, (JSON,), share=5),
        Reader("mapping", _make_mapping, _read_mapping, (JSON,), share=4),
        Reader("ablations", _make_ablations, _read_ablations, (JSON,)),
        Reader("variants", _make_variants, _read_variants, (JSON,), share=2),
        Reader("training", _make_trainings, _read_training, (JSON, "optimiser.safetensors", ".jsonl"), 3, writes=True),
        Reader("log", _make_log, lambda place, rng: read_log(place / "log.jsonl"), (".jsonl",), share=2),
        Reader("lists", _make_lists, _read_lists, (JSON, ".csv", ".txt"), share=5),
        Reader("trace", _make_traces, _read_traces, (JSON, ".safetensors", ".npz"), share=4),
        Reader("input", _make_inputs, _read_input, (".npy", ".npz", ".safetensors"), share=3),
        Reader("pictures", _make_pictures, _read_clip, ("",), share=8),
        Reader("films", _make_films, _read_clip, ("",), share=6),
    )
}


def make_samples(reader: Reader) -> list[Files]:
    """The valid samples of a reader, each read once to see that it is; a link is kept as its target, after b"->"."""
    samples = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        logging.getLogger("minivivit").setLevel(logging.ERROR)
        reader.make(place)
        for folder in sorted(place.iterdir()):
            files: Files = {}
            for path in sorted(folder.rglob("*")):
                if path.is_symlink():
                    files[str(path.relative_to(folder))] = b"->" + str(path.readlink()).encode()
                elif path.is_file() and not any(parent.is_symlink() for parent in path.parents):
                    files[str(path.relative_to(folder))] = path.read_bytes()
            samples.append(files)
            try:
                reader.read(folder, Random(0))
            except InputError as error:
                raise AssertionError(f"the sample {folder.name} of {reader.name} is refused: {error}") from error
    return samples
