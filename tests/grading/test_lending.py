"""What a task allows is computed by the grader, for arrays of bounded size; what it does not allow is not."""

import numpy
import pytest
from submissions import SOURCES

from minivivit.grading.apart.wire import Tagged, pack, unpack
from minivivit.grading.examination import examine
from minivivit.grading.lending import Lender, model_with, received, sendable
from minivivit.grading.tasks import ASSIGNMENTS, TASKS
from minivivit.ops.softmax import softmax_backward, softmax_forward


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_solutions_earn_all_points(name):
    result = examine("x.ipynb", (SOURCES / name / f"{name}.ipynb").read_bytes(), seed=23)
    assert {task.task: task.points for task in result.tasks} == ASSIGNMENTS[name].points, result.tasks
    assert result.problems == []


def lender_of(task):
    return Lender(TASKS[task], TASKS[task].cases(numpy.random.default_rng(0))[0])


def asked(lender, name, *arguments, **keywords):
    return lender({"status": "ask", "name": name, "arguments": list(arguments), "keywords": keywords})


@pytest.mark.parametrize("name", ["minivivit.ops.softmax.softmax_forward", "minivivit.ops.softmax_forward"])
def test_a_function_that_is_allowed_is_computed_and_its_cache_can_be_used(name):
    x = numpy.arange(6.0).reshape(2, 3)
    lender = lender_of("attention_backward")
    answer = unpack(pack(asked(lender, name, x))[8:])
    assert answer["error"] is None
    assert numpy.array_equal(answer["value"][0], softmax_forward(x)[0])
    back = asked(lender, "minivivit.ops.softmax.softmax_backward", x, answer["value"][1])
    assert numpy.array_equal(back["value"], softmax_backward(x, softmax_forward(x)[1]))


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("softmax", "minivivit.ops.softmax.softmax_forward"),
        ("attention_backward", "minivivit.ops.attention.attention_backward"),
        ("attention_backward", "minivivit.ops.softmax"),
        ("attention_backward", "os.system"),
        ("attention_backward", ""),
        ("transformer_layer", "minivivit.layers.transformer_layer.transformer_layer_forward"),
        ("cross_entropy", "model.loss_and_gradients"),
        ("training_step", "minivivit.models.vivit.VivitModel"),
    ],
)
def test_nothing_else_is_lent(task, name):
    lender = lender_of(task)
    answer = asked(lender, name, numpy.zeros((2, 3)))
    assert answer["value"] is None
    assert answer["error"]
    assert lender.refused == name or name.startswith("model")


def test_bad_requests_are_errors_for_the_student_alone():
    lender = lender_of("attention_backward")
    name = "minivivit.ops.softmax.softmax_forward"
    assert asked(lender, name)["error"][0] == "TypeError"
    assert asked(lender, name, "text")["error"]
    assert asked(lender, name, numpy.zeros(1 << 23))["error"][1].startswith("too much is asked")
    assert lender({"status": "ask"})["error"]
    assert lender({"status": "ask", "name": 3, "arguments": 3, "keywords": {}})["error"]
    for _ in range(2001):
        answer = asked(lender, name, numpy.zeros(2))
    assert "too much is asked" in answer["error"][1]


def test_a_model_goes_and_comes_back_and_must_be_the_same_kind():
    case = TASKS["training_step"].cases(numpy.random.default_rng(0))[0]
    model = case.arguments["model"]
    sent = sendable(model)
    assert isinstance(sent, Tagged)
    state = {name: array + 1 for name, array in model.state_dict().items()}
    back = received(case, {"model": Tagged("model", state)})["model"]
    for name, array in back.state_dict().items():
        assert numpy.array_equal(array, state[name])
    name = next(iter(state))
    for bad in ({}, None, state | {"more": 1}, state | {name: 3}, state | {name: state[name].astype("float32")}):
        with pytest.raises(ValueError, match="model"):
            model_with(model, bad)
    with pytest.raises(ValueError, match="no model any more"):
        received(case, {})
