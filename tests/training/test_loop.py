"""The loop: what a step does, what stops it, and that it learns."""

import io
import sys

import numpy
import pytest
from tiny_training import TINY_MODEL, run_tiny_training, tiny_training, write_clips

from minivivit import InputError, VivitConfig, VivitForVideoClassification, VivitImageProcessor, progress
from minivivit.backend import num_threads, set_num_threads
from minivivit.training import loop
from minivivit.training.accumulation import batch_gradients
from minivivit.training.checkpoints import read_state
from minivivit.training.curves import draw_curves
from minivivit.training.data.pixels import new_processor, to_pixel_values
from minivivit.training.evaluation import measure_shared
from minivivit.training.log import read_log
from minivivit.training.loop import make_step, train, validate
from minivivit.training.nan_hunt import NonFiniteError
from minivivit.training.optimisers.adamw import AdamW
from minivivit.training.optimisers.clipping import clip_by_global_norm
from minivivit.training.optimisers.decay import decays
from minivivit.training.optimisers.schedules import learning_rate
from minivivit.training.run import LOG_FILE, begin_training, resume_training
from minivivit.training.settings import make_settings

PLAIN_MODEL = {**TINY_MODEL, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PLAIN_MODEL["stochastic_droplayer_rate"] = 0.0


def plain_model(dtype="float64", **fields):
    return VivitForVideoClassification(VivitConfig(**{**PLAIN_MODEL, **fields}), dtype=dtype, backend="numpy", seed=1)


# ------------------------------------------------------------------------------------------------ accumulation


@pytest.mark.parametrize(("accumulate", "parallel"), [(1, 2), (3, 1), (2, 3), (10, 1), (50, 50)])
def test_pieces_add_up_to_the_batch(accumulate, parallel):
    model = plain_model(num_labels=3, initializer_range=0.3)
    rng = numpy.random.default_rng(0)
    pixels, labels = rng.standard_normal((10, 4, 3, 16, 16)), rng.integers(0, 3, 10)
    names = list(model.state_dict())
    whole = batch_gradients(model, pixels, labels, names)
    loss, gradients = model.loss_and_gradients(pixels, labels)
    assert whole.loss == float(loss)
    pieces = batch_gradients(model, pixels, labels, names, accumulate=accumulate, parallel=parallel)
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-13)
    numpy.testing.assert_allclose(pieces.logits, model(pixels).logits, rtol=1e-12, atol=1e-14)
    for name in names:
        numpy.testing.assert_array_equal(whole.gradients[name], gradients[name])
        scale = abs(gradients[name]).max()
        numpy.testing.assert_allclose(pieces.gradients[name], gradients[name], rtol=0, atol=1e-13 * scale + 1e-16)


def in_pieces(model, pixels, labels, label_smoothing=0.0):
    """Assert that pieces of every number give the loss and the gradients of the whole batch."""
    names = list(model.state_dict())
    loss, gradients = model.loss_and_gradients(pixels, labels, label_smoothing=label_smoothing)
    for accumulate, parallel in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 6), (7, 1)):
        pieces = batch_gradients(
            model, pixels, labels, names, accumulate=accumulate, parallel=parallel, label_smoothing=label_smoothing
        )
        assert pieces.loss == pytest.approx(float(loss), rel=1e-13)
        for name in names:
            scale = abs(gradients[name]).max()
            numpy.testing.assert_allclose(pieces.gradients[name], gradients[name], rtol=0, atol=1e-13 * scale + 1e-16)


# Six clips of three classes, or of a head of three and one of two. In halves, the first has none that count.
LABELS = {
    "indices": ([0, 2, 1, 1, 0, 2], {}),
    "some that do not count": ([0, -100, 1, -100, -100, 2], {}),
    "a piece of which none counts": ([-100, -100, -100, 1, 0, 2], {}),
    "one that counts": ([-100, -100, -100, -100, 0, -100], {}),
    "a column": ([[0], [-100], [1], [-100], [-100], [2]], {}),
    "heads": ([[0, 1], [2, 0], [1, 1], [1, 0], [0, 1], [2, 0]], {"class_splits": [3, 2]}),
    "heads that count differently": (
        [[0, -100], [-100, -100], [1, -100], [1, 0], [-100, 1], [2, 0]],
        {"class_splits": [3, 2]},
    ),
    "numbers": ([0.5, -1, 2, 0, 1, 3], {"num_labels": 1}),
}
SMOOTHED = [kind for kind in LABELS if kind != "numbers"]


