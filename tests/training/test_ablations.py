"""The ablations: the pools, what is trained, and what is said of it."""

import itertools
import json
import re
from pathlib import Path

import numpy
import pytest

from minivivit import InputError, VivitForVideoClassification
from minivivit.cli import main
from minivivit.commands.experiments import ablate as command
from minivivit.commands.experiments.ablation_claims import HOLDS, OPEN, REVERSED, Claim, claims
from minivivit.commands.experiments.ablation_figures import Figures, read_figures
from minivivit.commands.experiments.ablation_page import ablation_page
from minivivit.training.data.digests import check_unchanged
from minivivit.training.experiments import ablation_runs
from minivivit.training.experiments.ablation_runs import Job, run_start, run_trial, start_name
from minivivit.training.experiments.ablations import (
    LADDER,
    MODELS,
    POOLS,
    STARTS,
    Trial,
    all_trials,
    frame_sizes,
    ladder,
    starts,
    temporal_layers,
    trial_config,
    trial_settings,
)
from minivivit.training.experiments.pools import PoolData, fresh_batches, middle
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams
from minivivit.video.image_transforms import edge_before_crop

SMALL = Trial("Model 2", 8)
PAGE = Path(__file__).parents[2] / "notebooks" / "ablations.md"
FIGURES = PAGE.with_suffix(".json")


def small_pool(seed=0, clips=8, batch_size=4, steps=6, **options):
    rng = numpy.random.default_rng(seed)
    return PoolData(trial_config(SMALL), rng, clips, batch_size, steps, **options)


# ---------------------------------------------------------------------------------------------------------- pools


def test_a_pool_never_grows_and_shows_each_clip_once_an_epoch():
    pool = small_pool()
    rng = numpy.random.default_rng(1)
    batches = [pool.training_batch(step, 4, rng) for step in range(6)]
    known = [middle(clip, 32).tobytes() for clip in pool.clips]
    shown = [known.index(clip.tobytes()) for clips, _ in batches for clip in clips]
    for first in range(0, 24, 8):
        assert sorted(shown[first : first + 8]) == list(range(8))
    assert shown[:8] != shown[8:16]
    assert [label for _, labels in batches for label in labels] == [pool.labels[row] for row in shown]
    assert sorted(pool.labels) == list(range(8))


def test_a_pool_is_that_of_its_seed():
    first, again, other = small_pool(), small_pool(), small_pool(seed=1)
    assert numpy.array_equal(first.clips, again.clips)
    assert numpy.array_equal(first.order, again.order)
    assert not numpy.array_equal(first.clips, other.clips)


def test_a_pool_is_augmented_anew_each_time_and_measured_as_it_is():
    pool = small_pool(clips=4, augmentation=AugmentationParams(crop_size=32))
    rng = numpy.random.default_rng(2)
    epochs = [{clip.tobytes() for clip in pool.training_batch(step, 4, rng)[0]} for step in range(6)]
    assert len(set().union(*epochs)) > 12  # 25 places for a window: some come twice
    for clip in pool.training_batch(0, 4, rng)[0]:
        assert clip.shape == (8, 32, 32, 3)
    ((clips, labels),) = pool.as_they_are(64, most=3)
    assert [clip.tobytes() for clip in clips] == [middle(clip, 32).tobytes() for clip in pool.clips[:3]]
    assert labels.tolist() == pool.labels[:3].tolist()


def test_only_the_clips_that_are_wanted_are_given():
    pool = small_pool()
    clips, labels = pool.training_batch(0, 4, numpy.random.default_rng(0), lambda count: [1, 3])
    whole, all_labels = pool.training_batch(0, 4, numpy.random.default_rng(0))
    assert [clip.tobytes() for clip in clips] == [whole[1].tobytes(), whole[3].tobytes()]
    assert labels.tolist() == all_labels.tolist()


@pytest.mark.parametrize("size", [32, 40, 48])
def test_frames_are_rendered_as_much_larger_as_the_paper_s(size):
    assert edge_before_crop(size) == round(size * 8 / 7)
    config = trial_config(Trial("Model 2", 8, size=size))
    ((clips, labels),) = fresh_batches(config, numpy.random.default_rng(0), 3, 64)
    assert [clip.shape for clip in clips] == [(8, size, size, 3)] * 3
    assert labels.shape == (3,)


# ---------------------------------------------------------------------------------------------- what is trained


def test_every_training_has_a_name_of_its_own():
    trials = all_trials()
    names = {trial.name(seed) for trial in trials for seed in range(2)}
    assert len(names) == 2 * len(trials)
    assert set(trials) >= {*temporal_layers(), *frame_sizes(), *ladder("Model 1"), *starts("Model 2", "central_frame")}


