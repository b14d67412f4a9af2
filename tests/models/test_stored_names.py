"""Weights under the names that transformers has in memory, and those that wrappers make: all ways to load them."""

import json
import logging
import re

import numpy
import pytest
from small_models import clip_for, small_model

from minivivit import InputError, VivitForVideoClassification, VivitModel
from minivivit.files.safetensors_file import write_safetensors
from minivivit.files.weights import read_weights, tensor_index

IN_MEMORY = {
    r"encoder\.layer\.(\d+)\.attention\.attention\.(q|k|v)(?:uery|ey|alue)": r"layers.\1.attention.\2_proj",
    r"encoder\.layer\.(\d+)\.attention\.output\.dense": r"layers.\1.attention.o_proj",
    r"encoder\.layer\.(\d+)\.intermediate\.dense": r"layers.\1.mlp.fc1",
    r"encoder\.layer\.(\d+)\.output\.dense": r"layers.\1.mlp.fc2",
    r"encoder\.layer\.(\d+)": r"layers.\1",
}


def in_memory(name):
    for pattern, replacement in IN_MEMORY.items():
        name = re.sub(pattern, replacement, name)
    return name


def stored(model, prefix="", rename=in_memory):
    arrays = {prefix + rename(name): array for name, array in model.state_dict().items()}
    assert rename is not in_memory or any(".q_proj." in name for name in arrays)
    return arrays


def directory_with(path, model, arrays, file="model.safetensors"):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(model.config.to_dict()))
    write_safetensors(path / file, arrays)
    return path


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        numpy.testing.assert_array_equal(ours[name], array, strict=True)


PREFIXES = pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "model._orig_mod.module."])


@PREFIXES
@pytest.mark.parametrize("rename", [in_memory, str], ids=["in memory", "published"])
def test_all_ways_to_load(tmp_path, prefix, rename, caplog):
    classifier, bare = small_model(), small_model(cls=VivitModel)
    options = {"dtype": "float64", "backend": "numpy"}
    for model in (classifier, bare):
        arrays = stored(model, prefix, rename)
        again = type(model)(model.config, **options)
        again.load_state_dict(arrays)
        same(again.state_dict(), model.state_dict())
        directory = directory_with(tmp_path / type(model).__name__, model, arrays)
        same(read_weights(directory, "float64"), model.state_dict())
        assert tensor_index(directory).keys() == model.state_dict().keys()
        again = type(model).from_pretrained(directory, **options)
        same(again.state_dict(), model.state_dict())
        clip = clip_for(model.config)
        numpy.testing.assert_array_equal(again(clip)[0], model(clip)[0])
    assert not caplog.records
    # each in the other's place
    head_less = VivitForVideoClassification.from_pretrained(tmp_path / "VivitModel", **options)
    same(
        {name: array for name, array in head_less.state_dict().items() if name.startswith("vivit.")},
        {f"vivit.{name}": array for name, array in bare.state_dict().items() if not name.startswith("pooler.")},
    )
    pooler_less = VivitModel.from_pretrained(
        tmp_path / "VivitForVideoClassification", add_pooling_layer=False, **options
    )
    same(pooler_less.state_dict(), classifier.vivit.state_dict())


@pytest.mark.parametrize("number", [2, 3, 4])
def test_prefixes_of_the_other_models(number):
    model = small_model(number)
    again = VivitForVideoClassification(model.config, dtype="float64", backend="numpy")
    again.load_state_dict({f"module.{name}": array for name, array in model.state_dict().items()})
    same(again.state_dict(), model.state_dict())


