"""The command line, as people and scripts meet it."""

import errno
import io
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest
from PIL import Image

from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor, progress
from minivivit.cli import main
from minivivit.command_line import COMMANDS
from minivivit.commands.common.text_table import printable, text_table
from minivivit.errors import MissingExtraError
from minivivit.files.weights import read_weights, write_weights

TINY = Path(__file__).parent / "data" / "transformers" / "tiny"  # written by transformers; 4 frames of 16 x 16
LABELS = [f"LABEL_{index}" for index in range(5)]


@pytest.fixture
def clip(tmp_path):
    """A clip of 12 frames of 20 x 30 pixels."""
    path = tmp_path / "clip.npy"
    numpy.save(path, numpy.random.default_rng(0).integers(0, 256, (12, 20, 30, 3), dtype=numpy.uint8))
    return path


@pytest.fixture
def model(tmp_path):
    """A copy of a model's directory, to be spoilt."""
    directory = tmp_path / "model"
    shutil.copytree(TINY, directory)
    (directory / "pytorch_model.bin").unlink()
    return directory


def succeed(capsys, *arguments) -> tuple[str, str]:
    """Standard output and standard error of a command that works."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr()


def fail(capsys, *arguments) -> str:
    """The error of a command that cannot work: exit code 2, nothing on standard output, one line."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as leaving:  # argparse's way
        code = leaving.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("minivivit: error: ")
    assert err.count("\n") == 1
    return err


def run_process(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "minivivit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# --------------------------------------------------------------------------------------------------------------------
# classify
# --------------------------------------------------------------------------------------------------------------------


def expected_probabilities(clip: Path, indices: list[int]) -> numpy.ndarray:
    processor = VivitImageProcessor(size={"shortest_edge": 18}, crop_size={"height": 16, "width": 16})
    pixels = processor(numpy.load(clip)[indices], return_tensors="np").pixel_values
    logits = VivitForVideoClassification.from_pretrained(TINY)(pixels).logits[0].astype("float64")
    return numpy.exp(logits) / numpy.exp(logits).sum()


def test_json_is_one_object_with_the_model_s_answer(capsys, clip):
    out, err = succeed(capsys, "classify", clip, "--model", TINY, "--json")
    result = json.loads(out)
    assert result["clip"] == str(clip)
    assert result["model"] == str(TINY)
    assert result["frames"] == [2, 4, 7, 9]  # a window of 8 frames in the middle of 12, spread as transformers does
    expected = expected_probabilities(clip, result["frames"])
    order = numpy.argsort(-expected)
    assert [entry["index"] for entry in result["predictions"]] == order.tolist()
    assert [entry["label"] for entry in result["predictions"]] == [LABELS[index] for index in order]
    found = [entry["probability"] for entry in result["predictions"]]
    numpy.testing.assert_allclose(found, expected[order], rtol=1e-5)
    assert "resizing the shortest edge to 18, cropping to 16 x 16" in err
    assert len(err.splitlines()) == 1


def test_the_table_is_aligned(capsys, clip):
    out, _ = succeed(capsys, "classify", clip, "--model", TINY, "--top-k", "2")
    first, header, *rows = out.splitlines()
    assert first == "clip.npy: 4 of 12 frames, from 2 to 9"
    assert re.fullmatch(r"label +probability", header)
    assert len(rows) == 2
    assert all(re.fullmatch(r"LABEL_\d +0\.\d{4}", row) for row in rows)
    assert len({len(line) for line in (header, *rows)}) == 1


def test_the_same_clip_gives_the_same_answer(capsys, clip):
    arguments = ("classify", clip, "--model", TINY, "--json")
    assert succeed(capsys, *arguments) == succeed(capsys, *arguments)


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (["--stride", "1"], [4, 5, 6, 7]),
        (["--stride", "3"], [0, 4, 8, 11]),
        (["--stride", "100"], [0, 4, 8, 11]),  # longer than the clip: all of it
        (["--frames", "2", "--stride", "1"], [5, 6]),
    ],
)
def test_frames_and_stride(capsys, clip, options, frames):
    out, _ = succeed(capsys, "classify", clip, "--model", TINY, "--json", *options)
    assert json.loads(out)["frames"] == frames