def test_regularisers_are_added_one_after_the_other():
    rungs = ladder("Model 2")
    assert len(rungs) == len(LADDER)
    settings = [trial_settings(trial, 10, 0) for trial in rungs]
    assert settings[0].augmentation_params() is None
    for before, after in itertools.pairwise(settings):
        names = ("augmentation", "label_smoothing", "mixup_alpha", "model")
        changed = [name for name in names if getattr(before, name) != getattr(after, name)]
        assert len(changed) <= 1
    assert [trial.start for trial in rungs] == ["scratch", "scratch", *["other_clips"] * 5]
    assert settings[3].model["stochastic_droplayer_rate"] > 0
    assert settings[4].augmentation["do_rand_augment"]
    assert (settings[5].label_smoothing, settings[6].mixup_alpha) == (0.2, 0.1)


def test_nothing_is_done_to_a_clip_that_would_change_its_motion():
    for trial in all_trials():
        params = trial_settings(trial, 10, 0).augmentation_params()
        if params is not None:
            assert not params.do_random_flip
            assert not params.do_jitter_scale
            assert params.crop_size == trial.size


def test_depth_and_size_are_those_of_the_trial():
    assert [trial_config(trial).spatial_only_baseline for trial in temporal_layers()] == [True, False, False, False]
    assert [trial_config(trial).num_temporal_layers for trial in temporal_layers()[1:]] == [1, 2, 4]
    assert [trial_config(trial).grid_size for trial in frame_sizes()] == [(2, 4, 4), (2, 5, 5), (2, 6, 6)]


@pytest.mark.thorough
def test_trials_of_all_kinds_run_and_give_the_same_figures_again(tmp_path):
    trials = [
        Trial("Model 1", 8, "central_frame"),
        Trial("Model 2", 8, "average_arp", temporal_layers=0),
        Trial("Model 2", 8, "filter_inflation", size=48),
        Trial("Model 2", 8, "other_clips", regularisers=6),
    ]
    steps = []
    for trial in trials:
        job = Job(trial, 3, steps=2, clips=8, starts=tmp_path)
        if not (tmp_path / str(start_name(trial))).exists():
            assert 0 <= run_start(job, steps.append)["accuracy"] <= 1
        steps.clear()
        row = run_trial(job, steps.append)
        assert len(steps) == 2
        again = run_trial(job, steps.append)
        for name in ("accuracy", "loss", "pool_accuracy", "pool_loss"):
            assert row[name] == again[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image_model", "other_clips_model2"]
    model = VivitForVideoClassification.from_pretrained(tmp_path / "other_clips_model2")
    assert next(iter(model.config.id2label.values())) == "moving left or moving right"


@pytest.mark.thorough
def test_a_trial_starts_from_the_model_that_it_names(tmp_path, monkeypatch):
    job = Job(Trial("Model 2", 8, "other_clips"), 3, steps=1, clips=8, starts=tmp_path)
    run_start(job, lambda report: None)
    began = {}
    monkeypatch.setattr(ablation_runs, "finish", lambda training, report: began.update(training.model.state_dict()))
    run_trial(job, lambda report: None)
    source = VivitForVideoClassification.from_pretrained(tmp_path / "other_clips_model2").state_dict()
    name = "vivit.spatial_encoder.layer.0.intermediate.dense.weight"
    assert numpy.array_equal(began[name], source[name])
    assert began["classifier.weight"].shape[0] == 2 * source["classifier.weight"].shape[0]


# ------------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.1, 0.12, 0.11], HOLDS),
        ([-0.1, -0.12, -0.11], REVERSED),
        ([0.1, -0.01, 0.12], OPEN),  # one seed says no
        ([0.01, 0.3, 0.02], OPEN),  # its error is as large
        ([0.1], OPEN),  # a single seed
        ([0.0, 0.0, 0.0], OPEN),
    ],
)
def test_a_claim_holds_in_every_seed_and_beyond_its_error(differences, verdict):
    assert Claim("", numpy.array(differences)).verdict == verdict


def made_up(seeds=2, steps=4, clips=40, accuracy=lambda trial, seed: 0.5):
    """Figures that nothing was trained for."""
    trials = {
        trial.name(seed): {
            "accuracy": accuracy(trial, seed),
            "loss": 1.0,
            "pool_accuracy": 0.75,
            "pool_loss": 0.5,
            "seconds": 30.0,
        }
        for trial in all_trials()
        for seed in range(seeds)
    }
    names = {start_name(trial) for trial in all_trials()} - {None}
    return Figures(seeds, steps, clips, {name: {"accuracy": 0.625, "weights_sha256": ""} for name in names}, trials)


