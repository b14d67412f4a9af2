"""`VivitConfig`: its fields, its JSON, its labels, and all that it refuses."""

import json
import math

import pytest

from minivivit import InputError, VivitConfig
from minivivit.config import ATTENTION_TYPES, PRESETS, uniform_frame_indices
from minivivit.models.parameters import classification_shapes, flatten

# The config of transformers' own tests of its ViViT: a frame of 10 pixels that tubelets of 4 do not divide.
SMALL = {
    "image_size": 10,
    "num_frames": 8,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
}


def refusal(**settings):
    """The message with which a config is refused; one line."""
    with pytest.raises(InputError) as caught:
        VivitConfig(**{**SMALL, **settings})
    message = str(caught.value)
    assert "\n" not in message
    return message


# --------------------------------------------------------------------------------------------------------------------
# Fields, as transformers' ConfigTester expects them
# --------------------------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_published_model():
    config = VivitConfig()
    assert config.image_size == 224
    assert config.num_frames == 32
    assert config.tubelet_size == [2, 16, 16]
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (768, 12, 12)
    assert config.intermediate_size == 3072
    assert config.hidden_act == "gelu_fast"
    assert config.layer_norm_eps == 1e-6
    assert config.qkv_bias is True
    assert config.pooler_output_size == 768
    assert config.num_labels == 2
    assert config.attention_type == "spatio_temporal"
    assert config.classifier == "token"
    assert config.grid_size == (16, 14, 14)


def test_positional_arguments_have_the_order_of_transformers():
    config = VivitConfig(32, 8, [2, 8, 8], 1, 16, 3, 2, 24, "gelu", 0.1, 0.2, 0.03, 1e-5, False, 20, "relu")
    values = [config.image_size, config.num_frames, config.tubelet_size, config.num_channels, config.hidden_size]
    values += [config.num_hidden_layers, config.num_attention_heads, config.intermediate_size, config.hidden_act]
    values += [config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.initializer_range]
    values += [config.layer_norm_eps, config.qkv_bias, config.pooler_output_size, config.pooler_act]
    assert values == [32, 8, [2, 8, 8], 1, 16, 3, 2, 24, "gelu", 0.1, 0.2, 0.03, 1e-5, False, 20, "relu"]


@pytest.mark.parametrize("attention_type", ATTENTION_TYPES)
def test_the_classifier_left_out_fits_the_model(attention_type):
    config = VivitConfig(**SMALL, attention_type=attention_type)
    has_token = attention_type in ("spatio_temporal", "factorised_encoder")
    assert config.classifier == ("token" if has_token else "gap")
    assert config.use_cls_token is has_token


def test_pooler_output_size_of_none_or_zero_is_the_hidden_size():
    assert VivitConfig(**SMALL, pooler_output_size=None).pooler_output_size == 32
    assert VivitConfig(**SMALL, pooler_output_size=0).pooler_output_size == 32
    assert VivitConfig(**SMALL, pooler_output_size=5).pooler_output_size == 5


def test_number_of_labels_can_be_set_and_renames_the_classes():
    config = VivitConfig(**SMALL, num_labels=5)
    assert (len(config.id2label), len(config.label2id)) == (5, 5)
    config.num_labels = 3
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}


def test_names_stay_while_the_number_of_labels_does():
    config = VivitConfig(**SMALL, id2label={"1": "walk", "0": "run"})
    assert config.id2label == {0: "run", 1: "walk"}
    assert config.label2id == {"run": 0, "walk": 1}
    config.num_labels = 2
    assert config.id2label == {0: "run", 1: "walk"}


def test_given_label2id_may_hold_synonyms():
    config = VivitConfig(**SMALL, id2label={0: "run", 1: "walk"}, label2id={"run": 0, "jog": 0, "walk": 1})
    assert config.label2id["jog"] == 0


def test_no_labels_are_legal_and_mean_no_classifier():
    config = VivitConfig(**SMALL, num_labels=0)
    assert config.num_labels == 0
    assert "classifier.weight" not in flatten(classification_shapes(config))


def test_a_remainder_that_no_tubelet_covers_is_legal():
    config = VivitConfig(**{**SMALL, "image_size": [11, 14], "num_frames": 9})
    assert config.frame_size == (11, 14)
    assert config.grid_size == (4, 2, 3)


