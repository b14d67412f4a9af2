"""Everything that scenic computed for the goldens: from its trees, and from its checkpoint files."""

import numpy
import pytest
from scenic_goldens import DATA, NAMES, Golden, flat

from minivivit.checkpoints import load_scenic, to_scenic
from minivivit.layers.trace import Trace

FILES = sorted(path.stem for path in DATA.glob("*.checkpoint"))
CASES = [(name, "tree") for name in NAMES] + [(name, "file") for name in FILES]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    name, kind = request.param
    if kind == "file":
        pytest.importorskip("msgpack")
    golden = Golden(name)
    source = golden.tree if kind == "tree" else DATA / f"{name}.checkpoint"
    return golden, load_scenic(source, golden.config, dtype="float64", backend="numpy")


def relative_error(ours, theirs, floor=0.0):
    assert ours.shape == theirs.shape
    assert ours.dtype == numpy.float64
    return numpy.abs(ours - theirs).max() / max(numpy.abs(theirs).max(), floor)


def test_there_are_goldens_of_every_model():
    assert len(NAMES) == 7
    assert len(FILES) == 2
    assert len({Golden(name).config.attention_type for name in NAMES}) == 4


def test_forward(case):
    golden, model = case
    trace = {}
    output = model(golden.pixel_values, golden.labels, trace=Trace(trace))
    assert relative_error(output.logits, golden.arrays["logits"]) < 1e-12
    assert relative_error(trace["pre_logits"], golden.arrays["pre_logits"]) < 1e-12
    assert abs(output.loss - golden.arrays["loss"]) < 1e-12 * abs(golden.arrays["loss"])
    if "encoded" in golden.arrays:
        encoded = model.vivit(golden.pixel_values).last_hidden_state
        assert relative_error(encoded, golden.arrays["encoded"]) < 1e-12


def test_gradients(case):
    golden, model = case
    loss, gradients = model.loss_and_gradients(golden.pixel_values, golden.labels)
    assert abs(loss - golden.arrays["loss"]) < 1e-12 * abs(golden.arrays["loss"])
    ours, theirs = flat(to_scenic(gradients, golden.config)), golden.part("grad")
    assert ours.keys() == theirs.keys()
    floor = 1e-3 * max(numpy.abs(array).max() for array in theirs.values())
    errors = {name: relative_error(ours[name], theirs[name], floor) for name in theirs}
    assert max(errors.values()) < 1e-10, errors


def test_to_scenic_is_the_inverse(case):
    golden, model = case
    ours = flat(to_scenic(model.state_dict(), model.config))
    theirs = golden.part("param")
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].shape == array.shape
        assert (ours[name] == array).all(), name