def test_a_claim_looks_at_the_trials_that_it_speaks_of():
    figures = made_up(accuracy=lambda trial, seed: 0.5 + 0.1 * (trial.start == "central_frame" and trial.pool == 300))
    for claim in claims(figures):
        if "300 clips: the image model" in claim.sentence or "the smaller the pool" in claim.sentence:
            assert claim.mean == pytest.approx(0.1)
        else:
            assert claim.mean == pytest.approx(0)
    figures = made_up(accuracy=lambda trial, seed: 0.05 * trial.regularisers)
    for claim in claims(figures):
        if claim.sentence.startswith("Model 2:") and "adds to those before" in claim.sentence:
            assert claim.mean == pytest.approx(0.05)
        if "all regularisers together" in claim.sentence:
            assert claim.mean == pytest.approx(0.25)
        if "narrow the gap" in claim.sentence:
            assert claim.mean == pytest.approx(0.3)
    figures = made_up(accuracy=lambda trial, seed: 0.01 * trial.temporal_layers + 0.001 * trial.size)
    means = {claim.sentence: claim.mean for claim in claims(figures)}
    assert means["Model 2: one temporal layer is better than none (Table 3)"] == pytest.approx(0.01)
    assert means["Model 2: four temporal layers are better than one (Table 3: hardly)"] == pytest.approx(0.03)
    assert means["Model 2: frames of 48 x 48 are better than of 40 x 40 (Table 5)"] == pytest.approx(0.008)


def test_the_page_has_a_row_for_each_training_and_a_line_for_each_claim():
    figures = made_up(accuracy=lambda trial, seed: 0.25 + 0.125 * seed)
    page = ablation_page(figures, "a command", with_picture=False)
    assert "a command" in page
    assert "![" not in page
    for name in (*LADDER, "central frame", "average arp"):
        assert f"| {name} | 31.2 ± 8.8 % |" in page
    assert len(re.findall(r"^\| .* \| (?:holds|the other way round|cannot be told) \|$", page, re.M)) == len(
        list(claims(figures))
    )
    assert f"{len(all_trials()) * 2} trainings, together {len(all_trials())} minutes" in page


# -------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def trained(monkeypatch):
    """The command with trainings that take no time; returns the names of those that were made."""
    names = []

    def trial(job, report):
        names.append(job.trial.name(job.seed))
        return dict(made_up(1).trials[job.trial.name(0)])

    def start(job, report):
        names.append(start_name(job.trial))
        return {"accuracy": 0.5, "weights_sha256": ""}

    monkeypatch.setattr(command, "run_trial", trial)
    monkeypatch.setattr(command, "run_start", start)
    monkeypatch.setattr(command, "check_unchanged", lambda *arguments: None)
    monkeypatch.setattr(command, "can_start_processes", lambda: False)
    return names


def test_the_command_trains_each_once_and_adds_seeds(trained, tmp_path, capsys):
    argv = ["ablate", "--output", str(tmp_path / "out"), "--steps", "4", "--clips", "40"]
    assert main([*argv, "--seeds", "1"]) == 0
    assert len(trained) == len(all_trials()) + 3
    page = (tmp_path / "out" / "ablations.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() == page.strip()
    trained.clear()
    assert main([*argv, "--seeds", "1", "--json"]) == 0
    assert trained == []
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "ablations.json").read_text())
    assert main([*argv, "--seeds", "2"]) == 0
    assert sorted(trained) == sorted(trial.name(1) for trial in all_trials())


def test_what_is_interrupted_goes_on(trained, tmp_path, capsys, monkeypatch):
    working = command.run_trial

    def interrupted(job, report):
        if len(trained) == 10:
            raise KeyboardInterrupt
        return working(job, report)

    argv = ["ablate", "--output", str(tmp_path), "--quick"]
    monkeypatch.setattr(command, "run_trial", interrupted)
    assert main(argv) == 130
    assert "7 trainings are in" in capsys.readouterr().err
    monkeypatch.setattr(command, "run_trial", working)
    trained.clear()
    assert main(argv) == 0
    assert len(trained) == len(all_trials()) - 7


def test_figures_of_another_command_are_left_alone(trained, tmp_path, capsys):
    argv = ["ablate", "--output", str(tmp_path), "--clips", "40"]
    assert main([*argv, "--steps", "4", "--seeds", "2"]) == 0
    before = (tmp_path / "ablations.json").read_bytes()
    for other in (
        ["--steps", "5", "--seeds", "2"],
        ["--steps", "4", "--seeds", "1"],
        ["--steps", "4", "--seeds", "101"],
    ):
        capsys.readouterr()
        assert main([*argv, *other]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tmp_path / "ablations.json").read_bytes() == before


