"""Forty bad invocations of every command: one line on standard error, exit code 2, and the user's files as they were.

What an invocation is given lies in one directory, which is also the one that the command is called in: nothing in it
may change, appear or vanish, whatever the command was about to do when it noticed.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from training.tiny_training import write_clips

from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor
from minivivit.checkpoints.scenic import save_scenic
from minivivit.cli import main
from minivivit.command_line import COMMANDS
from minivivit.files.safetensors_file import write_safetensors
from minivivit.verification.tracing.recording import trace_model

SMALL = {
    "image_size": 8,
    "num_frames": 4,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "id2label": {0: "left", 1: "right", 2: "up"},
}
# What does not fit is listed name by name, up to 20,000 letters; everything else is short.
LONGEST_LINE, LONGEST_LIST = 1500, 21_000
PIXELS = numpy.random.default_rng(0).standard_normal((1, 4, 3, 8, 8))


# --------------------------------------------------------------------------------------------------------------------
# The user's directory
# --------------------------------------------------------------------------------------------------------------------


def _spoil_config(**fields):
    def spoil(place: Path) -> None:
        values = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps({**values, **fields}))

    return spoil


def _write(name: str, content: bytes | str):
    def spoil(place: Path) -> None:
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def _weights(change):
    def spoil(place: Path) -> None:
        model = VivitForVideoClassification.from_pretrained(place, backend="numpy")
        write_safetensors(place / "model.safetensors", change(dict(model.state_dict())))

    return spoil


def _cut(place: Path) -> None:
    data = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(data[: len(data) // 2])


# Models that cannot be used, and what is wrong with each.
OF_CONFIG = {
    "config_empty": _write("config.json", ""),
    "config_text": _write("config.json", "hello"),
    "config_list": _write("config.json", "[1, 2]"),
    "config_cut": _write("config.json", '{"hidden_size": 8'),
    "config_deep": _write("config.json", '{"a": ' + "[" * 5000 + "]" * 5000 + "}"),
    "config_twice": _write("config.json", '{"hidden_size": 8, "hidden_size": 16}'),
    "config_digits": _write("config.json", '{"hidden_size": ' + "9" * 400 + "}"),
    "config_latin": _write("config.json", b'{"a": "\xff"}'),
    "config_gone": lambda place: (place / "config.json").unlink(),
    "type": _spoil_config(model_type="bert"),
    "heads": _spoil_config(num_attention_heads=3),
    "negative": _spoil_config(hidden_size=-8),
    "huge": _spoil_config(num_frames=10**30),
    "infinite": _spoil_config(layer_norm_eps=float("inf")),
    "tubelet": _spoil_config(tubelet_size=[2, 4]),
    "activation": _spoil_config(hidden_act="swish"),
    "labels": _spoil_config(id2label={"0": "a", "2": "b"}),
    "label": _spoil_config(id2label={"0": "a" * 2_000_000, "1": "b"}),
    "splits": _spoil_config(class_splits=[1, 1]),
}
OF_WEIGHTS = {
    "weights_gone": lambda place: (place / "model.safetensors").unlink(),
    "weights_empty": _write("model.safetensors", b""),
    "weights_cut": _cut,
    "weights_pointer": _write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
    "weights_header": _write("model.safetensors", b"\xff" * 16),
    "weights_nan": _weights(lambda tensors: {**tensors, "classifier.bias": numpy.full(3, numpy.nan, "float32")}),
    "weights_shape": _weights(lambda tensors: {**tensors, "vivit.layernorm.bias": numpy.zeros(4, "float32")}),
    "weights_more": _weights(lambda tensors: {**tensors, "a" * 3000: numpy.zeros(4, "float32")}),
    "weights_fewer": _weights(lambda tensors: {k: v for k, v in tensors.items() if "query" not in k}),
}
OF_PROCESSOR = {
    "processor_text": _write("preprocessor_config.json", "hello"),
    "processor_size": _write("preprocessor_config.json", '{"size": {"shortest_edge": 1000000000000}}'),
    "processor_kernel": _write("preprocessor_config.json", '{"resample": "sharp"}'),
    "processor_crop": _write("preprocessor_config.json", '{"crop_size": -3}'),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    """The user's directory, with what is good and what is not; commands are called in it."""
    place = tmp_path_factory.mktemp("home")
    model = VivitForVideoClassification(VivitConfig(**SMALL), dtype="float32", backend="numpy")
    model.save_pretrained(place / "model")
    VivitImageProcessor(size=8, crop_size=8).save_pretrained(place / "model")
    for name, spoil in {**OF_CONFIG, **OF_WEIGHTS, **OF_PROCESSOR}.items():
        shutil.copytree(place / "model", place / name)
        spoil(place / name)
    (place / "scenic").mkdir()
    save_scenic(model, place / "scenic" / "checkpoint")
    (place / "scenic_cut").write_bytes((place / "scenic" / "checkpoint").read_bytes()[:500])
    (place / "empty").mkdir()
    (place / "mine").mkdir()
    shutil.copytree(place / "model", place / "training" / "best")
    shutil.copytree(place / "model", place / "training" / "last")
    (place / "mine" / "thesis.txt").write_text("years of work")
    (place / "note.txt").write_text("hello")
    (place / "answers.py").write_text("def softmax(x):\n    return x\n")
    (place / "cut.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (place / "nothing").write_bytes(b"")
    numpy.save(place / "clip.npy", numpy.zeros((6, 8, 8, 3), "uint8"))
    numpy.save(place / "grey.npy", numpy.zeros((6, 8, 8), "uint8"))
    numpy.save(place / "objects.npy", numpy.array([{}], dtype=object))
    numpy.save(place / "pixels.npy", PIXELS)
    numpy.save(place / "wide.npy", numpy.zeros((1, 4, 5, 8, 8)))
    numpy.savez(place / "two.npz", a=PIXELS, b=PIXELS)
    for name, content in (("cut.gif", b"GIF89a\x01"), ("cut.png", b"\x89PNG\r\n\x1a\n"), ("cut.mp4", b"\x00" * 64)):
        (place / name).write_bytes(content)
    write_clips(place / "clips", clips=2)
    write_clips(place / "strangers", classes=("cat", "dog"), clips=2)
    write_clips(place / "spoilt", clips=2)
    (place / "spoilt" / "up" / "clip0.npy").write_text("no clip")
    (place / "one" / "left").mkdir(parents=True)
    (place / "hollow" / "left").mkdir(parents=True)
    (place / "hollow" / "right").mkdir()
    trace_model(
        VivitForVideoClassification(VivitConfig(**SMALL), dtype="float64"), PIXELS, place / "ours", budgets=("float32",)
    )
    _make_comparisons(place)
    _make_settings(place)
    before = os.getcwd()
    os.chdir(place)
    yield place
    os.chdir(before)


def _make_comparisons(place: Path) -> None:
    shutil.copytree(place / "ours", place / "lying")
    index = place / "lying" / "trace.safetensors.index.json"
    index.write_text(index.read_text().replace('"classifier":', '"nobody":'))
    shutil.copytree(place / "ours", place / "outside")
    index = place / "outside" / "trace.safetensors.index.json"
    index.write_text(index.read_text().replace(".safetensors", "/../x.safetensors"))
    write_safetensors(place / "theirs.safetensors", {"classifier": numpy.ones((1, 3)), "x": numpy.ones(4)})
    write_safetensors(place / "strange.safetensors", {"x": numpy.ones(4)})
    numpy.savez(place / "whole.npz", classifier=numpy.ones((1, 3), "int64"))
    for name, content in {
        "map_text.json": "hello",
        "map_list.json": "[]",
        "map_number.json": '{"classifier": 3}',
        "map_nobody.json": '{"nobody": "x"}',
        "map_layout.json": '{"classifier": {"name": "x", "layout": "sideways"}}',
        "map_key.json": '{"classifier": {"named": "x"}}',
        "map_word.json": '{"layer.{N}": "blocks.{M}"}',
        "map_words.json": json.dumps({"{A}{B}{C}{D}{E}{F}{G}{H}{I}": "x"}),
        "map_take.json": '{"classifier": {"name": "x", "layout": "take(9, 9)"}}',
        "map_deep.json": '{"a": ' + "[" * 3000 + "]" * 3000 + "}",
    }.items():
        (place / name).write_text(content)


def _make_settings(place: Path) -> None:
    for name, content in {
        "text": "hello",
        "unknown": '{"colour": "red"}',
        "self": '{"self": 1}',
        "steps": '{"steps": 0}',
        "digits": '{"learning_rate": ' + "9" * 400 + "}",
        "infinite": '{"learning_rate": 1e400}',
        "batch": '{"batch_size": "8"}',
        "preset": '{"model": {"preset": ["vivit-b-16x2"]}}',
        "model": '{"model": 3}',
        "decided": '{"model": {"num_labels": 3}}',
        "field": '{"model": {"hidden": 3}}',
        "attention": '{"model": {"attention_type": "joint"}}',
        "augmentation": '{"augmentation": {"mirror": true}}',
        "crop": '{"augmentation": {"crop_size": "8"}}',
        "freeze": '{"freeze": ["nobody.*"]}',
    }.items():
        (place / f"settings_{name}.json").write_text(content)


# --------------------------------------------------------------------------------------------------------------------
# The invocations
# --------------------------------------------------------------------------------------------------------------------

NO_NUMBERS = ("", "x", "1.5", "1e3", "-1", "0x10", "nan", "9" * 400)
# Places that nothing can be written to, or that are somebody's.
NO_PLACES = (
    *("mine", "mine/thesis.txt", "note.txt", "note.txt/x", "clip.npy", "model", "clips", "/proc/nowhere/x", "a" * 300),
)


def options(*good: str) -> list[list[str]]:
    """What is wrong with the options of any command, beside arguments that are good."""
    wrong = (["--bogus"], ["--bogus=1"], ["-z"], ["--jsno"], ["one", "two", "three"], ["--json=yes"])
    return [[*good, *more] for more in wrong]


def numbers(option: str, *good: str, but: tuple[str, ...] = ()) -> list[list[str]]:
    """Values that are no whole number of at least 1."""
    return [[*good, option, value] for value in NO_NUMBERS if value not in but] + [[*good, option]]


def models(*good: str, kinds: tuple[dict, ...] = (OF_CONFIG, OF_WEIGHTS)) -> list[list[str]]:
    """Models that are none."""
    names = [name for kind in kinds for name in kind]
    places = ("nowhere", "note.txt", "empty", "training", "model/model.safetensors", "", *names)
    return [[*good, "--model", name] for name in places] + [[*good, "--model"]]


BAD_CLIPS = ("nowhere", "nothing", "note.txt", "grey.npy", "objects.npy", "empty", "cut.gif", "cut.png", "cut.mp4", "")
PLACES = [[name] for name in NO_PLACES]
ALONE = [
    *PLACES,
    *(
        [],
        ["."],
        [".."],
        [""],
        ["one", "two"],
        ["ours"],
        ["scenic"],
        ["/dev/null"],
        ["/dev/null/x"],
        ["--"],
        ["--", "mine"],
    ),
    *([f"--{word}"] for word in ("json", "model", "output", "force", "seed", "all", "html", "map", "clips", "yes")),
    *([place, *more] for place in ("new", "mine") for more in (["--bogus"], ["-z"], ["--json"], ["--force"], ["two"])),
    *([name] for name in ("pixels.npy", "two.npz", "spoilt", "hollow", "one")),
]

CASES: dict[str, list[list[str]]] = {
    "classify": [
        *options("clip.npy", "--model", "model"),
        *([clip, "--model", "model"] for clip in BAD_CLIPS),
        *models("clip.npy", kinds=(OF_CONFIG, OF_WEIGHTS, OF_PROCESSOR)),
        *numbers("--top-k", "clip.npy", "--model", "model"),
        *numbers("--frames", "clip.npy", "--model", "model"),
        *numbers("--stride", "clip.npy", "--model", "model"),
        *(
            ["clip.npy", "--model", "model", "--views", value]
            for value in ("", "4", "4x2", "x", "0x1", "4x3x1", "-1x1")
        ),
        *(["clip.npy", "--model", "model", "--save-picture", value] for value in ("a.jpg", "gone/a.png", "mine", "")),
        *(["clip.npy", "--dtype", "int8"], ["clip.npy", "--backend", "tpu"], ["clip.npy", "--average", "median"]),
    ],
    "info": [
        *options(),
        *models(kinds=(OF_CONFIG,)),
        *(
            ["--preset", value]
            for value in ("", "vivit", "vivit-b-16x2/", "../model", "a" * 1000, "VIVIT-B-16X2", "self")
        ),
        *(["--preset"], ["--table2", "--preset", "vivit-b-16x2"], ["--table2", "--model", "model"], ["model"]),
        *(
            ["--table2=1"],
            ["--model", "model", "--preset", "vivit-b-16x2"],
            ["--model", "clip.npy"],
            ["--model", "mine"],
        ),
    ],
    "explore": [
        *options("clip.npy", "--model", "model", "--output", "new.html"),
        *([clip, "--model", "model", "--output", "new.html"] for clip in BAD_CLIPS),
        *models("clip.npy", "--output", "new.html", kinds=(OF_CONFIG, OF_WEIGHTS, OF_PROCESSOR)),
        *(["clip.npy", "--model", "model", "--output", place] for place in (*NO_PLACES, "gone/a.html", "a.png", "")),
        *(
            ["clip.npy", "--model", "model", "--output", "new.html", "--label", value]
            for value in ("", "x", "-1", "1.5", "999999999", "9" * 400)
        ),
        *(["clip.npy", "--model", "model", *more] for more in ([], ["--output"], ["--output", "new.html", "--label"])),
        *(["clip.npy", "--output", "a.html", *more] for more in (["--dtype", "int8"], ["--backend", "tpu"])),
    ],
    "site": [
        *options("new"),
        *PLACES,
        *([], [""], ["."], [".."], ["/"], ["new", "new2"]),
        *(
            ["new", "--pyodide", value]
            for value in (
                "",
                ".",
                "empty",
                "mine",
                "note.txt",
                "nowhere",
                "https://",
                "http:///x",
                "ftp://a",
                "a" * 300,
            )
        ),
        *(
            ["new", "--sources", value]
            for value in ("", "empty", "model", "note.txt", "nowhere", "clip.npy", "a" * 300)
        ),
        *(
            ["new", *more]
            for more in (["--pyodide"], ["--sources"], ["--with-assignments=1"], ["--with-assignments", "x"])
        ),
        *([place, "--with-assignments"] for place in ("mine", "note.txt")),
    ],
    "trace": [
        *options("clip.npy", "new", "--model", "model"),
        *([clip, "new", "--model", "model"] for clip in (*BAD_CLIPS, "wide.npy", "two.npz", "theirs.safetensors")),
        *(["pixels.npy", place, "--model", "model"] for place in NO_PLACES),
        *models("clip.npy", "new"),
        *(
            ["pixels.npy", "new", "--model", "model", *more]
            for more in (
                ["--gradients"],
                ["--gradients", "--label", "9"],
                ["--gradients", "--label", "x"],
                ["--label"],
                ["--only"],
                ["--only", "nobody.*"],
                ["--budget", "float8"],
                ["--dtype", "float16"],
                ["--dtype", "float32", "--budget", "tf32"],
                ["--backend", "tpu"],
                ["--gradients", "--label", "0", "1"],
                ["--gradients", "--label", "-1"],
            )
        ),
        *([], ["clip.npy"]),
    ],
    "conformance": ALONE,
    "gradcheck": [
        *options("--model", "model"),
        *models("--input", "pixels.npy"),
        *(["--model", "model", "--input", clip] for clip in (*BAD_CLIPS, "wide.npy", "two.npz")),
        *(
            ["--model", "model", "--input", "pixels.npy", *more]
            for more in (
                ["--parameter"],
                ["--parameter", "nobody"],
                ["--label", "9"],
                ["--label", "x"],
                ["--label"],
                ["--seed", "-1"],
                ["--entries", "x"],
                ["--entries", "-1"],
                ["--backend", "tpu"],
                ["--label", "0", "1"],
            )
        ),
    ],
    "compare": [
        *options("ours", "theirs.safetensors"),
        *([], ["ours"]),
        *(
            [name, "theirs.safetensors"]
            for name in ("nowhere", "note.txt", "empty", "mine", "lying", "outside", "model/config.json")
        ),
        *(
            ["ours", name]
            for name in (
                "nowhere",
                "note.txt",
                "empty",
                "mine",
                "lying",
                "outside",
                "nothing",
                "strange.safetensors",
                "clip.npy",
                "whole.npz",
                "weights_cut/model.safetensors",
                "weights_header/model.safetensors",
            )
        ),
        *(
            ["ours", "theirs.safetensors", "--map", f"map_{name}.json"]
            for name in ("gone", "text", "list", "number", "nobody", "layout", "key", "word", "words", "take", "deep")
        ),
        *(
            ["ours", "theirs.safetensors", *more]
            for more in (
                ["--map"],
                ["--map", "mine"],
                ["--pair", "hope"],
                ["--map", "map_number.json", "--pair", "order"],
                ["--rtol", "x"],
                ["--rtol", "-1"],
                ["--rtol", "nan"],
                ["--atol", "inf"],
                ["--precision", "float8"],
                ["--html", "mine"],
                ["--html", "gone/a.html"],
                ["--html"],
                ["--precision", "tf32"],
            )
        ),
    ],
    "train": [
        *options("clips", "--output", "new"),
        *([], ["clips"], ["--output", "new"], ["clips", "--output"]),
        *(
            [data, "--output", "new"]
            for data in ("nowhere", "note.txt", "empty", "one", "hollow", "spoilt", "clip.npy", "")
        ),
        *(["clips", "--output", place] for place in ("note.txt", "note.txt/x", "/proc/nowhere/x", "a" * 300)),
        *(
            ["clips", "--output", "new", "--config", f"settings_{name}.json"]
            for name in (
                "gone",
                "text",
                "unknown",
                "self",
                "steps",
                "digits",
                "infinite",
                "batch",
                "preset",
                "model",
                "decided",
                "field",
                "attention",
                "augmentation",
                "crop",
                "freeze",
            )
        ),
        *models("clips", "--output", "new"),
        *numbers("--steps", "clips", "--output", "new"),
        *(
            ["clips", "--output", "new", option, "x"]
            for option in ("--learning-rate", "--optimiser", "--dtype", "--preset")
        ),
        *(
            ["clips", "--output", "new", *more]
            for more in (
                ["--learning-rate", "nan"],
                ["--validation-fraction", "1"],
                ["--epochs", "1", "--steps", "1"],
                ["--freeze", "no.*"],
                ["--batch-size", "0"],
                ["--accumulate", "99"],
                ["--stride", "0"],
                ["--seed", "-1"],
                ["--steps", "3", "--warm-up", "3"],
            )
        ),
    ],
    "evaluate": [
        *options("--model", "model", "--data", "clips"),
        *models("--data", "clips", kinds=(OF_CONFIG, OF_WEIGHTS, OF_PROCESSOR)),
        *(
            ["--model", "model", "--data", data]
            for data in ("nowhere", "note.txt", "empty", "one", "hollow", "spoilt", "strangers", "clip.npy", "")
        ),
        *numbers("--clips", "--model", "model", but=("9" * 400,)),
        *numbers("--stride", "--model", "model", "--data", "clips"),
        *(["--seed", "-1"], ["--seed", "x"], ["--backend", "tpu"], ["--model", "model"], ["--clips", "0"]),
    ],
    "ablate": [
        *options("--output", "new"),
        *(["--output", place] for place in ("note.txt", "note.txt/x", "/proc/nowhere/x", "a" * 300)),
        *(
            case
            for name in ("--seeds", "--steps", "--clips", "--processes")
            for case in numbers(name, "--output", "new", but=("9" * 400,))
        ),
        ["--output", "new", "--seeds", "1000"],
        ["--output", "new", "--backend", "numpy"],
    ],
    "variants": [
        *options("--output", "new"),
        *(["--output", place] for place in ("note.txt", "note.txt/x", "/proc/nowhere/x", "a" * 300)),
        *(
            ["--output", "new", "--config", f"settings_{name}.json"]
            for name in (
                "gone",
                "text",
                "unknown",
                "self",
                "steps",
                "digits",
                "infinite",
                "batch",
                "preset",
                "model",
                "decided",
                "field",
                "attention",
                "augmentation",
            )
        ),
        *numbers("--steps", "--output", "new", but=("9" * 400,)),
        *numbers("--clips", "--output", "new"),
        *(
            ["--output", "new", *more]
            for more in (["--seed", "-1"], ["--seed", "x"], ["--seed", "9" * 400], ["--seed"])
        ),
        *(["--output"], ["--config"]),
    ],
    "assignments": ALONE + [[*more, "new"] for more in (["--for", "moodle"], ["--seed", "-1"], ["--sources", "mine"])],
    "grade": [
        *(case for case in ALONE if case not in (["."], [".."])),  # where something to grade lies
        *([name] for name in ("nowhere", "note.txt", "empty", "mine", "clip.npy", "model", "cut.png", "cut.zip")),
        *([name, "--seed", "-1"] for name in ("mine", "answers.py")),
        *(["answers.py", "--assignment", name] for name in ("", "02", "7", "a" * 3000)),
        *(["answers.py", "--json", place] for place in ("mine", "gone/a.json", "note.txt/a.json")),
        *(["answers.py", "--seed", "x"], ["answers.py", "--seed"], ["answers.py", "--json"], ["answers.py", "two"]),
    ],
    "convert": [
        *options("scenic", "new"),
        *([], ["scenic"], ["model"], ["model", "model"], ["scenic", "scenic"], ["scenic", "new"]),
        *(
            [source, "new"]
            for source in ("nowhere", "note.txt", "empty", "mine", "nothing", "clip.npy", "scenic_cut", "")
        ),
        *([source, "new"] for source in (*OF_CONFIG, *OF_WEIGHTS, "training", "model/model.safetensors")),
        *(["model", place] for place in ("note.txt", "note.txt/x", "/proc/nowhere/x", "a" * 300)),
        *(["scenic", "new", "--preset", name] for name in ("", "x", "vivit-b-16x2-kinetics400", "a" * 1000)),
        *(["model", "new", "--preset", "vivit-b-16x2-kinetics400"], ["scenic", "new", "--preset"]),
    ],
}


def listing(place: Path) -> dict[str, tuple]:
    """All that is in a directory: size, time of change, and which file it is."""
    entries = {str(path): path.lstat() for path in sorted(place.rglob("*"))}
    return {name: (entry.st_ino, entry.st_size, entry.st_mtime_ns) for name, entry in entries.items()}


def test_every_command_has_forty():
    assert CASES.keys() == COMMANDS.keys()
    for name, cases in CASES.items():
        assert len({tuple(case) for case in cases}) >= 40, f"{name}: {len(cases)}"


@pytest.mark.parametrize("command", CASES)
def test_a_bad_invocation_is_one_line_and_changes_nothing(command, home, capsys):
    before, wrong = listing(home), []
    for arguments in CASES[command]:
        capsys.readouterr()
        try:
            code = main([command, *arguments])
        except SystemExit as leaving:  # argparse's way
            code = leaving.code
        out, err = capsys.readouterr()
        after = listing(home)
        shown = [argument[:40] for argument in arguments]
        if code != 2 or out or not err.startswith("minivivit: error: ") or err.count("\n") != 1:
            wrong.append(f"{shown}: exit code {code}, {out[:200]!r}, {err[:500]!r}")
        elif len(err) > (LONGEST_LIST if " missing: " in err and " is it another preset?" not in err else LONGEST_LINE):
            wrong.append(f"{shown}: a line of {len(err):,} letters")
        if after != before:
            changed = sorted(name for name in after.keys() | before.keys() if after.get(name) != before.get(name))
            wrong.append(f"{shown}: changed {changed[:5]}")
            before = after
    assert not wrong, "\n".join(wrong)
