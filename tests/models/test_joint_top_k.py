"""Accuracy of pairs, against scenic's rule written out with an outer product and a sort."""

import numpy
import pytest
import scipy.special

from minivivit import InputError, VivitConfig
from minivivit.models.top_classes import class_probabilities, joint_accuracy, joint_top_k, top_classes


def config_for(*splits):
    return VivitConfig(id2label={i: str(i) for i in range(sum(splits))}, class_splits=list(splits))


def pairs_in_top_k(logits, labels, splits, k):
    """scenic's get_joint_logits_labels and top-k, for two heads, one clip at a time."""
    found = []
    for row, (a, b) in zip(logits, labels, strict=True):
        joint = numpy.outer(scipy.special.softmax(row[: splits[0]]), scipy.special.softmax(row[splits[0] :])).ravel()
        order = sorted(range(joint.size), key=lambda pair: (-joint[pair], pair))
        found.append(a * splits[1] + b in order[:k])
    return found


@pytest.mark.parametrize("splits", [(6, 4), (3, 7), (1, 8)])
@pytest.mark.parametrize("k", [1, 2, 5, 1000])
def test_scenic_s_rule(splits, k):
    rng = numpy.random.default_rng(0)
    logits = rng.standard_normal((60, sum(splits)))
    labels = numpy.stack([rng.integers(0, size, 60) for size in splits], axis=1)
    for offset, own in zip((0, splits[0]), labels.T, strict=True):
        logits[numpy.arange(60), offset + own] += 1  # better than chance
    found = joint_top_k(logits, labels, config_for(*splits), k)
    assert found.tolist() == pairs_in_top_k(logits, labels, splits, k)
    assert found.dtype == bool
    assert found.all() == (k == 1000)
    assert found.any()


def test_accuracy_is_every_head_right():
    rng = numpy.random.default_rng(1)
    logits, labels = rng.standard_normal((80, 9)).astype("float32"), rng.integers(0, 2, (80, 3))
    config = config_for(2, 3, 4)
    parts = (logits[:, :2], logits[:, 2:5], logits[:, 5:])
    right = numpy.stack([part.argmax(axis=1) for part in parts], axis=1) == labels
    found = joint_accuracy(logits, labels, config)
    numpy.testing.assert_array_equal(found, right.all(axis=1))
    assert 0 < found.sum() < right.any(axis=1).sum()


def test_it_agrees_with_the_classes_that_are_named():
    rng = numpy.random.default_rng(2)
    logits = rng.integers(0, 2, (40, 7)).astype("float32")  # many are equal
    labels = numpy.stack([rng.integers(0, 4, 40), rng.integers(0, 3, 40)], axis=1)
    config = config_for(4, 3)
    named = [top_classes(class_probabilities(row, config), config, 3) for row in logits]
    expected = [list(own) in [entry["index"] for entry in best] for own, best in zip(labels, named, strict=True)]
    assert joint_top_k(logits, labels, config, 3).tolist() == expected
    assert 0 < sum(expected) < 40


def test_one_head_is_the_usual_top_k():
    rng = numpy.random.default_rng(3)
    logits, labels = rng.standard_normal((30, 8)), rng.integers(0, 8, 30)
    config = VivitConfig(num_labels=8)
    expected = [own in numpy.argsort(-row)[:2] for row, own in zip(logits, labels, strict=True)]
    assert joint_top_k(logits, labels, config, 2).tolist() == expected
    assert joint_top_k(logits, labels[:, None], config, 2).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "k", "message"),
    [
        ([[0, 0]], 0, "k is 0"),
        ([[3, 0]], 1, "expected 0 to 2"),
        ([[0, -1]], 1, "expected 0 to 1"),
        ([[0.0, 1.0]], 1, "class indices"),
        ([[0], [1]], 1, "expected 1 x 2"),
        ([0], 1, "expected 1 x 2"),
    ],
)
def test_labels_that_cannot_be_meant(labels, k, message):
    with pytest.raises(InputError, match=message):
        joint_top_k(numpy.zeros((1, 5)), numpy.array(labels), config_for(3, 2), k)