def test_pages_of_ones_own_are_left_alone(trained, tmp_path, capsys):
    (tmp_path / "ablations.md").write_text("mine")
    assert main(["ablate", "--output", str(tmp_path)]) == 2
    assert "choose another --output" in capsys.readouterr().err
    assert (tmp_path / "ablations.md").read_text() == "mine"


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("starts"),
        lambda found: found.update(format="other"),
        lambda found: found.update(seeds=10**9),
        lambda found: found.update(seeds=True),
        lambda found: found.update(trials=[]),
        lambda found: found["trials"].update(mine={}),
        lambda found: next(iter(found["trials"].values())).update(accuracy=2),
        lambda found: next(iter(found["trials"].values())).update(seconds="long"),
        lambda found: next(iter(found["starts"].values())).update(weights_sha256=5),
        lambda found: found.update(trials={next(iter(found["trials"])): 5}),
    ],
)
def test_a_damaged_file_is_said_in_one_line(tmp_path, change):
    found = made_up().to_dict()
    change(found)
    path = tmp_path / "ablations.json"
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match="does not hold the figures of ablations"):
        read_figures(path)


def test_a_start_that_is_not_that_of_the_figures_is_refused(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "check_unchanged", check_unchanged)
    assert main(["ablate", "--output", str(tmp_path), "--quick"]) == 2
    assert "put back a copy of it" in capsys.readouterr().err


def one_by_one(job, report):
    """Work that reports; in another process."""
    for step in range(3):
        report(step)
    return {"seed": job.seed}


def test_jobs_run_side_by_side_in_processes_of_their_own():
    jobs = {str(seed): Job(SMALL, seed, 1, 1, Path()) for seed in range(3)}
    found = {}
    command._side_by_side(one_by_one, jobs, 2, found.__setitem__)
    assert found == {str(seed): {"seed": seed} for seed in range(3)}


def fail_on_one(job, report):
    """One error among endless work."""
    if job.seed == 1:
        raise InputError("one is wrong")
    while True:
        report(0)


def test_one_error_stops_the_others():
    jobs = {str(seed): Job(SMALL, seed, 1, 1, Path()) for seed in range(2)}
    with pytest.raises(InputError, match="one is wrong"):
        command._side_by_side(fail_on_one, jobs, 2, lambda name, row: None)


# ------------------------------------------------------------------------------------------------------ the page


def test_the_page_is_that_of_its_figures():
    page = PAGE.read_text(encoding="utf-8")
    figures = read_figures(FIGURES)
    assert page.startswith(ablation_page(figures, "minivivit ablate --output ablations", with_picture=True))
    assert figures.seeds >= 3
    assert set(figures.trials) == {trial.name(seed) for trial in all_trials() for seed in range(figures.seeds)}


def test_what_is_made_of_the_figures_follows_from_them():
    said = PAGE.read_text(encoding="utf-8").partition("## What we make of it")[2]
    figures = read_figures(FIGURES)
    verdicts = {claim.sentence.split(" (")[0]: claim.verdict for claim in claims(figures)}

    def accuracy(trial):
        return figures.of(trial).mean()

    rungs, gaps = ladder("Model 2"), [figures.of(trial, "gap").mean() for trial in ladder("Model 1")]
    assert "helps Model 2 most" in said
    gains = [accuracy(after) - accuracy(before) for before, after in itertools.pairwise(rungs)]
    assert numpy.argmax(gains) == 1
    assert accuracy(rungs[0]) < 0.2
    assert "RandAugment costs" in said
    assert verdicts["Model 2: RandAugment adds to those before it"] == REVERSED
    for name in ("stochastic depth", "label smoothing", "mixup"):
        assert verdicts[f"Model 2: {name} adds to those before it"] == OPEN
    assert f"narrows from {100 * gaps[0]:.1f} to {100 * gaps[-1]:.1f} points" in said
    assert "in every seed" in said
    for model in MODELS:
        assert verdicts[f"{model}, 300 clips: the image model is a better start than none"] == REVERSED
        assert verdicts[f"{model}: the smaller the pool, the more that start gives"] == REVERSED
    assert "is the best of all for Model 2" in said
    for pool in POOLS:
        best = max(STARTS, key=lambda start: accuracy(Trial("Model 2", pool, start)))
        assert best == "average_arp"
    assert "any start ahead by more than 0.1 points" in said
    leads = [
        figures.of(Trial("Model 1", pool, start)) - figures.of(Trial("Model 1", pool))
        for pool in POOLS
        for start in STARTS
    ]
    assert round(100 * max(lead.mean() for lead in leads), 1) == 0.1
    assert "Temporal layers do harm" in said
    assert verdicts["Model 2: one temporal layer is better than none"] == REVERSED
    assert max(temporal_layers(), key=accuracy).temporal_layers == 0
    assert "from 40 to 48 pixels" in said
    assert verdicts["Model 2: frames of 48 x 48 are better than of 40 x 40"] == HOLDS