def test_another_number_of_frames_interpolates_and_says_so(capsys, clip):
    _, err = succeed(capsys, "classify", clip, "--model", TINY, "--frames", "8")
    assert "sees 8 of 16 x 16: its position embeddings are interpolated" in err
    _, err = succeed(capsys, "classify", clip, "--model", TINY)
    assert "interpolated" not in err


def test_a_short_clip_repeats_frames(capsys, tmp_path):
    path = tmp_path / "short.npy"
    numpy.save(path, numpy.zeros((2, 20, 20, 3), numpy.uint8))
    out, _ = succeed(capsys, "classify", path, "--model", TINY, "--json")
    assert json.loads(out)["frames"] == [0, 0, 1, 1]
    out, _ = succeed(capsys, "classify", path, "--model", TINY)
    assert out.splitlines()[0] == "short.npy: 2 frames, repeated to 4, from 0 to 1"


@pytest.mark.parametrize("crops", [{}, {"do_center_crop": False}, {"do_center_crop": False, "do_resize": False}])
def test_more_frames_than_memory_holds(capsys, clip, model, crops):
    VivitImageProcessor(**crops).save_pretrained(model)
    message = fail(capsys, "classify", clip, "--model", model, "--frames", "999999999")
    assert re.search(r"999,999,999 frames make [\d,]+ values or more, .*: choose fewer --frames", message)


def test_the_directory_s_processor_is_used(capsys, clip, model):
    VivitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 16, "width": 16}).save_pretrained(model)
    out, err = succeed(capsys, "classify", clip, "--model", model, "--json")
    assert err == ""
    plain, _ = succeed(capsys, "classify", clip, "--model", TINY, "--json")
    assert json.loads(out)["predictions"] != json.loads(plain)["predictions"]


def test_dtype_and_backend(capsys, clip):
    single, _ = succeed(capsys, "classify", clip, "--model", TINY, "--json", "--backend", "numpy")
    double, _ = succeed(capsys, "classify", clip, "--model", TINY, "--json", "--dtype", "float64")
    pairs = zip(json.loads(single)["predictions"], json.loads(double)["predictions"], strict=True)
    assert all(0 < abs(a["probability"] - b["probability"]) < 1e-6 for a, b in pairs)


def test_cupy_that_is_not_there_is_one_line(capsys, clip, monkeypatch):
    monkeypatch.setattr("minivivit.backend._load_cupy", lambda: (None, "CuPy cannot be imported (No module)"))
    assert "'cupy'" in fail(capsys, "classify", clip, "--model", TINY, "--backend", "cupy")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"attention_type": "factorised_encoder", "num_temporal_layers": 1},
        {"attention_type": "factorised_self_attention"},
        {"attention_type": "factorised_dot_product"},
        {"temporal_encoding": "frame_sampling", "num_sampled_frames": 4, "tubelet_size": [1, 8, 8], "num_frames": 8},
    ],
)
def test_the_picture(capsys, tmp_path, clip, fields):
    sizes = {"image_size": 20, "num_frames": 4, "tubelet_size": [2, 8, 8], "hidden_size": 16, "num_attention_heads": 2}
    config = VivitConfig(**{**sizes, "num_hidden_layers": 2, "intermediate_size": 8, "num_labels": 3, **fields})
    VivitForVideoClassification(config).save_pretrained(tmp_path / "m")
    picture = tmp_path / "picture.png"
    plain, _ = succeed(capsys, "classify", clip, "--model", tmp_path / "m", "--json")
    with_picture, _ = succeed(capsys, "classify", clip, "--model", tmp_path / "m", "--json", "--save-picture", picture)
    assert with_picture == plain
    with Image.open(picture) as image:
        assert image.size >= (560, 300)
        assert len(image.convert("RGB").getcolors(10**6)) > 1000  # noise, and its tints


