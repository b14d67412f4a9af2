"""The page of the ablations: tables, what holds, and how it was measured."""

import math

from minivivit.commands.common.text_table import markdown_table
from minivivit.commands.experiments.ablation_claims import claims
from minivivit.commands.experiments.ablation_figures import Figures
from minivivit.commands.experiments.ablation_picture import PICTURE_FILE
from minivivit.training.experiments.ablation_runs import IMAGE, IMAGE_STEPS, MOST_OF_THE_POOL, OTHERS_STEPS, others_name
from minivivit.training.experiments.ablations import (
    DROP_RATE,
    LADDER,
    LADDER_POOL,
    MIXUP,
    MODEL,
    MODELS,
    POOLS,
    RAND_AUGMENT,
    SETTINGS,
    SMOOTHING,
    STARTS,
    Trial,
    frame_sizes,
    ladder,
    starts,
    temporal_layers,
)
from minivivit.video.image_transforms import edge_before_crop

MARKDOWN_FILE = "ablations.md"
# The paper's top-1 accuracies in percent: Table 4 (actions of Epic Kitchens; it has no first row of ours), Table 3
# (ViViT-B on Kinetics 400, with 0, 4, 8 and 12 temporal layers to 12 spatial ones), Table 5 (ViViT-L on Kinetics 400,
# frames of 224, 288 and 320 pixels).
TABLE_4 = (None, 38.4, 39.6, 40.2, 41.1, 43.1, 43.7)
TABLE_3 = "0: 75.8 %; 4: 78.6 %; 8: 78.8 %; 12: 78.9 %"
TABLE_5 = "224: 80.3 %; 288: 80.7 %; 320: 81.0 %"


def ablation_page(figures: Figures, command: str, with_picture: bool) -> str:
    """The page, in Markdown."""
    lines = ["# What the paper's ablations ask, at our size", "", f"Written by  `{command}`  {_time(figures)}.", ""]
    if with_picture:
        lines += [f"![Four charts of the tables below]({PICTURE_FILE})", ""]
    lines += [*_ladder(figures), *_starts(figures), *_depths(figures), *_sizes(figures)]
    lines += [*_verdicts(figures), "## How", "", *(f"- {note}" for note in _notes(figures))]
    return "\n".join(lines) + "\n"


def _time(figures: Figures) -> str:
    minutes = sum(row["seconds"] for row in figures.trials.values()) / 60
    return f"({len(figures.trials)} trainings, together {minutes:.0f} minutes of one processor)"


def _ladder(figures: Figures) -> list[str]:
    rows = []
    for count, (name, paper) in enumerate(zip(LADDER, TABLE_4, strict=True)):
        cells = [name]
        for model in MODELS:
            trial = ladder(model)[count]
            cells += [_percent(figures, trial), _percent(figures, trial, "gap")]
        rows.append([*cells, "" if paper is None else f"{paper} %"])
    header = ["", *(cell for model in MODELS for cell in (model, "gap")), "paper, Model 2"]
    title = f"## Regularisers, one after the other (Table 4): a pool of {LADDER_POOL:,} clips"
    return [title, "", *markdown_table(header, rows), ""]


def _starts(figures: Figures) -> list[str]:
    lines = ["## From scratch, and from an image model: pools of three sizes", ""]
    for model in MODELS:
        rows = [
            [start.replace("_", " "), *(_percent(figures, trial) for trial in starts(model, start))] for start in STARTS
        ]
        lines += [*markdown_table([model, *(f"{pool:,} clips" for pool in POOLS)], rows), ""]
    return lines


def _depths(figures: Figures) -> list[str]:
    trials = temporal_layers()
    header = ["temporal layers", *(str(trial.temporal_layers) for trial in trials)]
    rows = [["Model 2", *(_percent(figures, trial) for trial in trials)]]
    title = f"## Temporal layers (Table 3): a pool of {trials[0].pool:,} clips"
    spatial = MODEL["num_hidden_layers"]
    note = f"The paper, to 12 spatial layers (ours are {spatial}), has {TABLE_3}."
    return [title, "", *markdown_table(header, rows), "", note, ""]


