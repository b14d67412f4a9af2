"""The conformance pack: read by a program that knows its README and not minivivit, the same whenever it is written."""

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import scipy.special

from minivivit import InputError, VivitForVideoClassification
from minivivit.backend import num_threads, set_num_threads
from minivivit.cli import main
from minivivit.config import VivitConfig
from minivivit.verification.conformance import pack as conformance
from minivivit.verification.conformance.pack import CASES, SMALL, case_model, write_conformance_pack
from minivivit.verification.tensors.error import PRECISIONS
from minivivit.verification.tensors.source import open_source

READER = Path(__file__).with_name("conformance_reader.py")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack whose budgets are of two runs each: quicker, and otherwise the same."""
    directory = tmp_path_factory.mktemp("conformance") / "pack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance, "DRAWS", 2)
        write_conformance_pack(directory)
    return directory


def index_of(pack):
    return json.loads((pack / "index.json").read_text())


def budgets_of(pack, case):
    return json.loads((pack / case["rounding_budgets"]).read_text())["metadata"]["rounding_budgets"]


def read(pack, *arguments):
    """What the stand-alone reader says; it imports nothing of ours, and Python keeps our directory from its path."""
    command = [sys.executable, "-I", READER, pack, *arguments]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_port_from_the_readme_conforms(pack, dtype):
    assert "minivivit" not in re.sub(r'""".*?"""|#.*|"minivivit[^"]*"', "", READER.read_text(), flags=re.DOTALL)
    assert read(pack, "model1_token", dtype) == "conforms"


@pytest.mark.parametrize(
    ("mistake", "first"),
    [
        ("eps", "vivit.encoder.layer.0.layernorm_before"),
        ("scale", "vivit.encoder.layer.0.attention.attention.scores"),
        ("labels", "loss"),
    ],
)
def test_a_port_with_a_mistake_is_told_where(pack, mistake, first):
    assert read(pack, "model1_token", "float32", mistake) == first


@pytest.mark.parametrize(
    ("case", "dtype", "mistake", "said"),
    [
        ("model1_saturated", "float64", "", "conforms"),
        pytest.param("model1_saturated", "float32", "", "conforms", marks=pytest.mark.thorough),
        ("model1_saturated", "float32", "naive softmax", "vivit.encoder.layer.0.attention.attention.probs"),
        ("model1_saturated", "float64", "naive loss", "loss"),
        pytest.param("model1_overflow", "float32", "", "conforms", marks=pytest.mark.thorough),
        ("model1_overflow", "float16", "", "conforms"),
        ("model1_overflow", "float16", "scaled late", "vivit.encoder.layer.0.attention.attention.scores"),
        pytest.param("model1_overflow", "float32", "scaled late", "conforms", marks=pytest.mark.thorough),
        pytest.param("model1_token", "float16", "scaled late", "conforms", marks=pytest.mark.thorough),
        pytest.param("model1_token", "float64", "naive loss", "conforms", marks=pytest.mark.thorough),
    ],
)
def test_the_ends_of_the_range_are_exercised(pack, case, dtype, mistake, said):
    """What is a mistake only there passes in the other cases."""
    assert read(pack, case, dtype, mistake) == said


def test_errors_that_cancelled_in_our_runs_are_not_asked_of_a_port(pack):
    """The loss is one number: by luck it is exact in both runs of this pack, and no port has to be as lucky."""
    for case in index_of(pack)["cases"].values():
        order = list(case["tensors"])
        for budgets in budgets_of(pack, case).values():
            for before, name in itertools.pairwise(order):
                if math.prod(case["tensors"][name]["shape"]) < 8:
                    assert budgets[name]["rms"] > 0
                    for key in ("rms", "max_abs"):
                        assert budgets[name][key] >= min(budgets[before][key], 1e300), (name, key)


def test_rounding_half_to_even_is_exercised(pack):
    """The frames that are taken are those of no other rounding."""
    config = json.loads((pack / "model1_frame_sampling/config.json").read_text())
    number, total = config["num_sampled_frames"], config["num_frames"]
    exact = [k * total / (number + 1) for k in range(1, number + 1)]
    trace = open_source(pack / "model1_frame_sampling" / "trace")
    clip, taken = trace.read("pixel_values"), trace.read("vivit.embeddings.frame_sampling")
    found = [next(i for i in range(total) if (clip[:, i] == taken[:, k]).all()) for k in range(number)]
    assert found == [round(place) for place in exact]
    for other in (math.floor, math.ceil, lambda place: math.floor(place + 0.5), lambda place: math.ceil(place - 0.5)):
        assert found != [other(place) for place in exact]


KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int}
KINDS |= {"number": (int, float)}
KNOWN = {"$schema", "title", "type", "properties", "required", "additionalProperties", "minProperties", "items", "enum"}
KNOWN |= {"minItems", "maxItems", "const", "pattern", "minimum", "exclusiveMinimum", "anyOf"}


def valid(value, schema):
    """Whether JSON fits a schema, of the words that ours use."""
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    if "anyOf" in schema and not any(valid(value, one) for one in schema["anyOf"]):
        return False
    kind = schema.get("type")
    if kind and (not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    if isinstance(value, dict):
        rules, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        if len(value) < schema.get("minProperties", 0) or not set(schema.get("required", ())) <= value.keys():
            return False
        return all(rules.get(key, others) is not False and valid(value[key], rules.get(key, others)) for key in value)
    if isinstance(value, list):
        low, high = schema.get("minItems", 0), schema.get("maxItems", len(value))
        return low <= len(value) <= high and all(valid(one, schema.get("items", {})) for one in value)
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if value is None or isinstance(value, bool):
        return True
    return value >= schema.get("minimum", value) and value > schema.get("exclusiveMinimum", -math.inf)


def schemas_of(pack):
    return {part: json.loads((pack / f"{part}.schema.json").read_text()) for part in ("index", "config", "trace")}


def test_the_schemas_describe_the_pack(pack):
    schemas, index = schemas_of(pack), index_of(pack)
    assert valid(index, schemas["index"])
    for case in index["cases"].values():
        assert valid(json.loads((pack / case["config"]).read_text()), schemas["config"])
        assert valid(json.loads((pack / case["rounding_budgets"]).read_text()), schemas["trace"])


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("index", lambda index: index.pop("rule")),
        ("index", lambda index: index.update(extra=1)),
        ("index", lambda index: index.update(format="other/1")),
        ("index", lambda index: index["cases"]["model1_gap"].update(labels=[1.5])),
        ("index", lambda index: index["cases"]["model1_gap"]["weights"]["classifier.bias"].update(sha256="0")),
        ("index", lambda index: index["cases"]["model1_gap"]["weights"]["classifier.bias"].update(shape=[-1])),
        ("config", lambda config: config.update(hidden_size="20")),
        ("config", lambda config: config.update(attention_type="other")),
        ("config", lambda config: config.update(tubelet_size=[2, 2])),
        ("config", lambda config: config.update(layer_norm_eps=0)),
        ("config", lambda config: config.update(qkv_bias=1)),
        ("config", lambda config: config.pop("num_hidden_layers")),
    ],
)
def test_the_schemas_refuse_what_is_none(pack, part, change):
    path = "index.json" if part == "index" else "model1_token/config.json"
    value = json.loads((pack / path).read_text())
    change(value)
    assert not valid(value, schemas_of(pack)[part])


def test_another_validator_says_the_same(pack):
    jsonschema = pytest.importorskip("jsonschema")
    schemas = schemas_of(pack)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(index_of(pack), schemas["index"])


def test_the_readmes_erf(pack):
    """To 1e-15 of scipy's, at all magnitudes and on either side of its seam."""
    text = (pack / "README.md").read_text()
    names: dict = {}
    exec(re.search(r"```python\n(import math\n.*?)```", text, flags=re.DOTALL)[1], names)
    assert "to within 1e-15" in text
    places = [
        *numpy.linspace(-7, 7, 4001),
        *10.0 ** numpy.arange(-300, 0, 7),
        0.0,
        -0.0,
        1.5,
        numpy.nextafter(1.5, 0),
        30,
    ]
    found = numpy.array([names["erf"](float(place)) for place in places])
    assert numpy.abs(found - scipy.special.erf(places)).max() < 1e-15
    assert math.copysign(1, names["erf"](-0.0)) == -1