@pytest.mark.parametrize(
    ("kind", "label_smoothing"), [*((kind, 0.0) for kind in LABELS), *((kind, 0.2) for kind in SMOOTHED)]
)
def test_pieces_weigh_by_what_counts(kind, label_smoothing):
    labels, changes = LABELS[kind]
    fields = {"num_labels": sum(changes.get("class_splits", [3])), **changes}
    model = plain_model(initializer_range=0.3, **fields)
    pixels = numpy.random.default_rng(0).standard_normal((6, 4, 3, 16, 16))
    in_pieces(model, pixels, numpy.array(labels), label_smoothing)


@pytest.mark.parametrize(
    "changes",
    [
        {"problem_type": "single_label_classification"},
        {"problem_type": "single_label_classification", "class_splits": [2, 2]},
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression"},
    ],
)
def test_pieces_of_rows_of_numbers(changes):
    model = plain_model(initializer_range=0.3, num_labels=4, **changes)
    rng = numpy.random.default_rng(0)
    in_pieces(model, rng.standard_normal((6, 4, 3, 16, 16)), rng.dirichlet(numpy.ones(4), 6))
    if changes["problem_type"].startswith("single"):
        in_pieces(model, rng.standard_normal((6, 4, 3, 16, 16)), rng.dirichlet(numpy.ones(4), 6), 0.2)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_batch_of_which_none_counts_has_no_loss(accumulate):
    pixels = numpy.zeros((6, 4, 3, 16, 16))
    for labels, fields in (
        (numpy.full(6, -100), {"num_labels": 3}),
        (numpy.tile([0, -100], (6, 1)), {"num_labels": 5, "class_splits": [3, 2]}),
    ):
        with pytest.raises(InputError, match="every label is -100"):
            batch_gradients(plain_model(**fields), pixels, labels, [], accumulate=accumulate)


@pytest.mark.parametrize(("accumulate", "parallel"), [(1, 2), (3, 1), (2, 2)])
def test_a_training_is_the_same_however_its_batches_are_cut(accumulate, parallel, tmp_path):
    """With all masks, the clips of the steps that come, and those to validate on: no draw depends on the pieces."""
    whole = run_tiny_training(tmp_path / "whole", dtype="float64", batch_size=5, mixup_alpha=0.3)
    cut = {"accumulate": accumulate, "parallel": parallel}
    pieces = run_tiny_training(tmp_path / "pieces", dtype="float64", batch_size=5, mixup_alpha=0.3, **cut)
    for name, expected in whole.model.state_dict().items():
        numpy.testing.assert_allclose(pieces.model.state_dict()[name], expected, rtol=1e-9, atol=1e-10, err_msg=name)
    logs = [read_log(training.output / LOG_FILE) for training in (whole, pieces)]
    assert len(logs[0]) == len(logs[1])
    for expected, found in zip(*logs, strict=True):
        assert found == pytest.approx(expected, rel=1e-9)


def test_without_clips_to_validate_on_the_user_is_told(tmp_path):
    folder = write_clips(tmp_path / "clips", clips=1)
    training = run_tiny_training(tmp_path / "run", str(folder), epochs=1, batch_size=2)
    assert training.notes == [
        "there are no clips to validate on: the best model is the latest one, and nothing has measured it"
    ]
    assert training.best is None
    folder = write_clips(tmp_path / "more", clips=5)
    assert tiny_training(tmp_path / "other", str(folder), epochs=1).notes == []


