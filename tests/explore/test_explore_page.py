"""`minivivit explore`: the page's size, its policy, what is in it, and what it refuses."""

import base64
import hashlib
import json
import re

import numpy
import pytest
from model_cases import MODELS, TINY, tiny_model

from minivivit import InputError, VivitConfig, VivitForVideoClassification
from minivivit.bundled import bundled_model_directory
from minivivit.command_line import run_command
from minivivit.explore.network_steps import attentions, stages
from minivivit.explore.occlusion import occlusion
from minivivit.explore.packing import unpack
from minivivit.explore.page import as_script, assemble, explore_page, page_data
from minivivit.explore.recording import Recording, _add_parameters, choose, record_network, space_rows
from minivivit.explore.sight import four_models
from minivivit.explore.source_lines import PLACES, source_lines
from minivivit.layers.trace import Trace
from minivivit.models.parameters import classification_shapes, flatten
from minivivit.training.settings import FOLDER_MODEL

HOSTILE = "</script><img src=x onerror=alert(1)><!--SCRIPT--><b>\"'&\u2028\n\x1b[31m"


class Copies(dict):
    """A store for `Trace`: a plain one keeps arrays that the backward pass goes on to change."""

    def __setitem__(self, name, array):
        super().__setitem__(name, numpy.array(array))


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    place = tmp_path_factory.mktemp("page") / "page.html"
    assert run_command(["explore", "--output", str(place)]) == 0
    return place.read_bytes()


def tiny(model="1", **fields):
    config = VivitConfig(**{**TINY, "id2label": {0: HOSTILE, 1: "b", 2: "c", 3: "d"}, **MODELS[model], **fields})
    rng = numpy.random.default_rng(3)
    clip = rng.standard_normal((1, config.num_frames, config.num_channels, *config.frame_size))
    return tiny_model(config, rng), clip


def page_of(network, clip, **about):
    frames = numpy.zeros((clip.shape[1], *clip.shape[3:], 3), "u1")
    return explore_page(record_network(network, clip), frames, {"clip": "c", "model": "m", **about})


# --------------------------------------------------------------------------------------------------------------------
# The file
# --------------------------------------------------------------------------------------------------------------------


def test_the_bundled_model_whole_is_under_three_megabytes_and_the_same_twice(bundled, tmp_path):
    assert len(bundled) <= 3_000_000
    assert data_of(bundled.decode())["kept"]["whole"]
    assert run_command(["explore", "--output", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == bundled


def test_the_policy_names_the_one_script_and_style_and_nothing_is_fetched(bundled):
    page = bundled.decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    scripts = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for kind, texts in (("script", scripts), ("style", styles)):
        digest = base64.b64encode(hashlib.sha256(texts[0].encode()).digest()).decode()
        assert len(texts) == 1
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert page.count("<script") == 2
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    for call in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "fetch(",
        "XMLHttp",
        "http",
    ):
        assert call not in scripts[0]


def test_modules_lose_their_imports_and_no_two_have_a_name_in_common(bundled):
    assert as_script('import {\n  a,\n} from "./b.js";\nexport const c = a;\n') == "const c = a;\n"
    script = re.search(r'<script type="module">(.*?)</script>', bundled.decode(), re.DOTALL)[1]
    names = re.findall(r"^(?:function|const|let|class) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names)) > 50
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)


def test_names_from_files_are_data_and_never_markup():
    model, clip = tiny()
    page = page_of(model, clip, model=HOSTILE, notes=[HOSTILE])
    data = data_of(page)
    assert data["labels"][0].startswith("</script><img src=x onerror=alert(1)><!--SCRIPT-->")
    markup = page.replace(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1], "")
    assert "onerror" not in markup
    assert "<" not in re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert all(letter.isprintable() for text in (data["labels"][0], data["notes"][0]) for letter in text)
    model, clip = tiny(id2label=dict.fromkeys(range(4), "x" * 1000))
    assert max(map(len, data_of(page_of(model, clip))["labels"])) <= 120


