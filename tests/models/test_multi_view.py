"""Several views of one video, averaged."""

import numpy
import pytest
import scipy.special
from small_models import clip_for, small_config, small_model

from minivivit import InputError
from minivivit.models.multi_view import average_views, classify_views


def counted(views, counts):
    for view in views:
        counts.append(len(counts))
        yield view


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_mean_over_the_views(number, batch_size):
    model = small_model(number)
    views = clip_for(model.config, batch=5)
    logits = numpy.concatenate([model(view[None]).logits for view in views])
    found = classify_views(model, views, batch_size=batch_size)
    numpy.testing.assert_allclose(found, logits.mean(axis=0), rtol=1e-12)
    found = classify_views(model, iter(views), batch_size=batch_size, average="probabilities")
    numpy.testing.assert_allclose(found, scipy.special.softmax(logits, axis=1).mean(axis=0), rtol=1e-12)


def test_the_two_means_differ_and_one_view_is_itself():
    model = small_model(dtype="float32")
    views = clip_for(model.config, batch=3).astype("float32")
    mean, votes = classify_views(model, views), classify_views(model, views, average="probabilities")
    assert mean.dtype == votes.dtype == numpy.float32
    assert abs(scipy.special.softmax(mean) - votes).max() > 1e-4
    numpy.testing.assert_array_equal(classify_views(model, views[:1]), model(views[:1]).logits[0])


def test_no_more_views_are_made_than_are_shown(monkeypatch):
    model, made, shown = small_model(), [], []
    forward = model.forward

    def record(pixel_values, **options):
        shown.append((len(pixel_values), len(made)))
        return forward(pixel_values, **options)

    monkeypatch.setattr(model, "forward", record)
    classify_views(model, counted(clip_for(model.config, batch=5), made), batch_size=2)
    assert shown == [(2, 2), (2, 4), (1, 5)]


def test_views_of_another_size_are_interpolated():
    model = small_model()
    views = clip_for(model.config, batch=2, size=(4, 12, 12))
    expected = model(views, interpolate_pos_encoding=True).logits.mean(axis=0)
    numpy.testing.assert_allclose(classify_views(model, views, interpolate_pos_encoding=True), expected, rtol=1e-12)


def test_each_head_has_its_own_probabilities():
    config = small_config(num_labels=5, class_splits=[3, 2])
    logits = numpy.random.default_rng(0).standard_normal((4, 5))
    heads = [scipy.special.softmax(part, axis=1) for part in (logits[:, :3], logits[:, 3:])]
    expected = numpy.concatenate(heads, axis=1).mean(axis=0)
    numpy.testing.assert_allclose(average_views(logits, config, "probabilities"), expected, rtol=1e-14)
    numpy.testing.assert_allclose(average_views(logits, config), logits.mean(axis=0), rtol=1e-14)


def test_what_cannot_be_averaged():
    model = small_model()
    views = clip_for(model.config, batch=2)
    with pytest.raises(InputError, match="average is 'votes'"):
        classify_views(model, views, average="votes")
    with pytest.raises(InputError, match="average is 'votes'"):
        average_views(numpy.zeros((2, 3)), model.config, "votes")
    with pytest.raises(InputError, match="batch_size is 0"):
        classify_views(model, views, batch_size=0)
    with pytest.raises(InputError, match="no views"):
        classify_views(model, [])
    with pytest.raises(InputError, match=r"all .*one size"):
        classify_views(model, [views[0], views[1][:4]], batch_size=2)
    with pytest.raises(InputError, match=r"all .*one size"):
        classify_views(model, views[None])
    with pytest.raises(InputError, match="at least one view"):
        average_views(numpy.zeros((0, 3)), model.config)
    with pytest.raises(InputError, match="not finite"):
        average_views(numpy.full((2, 3), numpy.nan), model.config, "probabilities")