def test_validation_goes_in_pieces_too(tmp_path, monkeypatch):
    """Who has memory for a piece of a batch has it for validation."""
    sizes = []

    def noted(model, processor, batches, ranks):
        batches = list(batches)
        sizes.extend(len(labels) for _, labels in batches)
        return measure_shared(model, processor, batches, ranks)

    monkeypatch.setattr(loop, "measure_shared", noted)
    run_tiny_training(tmp_path / "run", steps=1, batch_size=4, accumulate=2)
    assert sizes == [2, 2, 1]


def test_as_many_labels_as_clips():
    with pytest.raises(InputError, match="there are 6 clips and 4 labels"):
        batch_gradients(plain_model(), numpy.zeros((6, 4, 3, 16, 16)), numpy.zeros(4, int), [], accumulate=2)


def test_the_bits_do_not_depend_on_the_number_of_threads(tmp_path):
    threads = num_threads()
    results = []
    try:
        for count in (1, 3):
            set_num_threads(count)
            training = tiny_training(tmp_path / str(count), parallel=2, accumulate=2)
            make_step(training)
            make_step(training)
            results.append(training.model.state_dict())
    finally:
        set_num_threads(threads)
    for name in results[0]:
        numpy.testing.assert_array_equal(results[0][name], results[1][name])


# ------------------------------------------------------------------------------------------------ a step


def test_a_step_is_what_its_parts_say(tmp_path):
    changes = {"model": PLAIN_MODEL, "dtype": "float64", "max_grad_norm": 0.5, "weight_decay": 0.1, "warm_up": 2}
    training = tiny_training(tmp_path / "run", **changes, label_smoothing=0.1)
    other = resume_training("motion", tmp_path / "run")  # the same model, generator and optimiser once more
    clips, labels = other.data.training_batch(0, 4, other.rng)
    pixels = to_pixel_values(clips, other.processor)
    optimiser = AdamW(other.model.state_dict(), weight_decay=0.1, decay_rule=decays)
    for step in range(2):
        rate = learning_rate(step, base_learning_rate=1e-2, warmup_steps=2, total_steps=10)
        loss, gradients = other.model.loss_and_gradients(pixels, labels, label_smoothing=0.1)
        del gradients["pixel_values"]
        norm = clip_by_global_norm(gradients, 0.5)
        optimiser.step(gradients, rate)
        if step == 0:
            figures = make_step(training)
            other.rng.integers(2**63)  # the seed of the batch's masks
            clips, labels = other.data.training_batch(1, 4, other.rng)
            pixels = to_pixel_values(clips, other.processor)
        else:
            figures = make_step(training)
        assert figures["loss"] == float(loss)
        assert figures["gradient_norm"] == norm
        assert figures["learning_rate"] == rate
    for name, array in training.model.state_dict().items():
        numpy.testing.assert_array_equal(array, other.model.state_dict()[name])


def test_what_is_frozen_stays_to_the_bit(tmp_path):
    pattern = "vivit.encoder.layer.0.*"
    training = tiny_training(tmp_path / "run", freeze=[pattern])
    before = {name: array.copy() for name, array in training.model.state_dict().items()}
    train(training)
    for name, array in training.model.state_dict().items():
        assert numpy.array_equal(array, before[name]) == name.startswith("vivit.encoder.layer.0."), name


