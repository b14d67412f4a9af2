"""``minivivit gradcheck`` and the table that it prints: right gradients pass, wrong ones are named and exit with 1."""

import json

import numpy
import pytest
from in_part import one_in
from model_cases import MODELS, clip_for, tiny_config, tiny_model

from minivivit import InputError, VivitForVideoClassification, cli
from minivivit.models.encoders import single_encoder
from minivivit.verification.gradients import table
from minivivit.verification.gradients.table import STEP, choose_parameters, gradient_table, num_passes


def rng(seed=0):
    return numpy.random.default_rng(seed)


def saved(tmp_path, model="1", **changes):
    """A directory with a tiny model, and a file of pixel values that fit."""
    config = tiny_config(model, **changes)
    tiny_model(config, rng()).save_pretrained(tmp_path / "model")
    numpy.save(tmp_path / "pixels.npy", clip_for(config, rng(1)))
    return ["--model", str(tmp_path / "model"), "--input", str(tmp_path / "pixels.npy")]


def gradcheck(capsys, *arguments):
    """Exit code, standard output, standard error."""
    code = cli.main(["gradcheck", *arguments])
    return code, *capsys.readouterr()


def in_json(capsys, *arguments):
    code, out, err = gradcheck(capsys, *arguments, "--json")
    assert err == ""
    result = json.loads(out)
    assert code == (0 if result["passed"] else 1)
    return result


@pytest.mark.parametrize("model", one_in(4, MODELS))
def test_all_gradients_of_all_models(capsys, tmp_path, model):
    result = in_json(capsys, *saved(tmp_path, model), "--parameter", "*", "--entries", "1")
    assert result["passed"] is True
    names = [row["name"] for row in result["gradients"]]
    loaded = VivitForVideoClassification.from_pretrained(tmp_path / "model", backend="numpy")
    assert names == [*loaded.state_dict(), "pixel_values"]
    assert all(row["relative_error"] < 1e-7 for row in result["gradients"])
    assert result["gradients"][-1]["shape"] == [2, 5, 2, 9, 8]


@pytest.mark.parametrize("model", MODELS)
def test_one_parameter_of_each_kind(capsys, tmp_path, model):
    result = in_json(capsys, *saved(tmp_path, model), "--entries", "0")
    names = [row["name"] for row in result["gradients"]]
    kinds = {tuple(part for part in name.split(".") if not part.isdecimal()) for name in names}
    assert len(kinds) == len(names)
    loaded = VivitForVideoClassification.from_pretrained(tmp_path / "model", backend="numpy")
    everything = [*loaded.state_dict(), "pixel_values"]
    assert kinds == {tuple(part for part in name.split(".") if not part.isdecimal()) for name in everything}
    assert names == sorted(names, key=everything.index)
    assert all(row["num_checked"] == 0 and row["where"] is None for row in result["gradients"])


def test_the_bundled_model_and_clip(capsys):
    chosen = ("--parameter", "classifier.*", "--entries", "1")
    code, out, err = gradcheck(capsys, *chosen)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split() for line in lines[:3:2]] == [
        ["gradient", "shape", "relative", "error", "verdict"],
        ["classifier.bias", "8", lines[2].split()[2], "ok"],
    ]
    assert lines[1].split()[:4] == ["classifier.weight", "8", "x", "96"]
    assert lines[3:] == ["all 2 agree within 1e-06"]
    assert gradcheck(capsys, *chosen)[1] == out
    assert gradcheck(capsys, *chosen, "--seed", "7")[1] != out


def test_a_broken_backward_pass_is_named(capsys, tmp_path, monkeypatch):
    """The last layer norm forgets its weight on the way back: everything below it is wrong, what is above is right."""
    right = single_encoder.layer_norm_backward

    def wrong(dy, cache):
        dx, dweight, dbias = right(dy, cache)
        return dx * (1 + 1e-4), dweight, dbias

    monkeypatch.setattr(single_encoder, "layer_norm_backward", wrong)
    arguments = [*saved(tmp_path), "--parameter", "classifier.weight", "vivit.layernorm.*", "*.layer.1.output.*", "p*"]
    code, out, _ = gradcheck(capsys, *arguments)
    assert code == 1
    rows = [line.split() for line in out.splitlines()[1:7]]
    verdicts = {row[0]: row[-1] for row in rows}
    assert verdicts == {
        "vivit.encoder.layer.1.output.dense.weight": "WRONG",
        "vivit.encoder.layer.1.output.dense.bias": "WRONG",
        "vivit.layernorm.weight": "ok",
        "vivit.layernorm.bias": "ok",
        "classifier.weight": "ok",
        "pixel_values": "WRONG",
    }
    assert "pixel_values" in out.splitlines()[9]
    assert ": the backward pass says " in out.splitlines()[9]
    assert out.splitlines()[-1] == "3 of 6 are wrong"
    result = in_json(capsys, *arguments)
    assert [row["passed"] for row in result["gradients"]] == [row[-1] == "ok" for row in rows]