# --------------------------------------------------------------------------------------------------------------------
# What is in it
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*MODELS, "1 with a representation layer"])
def test_every_array_is_that_of_the_trace(kind):
    """Of all four models; what is not kept follows from what is by the steps that the page has."""
    kind, more = kind[0], {"representation_size": 3} if len(kind) > 1 else {}
    model, clip = tiny(kind, **more)
    recording = record_network(model, clip, label=2)
    store = Copies()
    loss, gradients = model.loss_and_gradients(clip, numpy.array([2]), trace=Trace(store))
    assert recording.loss == pytest.approx(loss, rel=1e-12)
    names = {step["out"] for stage in recording.stages for step in stage["steps"]}
    for name, (array, _) in recording.tensors.items():
        if name in store:
            true = store[name]
            if MODELS[kind]["attention_type"] == "factorised_self_attention" and "temporal_attention." in name:
                true = true.swapaxes(0, 1)
            numpy.testing.assert_allclose(array, true.reshape(array.shape), rtol=1e-12, atol=1e-15)
    parameters = {name for name in recording.tensors if name.endswith(("weight", "bias", "cls_token", "embeddings"))}
    assert {name for name in model.state_dict() if not name.startswith("vivit.pooler")} <= parameters
    made = {
        step["out"] for stage in recording.stages for step in stage["steps"] if step["kind"] in ("norm", "activation")
    }
    assert made & recording.tensors.keys() == set()
    unknown = {name for name in names - made if not name.endswith((".scores", ".probs"))} - recording.tensors.keys()
    assert unknown == set()
    assert {f"gradient.{name}" for name in names if name.endswith(("query", "attention_residual"))} <= store.keys()
    assert gradients["pixel_values"].size >= recording.tensors["gradient.tubelets"][0].size


@pytest.mark.parametrize("kind", MODELS)
def test_layers_are_counted_as_their_names_are(kind):
    titled = [stage for stage in stages(tiny(kind)[0].config, (2, 2, 2)) if stage["kind"] == "layer"]
    assert [stage["title"].split()[-1] for stage in titled] == [stage["id"].split(".")[-1] for stage in titled]
    assert titled[0]["title"].endswith("ayer 0")


@pytest.mark.parametrize("kind", ["1", "3", "4"])
@pytest.mark.parametrize("classifier", ["token", "gap", "gsp"])
def test_the_shares_of_the_heads_add_up_to_the_logits(kind, classifier):
    if kind in "34" and classifier == "token":
        classifier = "gap"
    model, clip = tiny(kind, classifier=classifier)
    shares = record_network(model, clip).shares
    assert len({share.head for share in shares if share.part == "head"}) == 2
    numpy.testing.assert_allclose(sum(share.logits for share in shares), model(clip).logits[0], rtol=1e-11, atol=1e-12)


def test_occlusion_is_the_fall_of_the_logit():
    model, clip = tiny()
    falls = occlusion(model, clip, 1)
    covered = clip.copy()
    covered[:, 2:4, :, 4:8, 3:6] = clip.mean(axis=(1, 3, 4), keepdims=True)
    fall = model(clip).logits[0, 1] - model(covered).logits[0, 1]
    assert falls.shape == (2, 2, 2)
    numpy.testing.assert_allclose(falls[1, 1, 1], fall, rtol=1e-12)
    assert abs(fall) > 1e-3


