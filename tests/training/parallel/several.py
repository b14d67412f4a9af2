"""Started by ``mpiexec``: several ranks do what the first argument says.

``gradients OUT`` and ``trainings OUT``: the cases below; the first rank writes what all have come to into a file.
``gpu OUT``: some of the trainings, on GPUs.
``command RANK DEED ARGUMENTS``: minivivit's command, in which one rank comes to grief.
"""

import os
import pickle
import signal
import sys
from pathlib import Path

import numpy
import stand_in_array

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.backend import to_numpy
from minivivit.cli import main
from minivivit.models.parameters import map_tree
from minivivit.training import loop
from minivivit.training.accumulation import batch_gradients
from minivivit.training.loop import train
from minivivit.training.parallel import mpi
from minivivit.training.parallel.devices import Place
from minivivit.training.parallel.parts import clips_of
from minivivit.training.parallel.started import find_ranks
from minivivit.training.run import begin_training
from minivivit.training.settings import make_settings

MODEL = {
    "image_size": 16,
    "num_frames": 4,
    "tubelet_size": [2, 8, 8],
    "hidden_size": 6,
    "num_hidden_layers": 2,
    "num_temporal_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 10,
    "initializer_range": 0.3,
    # The gradient of the keys' bias is 0 up to rounding, and AdamW makes steps of any gradient.
    "qkv_bias": False,
}
RANDOM = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "stochastic_droplayer_rate": 0.5}
TYPES = ("spatio_temporal", "factorised_encoder", "factorised_self_attention", "factorised_dot_product")
SETTINGS = {
    "dtype": "float64",
    "backend": "numpy",
    "seed": 5,
    "batch_size": 6,
    "warm_up": 1,
    "learning_rate": 1e-2,
    "validation_clips": 7,
    "validate_every": 2,
    "checkpoint_every": 100,
    "parallel": 1,
    "model": {**MODEL, **RANDOM},
}
AUGMENTATION = {"min_resize": 20, "crop_size": 16, "do_random_flip": True, "do_color_augment": True}
# name: (data, settings). "clips" is the folder of tests/training/tiny_training.py.
TRAININGS = {
    "plain": ("motion", {"steps": 3, "model": MODEL}),
    **{kind: ("motion", {"steps": 2, "model": {**MODEL, **RANDOM, "attention_type": kind}}) for kind in TYPES},
    "pieces, mixed": ("motion", {"steps": 3, "accumulate": 2, "parallel": 2, "mixup_alpha": 0.4}),
    "fewer clips than ranks": ("motion", {"steps": 2, "batch_size": 2, "optimiser": "sgd", "label_smoothing": 0.1}),
    "a folder": ("clips", {"epochs": 2, "batch_size": 5, "augmentation": AUGMENTATION, "mixup_alpha": 0.2}),
    "frozen": ("motion", {"steps": 2, "freeze": ["vivit.encoder.layer.0.*"], "gradient_checkpointing": True}),
}
# name: (labels of seven clips, fields of the config)
LABELS = {
    "indices": ([0, 2, 1, 1, 0, 2, 1], {}),
    "some that do not count": ([0, -100, -100, -100, -100, 2, 1], {}),
    "one that counts": ([-100, -100, -100, -100, -100, 1, -100], {}),
    "heads that count differently": (
        [[0, -100], [-100, -100], [1, -100], [1, 0], [-100, 1], [2, 0], [1, 1]],
        {"class_splits": [3, 2], "num_labels": 5},
    ),
    "numbers": ([0.5, -1, 2, 0, 1, 3, 2.5], {"num_labels": 1}),
}


def gradients(ranks):
    """Loss and gradients by case, for one process or many."""
    results = {}
    for name, (labels, fields) in LABELS.items():
        config = VivitConfig(**{**MODEL, **RANDOM, "num_labels": 3, **fields})
        model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=1)
        pixels = numpy.random.default_rng(0).standard_normal((7, 4, 3, 16, 16))
        for settings in ({}, {"accumulate": 3}, {"accumulate": 2, "parallel": 2}):
            own = clips_of(ranks.rank, ranks.size, 7)
            rng, names = numpy.random.default_rng(3), [*model.state_dict()]
            result = batch_gradients(model, pixels[own], numpy.array(labels), names, rng=rng, ranks=ranks, **settings)
            results[f"{name}, {settings}"] = {"loss": numpy.array(result.loss), **result.gradients}
    # What is on a device goes over the host, one bucket after the other: the model of the last case once more.
    model.params = map_tree(stand_in_array.xp.asarray, model.params)
    rng = numpy.random.default_rng(3)
    result = batch_gradients(model, pixels[own], numpy.array(labels), names, rng=rng, ranks=ranks, **settings)
    on_host = {name: to_numpy(array) for name, array in result.gradients.items()}
    results["on a device"] = {"loss": numpy.array(result.loss), **on_host}
    return results