def test_one_wrong_entry_is_found_in_a_random_direction(monkeypatch):
    model = tiny_model(tiny_config("1"), rng())
    right = model.loss_and_gradients

    def wrong(*arguments, **options):
        loss, gradients = right(*arguments, **options)
        gradients["classifier.weight"][1, 2] += 1e-3
        return loss, gradients

    monkeypatch.setattr(model, "loss_and_gradients", wrong)
    clip = clip_for(model.config, rng(1))
    (row,) = gradient_table(model, clip, [1, 2], ["classifier.weight"], rng=rng(), num_entries=0)
    assert not row.passed
    assert row.where is None
    (row,) = gradient_table(model, clip, [1, 2], ["classifier.weight"], rng=rng(), num_entries=10**6)
    assert (row.where, row.num_checked, row.passed) == ((1, 2), 32, False)
    assert row.analytic - row.numeric == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "relu"},
        {"classifier": "gmp"},
        {"problem_type": "multi_label_classification"},
        {"num_labels": 1},
        {"class_splits": [2, 2]},
        {"representation_size": 5},
        {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5},
    ],
)
def test_kinks_losses_and_heads(capsys, tmp_path, changes):
    """Labels are drawn that suit the loss; with relu and the maximum a shorter step may be needed; dropout is off."""
    assert in_json(capsys, *saved(tmp_path, **changes), "--entries", "1")["passed"] is True


@pytest.mark.parametrize("size", [0, 1e-9])
def test_parameters_that_are_next_to_nothing(size):
    """Rounding would hide a step that is a part of them."""
    model = tiny_model(tiny_config("1"), rng())
    name = "vivit.encoder.layer.0.output.dense.bias"
    model.state_dict()[name][...] *= size
    (row,) = gradient_table(model, clip_for(model.config, rng(1)), [1, 2], [name], rng=rng())
    assert row.relative_error < 1e-7


def test_another_step_follows_where_the_first_is_too_short(monkeypatch):
    model = tiny_model(tiny_config("1"), rng())
    clip, passes = clip_for(model.config, rng(1)), []
    arguments = (model, clip, [1, 2], ["classifier.weight"])
    for steps, count, passed in [((STEP,), 12, True), ((1e-12, STEP), 24, True), ((1e-12, 1e-13), 24, False)]:
        monkeypatch.setattr(table, "STEPS", steps)
        passes.clear()
        (row,) = gradient_table(*arguments, rng=rng(), on_pass=lambda: passes.append(1))
        assert (len(passes), row.passed) == (count, passed)


def test_the_model_is_left_as_it_was(monkeypatch):
    model = tiny_model(tiny_config("1"), rng())
    before = {name: array.copy() for name, array in model.state_dict().items()}
    clip = clip_for(model.config, rng(1))
    untouched = clip.copy()
    passes = []
    gradient_table(model, clip, [1, 2], [*before, "pixel_values"], rng=rng(), on_pass=lambda: passes.append(1))
    sizes = [*(array.size for array in before.values()), clip.size]
    assert len(passes) == num_passes(sizes, 2)

    def interrupt():
        passes.pop()
        if not passes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gradient_table(model, clip, [1, 2], [*before, "pixel_values"], rng=rng(), on_pass=interrupt)
    passes[:] = [1] * 3
    with pytest.raises(KeyboardInterrupt):
        gradient_table(model, clip, [1, 2], ["classifier.weight"], rng=rng(), on_pass=interrupt)
    assert all(numpy.array_equal(array, before[name]) for name, array in model.state_dict().items())
    assert numpy.array_equal(clip, untouched)


def test_what_is_refused(capsys, tmp_path):
    config = tiny_config("1")
    model = tiny_model(config, rng())
    clip = clip_for(config, rng(1))
    with pytest.raises(InputError, match=r"the model is in float32; .* need dtype='float64'"):
        gradient_table(tiny_model(config, rng(), dtype="float32"), clip, [1, 2], ["pixel_values"], rng=rng())
    model.state_dict()["classifier.bias"][...] = numpy.nan
    with pytest.raises(InputError, match="the loss is nan"):
        gradient_table(model, clip, [1, 2], ["pixel_values"], rng=rng())
    files = saved(tmp_path)
    for arguments, message in [
        ((*files, "--parameter", "nothing*"), "no parameter matches the pattern 'nothing*'; names are 'vivit.emb"),
        ((*files, "--label", "99"), "the label is 99; expected 0 to 3"),
        ((*files, "--label", "1", "2", "3"), "labels have shape (3,)"),
        (("--input", str(tmp_path / "absent.gif")), "absent.gif"),
        (("--model", str(tmp_path)), "config.json"),
    ]:
        code, out, err = gradcheck(capsys, *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
    for arguments in [("--entries", "-1"), ("--seed", "x"), ("--backend", "torch")]:
        with pytest.raises(SystemExit) as left:
            cli.main(["gradcheck", *arguments])
        assert left.value.code == 2


def test_a_model_without_a_classifier(capsys, tmp_path):
    code, _, err = gradcheck(capsys, *saved(tmp_path, num_labels=0))
    assert code == 2
    assert "num_labels is 0" in err


def test_choosing_draws_from_all_layers():
    names = [f"encoder.layer.{index}.{part}" for index in range(4) for part in ("a", "b")] + ["head"]
    chosen = [tuple(choose_parameters(names, None, rng(seed))) for seed in range(40)]
    assert all(len(names) == 3 and names[-1] == "head" for names in chosen)
    assert {name for names in chosen for name in names} == set(names)
    assert choose_parameters(names, ["*.b", "head"], rng()) == [*names[1::2], "head"]


def test_numbers_that_json_lacks(capsys, tmp_path, monkeypatch):
    right = table.central_difference
    monkeypatch.setattr(table, "central_difference", lambda *arguments: right(*arguments) * numpy.nan)
    result = in_json(capsys, *saved(tmp_path), "--parameter", "classifier.bias")
    assert (result["passed"], result["gradients"][0]["numeric"]) == (False, None)
