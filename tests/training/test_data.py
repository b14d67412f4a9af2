"""Clips as batches: the folder, the split, the order of the epochs, the built-in data."""

from itertools import chain

import numpy
import pytest
from tiny_training import TINY_MODEL, write_clips

from minivivit import InputError, VivitConfig
from minivivit.training.data.clip_folders import find_clips
from minivivit.training.data.folders import FolderData, split_clips
from minivivit.training.data.motion.batches import (
    EVALUATION,
    TRAINING,
    VALIDATION,
    MotionData,
    check_motion_labels,
    stream,
)
from minivivit.training.data.motion.clips import motion_clips
from minivivit.training.data.motion.stills import StillData
from minivivit.training.regularisation.augmentations.pipeline import AugmentationParams

CONFIG = VivitConfig(**TINY_MODEL)


def clip_bytes(clips):
    return {clip.tobytes() for clip in clips}


# ------------------------------------------------------------------------------------------------ folders


def test_the_classes_are_the_sub_folders_in_order(tmp_path):
    folder = write_clips(tmp_path / "clips", ("zebra", "Ant", "bee"), clips=2)
    (folder / ".hidden").mkdir()
    (folder / "bee" / ".DS_Store").touch()
    (folder / "readme.txt").touch()
    clips = find_clips(folder)
    assert list(clips) == ["Ant", "bee", "zebra"]
    assert [path.name for path in clips["bee"]] == ["clip0.npy", "clip1.npy"]


def test_what_is_no_folder_of_classes_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        find_clips(tmp_path / "none")
    with pytest.raises(InputError, match="has no sub-folders; expected one for each class"):
        find_clips(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="has 1 sub-folder; expected one for each class"):
        find_clips(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="no clip of the 2 classes 'a', 'b'"):
        find_clips(tmp_path)


@pytest.mark.parametrize(("fraction", "held_out"), [(0.0, 0), (0.01, 1), (0.2, 2), (0.5, 5), (0.99, 9)])
def test_the_split_takes_its_share_of_every_class(tmp_path, fraction, held_out):
    clips = find_clips(write_clips(tmp_path / "clips", clips=10))
    training, validation = split_clips(clips, fraction, seed=1)
    assert numpy.bincount([label for _, label in validation], minlength=3).tolist() == [held_out] * 3
    assert sorted(training + validation) == sorted(
        (path, label) for label, paths in enumerate(clips.values()) for path in paths
    )


def test_the_split_depends_on_names_and_seed_alone(tmp_path):
    one = find_clips(write_clips(tmp_path / "one", clips=20))
    other = find_clips(write_clips(tmp_path / "elsewhere" / "other", clips=20))

    def held_out(clips, seed):
        return {(label, path.name) for path, label in split_clips(clips, 0.25, seed)[1]}

    assert held_out(one, 1) == held_out(other, 1)
    assert held_out(one, 1) != held_out(one, 2)
    lonely = split_clips({"a": one["left"][:1], "b": one["up"]}, 0.25, 1)
    assert [label for _, label in lonely[0]].count(0) == 1  # the only clip of a class is trained on


def folder_data(folder, **changes):
    settings = {"seed": 1, "batch_size": 4, "validation_fraction": 0.25, "frame_sample_rate": 1, **changes}
    return FolderData(find_clips(folder), CONFIG, **settings)


def test_an_epoch_shows_every_clip_once_and_in_an_order_of_its_own(tmp_path):
    data = folder_data(write_clips(tmp_path / "clips", clips=6))
    assert len(data.training) == 12 + 3 - 3 * 1  # round(1.5) = 2 of 6 are held out
    assert data.steps_per_epoch == 3
    orders = []
    for epoch in range(2):
        labels, seen = [], []
        for position in range(3):
            rng = numpy.random.default_rng(0)
            clips, batch = data.training_batch(3 * epoch + position, 4, rng)
            assert len(clips) == len(batch) == 4
            assert all(clip.shape == (4, 20, 24, 3) for clip in clips)
            labels += batch.tolist()
            seen += [clip[:, 0, 0, 0].tolist() for clip in clips]
        assert sorted(labels) == [0] * 4 + [1] * 4 + [2] * 4
        orders.append(seen)
    assert orders[0] != orders[1]


def test_the_last_batch_of_an_epoch_has_what_is_left(tmp_path):
    data = folder_data(write_clips(tmp_path / "clips", clips=6), batch_size=5)
    assert data.steps_per_epoch == 3
    assert [len(data.training_batch(step, 5, numpy.random.default_rng(0))[1]) for step in range(4)] == [5, 5, 2, 5]


def test_training_never_sees_a_validation_clip(tmp_path):
    folder = write_clips(tmp_path / "clips", clips=6)
    data = folder_data(folder)
    trained = set()
    for step in range(9):
        clips, _ = data.training_batch(step, 4, numpy.random.default_rng(step))
        trained |= {clip[0, 0, 0].tobytes() + clip[0, 5, 5].tobytes() for clip in clips}
    held_out = [numpy.load(path) for path, _ in data.validation]
    for clip in held_out:
        for frame in clip:
            assert frame[0, 0].tobytes() + frame[5, 5].tobytes() not in trained


