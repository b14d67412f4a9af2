"""The references' own code and the notebooks' solutions, broken one term at a time: no check may take one for right.

A mutant changes one node of a function's syntax tree: an operator, an operand left out, a constant, an axis, keepdims,
a sum for a mean, a transpose. What a mutant computes is then handed in as a student's answer.
"""

import ast
import copy
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy
from assignment_cells import NAMES, Answer, answered, points, solution

from minivivit.checks import training_checks
from minivivit.checks.case import copied
from minivivit.checks.run_check import run_check
from minivivit.grading.tasks import TASKS

# (task or "", part of the line, part of the change) of mutants that compute the same with every input that is
# allowed.
_SAME = [
    # features that no assignment asks for
    ("", "scores += xp.maximum(bias", ""),
    ("", "label_smoothing", ""),
    ("", "targets * counts", ""),
    ("", "counts = xp.ones", ""),
    ("", "xp.where(counts[:, 0], labels, 0)", "`0`"),
    ("sgd_step", "if decay != 0", ""),
    ("sgd_step", "gradient = gradient + decay * parameter", ""),
    ("sgd_step", "if nesterov else buffer", "gradient"),
    ("sgd_step", "if nesterov else buffer", "momentum"),
    ("", "self.rate_scales.get", "learning_rate / self.rate_scales"),
    ("", "self.rate_scales.get", "-> `learning_rate`"),
    # the cache, which the answer does not hold
    ("layer_norm_backward", "centred *= weight", ""),
    ("layer_norm_backward", "centred += bias", ""),
    ("layer_norm_backward", "centred *= inverse_std", ""),
    ("cross_entropy_backward", "loss = -(targets", ""),
    ("transformer_layer", "cache |= ", ""),
    # the same numbers by another way
    ("cross_entropy_backward", "targets.sum(axis=-1", "targets.sum"),  # a factor of 1
    ("cross_entropy_backward", "targets.sum(axis=-1", "-> `xp.exp(log_probs)`"),
    ("layer_norm_backward", "dweight_parts.sum(axis=0)", "_parts.mean"),  # one block has all rows of a case
    ("adamw_step", "else 1.0", "`1.0`"),
]

_SWAPS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
_METHODS = {"sum": "mean", "mean": "sum", "max": "min", "sqrt": "square", "square": "sqrt", "exp": "expm1"}
_DROPPED = ("swapaxes", "transpose")


@dataclass(frozen=True)
class Mutant:
    """One broken function; `make` gives what students would hand in."""

    task: str
    about: str
    make: Callable[[], Callable]

    def score(self, seed: int) -> float:
        """What it earns; 0 where it cannot even be made."""
        try:
            function = self.make()
        except Exception:
            return 0.0
        task = replace(TASKS[self.task], may_use=("minivivit",), mistakes=())
        names = list(task.cases(numpy.random.default_rng(0))[0].arguments)

        def on_copies(*arguments: Any) -> Any:
            given = zip(names, arguments, strict=True)
            return function(*(value if name in task.may_change else copied(value) for name, value in given))

        return float(run_check(task, on_copies, seed=seed, quiet=True, time_limit=2.0))


# --------------------------------------------------------------------------------------------------------------------
# Trees
# --------------------------------------------------------------------------------------------------------------------


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """(what, the node instead) for each way to break a node; None leaves a statement out."""
    for after in _others(node):
        shown = "nothing" if after is None else ast.unparse(after)
        yield f"`{ast.unparse(node)[:90]}` -> `{shown[:90]}`", after


def _others(node: ast.AST) -> Iterator[ast.AST | None]:
    if isinstance(node, ast.BinOp):
        if type(node.op) in _SWAPS:
            yield ast.BinOp(node.left, _SWAPS[type(node.op)](), node.right)
        if not isinstance(node.op, ast.FloorDiv | ast.Mod):
            yield node.left
            yield node.right
    elif isinstance(node, ast.AugAssign):
        if type(node.op) in _SWAPS:
            yield ast.AugAssign(node.target, _SWAPS[type(node.op)](), node.value)
        yield None
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        # an axis counted from the end is another one, any other number loses its sign
        is_axis = isinstance(node.operand, ast.Constant)
        yield ast.Constant({1: 0, 2: -3}.get(node.operand.value, 7)) if is_axis else node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _other_calls(node, node.func)