@pytest.mark.parametrize("problem_type", [None, "regression", "single_label_classification"])
def test_problem_type_is_kept(problem_type):
    assert VivitConfig(**SMALL, problem_type=problem_type).to_dict()["problem_type"] == problem_type


# --------------------------------------------------------------------------------------------------------------------
# JSON
# --------------------------------------------------------------------------------------------------------------------


def test_json_round_trip_keeps_every_field_and_unknown_keys(tmp_path):
    config = VivitConfig(
        **{**SMALL, "image_size": (12, 20)},
        attention_type="factorised_encoder",
        classifier="gap",
        representation_size=6,
        class_splits=(2, 3),
        num_labels=5,
        problem_type="single_label_classification",
        stochastic_droplayer_rate=0.3,
        output_attentions=True,
        transformers_version="5.0.0",
        my_own_key={"nested": [1, None, "x"]},
    )
    config.save_pretrained(tmp_path / "new" / "directory")
    again = VivitConfig.from_pretrained(tmp_path / "new" / "directory")
    assert again == config
    assert again.to_dict() == config.to_dict()
    assert again.other == {"transformers_version": "5.0.0", "my_own_key": {"nested": [1, None, "x"]}}
    assert VivitConfig.from_json_file(tmp_path / "new" / "directory" / "config.json") == config
    assert VivitConfig.from_dict(config.to_dict()) == config
    assert VivitConfig.from_dict(json.loads(config.to_json_string())) == config
    assert again.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2", 3: "LABEL_3", 4: "LABEL_4"}


def test_to_dict_is_a_copy():
    config = VivitConfig(**SMALL, extra=[1])
    values = config.to_dict()
    values["tubelet_size"][0], values["extra"][0], values["id2label"][0] = 9, 9, "x"
    assert (config.tubelet_size[0], config.other["extra"][0], config.id2label[0]) == (2, 1, "LABEL_0")


def test_a_config_written_by_transformers_is_model_1(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, "model_type": "vivit", "architectures": ["VivitModel"]}))
    config = VivitConfig.from_pretrained(tmp_path)
    assert config.attention_type == "spatio_temporal"
    assert config.classifier == "token"
    assert config.other == {"architectures": ["VivitModel"]}


def test_overrides_win_and_new_classes_drop_the_old_names(tmp_path):
    VivitConfig(**SMALL, id2label={0: "run", 1: "walk"}).save_pretrained(tmp_path)
    config = VivitConfig.from_pretrained(tmp_path, num_labels=3, hidden_dropout_prob=0.5)
    assert config.hidden_dropout_prob == 0.5
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert VivitConfig.from_pretrained(tmp_path, num_labels=2).id2label == {0: "run", 1: "walk"}
    named = VivitConfig.from_pretrained(tmp_path, num_labels=1, id2label={0: "only"}, label2id={"only": 0})
    assert named.id2label == {0: "only"}


def test_presets():
    assert all(VivitConfig.from_preset(name).num_labels == PRESETS[name]["num_labels"] for name in PRESETS)
    assert VivitConfig.from_preset("vivit-b-16x2", num_labels=7).num_labels == 7
    with pytest.raises(InputError, match="'vivit-x' is not a preset; expected one of vivit-b-16x2"):
        VivitConfig.from_preset("vivit-x")


def test_configs_compare_by_value_and_cannot_be_hashed():
    assert VivitConfig(**SMALL) == VivitConfig(**SMALL)
    assert VivitConfig(**SMALL) != VivitConfig(**SMALL, num_labels=3)
    assert VivitConfig(**SMALL) != SMALL
    assert '"hidden_size": 32' in repr(VivitConfig(**SMALL))
    with pytest.raises(TypeError):
        hash(VivitConfig(**SMALL))


# --------------------------------------------------------------------------------------------------------------------
# Refusals
# --------------------------------------------------------------------------------------------------------------------