def test_shards(tmp_path):
    model = small_model()
    arrays = stored(model, "module.")
    first, second = (dict(list(arrays.items())[start::2]) for start in (0, 1))
    directory_with(tmp_path, model, first, "model-00001-of-00002.safetensors")
    directory_with(tmp_path, model, second, "model-00002-of-00002.safetensors")
    weight_map = {
        name: f"model-0000{place}-of-00002.safetensors" for place, part in ((1, first), (2, second)) for name in part
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    same(read_weights(tmp_path), model.state_dict())


def test_buffers_are_left_out_and_said(tmp_path, caplog):
    model = small_model()
    arrays = {**stored(model), "vivit.embeddings.position_ids": numpy.arange(4.0)[None]}
    directory_with(tmp_path, model, arrays)
    data = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["vivit.embeddings.position_ids"]["dtype"] = "I64"  # as many bytes as a float64
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with caplog.at_level(logging.WARNING, logger="minivivit"):
        again = VivitForVideoClassification.from_pretrained(tmp_path, dtype="float64", backend="numpy")
    same(again.state_dict(), model.state_dict())
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: left out 'vivit.embeddings.position_ids': no weights"
    ]
    caplog.clear()
    again.load_state_dict({**stored(model), "vivit.embeddings.position_ids": numpy.arange(4)})
    assert "left out 'vivit.embeddings.position_ids'" in caplog.text


def test_both_spellings_at_once(tmp_path):
    model = small_model()
    for arrays in (
        {**model.state_dict(), **stored(model)},
        {**model.state_dict(), **stored(model, "module.", str)},
        {**dict(list(stored(model, "module.").items())[:9]), **dict(list(stored(model).items())[9:])},
    ):
        with pytest.raises(InputError, match=r"one parameter twice|on some names only"):
            model.load_state_dict(arrays)
        directory_with(tmp_path, model, arrays)
        with pytest.raises(InputError, match=r"one parameter twice|on some names only") as caught:
            VivitForVideoClassification.from_pretrained(tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert len(str(caught.value)) < 600


# --------------------------------------------------------------------------------------------------------------------
# Variants
# --------------------------------------------------------------------------------------------------------------------


def test_a_variant_is_read_when_asked_for(tmp_path):
    model = small_model()
    half = {name: array.astype("float16") for name, array in model.state_dict().items()}
    directory_with(tmp_path, model, half, "model.fp16.safetensors")
    again = VivitForVideoClassification.from_pretrained(tmp_path, variant="fp16", dtype="float64", backend="numpy")
    same(again.state_dict(), {name: array.astype("float64") for name, array in half.items()})
    with pytest.raises(
        InputError, match=r"but these variants: 'fp16 \(model\.fp16\.safetensors\)'; pass variant='fp16'"
    ):
        VivitForVideoClassification.from_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no weights of the variant 'bf16', but these variants: 'fp16"):
        VivitForVideoClassification.from_pretrained(tmp_path, variant="bf16")
    model.save_pretrained(tmp_path)
    same(read_weights(tmp_path), model.state_dict())  # the usual ones are read where both are there
    same(read_weights(tmp_path, "float64", "fp16"), {name: array.astype("float64") for name, array in half.items()})


@pytest.mark.parametrize("index", ["model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json"])
def test_shards_of_a_variant(tmp_path, index):
    model = small_model()
    file = "model.fp16-00001-of-00001.safetensors"
    directory_with(tmp_path, model, model.state_dict(), file)
    (tmp_path / index).write_text(json.dumps({"weight_map": dict.fromkeys(model.state_dict(), file)}))
    same(read_weights(tmp_path, variant="fp16"), model.state_dict())
    with pytest.raises(InputError, match=rf"these variants: 'fp16 \({re.escape(index)}\)'"):
        read_weights(tmp_path)


@pytest.mark.parametrize("variant", ["../x", "", "a/b", ".", "..", 16, "x" * 10_000, "a\nb", b"fp16"])
def test_what_is_no_variant(tmp_path, variant):
    with pytest.raises(InputError, match=r"variant is .*; expected letters and digits") as caught:
        read_weights(tmp_path, variant=variant)
    assert len(str(caught.value)) < 300


def test_weights_under_another_name(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"pytorch_model\.bin.*; it holds 'last\.ckpt': rename what has the weights"):
        read_weights(tmp_path)