@pytest.mark.parametrize("kind", MODELS)
def test_a_large_network_is_sampled_and_the_page_says_so(kind, monkeypatch):
    monkeypatch.setattr("minivivit.explore.recording.WHOLE_NUMBERS", 100)
    model, clip = tiny(kind)
    recording = record_network(model, clip)
    data = page_data(recording, numpy.zeros((5, 9, 8, 3), "u1"), {"clip": "c", "model": "m"})
    assert not data["kept"]["whole"]
    assert f"of 8 tubelets the {len(data['kept']['tubelets'])}" in data["kept"]["sentence"]
    store: dict = {}
    model(clip, trace=Trace(store))
    _, step = attentions(recording.stages)[0]
    outgoing, rows = recording.tensors[f"{step['out']}.from"]
    incoming, _ = recording.tensors[f"{step['out']}.to"]
    numpy.testing.assert_allclose(outgoing.sum(axis=-1), 1, rtol=1e-5)
    # what one kept token gives another is the same number, seen from both
    numpy.testing.assert_allclose(outgoing[:, :, rows], incoming[:, :, rows].swapaxes(1, 2), rtol=1e-4, atol=1e-7)
    if kind == "1":
        true = store[step["out"]][0][:, rows]
        numpy.testing.assert_allclose(outgoing, true[recording.kept.heads], rtol=1e-4, atol=1e-6)
        packed = data["tensors"][f"{step['out']}.from"]
        numpy.testing.assert_allclose(unpack(packed), outgoing, rtol=2**-10, atol=2**-24)