def test_validation_sees_the_middle_of_the_clips_and_is_the_same_each_time(tmp_path):
    data = folder_data(write_clips(tmp_path / "clips"), augmentation=AugmentationParams(do_random_flip=True))
    first, second = (list(chain.from_iterable(clips for clips, _ in data.validation_batches(2))) for _ in range(2))
    assert clip_bytes(first) == clip_bytes(second)
    for clip, (path, _) in zip(first, data.validation, strict=True):
        numpy.testing.assert_array_equal(clip, numpy.load(path)[1:5])


def test_augmentations_reach_the_training_clips(tmp_path):
    folder = write_clips(tmp_path / "clips")
    data = folder_data(folder, augmentation=AugmentationParams(crop_size=16))
    clips, _ = data.training_batch(0, 4, numpy.random.default_rng(0))
    assert {clip.shape for clip in clips} == {(4, 16, 16, 3)}
    again, _ = data.training_batch(0, 4)
    other, _ = folder_data(folder, augmentation=AugmentationParams(crop_size=16)).training_batch(3, 4)
    assert clip_bytes(clips) == clip_bytes(again) != clip_bytes(other)


def test_a_clip_that_cannot_be_read_is_named(tmp_path):
    folder = write_clips(tmp_path / "clips")
    (folder / "up" / "clip0.npy").write_bytes(b"nonsense")
    data = folder_data(folder, validation_fraction=0.0, batch_size=15)
    with pytest.raises(InputError, match=r"clip0\.npy"):
        data.training_batch(0, 15, numpy.random.default_rng(0))


# ------------------------------------------------------------------------------------------------ built-in data


def test_motion_batches_are_fresh_and_drawn_from_the_generator():
    data = MotionData(CONFIG, seed=1, validation_clips=10)
    rng = numpy.random.default_rng(0)
    first, labels = data.training_batch(0, 8, rng)
    second, _ = data.training_batch(0, 8, rng)
    expected, expected_labels = motion_clips(numpy.random.default_rng(0), 8, 4, 16)
    assert clip_bytes(first) == clip_bytes(expected)
    assert labels.tolist() == expected_labels.tolist()
    assert not clip_bytes(first) & clip_bytes(second)


def test_motion_validation_is_the_same_each_time_and_apart_from_training():
    data = MotionData(CONFIG, seed=1, validation_clips=10)
    batches = list(data.validation_batches(4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    held_out = clip_bytes(chain.from_iterable(clips for clips, _ in batches))
    assert held_out == clip_bytes(chain.from_iterable(clips for clips, _ in data.validation_batches(4)))
    rng = stream(1, TRAINING)
    trained = clip_bytes(chain.from_iterable(data.training_batch(step, 4, rng)[0] for step in range(3)))
    assert not trained & held_out


def in_pieces(data, num_pieces, sizes, num_ranks=1):
    """Batches of 4 in pieces of the `sizes`; every rank has its part of them. Returns clips and labels, in order."""
    found = {}
    for rank in range(num_ranks):
        batches = data.validation_batches(4, num_pieces, lambda count, rank=rank: range(rank, count, num_ranks))
        for number, (clips, labels) in zip(range(rank, len(sizes), num_ranks), batches, strict=True):
            assert len(clips) == len(labels) == sizes[number]
            found[number] = clips, labels
    clips = list(chain.from_iterable(found[number][0] for number in range(len(sizes))))
    return clips, numpy.concatenate([found[number][1] for number in range(len(sizes))])


@pytest.mark.parametrize("kind", ["motion", "stills", "folder"])
def test_the_clips_to_validate_on_do_not_depend_on_the_pieces(kind, tmp_path):
    """Nor does a piece hold more than its part of a batch, or memory would."""
    if kind == "folder":  # which draws nothing here, and so reads in smaller batches
        data = folder_data(write_clips(tmp_path / "clips", clips=7), validation_fraction=0.5)
        data.validation = data.validation[:10]
        halves, single = [2] * 5, [1] * 10
    else:
        make = StillData if kind == "stills" else MotionData
        still = {"num_frames": 1, "tubelet_size": [1, 8, 8]} if kind == "stills" else {}
        config = VivitConfig(**{**TINY_MODEL, **still})
        data = make(config, seed=1, validation_clips=10)
        halves, single = [2, 2, 2, 2, 1, 1], [1] * 10
    clips, labels = in_pieces(data, 1, [4, 4, 2])
    for num_pieces, sizes, num_ranks in ((2, halves, 1), (2, halves, 3), (9, single, 1), (4, single, 4)):
        found, found_labels = in_pieces(data, num_pieces, sizes, num_ranks)
        numpy.testing.assert_array_equal(found_labels, labels)
        for one, other in zip(found, clips, strict=True):
            numpy.testing.assert_array_equal(one, other)


def test_the_streams_of_a_seed_are_independent():
    draws = {tuple(stream(seed, use).integers(2**63, size=4)) for seed in range(3) for use in range(3)}
    assert len(draws) == 9
    assert {TRAINING, VALIDATION, EVALUATION} == {0, 1, 2}


def test_a_model_of_other_clips_or_classes_is_refused():
    with pytest.raises(InputError, match="square"):
        MotionData(VivitConfig(image_size=(16, 24), tubelet_size=[2, 8, 8]), 0, 1)
    with pytest.raises(InputError, match="3 channels"):
        MotionData(VivitConfig(num_channels=1), 0, 1)
    with pytest.raises(InputError, match="moving left"):
        check_motion_labels(VivitConfig(num_labels=8))