def test_the_picture_s_place_is_checked_first(capsys, clip):
    message = fail(capsys, "classify", clip, "--model", "nowhere", "--save-picture", "picture.gif")
    assert "PNG" in message


def test_labels_cannot_command_the_terminal(capsys, clip, model):
    config = VivitConfig.from_pretrained(model)
    config.id2label = {**config.id2label, **{index: f"\x1b[2J{index}\nsecond line" for index in range(5)}}
    config.save_pretrained(model)
    out, _ = succeed(capsys, "classify", clip, "--model", model)
    assert "\x1b" not in out
    assert len(out.splitlines()) == 7


def test_labels_beyond_the_terminal_s_encoding(clip, model):
    config = VivitConfig.from_pretrained(model)
    config.id2label = {index: f"été {index}" for index in range(5)}
    config.save_pretrained(model)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = run_process("classify", clip, "--model", model, env=environment)
    assert result.returncode == 0
    assert "\\xe9t\\xe9" in result.stdout


def test_without_arguments_the_bundled_model_sees_the_bundled_clip(capsys, tmp_path, monkeypatch, clip):
    monkeypatch.setattr("minivivit.bundled._here", lambda: tmp_path / "bundled")
    assert "--model DIR" in fail(capsys, "classify")
    shutil.copytree(TINY, tmp_path / "bundled" / "motion_model")
    assert "CLIP" in fail(capsys, "classify")
    shutil.copy(clip, tmp_path / "bundled" / "sample_clip.npy")
    out, err = succeed(capsys, "classify", "--json")
    assert json.loads(out)["clip"].endswith("sample_clip.npy")
    assert "bundled model knows" not in err
    _, err = succeed(capsys, "classify", clip)
    assert "bundled model knows" in err
    assert "nonexist does not exist" in fail(capsys, "classify", tmp_path / "nonexist")


# --------------------------------------------------------------------------------------------------------------------
# info
# --------------------------------------------------------------------------------------------------------------------


def test_info_counts_the_published_model(capsys):
    out, err = succeed(capsys, "info", "--preset", "vivit-b-16x2", "--json")
    result = json.loads(out)
    assert result["parameters"] == 88_954_000
    assert abs(result["multiply_accumulates"] / 455.2e9 - 1) < 0.01
    for name in ("parameters", "multiply_accumulates"):
        assert sum(row[name] for row in result["components"]) == result[name]
    assert err == ""


def test_info_prints_a_table_with_a_total(capsys):
    out, _ = succeed(capsys, "info", "--preset", "vivit-b-16x2")
    first, header, *rows = out.splitlines()
    assert first.startswith("vivit-b-16x2 (spatio_temporal): 32 frames of 224 x 224")
    assert header.split() == ["component", "parameters", "multiply-accumulates"]
    assert re.fullmatch(r"total +88,954,000 +451,524,753,408", rows[-1])
    assert len({len(line) for line in (header, *rows)}) == 1


def test_info_reads_a_directory_s_config(capsys):
    out, _ = succeed(capsys, "info", "--model", TINY, "--json")
    assert json.loads(out)["parameters"] == VivitForVideoClassification.from_pretrained(TINY).num_parameters()


def test_table_2(capsys):
    out, _ = succeed(capsys, "info", "--table2", "--json")
    rows = json.loads(out)
    assert [set(row) for row in rows] == [{"model", "parameters", "multiply_accumulates"}] * 5
    assert [row["parameters"] for row in rows] == [88954000, 115062928, 117319312, 88952464, 86696080]
    out, _ = succeed(capsys, "info", "--table2")
    assert re.search(r"factorised_encoder +115\.06 M +115\.1 M +283\.3 G +284\.4 G +-0\.4 %", out)


# --------------------------------------------------------------------------------------------------------------------
# What can be mended: one line and exit code 2
# --------------------------------------------------------------------------------------------------------------------