@pytest.mark.parametrize("kind", MODELS)
def test_who_reads_whom_is_what_the_network_does(kind):
    """A token's own row of a layer changes when another is changed, exactly where the rule says that it is read."""
    model, clip = tiny(kind, num_hidden_layers=1, num_temporal_layers=0)
    own = {"token": "token", "gap": "gap"}[model.config.classifier]
    entry = next(entry for entry in four_models(model.config) if entry["attention_type"] == model.config.attention_type)
    times, places, cls = 2, 4, int(own == "token")
    before, after = {}, {}
    token = 5  # time 1, place 1
    model(clip, trace=Trace(before))
    reach = numpy.zeros(8, bool)
    for other in range(8):
        changed = clip.copy()
        time, row, column = other // 4, other // 2 % 2, other % 2
        changed[:, 2 * time : 2 * time + 2, :, 4 * row : 4 * row + 4, 3 * column : 3 * column + 3] += 1
        model(changed, trace=Trace(after))
        name = "vivit.spatial_encoder.layer.0" if kind == "2" else "vivit.encoder.layer.0"
        difference = numpy.abs(after[name] - before[name]).max(axis=-1).reshape(times if kind == "2" else 1, -1)
        flat = difference[:, cls:] if kind == "2" else difference[:, cls:].reshape(times, places)
        reach[other] = flat[token // 4, token % 4] > 1e-9
    expected = {(False, False)}
    for step in entry["layers"][0]:
        if step == "all":
            expected = {(True, True)}
        elif step == "either":
            expected = {(True, s) for _, s in expected} | {(t, True) for t, _ in expected}
        else:
            expected = {(True, s) if step == "temporal" else (t, True) for t, s in expected}
    rule = [any((t or o // 4 == token // 4) and (s or o % 4 == token % 4) for t, s in expected) for o in range(8)]
    assert reach.tolist() == rule


@pytest.mark.parametrize("attention_type", [fields["attention_type"] for fields in MODELS.values()])
def test_every_role_has_its_line_of_source(attention_type):
    found = source_lines(attention_type)
    config = VivitConfig(**{**TINY, "attention_type": attention_type, "representation_size": 3})
    roles = {step["role"] for stage in stages(config, (2, 2, 2)) for step in stage["steps"]}
    assert roles <= found["places"].keys() == PLACES.keys()
    for place in found["places"].values():
        for name, line in place.values():
            assert line in [number for number, _ in found["functions"][name]["lines"]]


# --------------------------------------------------------------------------------------------------------------------
# What is refused
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "page.txt"], "ends in .html"),
        (["--output", "page.html", "--label", "8"], "the class 8 is none of the model's; expected 0 to 7"),
        (["--output", "page.html", "--label", "-1"], "not a whole number of at least 0"),
        (["--output", "nowhere/page.html"], "nowhere is not a directory"),
        (["none.gif", "--output", "page.html"], "none.gif"),
        (["--output", "page.html", "--model", "none"], "none"),
    ],
)
def test_what_cannot_be_meant_gets_one_line_and_leaves_nothing(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = run_command(["explore", *arguments])
    except SystemExit as leaving:
        code = leaving.code
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert said in error
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_lies_gets_one_line(tmp_path, capsys):
    model = VivitForVideoClassification.from_pretrained(bundled_model_directory())
    model.save_pretrained(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    honest = json.loads(config.read_text())
    for lie in (
        {"hidden_size": 10**9},
        {"num_hidden_layers": 10**6},
        {"tubelet_size": [4, 8, -8]},
        {"num_frames": 10**12},
        {"hidden_size": 48},
        {"problem_type": "multi_label_classification"},
        {"class_splits": [3, 5]},
    ):
        config.write_text(json.dumps(honest | lie))
        assert run_command(["explore", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "x.html")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert len(error) < 2100
    assert not (tmp_path / "x.html").exists()


def test_a_recording_is_of_one_clip():
    model, clip = tiny()
    with pytest.raises(InputError, match="expected one"):
        record_network(model, numpy.concatenate([clip, clip]))


def test_data_that_json_cannot_hold_are_refused_and_not_written():
    with pytest.raises(ValueError, match="JSON"):
        assemble({"loss": float("nan")})


# --------------------------------------------------------------------------------------------------------------------
# The largest
# --------------------------------------------------------------------------------------------------------------------


def test_what_train_makes_of_a_folder_is_kept_whole():
    model = VivitForVideoClassification(VivitConfig(**FOLDER_MODEL, num_labels=20), backend="numpy")
    assert choose(model, model.config.grid_size, None).whole


@pytest.mark.thorough
def test_the_page_of_vivit_b_is_under_twelve_megabytes():
    """From its shapes: a page of the true size, of numbers that nobody computed."""
    config = VivitConfig.from_preset("vivit-b-16x2", num_labels=400)
    model = VivitForVideoClassification.__new__(VivitForVideoClassification)
    model.config = config
    shapes = flatten(classification_shapes(config))
    model.num_parameters = lambda: sum(int(numpy.prod(shape)) for shape in shapes.values())
    grid, rng = config.grid_size, numpy.random.default_rng(0)
    kept = choose(model, grid, rng.random(grid))
    assert not kept.whole
    of = stages(config, grid)
    probabilities = rng.dirichlet(numpy.ones(400))
    result = Recording(config, grid, 3, 1.0, kept, of, probabilities, rng.random(grid))
    for stage in of:
        rows = space_rows(kept, stage["space"], grid, 1)
        for step in stage["steps"]:
            width = config.intermediate_size if step["role"] in ("wide", "activation") else config.hidden_size
            if step["kind"] in ("scores", "softmax"):
                shape, names = (len(kept.heads), len(rows), 3137), [f"{step['out']}.from", f"{step['out']}.to"]
                names = [*names, f"gradient.{step['out']}.from"] if step["kind"] == "softmax" else []
            else:
                computed = {"norm": [step["out"]], "activation": [step["out"], f"gradient.{step['out']}"]}
                names = {step["out"], f"gradient.{step['out']}"} - set(computed.get(step["kind"], ()))
                shape = (len(rows), width)
            result.tensors |= {name: (rng.standard_normal(shape), rows) for name in sorted(names)}
    for name in ("tubelets", "gradient.tubelets"):
        result.tensors[name] = (rng.standard_normal((len(kept.tubelets), 1536)), kept.tubelets)
    _add_parameters(result, {name: numpy.broadcast_to(rng.random(), shape) for name, shape in shapes.items()})
    frames = rng.integers(100, 140, (32, 224, 224, 3), "u1")  # noise, which no JPEG makes small
    page = explore_page(result, frames, {"clip": "c", "model": "m"})
    assert 6e6 < len(page.encode()) <= 12e6