REFUSALS = [
    ({"num_attention_heads": 5}, "hidden_size 32 is not a multiple of num_attention_heads 5"),
    ({"num_attention_heads": 0}, "num_attention_heads is 0; expected a whole number of at least 1"),
    ({"head_dim": 16}, "head_dim is 16; only hidden_size / num_attention_heads = 8 is known"),
    ({"head_dim": "a\nb"}, r"head_dim is 'a\nb'"),
    ({"tubelet_size": [2, 16, 4]}, "is larger than the clip [8, 10, 10]: not one tubelet fits"),
    ({"tubelet_size": [9, 4, 4]}, "is larger than the clip"),
    ({"tubelet_size": [2, 4]}, "tubelet_size is [2, 4]; expected 3 whole numbers"),
    ({"tubelet_size": "244"}, "tubelet_size is '244'; expected 3 whole numbers"),
    ({"tubelet_size": 4}, "tubelet_size is 4; expected 3 whole numbers"),
    ({"tubelet_size": [2, 4, 4.0]}, "each of image_size and tubelet_size is 4.0; expected a whole number"),
    ({"image_size": 0}, "each of image_size and tubelet_size is 0; expected a whole number of at least 1"),
    ({"image_size": True}, "each of image_size and tubelet_size is True; expected a whole number"),
    ({"image_size": [10]}, "image_size is [10]; expected 2 whole numbers"),
    ({"image_size": 10**30}, "more than 1,000,000 is taken for a mistake"),
    ({"num_frames": -8}, "num_frames is -8; expected a whole number of at least 1"),
    ({"num_frames": 8.0}, "num_frames is 8.0; expected a whole number"),
    ({"num_frames": True}, "num_frames is True; expected a whole number"),
    ({"num_channels": 0}, "num_channels is 0"),
    ({"hidden_size": "32"}, "hidden_size is '32'; expected a whole number"),
    ({"hidden_size": 2**40}, "hidden_size is 1099511627776; more than 1,000,000 is taken for a mistake"),
    ({"num_hidden_layers": -1}, "num_hidden_layers is -1; expected a whole number of at least 0"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; more than 10,000 is taken for a mistake"),
    ({"num_temporal_layers": 10**9}, "num_temporal_layers is 1000000000; more than 10,000"),
    ({"intermediate_size": None}, "intermediate_size is None; expected a whole number"),
    ({"hidden_act": "swish"}, "hidden_act is 'swish'; expected one of 'gelu', 'gelu_fast'"),
    ({"hidden_act": "x" * 1000}, "xxx...'; expected one of"),
    ({"pooler_act": ["tanh"]}, "pooler_act is ['tanh']; expected one of"),
    ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0; expected a probability of at least 0 and less than 1"),
    ({"hidden_dropout_prob": math.nan}, "hidden_dropout_prob is nan"),
    ({"hidden_dropout_prob": True}, "hidden_dropout_prob is True"),
    ({"attention_probs_dropout_prob": -0.1}, "attention_probs_dropout_prob is -0.1"),
    ({"stochastic_droplayer_rate": "0.1"}, "stochastic_droplayer_rate is '0.1'"),
    ({"initializer_range": -0.02}, "initializer_range is -0.02; expected a standard deviation, 0 or more"),
    ({"initializer_range": math.inf}, "initializer_range is inf"),
    ({"initializer_range": 10**400}, "initializer_range is 1000"),
    ({"layer_norm_eps": 0.0}, "layer_norm_eps is 0.0; expected a small number above 0"),
    ({"layer_norm_eps": math.nan}, "layer_norm_eps is nan"),
    ({"qkv_bias": "false"}, "qkv_bias is 'false'; expected True or False"),
    ({"return_dict": 1}, "return_dict is 1; expected True or False"),
    ({"output_attentions": None}, "output_attentions is None; expected True or False"),
    ({"pooler_output_size": -1}, "pooler_output_size is -1"),
    ({"representation_size": 0}, "representation_size is 0"),
    ({"attention_type": "joint"}, "attention_type is 'joint'; expected one of 'spatio_temporal'"),
    ({"classifier": "cls"}, "classifier is 'cls'; expected one of 'token', 'gap', 'gmp', 'gsp'"),
    ({"classifier": ""}, "classifier is ''; expected one of"),
    ({"attention_order": "spacetime"}, "attention_order is 'spacetime'"),
    ({"temporal_encoding": "3d_conv"}, "temporal_encoding is '3d_conv'"),
    ({"problem_type": "multi"}, "problem_type is 'multi'; expected one of None, 'regression'"),
    (
        {"attention_type": "factorised_self_attention", "classifier": "token"},
        "attention_type 'factorised_self_attention' has no CLS token, so classifier cannot be 'token'",
    ),
    ({"attention_type": "factorised_dot_product", "classifier": "token"}, "has no CLS token"),
    (
        {"attention_type": "factorised_dot_product", "hidden_size": 33, "num_attention_heads": 3},
        "'factorised_dot_product' needs an even number",
    ),
    ({"spatial_only_baseline": True}, "it means nothing with 'spatio_temporal'"),
    ({"class_splits": [1, 2], "num_labels": 4}, "class_splits [1, 2] sum to 3, not to num_labels 4"),
    ({"class_splits": [-1, 3], "num_labels": 2}, "each of class_splits is -1"),
    ({"class_splits": 2}, "class_splits is 2; expected a list of whole numbers"),
    ({"class_splits": "ab"}, "class_splits is 'ab'; expected a list of whole numbers"),
    ({"class_splits": []}, "class_splits [] sum to 0"),
    ({"temporal_encoding": "frame_sampling", "num_sampled_frames": 4}, "use [1, 4, 4]"),
    ({"temporal_encoding": "frame_sampling", "tubelet_size": [1, 4, 4]}, "needs num_sampled_frames"),
    ({"num_sampled_frames": 10**12}, "num_sampled_frames is 1000000000000; more than 1,000,000"),
    ({"num_labels": -1}, "num_labels is -1; expected a whole number of classes"),
    ({"num_labels": True}, "num_labels is True"),
    ({"num_labels": 2.0}, "num_labels is 2.0"),
    ({"num_labels": 10**12}, "num_labels is 1000000000000; more than 1,000,000 is taken for a mistake"),
    ({"num_labels": 3, "id2label": {0: "a"}}, "num_labels is 3, but id2label names 1 classes"),
    ({"id2label": {0: "a", 2: "b"}}, "id2label must number its 2 classes from 0 to 1 without gaps"),
    ({"id2label": {"0": "a", "00": "b"}}, "id2label gives one class two names"),
    ({"id2label": {0: "a" * 2_000_000, 1: "b"}}, "aaa...', 2,000,000 letters; more than 1,000 are taken for a mistake"),
    ({"id2label": {0: "a"}, "label2id": {"b" * 1001: 0}}, "bbb...', 1,001 letters"),
    ({"id2label": {0: ["a"], 1: "b"}}, "id2label must map whole numbers to names of classes"),
    ({"id2label": {"9" * 5000: "a"}}, "id2label must map whole numbers to names of classes"),
    ({"id2label": {0: "a"}, "label2id": {"a": "0" * 5000}}, "label2id must map names"),
    ({"class_splits": [1] * 10**6, "num_labels": 3}, "...] sum to 1000000, not to num_labels 3"),
    ({"id2label": {"zero": "a"}}, "id2label must map whole numbers to names of classes"),
    ({"id2label": ["a", "b"]}, "id2label must map whole numbers to names of classes"),
    ({"id2label": {math.inf: "a"}}, "id2label must map whole numbers to names of classes"),
    ({"id2label": {0: "a"}, "label2id": {"a": "x"}}, "label2id must map names of classes to their indices, 0 to 0"),
    ({"id2label": {0: "a"}, "label2id": {"a": 1}}, "label2id must map names of classes to their indices, 0 to 0"),
    ({"id2label": {0: "a"}, "label2id": {"a": math.nan}}, "label2id must map names"),
    ({"id2label": {0: "a"}, "label2id": ["a"]}, "label2id must map names"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSALS, ids=lambda value: str(value)[:40])
def test_refusals_say_why(settings, message):
    assert message in refusal(**settings)


def test_a_change_of_a_config_is_checked_by_check():
    config = VivitConfig(**SMALL)
    config.num_attention_heads = 5
    with pytest.raises(InputError, match="not a multiple"):
        config.check()
    with pytest.raises(InputError, match="num_labels is 'x'"):
        config.num_labels = "x"


WRONG_VALUES = [
    *(None, True, False, -1, 0, 1, 1.5, math.nan, math.inf, -math.inf, 10**400, 10**30, 10**9, 2**63),
    *("", "x", "a\nb", "y" * 10_000, [], [1], [None], ["a"] * 3, [1, 2], [1, 2, 3], [math.nan] * 3, [[1], [2], [3]]),
    *({}, {"a": 1}, {"0": "a"}, {"0": None, "2": "b"}, {"0": {"0": 1}}),
]


@pytest.mark.parametrize("name", [*VivitConfig().to_dict(), "num_labels", "head_dim", "self", "other", "unknown"])
def test_hostile_json_gives_a_config_or_one_line(name, tmp_path):
    """Every field with values of every wrong type: only InputError may escape, and what passes is a whole config."""
    path = tmp_path / "config.json"
    for labels in ({}, {"id2label": {"0": "a", "1": "b"}}):
        for value in WRONG_VALUES:
            path.write_text(json.dumps({**SMALL, **labels, name: value}))
            config, message = None, ""
            try:
                config = VivitConfig.from_pretrained(tmp_path)
            except InputError as error:
                message = str(error)
            assert (config is None) == bool(message)
            assert "\n" not in message
            assert len(message) < 400 + len(str(path))
            if config is not None:
                flatten(classification_shapes(config))
                text = config.to_json_string()
                assert VivitConfig.from_dict(json.loads(text)).to_json_string() == text


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"hidden_size": 32, "hidden_size": 64}', "\xff{}"])
def test_files_that_hold_no_config(text, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        VivitConfig.from_pretrained(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("depth", [200, 900, 100_000])
def test_settings_nested_without_end(depth, tmp_path):
    (tmp_path / "config.json").write_text('{"unknown": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(InputError, match=r"nested|not valid JSON"):
        VivitConfig.from_pretrained(tmp_path)


def test_other_mistakes_of_the_caller(tmp_path):
    with pytest.raises(InputError, match=r"does not exist; expected a directory with a config\.json"):
        VivitConfig.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"config\.json does not exist"):
        VivitConfig.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="model_type is 'vit'; expected 'vivit'"):
        VivitConfig.from_dict({"model_type": "vit"})
    for values in ([], None, {1: 2}):
        with pytest.raises(InputError, match="a dict whose keys are strings"):
            VivitConfig.from_dict(values)
    (tmp_path / "config.json").write_text('{"hidden_size": 7}')
    with pytest.raises(InputError, match=r"config\.json: hidden_size 7 is not a multiple"):
        VivitConfig.from_pretrained(tmp_path)


# --------------------------------------------------------------------------------------------------------------------
# Uniform frame sampling
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_frames", "num_sampled", "expected"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 20, [0, 1, 2, 3, 4, 5, 6, 7]),
        (32, 3, [8, 16, 24]),
        (10, 1, [5]),
        (32, 4, [6, 13, 19, 26]),  # multiples of 6.4
        (5, 4, [1, 2, 3, 4]),
        (10, 3, [2, 5, 8]),  # multiples of 2.5, halves to even
    ],
)
def test_uniform_frame_indices(num_frames, num_sampled, expected):
    assert uniform_frame_indices(num_frames, num_sampled) == expected


