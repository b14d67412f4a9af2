"""Freezing by name pattern."""

import pytest

from minivivit.errors import InputError
from minivivit.training.optimisers.freezing import trainable_names

NAMES = [
    "vivit.embeddings.cls_token",
    "vivit.encoder.layer.0.output.dense.weight",
    "vivit.encoder.layer.1.output.dense.weight",
    "vivit.encoder.layer.10.output.dense.weight",
    "vivit.layernorm.bias",
    "classifier.weight",
]


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        ([], NAMES),
        (["vivit.embeddings.*"], NAMES[1:]),
        (["vivit.*"], NAMES[5:]),
        (["vivit.encoder.layer.[01].*"], [NAMES[0], *NAMES[3:]]),
        (["vivit.embeddings.*", "*.bias"], [*NAMES[1:4], NAMES[5]]),
        (["classifier.weight"], NAMES[:5]),
    ],
)
def test_patterns(freeze, expected):
    assert trainable_names(iter(NAMES), freeze) == expected


def test_names_are_case_sensitive_and_matched_whole():
    for pattern in ("VIVIT.*", "embeddings", "vivit"):
        with pytest.raises(InputError, match="matches no parameter"):
            trainable_names(NAMES, [pattern])


def test_one_useless_pattern_among_others():
    with pytest.raises(InputError, match=r"'vivit.encoder.layers.\*'"):
        trainable_names(NAMES, ["vivit.embeddings.*", "vivit.encoder.layers.*"])


def test_nothing_left():
    with pytest.raises(InputError, match="every parameter"):
        trainable_names(NAMES, ["*"])


def test_a_string_is_not_a_list_of_patterns():
    with pytest.raises(InputError, match="list of patterns"):
        trainable_names(NAMES, "*")