def _other_calls(node: ast.Call, function: ast.Attribute) -> Iterator[ast.AST]:
    if function.attr in _METHODS:
        yield ast.Call(ast.Attribute(function.value, _METHODS[function.attr], ast.Load()), node.args, node.keywords)
    if function.attr in _DROPPED:
        yield function.value
    for number, keyword in enumerate(node.keywords):
        if keyword.arg in ("keepdims", "axis"):
            yield ast.Call(function, node.args, [*node.keywords[:number], *node.keywords[number + 1 :]])


class _Change(ast.NodeTransformer):
    """Puts another node in the place of one."""

    def __init__(self, old: ast.AST, new: ast.AST | None):
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        if node is self.old:
            return ast.Pass() if self.new is None else copy.deepcopy(self.new)
        return self.generic_visit(node)


def broken(source: str, name: str) -> Iterator[tuple[str, str, Callable[[], ast.Module]]]:
    """(the line, what was changed in it, the module with it) for the function or method of that name."""
    tree, lines = ast.parse(source), source.splitlines()
    for number, node in enumerate(_nodes(tree, name)):
        line = lines[getattr(node, "lineno", 1) - 1].strip()
        for which, (what, _) in enumerate(changes(node)):
            yield line, what, partial(_changed, tree, name, number, which)


def _changed(tree: ast.Module, name: str, number: int, which: int) -> ast.Module:
    whole = copy.deepcopy(tree)
    old = _nodes(whole, name)[number]
    new = list(changes(old))[which][1]
    return ast.fix_missing_locations(_Change(old, new).visit(whole))


def _nodes(tree: ast.Module, name: str) -> list[ast.AST]:
    """What may be broken of a function's body: expressions and updates, but for the number behind a minus."""
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    behind_minus = {id(node.operand) for node in nodes if isinstance(node, ast.UnaryOp)}
    return [node for node in nodes if isinstance(node, ast.expr | ast.AugAssign) and id(node) not in behind_minus]


# --------------------------------------------------------------------------------------------------------------------
# What is broken
# --------------------------------------------------------------------------------------------------------------------