def truncated_gif(path: Path) -> None:
    noise = numpy.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=numpy.uint8)
    first, *others = [Image.fromarray(frame) for frame in noise]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others)
    path.write_bytes(buffer.getvalue()[:2500])


def npy_of_terabytes(path: Path) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (10000000, 1000, 1000, 3), }".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"\0" * 100)


def save_array(array: numpy.ndarray):
    return lambda path: numpy.save(path, array, allow_pickle=True)


BAD_CLIPS = {
    "missing.mp4": (lambda path: None, "does not exist"),
    "empty.mp4": (lambda path: path.write_bytes(b""), "is empty"),
    "empty.gif": (lambda path: path.write_bytes(b""), "is empty"),
    "noise.mp4": (lambda path: path.write_bytes(bytes(range(256)) * 40), "noise.mp4"),
    "text.mkv": (lambda path: path.write_text("This is not a clip.\n" * 100), "text.mkv"),
    "truncated.gif": (truncated_gif, "truncated.gif"),
    "truncated.npy": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'"), "truncated.npy"),
    "terabytes.npy": (npy_of_terabytes, "terabytes.npy"),
    "objects.npy": (save_array(numpy.array([{"a": 1}], dtype=object)), "objects.npy"),
    "floats.npy": (save_array(numpy.zeros((4, 8, 8, 3))), "float64"),
    "flat.npy": (save_array(numpy.zeros((4, 8, 8), numpy.uint8)), "(4, 8, 8)"),
    "no_frames.npy": (save_array(numpy.zeros((0, 8, 8, 3), numpy.uint8)), "no_frames.npy"),
    "folder": (lambda path: path.mkdir(), "folder"),
}


@pytest.mark.parametrize("name", BAD_CLIPS)
def test_bad_clips(capsys, tmp_path, name):
    make, message = BAD_CLIPS[name]
    make(tmp_path / name)
    if name in ("noise.mp4", "text.mkv"):
        pytest.importorskip("av")
    assert message in fail(capsys, "classify", tmp_path / name, "--model", TINY)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_truncated_and_corrupted_containers(capsys, tmp_path, kept):
    av = pytest.importorskip("av")
    whole = tmp_path / "whole.mp4"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for value in numpy.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=numpy.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(value, format="rgb24")))
        container.mux(stream.encode())
    succeed(capsys, "classify", whole, "--model", TINY)
    data = whole.read_bytes()
    (tmp_path / "part.mp4").write_bytes(data[: int(kept * len(data))])
    assert "part.mp4" in fail(capsys, "classify", tmp_path / "part.mp4", "--model", TINY)


def test_the_corrupted_clip_of_decord(capsys):
    path = Path("/work/shared/clips/corrupted.mp4")
    pytest.importorskip("av")
    if not path.exists():
        pytest.skip("the shared clips are not on this machine")
    assert "corrupted.mp4" in fail(capsys, "classify", path, "--model", TINY)


def rewrite(change):
    """A spoiler of a model's weights: read, changed, written again."""

    def spoil(directory: Path) -> None:
        weights = read_weights(directory)
        change(weights)
        write_weights(directory, weights)

    return spoil


def set_nan(weights):
    weights["vivit.encoder.layer.1.intermediate.dense.weight"][3, 4] = numpy.nan


def header_of_terabytes(directory):
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", 2**43) + b"{}")


def tensor_of_terabytes(directory):
    entry = {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}
    header = json.dumps({"classifier.weight": entry}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 64)


class Hostile:
    def __reduce__(self):
        return os.system, ("echo this must never run > hostile_code_ran",)


def hostile_pickle(directory):
    (directory / "model.safetensors").unlink()
    with zipfile.ZipFile(directory / "pytorch_model.bin", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"classifier.weight": Hostile()}, 2))


def plain_hostile_pickle(directory):
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile(), 2))


def keep_part_of(name, size):
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:size])


def change_config(**fields):
    def spoil(directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps({**config, **fields}))

    return spoil