def _sizes(figures: Figures) -> list[str]:
    trials = frame_sizes()
    header = ["frames", *(f"{trial.size} x {trial.size}" for trial in trials)]
    rows = [["Model 2", *(_percent(figures, trial) for trial in trials)]]
    title = f"## Larger frames (Table 5): a pool of {trials[0].pool:,} clips"
    return [title, "", *markdown_table(header, rows), "", f"The paper, with ViViT-L, has {TABLE_5}.", ""]


def _verdicts(figures: Figures) -> list[str]:
    rows = []
    for claim in claims(figures):
        error = "" if claim.error is None else f" ± {100 * claim.error:.1f}"
        rows.append([claim.sentence, f"{100 * claim.mean:+.1f}{error}", claim.verdict])
    return [
        "## What holds",
        "",
        f"Each line is a claim, by how many points it holds in the mean of {figures.seeds} seeds (with the error of "
        "the mean), and whether it does: in every seed, and by more than twice that error. Many claims are asked here, "
        "of few seeds: take a single small difference for a hint.",
        "",
        *markdown_table(["claim", "points", "here"], rows),
        "",
    ]


def _notes(figures: Figures) -> list[str]:
    """What one must know to read the tables."""
    trial = Trial("Model 2", POOLS[0])
    batch = SETTINGS["batch_size"]
    rows = batch * figures.steps
    errors = 50 / math.sqrt(figures.clips)
    layers, strength = RAND_AUGMENT["rand_augment_num_layers"], RAND_AUGMENT["rand_augment_magnitude"]
    seen = ", ".join(f"{pool:,} is seen {rows / pool:.0f} times" for pool in POOLS)
    size, tubelet = edge_before_crop(32), " x ".join(map(str, MODEL["tubelet_size"]))
    others = " and ".join(f"{_start(figures, others_name(model))} right with {model}'s shape" for model in MODELS)
    return [
        f"Every training: {figures.steps:,} updates of {batch} clips, so each clip of a pool of {seen}. "
        f"AdamW, learning rate {SETTINGS['learning_rate']:g}, cosine schedule, float32. The figures are those after "
        "the last update: no step and no setting was chosen by the clips that are reported. (Size, updates and "
        "learning rate were settled with seed 100.)",
        f"Size: hidden size {MODEL['hidden_size']}, {MODEL['num_hidden_layers']} layers (and {trial.temporal_layers} "
        f"temporal ones in Model 2), {MODEL['num_attention_heads']} heads, MLP {MODEL['intermediate_size']}; clips of "
        f"{MODEL['num_frames']} frames, tubelets of {tubelet}: two times, of 16 tokens where frames are 32 x 32.",
        f"Accuracy: on {figures.clips:,} fresh clips of the eight motions, other ones for each seed; chance is 12.5 %. "
        f"± is the deviation over the seeds. Counting alone has a standard error of up to {errors:.1f} points. Gap: "
        f"the accuracy on (up to {MOST_OF_THE_POOL:,}) clips of the pool, not augmented, less that on fresh ones, in "
        "points.",
        f"Frames are rendered at {size} x {size} and cut to 32 x 32, as the paper's of 256 are to 224 (larger frames "
        "likewise): at random as a regulariser, else in the middle. No flips: they turn left into right. Colour jitter "
        "and RandAugment (which replaces the jitter, as in scenic) move no pixels. Stochastic depth "
        f"{DROP_RATE}, RandAugment {layers} operations of strength {strength}, label smoothing {SMOOTHING}, mixup "
        f"{MIXUP}: the paper's values for Epic Kitchens.",
        f"The image model learned from single frames where the glyph is, and how large: {_start(figures, IMAGE)} of "
        "fresh frames right; chance is 12.5 %. The other clips, in the place of Kinetics, show the same world; a model "
        "learned what moves in them (across, down, angle or size), but not which way: "
        f"{others}; chance is 25 %. The image model took {IMAGE_STEPS} times the updates of a training and the others "
        f"{OTHERS_STEPS} times, on clips without end.",
    ]


def _start(figures: Figures, name: str) -> str:
    return f"{100 * figures.starts[name]['accuracy']:.1f} %"


def _percent(figures: Figures, trial: Trial, key: str = "accuracy") -> str:
    """Mean and deviation over the seeds, in percent."""
    values = 100 * figures.of(trial, key)
    unit = "" if key == "gap" else " %"
    return f"{values.mean():.1f}{unit}" if len(values) < 2 else f"{values.mean():.1f} ± {values.std(ddof=1):.1f}{unit}"
