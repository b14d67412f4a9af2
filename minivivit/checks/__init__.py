"""Checks of functions that students write: ``minivivit.checks.softmax(my_softmax)`` says what is wrong, and a score.

Each check draws small inputs of random shapes, calls the function on copies of them, and compares with the package's
own operator in float64. What is wrong is printed: which entries, by how much, and the likely cause, found by making the
mistakes that are known and looking which one gives the same numbers. Returned is a
`minivivit.checks.report.Report`: a float in [0, 1], true only when it is 1.

- ``seed=`` draws the same cases each time; without it they differ from call to call, so that a function which knows the
  answer to one example fails.
- ``hints=`` says how much is told: 0 what is wrong, 1 where to look, too, 2 the likely cause, too.
- ``report.inputs(case)`` and ``report.answer(case)`` are what the function got and gave; ``report.error`` is what it
  raised first, with its traceback.
- A function may use NumPy, Python's own library and ``erf``, ``erfc`` and ``ndtr`` of ``scipy.special``. A case in
  which it calls the package's own answer, another function of SciPy or another framework earns nothing; an import alone
  costs nothing. Some checks allow parts of the package, and say which.
- An entry is right within 1e-8 (5e-5 where inputs are float32) of the largest that is expected, or of 1 where all are
  smaller.
- A case may take 5 seconds (``time_limit=``); a function that does not end is stopped.
- Answers may be float64 where the inputs are float32: that earns a note and costs nothing.
"""

from minivivit.checks.attention_checks import (
    attention,
    attention_scores,
    merge_heads,
    multi_head_attention,
    softmax,
    split_heads,
)
from minivivit.checks.backward_checks import (
    attention_backward,
    linear_backward,
    multi_head_attention_backward,
    softmax_backward,
)
from minivivit.checks.embedding_checks import cls_token, cut_tubelets, position_embedding, tubelet_embedding
from minivivit.checks.encoder_checks import encoder, factorised_encoder, separate_frames, transformer_layer
from minivivit.checks.normalisation_checks import gelu, gelu_backward, layer_norm, layer_norm_backward
from minivivit.checks.report import Report
from minivivit.checks.training_checks import (
    adamw_step,
    cross_entropy,
    cross_entropy_backward,
    sgd_step,
    train,
    training_step,
)

__all__ = [
    "Report",
    "adamw_step",
    "attention",
    "attention_backward",
    "attention_scores",
    "cls_token",
    "cross_entropy",
    "cross_entropy_backward",
    "cut_tubelets",
    "encoder",
    "factorised_encoder",
    "gelu",
    "gelu_backward",
    "layer_norm",
    "layer_norm_backward",
    "linear_backward",
    "merge_heads",
    "multi_head_attention",
    "multi_head_attention_backward",
    "position_embedding",
    "separate_frames",
    "sgd_step",
    "softmax",
    "softmax_backward",
    "split_heads",
    "train",
    "training_step",
    "transformer_layer",
    "tubelet_embedding",
]