def corrupt(directory):
    data = bytearray((directory / "model.safetensors").read_bytes())
    data[8:48] = b"\xff" * 40
    (directory / "model.safetensors").write_bytes(data)


def scaled_by(factor):
    """A directory gets a processor with this rescale_factor."""
    settings = {"size": {"shortest_edge": 16}, "crop_size": 16, "rescale_factor": factor}
    return lambda directory: (directory / "preprocessor_config.json").write_text(json.dumps(settings))


BAD_MODELS = {
    "missing": (shutil.rmtree, "does not exist"),
    "no config": (lambda directory: (directory / "config.json").unlink(), "config.json does not exist"),
    "empty config": (keep_part_of("config.json", 0), "not valid JSON"),
    "truncated config": (keep_part_of("config.json", 100), "not valid JSON"),
    "config of another kind": (change_config(model_type="bert"), "'bert'"),
    "config that cannot be": (change_config(num_attention_heads=7), "num_attention_heads 7"),
    "config of words": (change_config(hidden_size="large"), "hidden_size"),
    "config too large for any machine": (change_config(intermediate_size=10**12), "intermediate_size is 1000000000000"),
    "regression": (change_config(problem_type="regression"), "regression"),
    "one label": (change_config(id2label={"0": "only"}, label2id={"only": 0}), "one label and no problem_type"),
    "no weights": (lambda directory: (directory / "model.safetensors").unlink(), "holds no weights"),
    "empty weights": (keep_part_of("model.safetensors", 0), "model.safetensors"),
    "truncated header": (keep_part_of("model.safetensors", 200), "model.safetensors"),
    "truncated weights": (keep_part_of("model.safetensors", 30_000), "model.safetensors"),
    "corrupted weights": (corrupt, "model.safetensors"),
    "header of terabytes": (header_of_terabytes, "model.safetensors"),
    "tensor of terabytes": (tensor_of_terabytes, "model.safetensors"),
    "hostile pickle": (hostile_pickle, "system"),
    "plain hostile pickle": (plain_hostile_pickle, "pytorch_model.bin"),
    "NaN": (rewrite(set_nan), "vivit.encoder.layer.1.intermediate.dense.weight"),
    "wrong shape": (rewrite(lambda weights: weights.update({"classifier.bias": numpy.zeros(9)})), "classifier.bias"),
    "wrong layers": (change_config(num_hidden_layers=3), "vivit.encoder.layer.2"),
    "a name too many": (rewrite(lambda weights: weights.update({"extra.weight": numpy.zeros(2)})), "extra.weight"),
    "a name with a line break": (rewrite(lambda weights: weights.update({"a\nb": numpy.zeros(2)})), "unexpected"),
    "a name too few": (rewrite(lambda weights: weights.pop("vivit.layernorm.weight")), "vivit.layernorm.weight"),
    "bare model": (
        rewrite(lambda weights: [weights.pop(name) for name in ("classifier.weight", "classifier.bias")]),
        "without a classifier",
    ),
    "overflow": (
        rewrite(lambda weights: weights.update({"classifier.weight": weights["classifier.weight"] * 0 + 3e38})),
        "not finite",
    ),
    "processor not JSON": (
        lambda directory: (directory / "preprocessor_config.json").write_text("{"),
        "not valid JSON",
    ),
    "processor that cannot be": (
        lambda directory: (directory / "preprocessor_config.json").write_text('{"resample": 77}'),
        "resample",
    ),
    "processor that makes huge pixels": (scaled_by(1e25), "pixel values of up to"),
    "processor that makes infinite pixels": (scaled_by(1e300), "pixel values of up to inf"),
    "processor that makes all pixels alike": (scaled_by(1e-25), "the same pixel value of different bytes"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models(capsys, clip, model, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    spoil, message = BAD_MODELS[name]
    spoil(model)
    assert message in fail(capsys, "classify", clip, "--model", model)
    assert not (tmp_path / "hostile_code_ran").exists()


def test_integers_are_no_weights(capsys, clip, model):
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights.replace(b'"F32"', b'"I32"'))
    assert "int32" in fail(capsys, "classify", clip, "--model", model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["classify", "--loud"], "--loud"),
        (["classify", "a.gif", "b.gif"], "b.gif"),
        (["classify", "--top-k", "0"], "at least 1"),
        (["classify", "--top-k", "many"], "at least 1"),
        (["classify", "--frames", "-3"], "--frames"),
        (["classify", "--stride", "1.5"], "at least 1"),
        (["classify", "--frames", "9" * 30], "at least 1"),
        (["classify", "--dtype", "float16"], "float16"),
        (["classify", "--backend", "jax"], "jax"),
        (["classify", "--model"], "--model"),
        (["info", "--preset", "vivit-xxl"], "vivit-b-16x2"),
        (["info", "--preset", "vivit-b-16x2", "--model", "."], "not allowed with"),
        (["info", "--model", "no/such/place"], "does not exist"),
    ],
)
def test_bad_arguments(capsys, arguments, message):
    assert message in fail(capsys, *arguments)


