"""Mistakes inside a layer of which only what enters and what leaves it is known."""

import numpy
import pytest
from test_causes import small_model, trace_of

from minivivit.config import ATTENTION_TYPES
from minivivit.verification.comparison.evidence.evidence import Evidence
from minivivit.verification.comparison.verdict import compare
from minivivit.verification.comparison.whole_layers import trial as trial_module
from minivivit.verification.comparison.whole_layers.hypotheses import _mistakes, _trial
from minivivit.verification.comparison.whole_layers.parameters import other_layers
from minivivit.verification.tensors.source import ArraySource

# Of the several hundred mistakes every so-many-th is planted.
EVERY = 151


def layer_and_input(model):
    if model.config.attention_type == "factorised_encoder":
        return "vivit.spatial_encoder.layer.1", "vivit.spatial_encoder.layer.0"
    return "vivit.encoder.layer.1", "vivit.encoder.layer.0"


def evidence_of(model, ours, name, index=0, theirs=None):
    weights = ArraySource(model.state_dict())
    evidence = Evidence(name, ours, lambda other: None, weights, model.config, index=index)
    if theirs is not None:
        evidence.read_theirs = lambda other: theirs[other][index : index + 1] if other in theirs else None
    return evidence


@pytest.fixture(scope="module", params=ATTENTION_TYPES)
def case(request):
    """(model, our trace, layer, what enters it)"""
    model = small_model(request.param)
    return model, trace_of(model), *layer_and_input(model)


def test_a_layer_without_mistake_is_ours_at_every_step(case):
    model, ours, name, inputs = case
    trial = _trial(evidence_of(model, ours, name), name, inputs)
    x = ours.read(inputs)
    known = 0
    for target, shape in ours.shapes.items():
        if not (target == name or target.startswith(f"{name}.")) or target.endswith((".scores", ".probs")):
            continue
        y = trial.layer.run(x, trial.parameters, target=target[len(name) + 1 :])
        known += 1
        if y.shape == shape:  # where attention is over an axis, this gives clips and the trace gives sequences
            numpy.testing.assert_allclose(y, ours.read(target), rtol=1e-12, atol=1e-12)
    assert known >= 12


def test_some_rows_of_it_are_the_rows_of_all(case):
    model, ours, name, inputs = case
    trial = _trial(evidence_of(model, ours, name), name, inputs)
    whole, some = (trial.layer.run(trial.x, trial.parameters, rows=rows) for rows in (None, trial.layer.rows(3)))
    numpy.testing.assert_allclose(some, whole[:, : some.shape[1]], rtol=1e-12, atol=1e-12)


def test_a_mistake_leaves_nothing_behind(case):
    """What is kept from one run to the next is what every run would compute."""
    model, ours, name, inputs = case
    trial = _trial(evidence_of(model, ours, name), name, inputs)
    fresh = {}
    mistakes = list(_mistakes(trial, other_layers(trial.evidence, name)))[::17]
    for number, mistake in enumerate(mistakes):
        if not mistake.batch:
            trial.layer.kept.clear()
            fresh[number] = mistake.run(trial.layer, trial.x, trial.parameters, "", None)
    for number, mistake in enumerate(mistakes):
        if not mistake.batch:
            again = mistake.run(trial.layer, trial.x, trial.parameters, "", None)
            numpy.testing.assert_array_equal(again, fresh[number])


def planted(case, mistake, trial):
    """The causes that are claimed where their layer makes the mistake, in both clips, and shows its output alone."""
    model, ours, name, inputs = case
    x = ours.read(inputs)
    with numpy.errstate(all="ignore"):
        output = mistake.run(trial.layer, x, trial.parameters, "", None)
    source = ArraySource({inputs: x, name: output})
    comparison = compare(ours, source, rtol=1e-9, atol=1e-12, model=model)
    if comparison.agrees:  # as a mask of one token does nothing
        return None
    return [hint.partition(":")[0] for hint in comparison.hints]


@pytest.mark.thorough
def test_what_is_claimed_is_what_was_planted(case):
    model, ours, name, inputs = case
    trial = _trial(evidence_of(model, ours, name), name, inputs)
    mistakes = list(_mistakes(trial, other_layers(trial.evidence, name)))
    claimed = 0
    for mistake in mistakes[::EVERY]:
        found = planted(case, mistake, trial)
        if found:
            assert found == [mistake.cause], mistake.mistake
            claimed += 1
    assert claimed >= 0.7 * len(mistakes[::EVERY])


def test_many_tokens_are_tried_on_some_first(case, monkeypatch):
    model, ours, name, inputs = case
    monkeypatch.setattr(trial_module, "ROWS", 2)
    trial = _trial(evidence_of(model, ours, name), name, inputs)
    mistake = next(one for one in _mistakes(trial, {}) if one.cause == "activation twice")
    assert planted(case, mistake, trial) == ["activation twice"]


@pytest.mark.thorough
def test_what_no_mistake_explains_has_no_cause(case):
    model, ours, name, inputs = case
    rng = numpy.random.default_rng(5)
    y = ours.read(name)
    source = ArraySource({inputs: ours.read(inputs), name: y + 1e-3 * rng.standard_normal(y.shape)})
    comparison = compare(ours, source, rtol=1e-9, atol=1e-12, model=model)
    assert not comparison.agrees
    assert comparison.hints == []


def test_a_mistake_in_one_clip_is_said_to_be_in_that_one(case):
    model, ours, name, inputs = case
    trial = _trial(evidence_of(model, ours, name), name, inputs)
    mistake = next(one for one in _mistakes(trial, {}) if one.cause == "activation left out")
    x, y = ours.read(inputs), ours.read(name)
    y[-1:] = mistake.run(trial.layer, x[-1:], trial.parameters, "", None)
    source = ArraySource({inputs: x, name: y})
    comparison = compare(ours, source, rtol=1e-9, atol=1e-12, model=model)
    (hint,) = comparison.hints
    assert hint.startswith("activation left out: only ")