# Task: (module, functions of it that are broken in turn, the answer from the module's names).
_OPERATORS: list[tuple[str, str, tuple[str, ...], Callable[[dict], Callable]]] = [
    ("softmax", "ops.softmax", ("softmax_forward",), lambda m: lambda x: m["softmax_forward"](x)[0]),
    (
        "softmax_backward",
        "ops.softmax",
        ("softmax_backward",),
        lambda m: lambda dy, y: m["softmax_backward"](dy, {"y": y}),
    ),
    (
        "attention",
        "ops.attention",
        ("attention_forward",),
        lambda m: lambda q, k, v: m["attention_forward"](q, k, v)[0],
    ),
    (
        "attention_backward",
        "ops.attention",
        ("attention_forward", "attention_backward"),
        lambda m: lambda d, q, k, v: m["attention_backward"](d, m["attention_forward"](q, k, v)[1]),
    ),
    (
        "linear_backward",
        "ops.linear",
        ("linear_backward",),
        lambda m: lambda dy, x, w: m["linear_backward"](dy, {"x": x, "weight": w, "has_bias": True}),
    ),
    (
        "layer_norm",
        "ops.layer_norm",
        ("layer_norm_forward", "_variance", "_inverse_root", "_scale_and_shift"),
        lambda m: lambda x, w, b, eps: m["layer_norm_forward"](x, w, b, eps)[0],
    ),
    (
        "layer_norm_backward",
        "ops.layer_norm",
        ("layer_norm_forward", "layer_norm_backward", "_normalise", "_leave_out"),
        lambda m: lambda dy, x, w, eps: m["layer_norm_backward"](dy, m["layer_norm_forward"](x, w, 0 * w, eps)[1]),
    ),
    ("gelu", "ops.gelu", ("gelu_forward", "_gelu"), lambda m: lambda x: m["gelu_forward"](x)[0]),
    (
        "gelu_backward",
        "ops.gelu",
        ("gelu_backward", "_gelu_gradient"),
        lambda m: lambda dy, x: m["gelu_backward"](dy, m["gelu_forward"](x)[1]),
    ),
    (
        "cut_tubelets",
        "ops.tubelet_embedding",
        ("cut_tubelets",),
        lambda m: lambda v, size: (lambda t: t.reshape(len(v), -1, t.shape[-1]))(m["cut_tubelets"](v, size)),
    ),
    (
        "tubelet_embedding",
        "ops.tubelet_embedding",
        ("tubelet_embedding_forward", "cut_tubelets"),
        lambda m: lambda v, w, b: m["tubelet_embedding_forward"](v, w, b)[0],
    ),
    ("cls_token", "ops.cls_token", ("cls_token_forward",), lambda m: lambda t, c: m["cls_token_forward"](t, c)[0]),
    (
        "position_embedding",
        "ops.position_embedding",
        ("position_embedding_forward",),
        lambda m: lambda t, p: m["position_embedding_forward"](t, p)[0],
    ),
    (
        "cross_entropy",
        "ops.cross_entropy",
        ("cross_entropy_forward",),
        lambda m: lambda z, labels: m["cross_entropy_forward"](z, labels)[0],
    ),
    (
        "cross_entropy_backward",
        "ops.cross_entropy",
        ("cross_entropy_forward", "cross_entropy_backward"),
        lambda m: lambda z, labels: m["cross_entropy_backward"](1.0, m["cross_entropy_forward"](z, labels)[1]),
    ),
    ("split_heads", "layers.multi_head_attention", ("split_heads",), lambda m: m["split_heads"]),
    ("merge_heads", "layers.multi_head_attention", ("merge_heads",), lambda m: m["merge_heads"]),
    (
        "multi_head_attention",
        "layers.multi_head_attention",
        ("multi_head_attention_forward", "split_heads", "merge_heads"),
        lambda m: lambda x, p, n: m["multi_head_attention_forward"](x, p, n, explicit=True)[0],
    ),
    (
        "multi_head_attention_backward",
        "layers.multi_head_attention",
        ("multi_head_attention_forward", "multi_head_attention_backward"),
        lambda m: (
            lambda dy, x, p, n: m["multi_head_attention_backward"](
                dy, m["multi_head_attention_forward"](x, p, n, explicit=True)[2]
            )
        ),
    ),
    (
        "transformer_layer",
        "layers.transformer_layer",
        ("transformer_layer_forward",),
        lambda m: (
            lambda x, p, n, eps: m["transformer_layer_forward"](
                x, p, num_heads=n, activation="gelu", eps=eps, explicit=True, keep_cache=False
            )[0]
        ),
    ),
    (
        "sgd_step",
        "training.optimisers.sgd",
        ("_update_block", "_descend", "_descend_with_momentum"),
        lambda m: _with("SGD", m, training_checks._sgd),
    ),
    (
        "adamw_step",
        "training.optimisers.adamw",
        ("_update_block", "_update", "step"),
        lambda m: _with("AdamW", m, training_checks._adamw),
    ),
    ("encoder", "checks.encoder_checks", ("_encode",), lambda m: m["_encode"]),
    ("factorised_encoder", "checks.encoder_checks", ("_factorised", "_separate"), lambda m: m["_factorised"]),
    ("separate_frames", "checks.encoder_checks", ("_separate",), lambda m: m["_separate"]),
    ("training_step", "checks.training_checks", ("_training_step", "_descend"), lambda m: m["_training_step"]),
    ("train", "checks.training_checks", ("_train", "_descend"), lambda m: m["_train"]),
]


def _with(name: str, space: dict, reference: Callable) -> Callable:
    """A reference of the checks that builds on a class, with the class of `space` in its place."""
    function = copy.copy(reference)
    return type(reference)(
        function.__code__, reference.__globals__ | {name: space[name]}, name, reference.__defaults__, None
    )


def mutants(tasks: tuple[str, ...] = ()) -> Iterator[Mutant]:
    """All mutants, of some tasks or of all."""
    for task, module, functions, answer in _OPERATORS:
        if tasks and task not in tasks:
            continue
        path = Path(importlib.import_module(f"minivivit.{module}").__file__ or "")
        for function in functions:
            for line, what, changed in broken(path.read_text(encoding="utf-8"), function):
                if not _is_same(task, line, what):
                    about = f"{task}: {function}, {line}: {what}"
                    yield Mutant(task, about, _of_module(changed, module, path, answer))
    for name in NAMES:
        for task in points(name):
            if not tasks or task in tasks:
                for line, what, changed in broken(solution(name, task), task):
                    about = f"{task}: the solution, {line}: {what}"
                    yield Mutant(task, about, partial(_of_solution, name, task, changed))


def _of_solution(name: str, task: str, changed: Callable[[], ast.Module]) -> Callable:
    return answered(Answer(name, task, "changed", "", ast.unparse(changed())))


def _is_same(task: str, line: str, what: str) -> bool:
    return any(name in ("", task) and part in line and change in what for name, part, change in _SAME)


def _of_module(changed: Callable[[], ast.Module], module: str, path: Path, answer: Callable) -> Callable[[], Callable]:
    def make() -> Callable:
        space: dict[str, Any] = {"__name__": f"minivivit.{module}", "__file__": str(path)}
        exec(compile(changed(), str(path), "exec"), space)
        return answer(space)

    return make
