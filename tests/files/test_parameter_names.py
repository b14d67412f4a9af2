"""Names as transformers 5 has them in memory and as wrappers make them, and buffers that are no weights."""

import logging
from collections import OrderedDict

import numpy
import pytest

from minivivit.errors import InputError
from minivivit.files.parameter_names import MOST_PREFIXES, published_names, under_published_names

# What `state_dict()` of transformers 5.23 holds, and what its `save_pretrained` makes of the names.
IN_MEMORY = {
    "embeddings.cls_token": "embeddings.cls_token",
    "embeddings.patch_embeddings.projection.weight": "embeddings.patch_embeddings.projection.weight",
    "layers.0.attention.q_proj.weight": "encoder.layer.0.attention.attention.query.weight",
    "layers.0.attention.k_proj.bias": "encoder.layer.0.attention.attention.key.bias",
    "layers.10.attention.v_proj.weight": "encoder.layer.10.attention.attention.value.weight",
    "layers.10.attention.o_proj.weight": "encoder.layer.10.attention.output.dense.weight",
    "layers.0.layernorm_before.weight": "encoder.layer.0.layernorm_before.weight",
    "layers.0.layernorm_after.bias": "encoder.layer.0.layernorm_after.bias",
    "layers.0.mlp.fc1.weight": "encoder.layer.0.intermediate.dense.weight",
    "layers.0.mlp.fc2.bias": "encoder.layer.0.output.dense.bias",
    "layernorm.weight": "layernorm.weight",
}
PREFIXES = ("", "module.", "_orig_mod.", "model.", "_forward_module.", "net.", "module._orig_mod.", "model.net.module.")
FORMS = {
    "bare": dict(IN_MEMORY),
    "pooler": {**IN_MEMORY, "pooler.dense.weight": "pooler.dense.weight"},
    "classifier": {
        **{f"vivit.{name}": f"vivit.{published}" for name, published in IN_MEMORY.items()},
        "classifier.weight": "classifier.weight",
    },
    "image model": {f"vit.{name}": f"vit.{published}" for name, published in IN_MEMORY.items()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_published_names(form, prefix):
    table = FORMS[form]
    assert published_names([prefix + name for name in table], "here") == {
        prefix + name: published for name, published in table.items()
    }
    # what is published already stays
    assert list(published_names([prefix + name for name in table.values()], "here").values()) == list(table.values())


def test_an_attribute_that_is_called_as_the_model():
    names = {f"vivit.{name}": published for name, published in FORMS["classifier"].items()}
    assert published_names(names, "here") == names


def test_wrappers_of_parts():
    names = {
        "vivit._orig_mod.embeddings.cls_token": "vivit.embeddings.cls_token",
        "vivit._orig_mod.layers.0._checkpoint_wrapped_module.mlp.fc1.weight": (
            "vivit.encoder.layer.0.intermediate.dense.weight"
        ),
        "vivit._orig_mod.layers.1._fsdp_wrapped_module.mlp.fc1.weight": (
            "vivit.encoder.layer.1.intermediate.dense.weight"
        ),
        "classifier.weight": "classifier.weight",
    }
    assert published_names(names, "here") == names


@pytest.mark.parametrize(
    "names",
    [
        ["a", "b"],
        ["a.weight", "a.bias"],
        ["module.weight", "module.bias"],
        ["bert.pooled.weight"],
        [],
        [""],
        ["."],
        ["module"],
        ["module."],
        ["..", "..."],
        ["_orig_mod.module"],
    ],
)
def test_what_is_no_model_of_ours_keeps_its_names(names):
    assert published_names(names, "here") == {name: name for name in names}


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["module.embeddings.cls_token", "embeddings.cls_token"], "a wrapper's prefix on some names only"),
        (["module.embeddings.cls_token", "layernorm.bias"], "'module.embeddings.cls_token' beside 'layernorm.bias'"),
        (["model.vivit.layernorm.bias", "criterion.weight"], "'model.vivit.layernorm.bias' beside 'criterion.weight'"),
        (["_orig_mod.vivit.layernorm.bias", "classifier.bias"], "on some names only"),
        (["module.model.layernorm.bias", "module.layernorm.bias"], "on some names only"),
        (["vivit.module.layernorm.bias", "vivit.layernorm.bias"], "one parameter twice, as 'vivit.module.layernorm"),
        (["layers.0.mlp.fc1.bias", "encoder.layer.0.intermediate.dense.bias"], "one parameter twice"),
    ],
)
def test_names_that_do_not_agree_are_refused(names, match):
    with pytest.raises(InputError, match=match) as caught:
        published_names(names, "here")
    assert "\n" not in str(caught.value)


def test_hostile_names():
    """Deep, long and many: quickly done, and the error is of bounded length."""
    deep = "module." * 200_000 + "layernorm.bias"
    assert published_names([deep], "here") == {deep: deep}
    many = "module." * MOST_PREFIXES + "layernorm.bias"
    assert published_names([many], "here") == {many: "layernorm.bias"}
    with pytest.raises(InputError) as caught:
        published_names([f"module.layernorm.{'x' * 10**6}", f"layernorm.{'x' * 10**6}"], "here")
    assert len(str(caught.value)) < 500
    assert published_names(["layers.1" * 10_000 + ".mlp.fc1"], "here")


def test_buffers_are_left_out_and_said(caplog):
    arrays = OrderedDict(
        {
            "module.layernorm.weight": numpy.ones(2),
            "module.embeddings.position_ids": numpy.arange(3)[None],
            "module.mask": numpy.ones(2, bool),
            "n_averaged": numpy.array(7),  # beside what torch.optim.swa_utils.AveragedModel wraps
        }
    )
    with caplog.at_level(logging.WARNING, logger="minivivit"):
        found = under_published_names(arrays, "the state dict")
    assert found.keys() == {"layernorm.weight"}
    assert found["layernorm.weight"] is arrays["module.layernorm.weight"]
    assert [record.getMessage() for record in caplog.records] == [
        "the state dict: left out 'module.embeddings.position_ids', 'module.mask', 'n_averaged': no weights"
    ]


def test_a_parameter_of_integers_is_none_to_leave_out(caplog):
    arrays = {"layernorm.weight": numpy.ones(2, int), "layernorm.bias": numpy.ones(2)}
    assert under_published_names(arrays, "here").keys() == arrays.keys()
    assert not caplog.records