@pytest.mark.parametrize(
    "error",
    [
        MissingExtraError("av", "video", "reading clip.mp4"),
        MemoryError("Unable to allocate 1 TiB"),
        MemoryError(),
    ],
)
def test_errors_of_the_system_are_one_line(capsys, monkeypatch, error):
    def raise_error(arguments):
        raise error

    monkeypatch.setattr("minivivit.commands.info.run_info", raise_error)
    assert (str(error) or "memory") in fail(capsys, "info")


def refuse_to_open(monkeypatch, name, code):
    """The system refuses to open files of this name, as it does to a user who may not (root may)."""
    real_open, real_os_open, real_file = open, os.open, io.FileIO

    def refuse(open_it):
        def wrapped(path, *arguments, **options):
            if not isinstance(path, int) and name in os.path.basename(os.fsdecode(path)):
                raise OSError(code, os.strerror(code), os.fspath(path))
            return open_it(path, *arguments, **options)

        return wrapped

    monkeypatch.setattr("builtins.open", refuse(real_open))
    monkeypatch.setattr("io.open", refuse(real_open))
    monkeypatch.setattr("os.open", refuse(real_os_open))
    monkeypatch.setattr("io.FileIO", refuse(real_file))


SYSTEM_ERRORS = {
    errno.EACCES: "choose a place that can be written",
    errno.ENOSPC: "make room on its disk",
    errno.EROFS: "choose a place that can be written",
    errno.EIO: "check its disk",
}