def test_a_pack_of_ones_own_config(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conformance, "DRAWS", 1)
    config = VivitConfig(**{**SMALL, "num_labels": 2, "attention_type": "factorised_self_attention"})
    config.save_pretrained(tmp_path)
    assert main(["conformance", "--config", str(tmp_path / "config.json"), str(tmp_path / "pack")]) == 0
    assert "minivivit-conformance/1: 1 case, " in capsys.readouterr().out
    index = index_of(tmp_path / "pack")
    assert list(index["cases"]) == ["own"]
    assert index["cases"]["own"]["labels"] == [1, 1]
    own = VivitConfig.from_pretrained(tmp_path / "pack" / "own").to_dict()
    assert {field: own[field] for field in config.to_dict()} == config.to_dict()
    schemas = schemas_of(tmp_path / "pack")
    assert valid(index, schemas["index"])
    assert valid(json.loads((tmp_path / "pack/own/config.json").read_text()), schemas["config"])
    assert "a config of your own" in (tmp_path / "pack/README.md").read_text()


def test_several_heads_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(conformance, "DRAWS", 1)
    config = VivitConfig(**{**SMALL, "class_splits": [3, 2]})
    index = write_conformance_pack(tmp_path / "pack", config=config)
    assert index["cases"]["own"]["labels"] == [[2, 1], [1, 1]]
    assert valid(index, schemas_of(tmp_path / "pack")["index"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [({}, r"about \d+ GB; give one of the same kind with fewer frames"), ({"num_labels": 0}, "has no classes")],
)
def test_a_config_that_makes_no_case_is_refused(tmp_path, capsys, fields, message):
    VivitConfig(**fields).save_pretrained(tmp_path)
    assert main(["conformance", "--config", str(tmp_path / "config.json"), str(tmp_path / "pack")]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not (tmp_path / "pack").exists()


def test_a_damaged_pack_is_told(pack, tmp_path):
    copy = tmp_path / "pack"
    shutil.copytree(pack, copy)
    path = copy / "model4_gap/trace/vivit.layernorm.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    command = [sys.executable, "-I", str(READER), str(copy), "model1_token", "float64"]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum")
def test_sha256sum_reads_the_checksums(pack):
    result = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=pack, capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()
    assert len(lines) == sum(path.is_file() for path in pack.rglob("*")) - 1
    assert all(line.endswith(": OK") for line in lines)


def test_what_a_pack_holds(pack):
    index = index_of(pack)
    assert list(index["cases"]) == list(CASES)
    configs = [VivitConfig.from_pretrained(pack / name) for name in CASES]
    assert {config.attention_type for config in configs} == {
        "spatio_temporal", "factorised_encoder", "factorised_self_attention", "factorised_dot_product",
    }  # fmt: skip
    assert {config.classifier for config in configs} == {"token", "gap"}
    assert {c.attention_order for c in configs if c.attention_type == "factorised_self_attention"} == {
        "time_space", "space_time",
    }  # fmt: skip
    assert any(config.spatial_only_baseline for config in configs)
    assert any(config.temporal_encoding == "frame_sampling" for config in configs)
    for name, case in index["cases"].items():
        names, weights = list(case["tensors"]), list(case["weights"])
        assert names[0] == "pixel_values"
        assert names.index("classifier") < names.index("loss") < names.index("gradient.classifier")
        assert any(tensor.endswith(".scores") for tensor in names)
        assert any(tensor.endswith(".probs") for tensor in names)
        assert {f"gradient.{weight}" for weight in [*weights, "pixel_values"]} <= set(names)
        for weight in weights:
            assert case["tensors"][f"gradient.{weight}"]["shape"] == case["weights"][weight]["shape"]
        budgets = budgets_of(pack, case)
        assert list(budgets) == list(PRECISIONS)
        for of_precision in budgets.values():
            assert set(of_precision) == set(names)
            assert all(math.isfinite(value) for budget in of_precision.values() for value in budget.values())
        assert (pack / name / "model.safetensors").is_file()
    assert sum(path.stat().st_size for path in pack.rglob("*") if path.is_file()) < 10e6


def test_the_values_are_those_of_the_models_in_it(pack):
    """Read back by ourselves, every case's model computes the case's loss and gradients from the case's input."""
    for name, case in index_of(pack)["cases"].items():
        model = VivitForVideoClassification.from_pretrained(pack / name, dtype="float64", backend="numpy")
        trace = open_source(pack / name / "trace")
        pixels = trace.read("pixel_values")
        loss, gradients = model.loss_and_gradients(pixels, numpy.array(case["labels"]))
        assert float(loss) == pytest.approx(float(trace.read("loss")), rel=1e-13)
        for weight, gradient in gradients.items():
            expected = trace.read(f"gradient.{weight}")
            # A bias's gradient is the sum of its output's, whose parts may be larger by far: a key's cancel to 0.
            output = f"gradient.{weight.rpartition('.')[0]}"
            parts = numpy.abs(trace.read(output)).sum() if weight.endswith("bias") and output in trace else 1
            assert numpy.abs(gradient - expected).max() <= 1e-13 * max(parts, 1, numpy.abs(expected).max())
        for array in [pixels, *model.state_dict().values()]:
            assert (array.astype("float32") == array).all()


def test_no_two_sides_that_are_easy_to_confuse_are_equal():
    config = VivitConfig(**SMALL)
    times, rows, columns = config.grid_size
    head_size = config.hidden_size // config.num_attention_heads
    assert len({times, rows, rows * columns}) == 3
    assert len({config.hidden_size, config.intermediate_size, times * rows * columns, head_size}) == 4
    assert head_size != config.num_attention_heads
    assert config.frame_size[0] % config.tubelet_size[1] == config.frame_size[1] % config.tubelet_size[2] == 1


@pytest.mark.thorough
def test_the_same_bytes_whenever_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(conformance, "CASES", {name: CASES[name] for name in ("model2_token", "model3_time_space")})
    monkeypatch.setattr(conformance, "DRAWS", 2)
    threads, cases = num_threads(), []
    write_conformance_pack(tmp_path / "one" / "pack", on_case=cases.append)
    set_num_threads(3)
    try:
        (tmp_path / "two").mkdir()
        write_conformance_pack(tmp_path / "two")
        assert num_threads() == 3
    finally:
        set_num_threads(threads)
    assert cases == ["model2_token", "model3_time_space"]
    one, two = ({path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
                for place in (tmp_path / "one/pack", tmp_path / "two"))  # fmt: skip
    assert one.keys() == two.keys()
    assert [path for path in one if one[path] != two[path]] == []
    assert not any(str(tmp_path).encode() in data for data in one.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_the_readme_says_what_the_pack_does(pack):
    text, index = (pack / "README.md").read_text(), index_of(pack)
    assert not re.search(r"<[A-Z]+>", text)
    assert index["format"] in text
    for name, case in index["cases"].items():
        assert f"| `{name}` | {case['description']} |" in text
    for key in ("factors", "gradient_factors", "noise_factors"):
        assert "({:g}, {:g})".format(*index["rule"][key]) in text
    # its ten lines of Python read a file as we do
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    exec(code[1], names)
    path = pack / "model1_token/model.safetensors"
    ours = open_source(path)
    for name, (shape, numbers) in names["read_safetensors"](path).items():
        assert tuple(shape) == ours.shapes[name]
        assert list(numbers) == ours.read(name).reshape(-1).tolist()


def test_the_readme_says_what_every_name_is(pack):
    words = set(re.findall("[a-z_]+", (pack / "README.md").read_text().split("## Names")[1]))
    for case in index_of(pack)["cases"].values():
        for name in case["tensors"]:
            parts = [part for part in name.split(".") if not part.isdigit()]
            if name.removeprefix("gradient.") not in case["weights"]:
                assert words.issuperset(parts), name


def test_a_place_that_is_taken_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for name, message in (
        ("file", "is a file; expected a new or an empty"),
        ("full", "is not empty, it holds 'mine'; choose another"),
    ):
        with pytest.raises(InputError, match=message):
            write_conformance_pack(tmp_path / name)
        assert main(["conformance", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "full" / "mine").read_text() == "mine"
    with pytest.raises(InputError, match=r"file.pack cannot be made \(Not a directory\); choose a directory"):
        write_conformance_pack(tmp_path / "file" / "pack")


def test_a_pack_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(conformance, "DRAWS", 1)
    with pytest.raises(KeyboardInterrupt):
        write_conformance_pack(tmp_path / "pack", on_case=fail)
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conformance, "CASES", {"model4_gap": CASES["model4_gap"]})
    monkeypatch.setattr(conformance, "DRAWS", 1)
    assert main(["conformance", str(tmp_path / "pack")]) == 0
    out = capsys.readouterr().out
    assert "minivivit-conformance/1: 1 case, " in out
    assert "README.md" in out
    assert (tmp_path / "pack" / "SHA256SUMS").is_file()


def test_every_parameter_of_a_case_matters():
    """None is 0 or 1, and so hidden."""
    for _, fields in CASES.values():
        model, pixels, labels = case_model(VivitConfig(**{**SMALL, **fields}))
        _, gradients = model.loss_and_gradients(pixels, labels)
        for name, array in model.state_dict().items():
            assert (array != 0).all()
            assert name.endswith("key.bias") or numpy.abs(gradients[name]).max() > 1e-6
