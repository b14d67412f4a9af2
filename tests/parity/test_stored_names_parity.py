"""Weights as PyTorch and transformers leave them: names in memory, wrappers, variants."""

from collections import OrderedDict

import numpy
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import safetensors.torch  # noqa: E402
from hugging_face import published_name, random_clip, reference, relative_error  # noqa: E402

import minivivit  # noqa: E402
from minivivit.checkpoints import init_from_image_model  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch.compile's own
]

SIZES = {
    "image_size": 8,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "num_labels": 3,
}
KINDS = {
    "classifier": ("VivitForVideoClassification", {}),
    "bare": ("VivitModel", {"add_pooling_layer": False}),
    "pooler": ("VivitModel", {"add_pooling_layer": True}),
}


def their_model(kind: str, dtype: str = "float64"):
    name, options = KINDS[kind]
    config = transformers.VivitConfig(num_frames=4, tubelet_size=[2, 4, 4], **SIZES)
    return reference(lambda config: getattr(transformers, name)(config, **options), config, dtype=dtype)


def save_pretrained(model, directory):
    model.save_pretrained(directory, save_original_format=False)


def save_pretrained_in_shards(model, directory):
    model.save_pretrained(directory, save_original_format=False, max_shard_size="10KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 1


def save_file(model, directory):
    safetensors.torch.save_file(model.state_dict(), directory / "model.safetensors")


def save_data_parallel(model, directory):
    wrapped = torch.nn.DataParallel(model).state_dict()
    assert all(name.startswith("module.") for name in wrapped)
    torch.save(wrapped, directory / "pytorch_model.bin")


def save_compiled(model, directory):
    compiled = torch.compile(model).state_dict()
    assert all(name.startswith("_orig_mod.") for name in compiled)
    torch.save(compiled, directory / "pytorch_model.bin")


def save_compiled_in_parts(model, directory):
    layers = getattr(model, "vivit", model).layers
    for index in range(len(layers)):
        layers[index] = torch.compile(layers[index])
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    assert sum("._orig_mod." in name for name in model.state_dict()) == 2 * 16


def save_averaged(model, directory):
    averaged = torch.optim.swa_utils.AveragedModel(model).state_dict()
    assert "n_averaged" in averaged
    torch.save(averaged, directory / "pytorch_model.bin")


def save_as_lightning(model, directory):
    """What a Trainer's checkpoint holds: the module's state dict beside progress, hyperparameters and optimisers."""

    class Module(torch.nn.Module):
        """A LightningModule with the model as its attribute."""

        def __init__(self):
            super().__init__()
            self.model = model

    module = Module()
    optimiser = torch.optim.AdamW(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimiser.step()
    module.load_state_dict(before)
    checkpoint = {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": module.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5), "best_k_models": {}}},
        "optimizer_states": [optimiser.state_dict()],
        "lr_schedulers": [{"base_lrs": [1e-3], "last_epoch": 4, "_last_lr": [1e-3]}],
        "hparams_name": "kwargs",
        "hyper_parameters": OrderedDict(lr=1e-3, name="vivit", sizes=torch.Size([1, 2]), dtype=torch.float32),
    }
    torch.save(checkpoint, directory / "pytorch_model.bin")


WAYS = (save_pretrained, save_pretrained_in_shards, save_file, save_data_parallel, save_compiled)
MORE_WAYS = (save_compiled_in_parts, save_averaged, save_as_lightning)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("save", [*WAYS, *MORE_WAYS], ids=lambda save: save.__name__)
def test_each_layout(tmp_path, kind, save):
    theirs = their_model(kind)
    clip = random_clip(theirs.config)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(clip))
    weights = {published_name(name): value.numpy().copy() for name, value in theirs.state_dict().items()}
    theirs.config.save_pretrained(tmp_path)
    save(theirs, tmp_path)
    name, options = KINDS[kind]
    ours = getattr(minivivit, name).from_pretrained(tmp_path, dtype="float64", backend="numpy", **options)
    assert ours.state_dict().keys() == weights.keys()
    for key, value in weights.items():
        numpy.testing.assert_array_equal(ours.state_dict()[key], value)
    found = ours(clip)
    assert relative_error(found[0], expected[0]) < 1e-12
    if kind == "pooler":
        assert relative_error(found.pooler_output, expected.pooler_output) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_load_state_dict(kind):
    theirs = their_model(kind)
    name, options = KINDS[kind]
    config = minivivit.VivitConfig.from_dict(theirs.config.to_dict())
    ours = getattr(minivivit, name)(config, **options, dtype="float64", backend="numpy")
    ours.load_state_dict({name: value.numpy() for name, value in torch.nn.DataParallel(theirs).state_dict().items()})
    for key, value in theirs.state_dict().items():
        numpy.testing.assert_array_equal(ours.state_dict()[published_name(key)], value)


@pytest.mark.parametrize("max_shard_size", ["1GB", "10KB"])
def test_variants(tmp_path, max_shard_size):
    theirs = their_model("classifier", "float16")
    theirs.save_pretrained(tmp_path, variant="fp16", max_shard_size=max_shard_size)
    ours = minivivit.VivitForVideoClassification.from_pretrained(tmp_path, variant="fp16", backend="numpy")
    again = transformers.VivitForVideoClassification.from_pretrained(tmp_path, variant="fp16", dtype="float32")
    for key, value in again.state_dict().items():
        numpy.testing.assert_array_equal(ours.state_dict()[published_name(key)], value)
    with pytest.raises(minivivit.InputError, match="these variants: 'fp16 "):
        minivivit.VivitForVideoClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("cls", ["ViTModel", "ViTForImageClassification"])
@pytest.mark.parametrize("save", WAYS, ids=lambda save: save.__name__)
def test_image_models(tmp_path, cls, save):
    """Whatever the layout, the video model is the one that the published layout makes."""
    config = transformers.ViTConfig(patch_size=4, **SIZES)
    theirs = reference(getattr(transformers, cls), config, dtype="float32")
    for way in ("published", "other"):
        (tmp_path / way).mkdir()
        theirs.config.save_pretrained(tmp_path / way)
    theirs.save_pretrained(tmp_path / "published")
    save(theirs, tmp_path / "other")
    names = {"num_frames": 4, "tubelet_size": [2, 4, 4], **SIZES}
    expected, found = (
        init_from_image_model(minivivit.VivitConfig(**names), tmp_path / way, backend="numpy").state_dict()
        for way in ("published", "other")
    )
    for name, array in expected.items():
        numpy.testing.assert_array_equal(found[name], array)
    their_query = next(
        value for name, value in theirs.state_dict().items() if name.endswith("0.attention.q_proj.weight")
    )
    numpy.testing.assert_array_equal(found["vivit.encoder.layer.0.attention.attention.query.weight"], their_query)