@pytest.mark.thorough
@pytest.mark.usefixtures("drawn_curves")
def test_it_learns_what_is_easy(tmp_path):
    folder = write_clips(tmp_path / "clips", clips=8)
    model = {**PLAIN_MODEL, "initializer_range": 0.3}
    training = run_tiny_training(tmp_path / "run", str(folder), epochs=15, model=model, validate_every=None)
    assert training.best["accuracy"] == 1.0
    losses = [entry["loss"] for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert len(losses) == training.total_steps == 15 * 5  # 18 clips in batches of 4
    assert numpy.mean(losses[-5:]) < 0.5 * numpy.mean(losses[:5])
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
def test_a_small_folder_is_learned_with_the_defaults(tmp_path):
    """Discs that move left, right or up."""
    rng = numpy.random.default_rng(0)
    rows, columns = numpy.mgrid[:48, :48]
    for name, (down, across) in {"left": (0, -1), "right": (0, 1), "up": (-1, 0)}.items():
        (tmp_path / "clips" / name).mkdir(parents=True)
        for index in range(5):
            y, x = rng.uniform(20, 28, 2)[:, None, None] + numpy.array([down, across])[:, None, None] * 2
            times = numpy.arange(-8, 8)[:, None, None]
            distance = (rows - y - 1.5 * down * times) ** 2 + (columns - x - 1.5 * across * times) ** 2
            clip = numpy.where(distance[..., None] < 40, rng.integers(150, 250, 3), rng.integers(20, 90, 3))
            numpy.save(tmp_path / "clips" / name / f"{index}.npy", clip.astype(numpy.uint8))
    folder = str(tmp_path / "clips")
    training = begin_training(folder, make_settings(folder, {}), tmp_path / "run")
    assert train(training)
    assert (training.total_steps, training.settings.warm_up) == (60, 6)
    assert training.best["accuracy"] >= 0.6  # chance is 0.33
    losses = [entry["loss"] for entry in read_log(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert numpy.mean(losses[-5:]) < 0.1


def test_the_best_model_is_the_best_and_the_last_the_last(tmp_path):
    training = run_tiny_training(tmp_path / "run", steps=12, schedule="constant")
    entries = [entry for entry in read_log(tmp_path / "run" / "log.jsonl") if "validation_loss" in entry]
    assert [entry["step"] for entry in entries] == [3, 6, 9, 12]
    best = max(entries, key=lambda entry: (entry["validation_accuracy"], -entry["validation_loss"]))
    assert training.best["step"] == best["step"] < 12
    shorter = run_tiny_training(tmp_path / "shorter", steps=best["step"], schedule="constant")
    assert read_state(tmp_path / "run" / "last")["step"] == 12
    for directory, expected in (("last", training), ("best", shorter)):
        model = VivitForVideoClassification.from_pretrained(tmp_path / "run" / directory, backend="numpy")
        for name, array in model.state_dict().items():
            numpy.testing.assert_array_equal(array, expected.model.state_dict()[name])


def test_a_lower_loss_breaks_a_tie(tmp_path):
    training = tiny_training(tmp_path / "run")

    class Silent:
        def write(self, *args, **kwargs):
            pass

    assert validate(training, Silent())
    assert not validate(training, Silent())  # equal is not better
    training.best["loss"] += 0.1
    assert validate(training, Silent())


# ------------------------------------------------------------------------------------------------ NaN


def test_nan_names_the_step_and_the_first_tensor(tmp_path):
    training = tiny_training(tmp_path / "run", model=PLAIN_MODEL)
    make_step(training)
    wide = training.model.params["vivit"]["encoder"]["layer"]["1"]["intermediate"]["dense"]["weight"]
    wide[...] = 3e38  # finite, but no sum of such is
    before = {name: array.copy() for name, array in training.model.state_dict().items()}
    with pytest.raises(NonFiniteError, match=r"at step 2; it first appeared in vivit\.encoder\.layer\.1\.intermediate"):
        train(training)
    for name, array in training.model.state_dict().items():
        numpy.testing.assert_array_equal(array, before[name])  # the update was not made
    assert resume_training("motion", tmp_path / "run").step == 0  # the last checkpoint is from before


def test_the_hunt_runs_the_step_again_with_the_same_draws(tmp_path):
    training = tiny_training(tmp_path / "run")  # with dropout
    other = resume_training("motion", tmp_path / "run")
    training.model.params["vivit"]["encoder"]["layer"]["1"]["output"]["dense"]["weight"][...] = 3e38
    with pytest.raises(NonFiniteError, match="first appeared in"):
        train(training)
    other.data.training_batch(0, 4, other.rng)
    other.rng.integers(2**63)  # the seed of the batch's masks
    assert training.rng.bit_generator.state == other.rng.bit_generator.state


def test_nan_in_a_gradient_alone_is_found(tmp_path):
    training = tiny_training(tmp_path / "run", model={**PLAIN_MODEL, "layer_norm_eps": 1e-30})
    training.model.params["vivit"]["embeddings"]["patch_embeddings"]["projection"]["weight"][...] *= 1e-25
    training.model.params["classifier"]["weight"][...] *= 1e28  # the first layer norm multiplies its gradient by 1e15
    with pytest.raises(NonFiniteError, match=r"the gradient's norm is (inf|nan) at step 1; it first .* in gradient\."):
        train(training)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_gradient_whose_square_overflows_is_said(optimiser, tmp_path):
    """It is finite, but the mean of squares would be infinite, and the parameter would never move again."""
    training = tiny_training(tmp_path / "run", max_grad_norm=None, model=PLAIN_MODEL, optimiser=optimiser)
    training.model.params["vivit"]["layernorm"]["weight"][...] = 1e25
    training.model.params["classifier"]["weight"][...] *= 1e-23
    with pytest.raises(
        NonFiniteError, match=r"norm is .*e\+\d\d, whose square is beyond float32 at step 1; every tensor"
    ):
        train(training)


def test_a_spoilt_parameter_is_named(tmp_path):
    training = tiny_training(tmp_path / "run")
    training.model.params["classifier"]["bias"][1] = numpy.nan
    with pytest.raises(NonFiniteError, match=r"in the parameter classifier\.bias") as error:
        train(training)
    assert isinstance(error.value, InputError)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------ fine-tuning


def test_fine_tuning_keeps_the_body_and_draws_a_new_head(tmp_path):
    first = run_tiny_training(tmp_path / "first")
    folder = str(write_clips(tmp_path / "clips"))
    source = str(tmp_path / "first" / "last")
    tuned = tiny_training(tmp_path / "tuned", folder, initial_model=source, model={}, epochs=1)
    assert list(tuned.model.config.id2label.values()) == ["left", "right", "up"]
    assert tuned.model.config.label2id == {"left": 0, "right": 1, "up": 2}
    assert tuned.model.config.hidden_size == 8
    for name, array in tuned.model.state_dict().items():
        if not name.startswith("classifier."):
            numpy.testing.assert_array_equal(array, first.model.state_dict()[name])
    assert train(tuned)


def test_a_head_of_the_same_size_for_other_classes_is_new_too(tmp_path):
    run_tiny_training(tmp_path / "first", str(write_clips(tmp_path / "one", ("a", "b"))), epochs=1)
    source = str(tmp_path / "first" / "last")
    tuned = tiny_training(
        tmp_path / "tuned", str(write_clips(tmp_path / "two", ("c", "d"))), initial_model=source, model={}, epochs=1
    )
    again = tiny_training(tmp_path / "again", str(tmp_path / "one"), initial_model=source, model={}, epochs=1)
    trained = VivitForVideoClassification.from_pretrained(source, backend="numpy").params["classifier"]["weight"]
    assert not numpy.array_equal(tuned.model.params["classifier"]["weight"], trained)
    numpy.testing.assert_array_equal(again.model.params["classifier"]["weight"], trained)


def test_fine_tuning_cannot_change_the_shape_of_the_body(tmp_path):
    run_tiny_training(tmp_path / "first", steps=1)
    source = str(tmp_path / "first" / "last")
    with pytest.raises(InputError, match="change only what changes no parameter"):
        tiny_training(tmp_path / "tuned", initial_model=source, model={"hidden_size": 16})
    tuned = tiny_training(tmp_path / "tuned", initial_model=source, model={"hidden_dropout_prob": 0.4})
    assert tuned.model.config.hidden_dropout_prob == 0.4


# ------------------------------------------------------------------------------------------------ around it


def test_curves_have_a_title_and_labels(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (figures.append(self), path.write_bytes(b"png")))
    entries = [{"step": step, "loss": 1 / step, "accuracy": 0.5} for step in range(1, 300)]
    entries.append({"step": 300, "validation_loss": 0.1, "validation_accuracy": 0.9})
    assert draw_curves(entries, tmp_path / "curves.png")
    for axes in figures[0].axes:
        assert axes.get_title()
        assert axes.get_xlabel() == "step"
        assert axes.get_ylabel()
        assert len(axes.lines) == 2
    assert not draw_curves([], tmp_path / "none.png")


def test_without_matplotlib_there_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not draw_curves([{"step": 1, "loss": 1.0, "accuracy": 0.5}], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_the_bar_is_silent_where_there_is_no_terminal(tmp_path, capsys):
    run_tiny_training(tmp_path / "run", steps=3)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "step 3/3: validation accuracy" in captured.out


def test_the_bar_shows_loss_and_accuracy_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run_tiny_training(tmp_path / "run", steps=3)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "loss=" in shown
    assert "accuracy=" in shown


def test_validation_has_a_bar_of_its_own(tmp_path, monkeypatch):
    bars = []

    def open_bar(total, description, unit):
        bars.append((description, unit, progress.tqdm(total=total, file=io.StringIO())))
        return bars[-1][2]

    monkeypatch.setattr("minivivit.training.loop.progress_bar", open_bar)
    run_tiny_training(tmp_path / "motion", steps=6)
    run_tiny_training(tmp_path / "run", str(write_clips(tmp_path / "clips", clips=8)), epochs=1)
    assert {(description, unit) for description, unit, _ in bars} == {("validation", "clip")}
    assert [(bar.n, bar.total) for _, _, bar in bars] == [(5, 5), (5, 5), (6, 6), (6, 6)]


def test_clips_are_prepared_as_they_will_be_unless_an_augmentation_cuts_them(tmp_path, monkeypatch):
    """A pretrained model's processor may crop a larger picture: a file of the model's own size is resized first."""
    run_tiny_training(tmp_path / "first", steps=1)
    VivitImageProcessor(size={"shortest_edge": 24}, crop_size=16).save_pretrained(tmp_path / "first" / "last")
    folder = write_clips(tmp_path / "clips", clips=2)
    for path in folder.rglob("*.npy"):
        numpy.save(path, numpy.load(path)[:, :16, :16])
    options = {"initial_model": str(tmp_path / "first" / "last"), "model": {}, "epochs": 1, "warm_up": 0}
    plain = tiny_training(tmp_path / "plain", str(folder), **options)
    assert not plain.clips_are_cut
    for crop_size in (16, (16, 16)):
        augmentation = {"crop_size": crop_size}
        cut = tiny_training(tmp_path / f"cut{crop_size}", str(folder), **options, augmentation=augmentation)
        assert cut.clips_are_cut
    clips = [numpy.load(folder / "up" / "clip0.npy")[:4]]
    expected = plain.processor(clips, return_tensors="np").pixel_values
    as_they_are = (clips[0].astype(numpy.float32) / 127.5 - 1 - 0.5) / 0.5
    numpy.testing.assert_array_equal(to_pixel_values(clips, plain.processor), expected)
    cut_pixels = to_pixel_values(clips, cut.processor, already_cut=True)
    numpy.testing.assert_allclose(cut_pixels[0], as_they_are.transpose(0, 3, 1, 2), atol=1e-5)
    assert abs(cut_pixels - expected).max() > 0.1
    passed = []
    monkeypatch.setattr(loop, "to_pixel_values", lambda *args: passed.append(args[2]) or to_pixel_values(*args))
    make_step(plain)
    make_step(cut)
    assert passed == [False, True]


def test_pixel_values_of_clips_of_several_sizes():
    config = VivitConfig(**PLAIN_MODEL)
    processor = new_processor(config)
    rng = numpy.random.default_rng(0)
    clips = [rng.integers(0, 256, (4, *size, 3), dtype=numpy.uint8) for size in ((16, 16), (20, 24), (16, 30))]
    pixels = to_pixel_values(clips, processor)
    assert pixels.shape == (3, 4, 3, 16, 16)
    assert pixels.min() >= -1
    assert pixels.max() <= 1
    expected = processor(clips, return_tensors="np").pixel_values
    numpy.testing.assert_array_equal(pixels, expected)
    same_size = to_pixel_values(clips[:1], processor)
    numpy.testing.assert_array_equal(same_size, expected[:1])
