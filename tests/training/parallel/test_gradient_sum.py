"""Gradients are on their way to the other ranks while the backward pass goes on."""

import numpy
import pytest
from test_parts import ATTENTION_TYPES, MODEL

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.layers.layer_stack import layer_stack_backward
from minivivit.training.accumulation import batch_gradients
from minivivit.training.parallel import gradient_sum
from minivivit.training.parallel.gradient_sum import bucket_names
from minivivit.training.parallel.parts import clips_of
from minivivit.training.parallel.ranks import Ranks

SIZES = {
    "vivit.embeddings.cls_token": 1,
    **{f"vivit.encoder.layer.{layer}.{name}": 2 for layer in range(11) for name in ("weight", "bias")},
    "vivit.layernorm.weight": 1,
}


class Recorder(Ranks):
    """One rank of several, whose others add nothing; it notes what begins when."""

    def __init__(self, rank=0, size=2):
        self.rank, self.size, self.events = rank, size, []

    def start_sum(self, buffer):
        self.events.append(("sum", buffer.size, buffer.copy()))
        return lambda: self.events.append(("wait",))


def test_layers_come_as_the_backward_pass_does():
    assert [len(names) for names in bucket_names(SIZES, 1)] == [2] * 11 + [2]
    assert bucket_names(SIZES, 1)[0] == ["vivit.encoder.layer.10.weight", "vivit.encoder.layer.10.bias"]
    assert bucket_names(SIZES, 1)[-1] == ["vivit.embeddings.cls_token", "vivit.layernorm.weight"]
    assert [len(names) for names in bucket_names(SIZES, 10)] == [6, 6, 6, 4, 2]
    assert [len(names) for names in bucket_names(SIZES, 1000)] == [22, 2]
    two = {
        f"{encoder}.layer.{layer}.weight": 1 for encoder in ("spatial_encoder", "temporal_encoder") for layer in (0, 1)
    }
    assert bucket_names(two, 1) == [[name] for name in reversed(two)]
    assert bucket_names({"classifier.bias": 1}, 1) == [["classifier.bias"]]


@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("attention_type", ATTENTION_TYPES)
def test_a_layers_sum_begins_before_the_next_layer_is_differentiated(attention_type, parallel, monkeypatch):
    monkeypatch.setattr(gradient_sum, "BUCKET_BYTES", 1)
    ranks = Recorder()
    names = {
        "spatio_temporal": "single_encoder",
        "factorised_self_attention": "single_encoder",
        "factorised_dot_product": "single_encoder",
        "factorised_encoder": "factorised_encoder",
    }

    def told(dy, cache, layer_backward, **arguments):
        def noted(dy, layer_cache, trace=None):
            ranks.events.append(("backward", trace.prefix))
            return layer_backward(dy, layer_cache, trace=trace)

        return layer_stack_backward(dy, cache, noted, **arguments)

    monkeypatch.setattr(f"minivivit.models.encoders.{names[attention_type]}.layer_stack_backward", told)
    config = VivitConfig(**MODEL, attention_type=attention_type, num_labels=3)
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=1)
    pixels, labels = numpy.random.default_rng(0).standard_normal((8, 4, 3, 16, 16)), numpy.arange(8) % 3
    own = clips_of(0, 2, 8)
    parameters = [*model.state_dict()]
    result = batch_gradients(model, pixels[own], labels, parameters, parallel=parallel, ranks=ranks)
    kinds = [event[0] for event in ranks.events]
    layers = 4 if attention_type == "factorised_encoder" else 2
    assert kinds.count("backward") == layers * parallel
    assert kinds.count("sum") == kinds.count("wait") == layers + 1
    if parallel == 1:
        assert kinds == ["backward", *["sum", "backward"] * (layers - 1), "sum", "sum", *["wait"] * (layers + 1)]
    else:  # a layer is final when both pieces have passed it
        assert kinds.index("sum") >= 2
    alone = batch_gradients(model, pixels, labels, parameters, parallel=parallel)
    other = Recorder(rank=1)
    theirs = clips_of(1, 2, 8)
    rest = batch_gradients(model, pixels[theirs], labels, parameters, parallel=parallel, ranks=other)
    assert result.loss + rest.loss == pytest.approx(alone.loss, rel=1e-13)
    for name in parameters:
        expected = alone.gradients[name]
        atol = 1e-12 * abs(expected).max() + 1e-16
        numpy.testing.assert_allclose(result.gradients[name] + rest.gradients[name], expected, rtol=0, atol=atol)


def test_what_was_sent_was_final():
    """What a sum began with is what it ends with, where the others add nothing: nothing is added later."""
    config = VivitConfig(**MODEL, num_labels=3)
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=1)
    pixels, labels = numpy.random.default_rng(0).standard_normal((9, 4, 3, 16, 16)), numpy.arange(9) % 3
    for settings in ({"accumulate": 3}, {"accumulate": 2, "parallel": 2}, {"parallel": 3}):
        ranks = Recorder()
        own = clips_of(0, 2, 9)
        names = [*model.state_dict()]
        result = batch_gradients(model, pixels[own], labels, names, ranks=ranks, **settings)
        sent = numpy.concatenate([event[2] for event in ranks.events if event[0] == "sum"])
        got = numpy.concatenate([array.ravel() for array in result.gradients.values()])
        numpy.testing.assert_array_equal(sent, got)


def test_a_rank_without_a_clip_adds_nothing():
    config = VivitConfig(**MODEL, num_labels=3)
    model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=1)
    ranks = Recorder(rank=2, size=3)
    result = batch_gradients(model, numpy.empty((0, 1)), numpy.array([0, 1]), ["classifier.bias"], ranks=ranks)
    assert result.loss == 0
    assert len(result.logits) == 0
    numpy.testing.assert_array_equal(result.gradients["classifier.bias"], numpy.zeros(3))
    assert [event[0] for event in ranks.events] == ["sum", "wait"]