def test_uniform_frame_indices_may_be_one_more_by_rounding_and_never_past_the_end():
    counts = set()
    for num_frames in range(2, 80):
        for num_sampled in range(1, num_frames):
            indices = uniform_frame_indices(num_frames, num_sampled)
            assert indices == sorted(indices)
            assert max(indices) < num_frames
            counts.add(len(indices) - num_sampled)
    assert counts == {0, 1}


def test_indices_of_labels_may_be_text():
    """Widely used fine-tuning scripts write them so, and transformers loads them."""
    config = VivitConfig(id2label={"0": "cat", "1": "dog"}, label2id={"cat": "0", "dog": "1"})
    assert config.label2id == {"cat": 0, "dog": 1}
    for wrong in ("2", "-1", "x", "0.0"):
        with pytest.raises(InputError, match="label2id must map"):
            VivitConfig(id2label={"0": "cat", "1": "dog"}, label2id={"cat": wrong})


def test_new_names_replace_the_file_s_indices(tmp_path):
    VivitConfig(id2label={0: "a", 1: "b", 2: "c"}).save_pretrained(tmp_path)
    config = VivitConfig.from_pretrained(tmp_path, id2label={0: "up", 1: "down"})
    assert config.label2id == {"up": 0, "down": 1}


@pytest.mark.parametrize(
    "key", ["self", "cls", "values", "overrides", "kwargs", "other", "__class__", "", "0", "a b", "\0", "\ud800"]
)
def test_any_key_may_be_the_name_of_a_setting(tmp_path, key):
    """Python takes none of them for an argument of its own, and they are written back."""
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, key: 1}))
    config = VivitConfig.from_pretrained(tmp_path, num_frames=4)
    assert json.loads(config.to_json_string())[key] == 1
    assert type(config) is VivitConfig
    assert VivitConfig(**{**SMALL, key: 1}) == VivitConfig.from_dict({**SMALL, key: 1})