@pytest.mark.parametrize("code", SYSTEM_ERRORS, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "--save-picture", "target.png"],
        ["explore", "--output", "target.html"],
        ["train", "motion", "--output", "target", "--steps", "1"],
        ["evaluate", "--clips", "2", "--confusion", "target.csv"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_cannot_be_written_is_said_with_advice(capsys, monkeypatch, tmp_path, arguments, code):
    monkeypatch.chdir(tmp_path)
    refuse_to_open(monkeypatch, ".training-lock" if arguments[0] == "train" else "target", code)
    err = fail_with_notes(capsys, arguments)
    assert f" cannot be written ({os.strerror(code)}); {SYSTEM_ERRORS[code]}" in err
    assert "error: target" in err
    assert "Errno" not in err


def fail_with_notes(capsys, arguments) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("minivivit: note: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("name", ["clip.npy", "clip.gif", "config.json", "model.safetensors"])
def test_what_cannot_be_read_is_said_with_advice(capsys, monkeypatch, clip, model, name):
    if name == "clip.gif":
        clip = clip.with_name(name)
        Image.new("RGB", (16, 16)).save(clip)
    refuse_to_open(monkeypatch, name, errno.EACCES)
    err = fail(capsys, "classify", clip, "--model", model)
    assert re.search(
        rf"{re.escape(name)} cannot be read \(Permission denied\); expected .* change its permissions", err
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(13, "Permission denied", "a.mp4"),
            "a.mp4 cannot be read (Permission denied); expected a file or folder that you may read",
        ),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", "a"),
            "a cannot be read (Is a directory); it is a directory",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "a"), "a cannot be written (No space left on device); make"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 9999), "cannot be used (File name too long); choose"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", b"a/b"), "a/b cannot be used (Not a directory); a part"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the system refused a request (Cannot allocate memory); che"),
        (OSError(errno.EIO, None, "a"), f"a cannot be read ({os.strerror(errno.EIO)}); check its disk"),
        (OSError("of a library"), "error: of a library"),
    ],
)
def test_every_error_of_the_system_has_an_advice(capsys, monkeypatch, error, message):
    def raise_error(arguments):
        raise error

    monkeypatch.setattr("minivivit.commands.info.run_info", raise_error)
    err = fail(capsys, "info")
    assert message in err
    assert len(err) < 600


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["classify", ""], "CLIP"),
        (["classify", "--model", ""], "--model"),
        (["classify", "--save-picture="], "--save-picture"),
        (["trace", "clip.npy", ""], "DIR"),
        (["convert", "", "new"], "SOURCE"),
        (["compare", "ours", ""], "THEIRS"),
        (["train", "motion", "--output", "new", "--image-model", ""], "--image-model"),
        (["train", "motion", "--output", "new", "--freeze", ""], "--freeze"),
        (["evaluate", "--data", ""], "--data"),
        (["grade", ""], "SUBMISSION"),
        (["conformance", "new", "--config", ""], "--config"),
    ],
)
def test_an_empty_argument_is_named(capsys, monkeypatch, tmp_path, arguments, name):
    monkeypatch.chdir(tmp_path)
    assert f"error: {name} is empty; expected one or more characters" in fail(capsys, *arguments)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "--model", "run"],
        ["info", "--model", "run"],
        ["trace", "clip.npy", "new", "--model", "run"],
        ["explore", "clip.npy", "--output", "new.html", "--model", "run"],
        ["evaluate", "--model", "run"],
        ["gradcheck", "--model", "run"],
        ["convert", "run", "new"],
        ["train", "motion", "--output", "new", "--model", "run"],
        ["train", "motion", "--output", "new", "--image-model", "run"],
    ],
    ids=lambda arguments: f"{arguments[0]} {arguments[-2]}",
)
def test_the_output_of_a_training_is_no_model(capsys, monkeypatch, tmp_path, clip, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("best", "last"):
        shutil.copytree(TINY, tmp_path / "run" / name)
    place, best, last = Path("run"), Path("run", "best"), Path("run", "last")
    expected = f"{place} holds a training; expected the directory of a model: give {best} or {last}"
    assert expected in fail(capsys, *arguments)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "arguments", [["classify", "--model"], ["info", "--model"], ["train", "motion", "--output", "new", "--image-model"]]
)
def test_a_file_of_weights_is_no_model(capsys, model, arguments):
    err = fail(capsys, *arguments, model / "model.safetensors")
    assert (
        f"is a file with a model's weights; expected the model's directory, with its config.json: give {model}" in err
    )


def test_a_directory_is_no_config(capsys, model, tmp_path):
    err = fail(capsys, "conformance", tmp_path / "new", "--config", model)
    assert f"{model} is a directory; expected a JSON file, such as {model / 'config.json'}: give the name" in err


