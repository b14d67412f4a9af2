"""Probabilities and names of the most probable classes."""

import numpy
import pytest
import scipy.special

from minivivit import InputError, VivitConfig
from minivivit.models.top_classes import class_probabilities, joint_top_k, top_classes

LABELS = dict(enumerate("abcde"))


def test_a_softmax_and_its_largest_entries():
    config = VivitConfig(id2label=LABELS)
    logits = numpy.array([0.5, 2.0, -1.0, 2.0, 1.0])
    probabilities = class_probabilities(logits, config)
    numpy.testing.assert_allclose(probabilities, scipy.special.softmax(logits), rtol=1e-14)
    classes = top_classes(probabilities, config, 3)
    assert [entry["label"] for entry in classes] == ["b", "d", "e"]  # of equals, the first
    assert [entry["index"] for entry in classes] == [1, 3, 4]
    assert classes[0]["probability"] == probabilities[1]


def test_whole_numbers_have_probabilities_too():
    for changes in ({}, {"class_splits": [3, 2]}, {"problem_type": "multi_label_classification"}):
        config = VivitConfig(id2label=LABELS, **changes)
        for dtype in ("int64", "int8", "uint8"):
            logits = numpy.array([[1, 3, 2, 0, 100]], dtype=dtype)
            expected = class_probabilities(logits.astype("float64"), config)
            numpy.testing.assert_array_equal(class_probabilities(logits, config), expected)
    assert class_probabilities([1, 3, 2, 0, 4], VivitConfig(id2label=LABELS)).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (numpy.zeros(5, complex), "logits have dtype complex128"),
        (numpy.array(list("abcde")), "logits have dtype <U1"),
        (numpy.zeros(5, bool), "logits have dtype bool"),
        (numpy.array(1.0), r"logits have shape \(\)"),
        (numpy.zeros((2, 0)), r"logits have shape \(2, 0\)"),
        (None, "logits: expected a NumPy or CuPy array, got NoneType"),
    ],
)
def test_logits_that_are_none(logits, message):
    with pytest.raises(InputError, match=message):
        class_probabilities(logits, VivitConfig(id2label=LABELS))


def test_no_clips_have_no_probabilities():
    config = VivitConfig(id2label=LABELS, class_splits=[3, 2])
    assert class_probabilities(numpy.zeros((0, 5)), config).shape == (0, 5)


def test_more_classes_than_there_are():
    config = VivitConfig(id2label=LABELS)
    assert len(top_classes(class_probabilities(numpy.zeros(5), config), config, 100)) == 5


def test_multi_label_is_a_sigmoid_each():
    config = VivitConfig(id2label=LABELS, problem_type="multi_label_classification")
    logits = numpy.array([0.5, 2.0, -1.0, 2.0, 1.0])
    numpy.testing.assert_allclose(class_probabilities(logits, config), scipy.special.expit(logits), rtol=1e-14)


def test_several_heads_give_pairs():
    config = VivitConfig(id2label=LABELS, class_splits=[3, 2])
    logits = numpy.array([1.0, 3.0, 2.5, 0.0, 0.4])
    probabilities = class_probabilities(logits, config)
    joint = numpy.outer(scipy.special.softmax(logits[:3]), scipy.special.softmax(logits[3:]))
    order = sorted(((joint[i, j], i, j) for i in range(3) for j in range(2)), reverse=True)
    for k in (1, 2, 4, 6, 50):
        classes = top_classes(probabilities, config, k)
        assert [entry["index"] for entry in classes] == [[i, j] for _, i, j in order[:k]]
        assert [entry["label"] for entry in classes] == [f"{'abc'[i]} + {'de'[j]}" for _, i, j in order[:k]]
        numpy.testing.assert_allclose([entry["probability"] for entry in classes], [p for p, _, _ in order[:k]])


def test_many_heads_cost_no_more_than_a_few():
    """5 ** 40 combinations are never formed."""
    config = VivitConfig(num_labels=200, class_splits=[5] * 40)
    logits = numpy.random.default_rng(3).normal(size=(2, 200))
    probabilities = class_probabilities(logits, config)
    classes = top_classes(probabilities[0], config, 20)
    assert [entry["probability"] for entry in classes] == sorted((e["probability"] for e in classes), reverse=True)
    best = logits.reshape(2, 40, 5).argmax(axis=-1)
    assert classes[0]["index"] == best[0].tolist()
    second = best.copy()
    second[1, 7] = (second[1, 7] + 1) % 5
    assert joint_top_k(logits, best, config).all()
    assert joint_top_k(logits, second, config, 1).tolist() == [True, False]
    for rank, entry in enumerate(classes):  # both count alike
        labels = numpy.array([entry["index"]])
        assert joint_top_k(logits[:1], labels, config, rank + 1)[0]
        assert rank == 0 or not joint_top_k(logits[:1], labels, config, rank)[0]


@pytest.mark.parametrize(
    ("logits", "fields", "message"),
    [
        (numpy.zeros(5), {"problem_type": "regression"}, "regression"),
        (numpy.zeros(4), {}, "expected 5 classes"),
        (numpy.array([0, 0, numpy.nan, 0, 0]), {}, "not finite"),
        (numpy.array([0, 0, numpy.inf, 0, 0]), {}, "not finite"),
    ],
)
def test_what_has_no_probabilities_is_refused(logits, fields, message):
    with pytest.raises(InputError, match=message):
        class_probabilities(logits, VivitConfig(id2label=LABELS, **fields))


def test_no_classes_asked_for():
    config = VivitConfig(id2label=LABELS)
    with pytest.raises(InputError, match="top_k is 0"):
        top_classes(numpy.full(5, 0.2), config, 0)
