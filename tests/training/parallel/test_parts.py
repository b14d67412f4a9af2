"""Parts of a batch: who computes what, and with which masks; no MPI is needed for that."""

import numpy
import pytest

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.layers.trace import Trace
from minivivit.models.encoders.draws import PartOfBatch
from minivivit.models.loss import label_counts
from minivivit.ops.dropout import dropout_mask
from minivivit.ops.stochastic_depth import stochastic_depth_mask
from minivivit.training.parallel.parts import clips_of, cut

MODEL = {
    "image_size": 16,
    "num_frames": 4,
    "tubelet_size": [2, 8, 8],
    "hidden_size": 6,
    "num_hidden_layers": 2,
    "num_temporal_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 10,
    "initializer_range": 0.3,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.3,
    "stochastic_droplayer_rate": 0.5,
}
ATTENTION_TYPES = (
    "spatio_temporal",
    "factorised_encoder",
    "factorised_self_attention",
    "factorised_dot_product",
)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8, 17])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4, 7, 20])
def test_every_clip_is_computed_once_and_the_work_is_shared_evenly(batch_size, num_ranks):
    ranks = [clips_of(rank, num_ranks, batch_size) for rank in range(num_ranks)]
    assert [clip for own in ranks for clip in own] == list(range(batch_size))
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1
    for own in ranks:
        pieces = cut(own, 3)
        assert [clip for piece in pieces for clip in piece] == list(own)
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 3, 3), (5, 1, 1), (10, 7)])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_part_gets_the_random_numbers_that_the_whole_batch_gives_it(shape, before):
    """Whether as many numbers as were drawn, or are left out, are odd or even: PCG64 makes two at a time."""
    whole = numpy.random.default_rng(7)
    whole.random(5 * before, dtype=numpy.float32)
    expected = [dropout_mask(whole, shape, 0.5), int(whole.integers(2**62)), stochastic_depth_mask(whole, 5, 3, 0.5)]
    expected.append(dropout_mask(whole, shape, 0.5))
    for start, stop in ((0, 1), (1, 4), (4, 5), (0, 5), (2, 3)):
        part = PartOfBatch(7, (start, stop), 5)
        if before:
            part.random((stop - start, before))
        copies, size = shape[0] // 5, stop - start
        rows = slice(start * copies, stop * copies)
        numpy.testing.assert_array_equal(dropout_mask(part, (size * copies, *shape[1:]), 0.5), expected[0][rows])
        assert int(part.integers(2**62)) == expected[1]
        numpy.testing.assert_array_equal(stochastic_depth_mask(part, size, 3, 0.5), expected[2][start:stop])
        numpy.testing.assert_array_equal(dropout_mask(part, (size * copies, *shape[1:]), 0.5), expected[3][rows])


@pytest.mark.parametrize("explicit", [False, True], ids=["blockwise", "explicit"])
@pytest.mark.parametrize("attention_type", ATTENTION_TYPES)
def test_the_parts_of_a_batch_add_up_to_it_with_all_its_masks(attention_type, explicit):
    """Labels that do not count and heads that count differently included."""
    config = VivitConfig(**MODEL, attention_type=attention_type, num_labels=5, class_splits=[3, 2])
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=1)
    pixels = numpy.random.default_rng(0).standard_normal((5, 4, 3, 16, 16))
    labels = numpy.array([[0, -100], [-100, -100], [1, 0], [2, 1], [-100, 1]])
    arguments = {"counts": label_counts(labels, config), "gradient_checkpointing": explicit}

    def trace():
        return Trace({}) if explicit else None

    loss, whole = model.loss_and_gradients(pixels, labels, rng=numpy.random.default_rng(9), trace=trace(), **arguments)
    total, sums = 0.0, {name: numpy.zeros_like(array) for name, array in whole.items() if name != "pixel_values"}
    for start, stop in ((0, 1), (1, 4), (4, 5)):
        part = PartOfBatch(9, (start, stop), 5)
        part_loss, gradients = model.loss_and_gradients(
            pixels[start:stop], labels[start:stop], rng=part, trace=trace(), **arguments
        )
        total += float(part_loss)
        for name, array in sums.items():
            array += gradients[name]
        numpy.testing.assert_allclose(gradients["pixel_values"], whole["pixel_values"][start:stop], rtol=0, atol=1e-13)
    assert total == pytest.approx(float(loss), rel=1e-13)
    for name, array in sums.items():
        scale = abs(whole[name]).max()
        numpy.testing.assert_allclose(array, whole[name], rtol=0, atol=1e-12 * scale + 1e-15, err_msg=name)