def test_our_own_defects_keep_their_traceback(monkeypatch):
    def raise_error(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("minivivit.commands.info.run_info", raise_error)
    with pytest.raises(ZeroDivisionError):
        main(["info"])


def test_ctrl_c(capsys, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("minivivit.commands.info.run_info", interrupt)
    assert main(["info"]) == 130
    assert capsys.readouterr() == ("", "minivivit: interrupted\n")


# --------------------------------------------------------------------------------------------------------------------
# As a process
# --------------------------------------------------------------------------------------------------------------------


def test_the_module_is_the_command(clip):
    result = run_process("classify", clip, "--model", TINY, "--json")
    assert result.returncode == 0
    assert len(json.loads(result.stdout)["predictions"]) == 5
    result = run_process("classify", "nothing.gif", "--model", TINY)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("minivivit: error: nothing.gif")
    assert result.stderr.count("\n") == 1


def test_a_reader_who_leaves_is_no_error():
    command = [sys.executable, "-m", "minivivit", "info", "--preset", "vivit-b-16x2"]
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert result.returncode == 141
    assert result.stderr == b""


def test_version_and_help(capsys):
    for arguments, expected in ((["--version"], "minivivit 0."), (["--help"], "minivivit classify")):
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        assert leaving.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(capsys, name):
    with pytest.raises(SystemExit) as leaving:
        main([name, "--help"])
    assert leaving.value.code == 0
    out = capsys.readouterr().out
    assert out.partition("\noptions:")[2].count(f"minivivit {name}") >= 1


# --------------------------------------------------------------------------------------------------------------------
# Progress and tables
# --------------------------------------------------------------------------------------------------------------------


def read_terminal(code: str) -> str:
    """What a terminal of 80 columns shows of the standard error of a Python program."""
    fcntl, pty, termios = map(pytest.importorskip, ("fcntl", "pty", "termios"))  # Windows has none
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stderr=end, stdout=subprocess.DEVNULL):
        os.close(end)
        shown = b""
        while True:
            try:
                data = os.read(terminal, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not data:
                break
            shown += data
    os.close(terminal)
    return shown.decode()


# The clock that the bar looks at is wound by hand.
BAR = """
import tqdm.std
clock = 0.0
tqdm.std.time = lambda: clock
from minivivit.progress import progress_bar
with progress_bar(4, "work") as bar:
    for _ in range(4):
        clock += {seconds}
        bar.update()
"""


def test_a_bar_for_work_longer_than_a_second_on_a_terminal():
    shown = read_terminal(BAR.format(seconds=0.4))
    assert "work:" in shown
    assert "3/4" in shown
    assert shown.rpartition("work:")[2].rstrip("\r").endswith(" " * 20)  # wiped away at the end


def test_no_bar_for_short_work():
    assert "work:" not in read_terminal(BAR.format(seconds=0.01))


def test_no_bar_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress.tqdm, "__init__", lambda self, **options: captured.update(options) or None)
    captured: dict = {}
    monkeypatch.setattr(progress.tqdm, "__del__", lambda self: None)
    progress.progress_bar(3, "work")
    assert captured["disable"]
    assert captured["file"] is sys.stderr


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"attention_type": "factorised_encoder"},
        {"attention_type": "factorised_encoder", "spatial_only_baseline": True},
        {"attention_type": "factorised_self_attention"},
        {"attention_type": "factorised_dot_product"},
    ],
)
def test_the_bar_ends_full(tmp_path, clip, monkeypatch, capsys, fields, picture):
    sizes = {"image_size": 16, "num_frames": 4, "tubelet_size": [2, 8, 8], "hidden_size": 16, "num_attention_heads": 2}
    VivitForVideoClassification(VivitConfig(**sizes, num_hidden_layers=2, **fields)).save_pretrained(tmp_path / "m")
    bars = []

    def open_bar(total, description):
        bars.append(progress.tqdm(total=total, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr("minivivit.commands.classify.progress_bar", open_bar)
    options = ["--save-picture", tmp_path / "p.png"] if picture else []
    succeed(capsys, "classify", clip, "--model", tmp_path / "m", *options)
    assert bars[0].n == bars[0].total > 3


def test_text_table():
    assert text_table(("a", "bb"), [("long name", "1"), ("x", "22,000")]) == (
        "a              bb\nlong name       1\nx          22,000"
    )


def test_printable():
    assert printable("a\tb\nc\x1b[0m\x00") == "a b c\\x1b[0m\\x00"