def trainings(ranks, folder, cases=TRAININGS, backend="numpy"):
    """The weights that each training ends with, and what it logged."""
    loop.draw_curves = lambda entries, path: path.write_text("")  # matplotlib takes longer than all of this
    ranks.take_device(backend)
    results = {}
    for name, (data, changes) in ((case, TRAININGS[case]) for case in cases):
        place = str(folder / "clips") if data == "clips" else data
        output = folder / f"{name} {ranks.size}"

        def begin(place=place, changes=changes, output=output):
            settings = make_settings(place, {**SETTINGS, **changes, "backend": backend})
            return begin_training(place, settings, output)

        training = ranks.from_first(begin)
        training.ranks = ranks
        assert train(training)
        results[name] = {key: to_numpy(array) for key, array in training.model.state_dict().items()}
        assert (training.log is None) == (not ranks.is_first)
    return results


def write_results(ranks, kind, folder):
    """All cases twice, by all ranks; every rank must have come to the same bits, both times."""
    folder = Path(folder)
    once, again = (
        gradients(ranks) if kind == "gradients" else trainings(ranks, folder / turn) for turn in ("once", "again")
    )
    for found in ranks.gathered(once):
        for name, arrays in found.items():
            for key, array in arrays.items():
                numpy.testing.assert_array_equal(array, once[name][key])
                numpy.testing.assert_array_equal(array, again[name][key])
    if ranks.is_first:
        (folder / f"{kind} {ranks.size}").write_bytes(pickle.dumps(once))


ON_GPUS = ("plain", "pieces, mixed", "fewer clips than ranks", "factorised_encoder")


def write_from_gpus(ranks, folder):
    """Some trainings on GPUs; what they end with all ranks have compared before the last checkpoint."""
    results = trainings(ranks, Path(folder), ON_GPUS, "cupy")
    if ranks.is_first:
        (Path(folder) / f"gpu {ranks.size}").write_bytes(pickle.dumps((ranks.summing, results)))


def command(rank, deed, arguments):
    """minivivit's command; one rank comes to grief at the third step."""
    usual = loop.make_step
    loop.draw_curves = lambda entries, path: path.write_text("")

    def make_step(training):
        if training.step == 2 and training.ranks.rank == int(rank):
            if deed == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if deed == "interrupted":
                os.kill(os.getpid(), signal.SIGINT)
            if deed == "no memory":
                raise MemoryError("for 17 GB")
            if deed == "a defect":
                raise RuntimeError("this should not be")
            if deed == "nan":
                training.model.params["vivit"]["encoder"]["layer"]["1"]["output"]["dense"]["weight"][...] = numpy.nan
            if deed == "other weights":
                training.model.params["classifier"]["bias"][0] += 1e-9
            if deed == "unreadable":
                training.data.training_batch = unreadable
        return usual(training)

    loop.make_step = make_step
    if deed == "a GPU":
        usual_place = mpi.find_place

        def place_with_a_gpu(backend, machine):
            here = usual_place(backend, machine)
            return Place("far", "cupy", ("0000:07:00.0",)) if find_ranks().rank == int(rank) else here

        mpi.find_place = place_with_a_gpu
    return main(arguments)


def unreadable(*arguments):
    """Instead of a batch."""
    raise OSError(5, "Input/output error", "clips/left/clip0.npy")


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    if kind == "command":
        sys.exit(command(rest[0], rest[1], rest[2:]))
    if kind == "gpu":
        sys.exit(find_ranks().run(lambda ranks: write_from_gpus(ranks, rest[0])))
    sys.exit(find_ranks().run(lambda ranks: write_results(ranks, kind, rest[0])))
