"""Files that PyTorch and transformers write are read alike, and what we write opens there."""

import json
from collections import OrderedDict

import numpy
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import safetensors.torch  # noqa: E402

from minivivit.errors import InputError  # noqa: E402
from minivivit.files.weights import read_tensors, read_weights, tensor_index, write_weights  # noqa: E402

pytestmark = pytest.mark.parity

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def state_dict() -> OrderedDict:
    """Tensors of all dtypes, shapes and kinds of views, with the shared storages that state dicts have."""
    generator = torch.Generator().manual_seed(0)
    tensors = OrderedDict()
    for name, dtype in DTYPES.items():
        base = torch.randn(4, 6, 5, generator=generator, dtype=torch.float64).to(dtype)
        tensors[f"{name}.whole"] = base
        tensors[f"{name}.tied"] = base
        tensors[f"{name}.transposed"] = base.permute(2, 0, 1)
        tensors[f"{name}.sliced"] = base[1::2, :, 1:4]
        tensors[f"{name}.own_transposed"] = base[0].T.clone(memory_format=torch.preserve_format)
        tensors[f"{name}.expanded"] = base[0, 0].clone().expand(3, 5)
        tensors[f"{name}.scalar"] = base[1, 2, 3]
        tensors[f"{name}.empty"] = torch.empty(0, 3, dtype=dtype)
        tensors[f"{name}.parameter"] = torch.nn.Parameter(base.clone())
        tensors[f"{name}.extremes"] = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).tiny, -0.0], dtype=dtype)
    return tensors


def expected_array(value, dtype: str | None) -> numpy.ndarray:
    own = torch.float64 if value.dtype == torch.float64 else torch.float32
    return value.detach().to(own if dtype is None else DTYPES[dtype]).contiguous().numpy()


def assert_equal_to_torch(arrays: dict, tensors: dict, dtype: str | None = None) -> None:
    assert arrays.keys() == tensors.keys()
    for name, value in tensors.items():
        numpy.testing.assert_array_equal(arrays[name], expected_array(value, dtype), strict=True)
        numpy.testing.assert_array_equal(numpy.signbit(arrays[name]), torch.signbit(value.detach()).numpy())
        assert arrays[name].flags.c_contiguous
        assert arrays[name].flags.writeable


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_save(tmp_path, dtype, protocol):
    tensors = state_dict()
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors, path, pickle_protocol=protocol)
    assert_equal_to_torch(read_tensors(path, dtype), tensors, dtype)
    shapes = {name: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in tensors.items()}
    assert tensor_index(path) == shapes


@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:Detected pickle protocol")
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_save_before_1_6(tmp_path, dtype, protocol):
    tensors = state_dict()
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert_equal_to_torch(read_tensors(path, dtype), tensors, dtype)
    assert_equal_to_torch(read_tensors(path, dtype), torch.load(path, weights_only=False), dtype)


@pytest.mark.parametrize("new", [True, False])
def test_attributes_and_dtypes_of_all_kinds(tmp_path, new):
    """Parameters and tensors with attributes, and beside them tensors that are no weights."""
    module = torch.nn.Linear(3, 4)
    module.weight.no_decay, module.weight.tags, module.weight.sizes = True, {"a", 1 + 2j}, torch.Size([3])
    module.weight.dtype_before, module.weight.device_before, module.weight.raw = (
        torch.float16,
        torch.device("cpu"),
        b"x",
    )
    tensor = torch.arange(6.0).reshape(2, 3).T
    tensor.note = {"from": "here"}
    tensors = {
        "weight": module.weight,
        "bias": torch.nn.Buffer(module.bias.detach().clone()),
        "tensor": tensor,
        "whole": torch.arange(5),
        "truth": torch.ones(2, dtype=torch.bool),
        "short": torch.arange(3).to(torch.uint16)[1:],
        "tiny": torch.ones(2, dtype=torch.float8_e4m3fn),
        "complex": torch.ones(2, dtype=torch.complex64),
    }
    if not new:  # these dtypes are younger than the format, and PyTorch itself does not read them back
        del tensors["short"], tensors["tiny"]
    path = tmp_path / "a.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=new)
    torch.load(path, weights_only=True)  # nothing in it that PyTorch itself would refuse
    index = {name: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in tensors.items()}
    assert tensor_index(path) == index
    numbers = {name: tensors[name] for name in ("weight", "bias", "tensor")}
    assert_equal_to_torch(read_tensors(path, names=numbers), numbers)
    torch.save(module, path, _use_new_zipfile_serialization=new)
    with pytest.raises(InputError, match=r"refers to .torch\.nn\.modules\.linear\.Linear|NEWOBJ|in an unknown way"):
        read_tensors(path)


def test_state_dict_of_a_module_with_its_metadata(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4, track_running_stats=False))
    assert module.state_dict()._metadata
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    assert_equal_to_torch(read_weights(tmp_path), module.state_dict())


def test_training_checkpoint_with_one_state_dict(tmp_path):
    module = torch.nn.Linear(3, 4)
    torch.save({"epoch": 3, "state_dict": module.state_dict(), "loss": 0.5}, tmp_path / "a.pt")
    assert_equal_to_torch(read_tensors(tmp_path / "a.pt"), module.state_dict())


def test_what_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"w": torch.arange(3)}, path)
    with pytest.raises(InputError, match="tensor 'w' has dtype int64"):
        read_tensors(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(InputError, match=r"refers to 'torch\.nn\.modules\.linear\.Linear'|opcode NEWOBJ"):
        read_tensors(path)
    torch.save({"w": torch.eye(3).to_sparse()}, path)
    with pytest.raises(InputError, match=r"refers to 'torch\._utils\._rebuild_sparse_tensor'"):
        read_tensors(path)
    torch.save({"w": torch._neg_view(torch.ones(2))}, path)
    with pytest.raises(InputError, match="negative bits"):
        read_tensors(path)


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_safetensors_torch_writes_what_we_read(tmp_path, dtype):
    tensors = {name: value.detach().clone().contiguous() for name, value in state_dict().items()}
    tensors = {name: value for name, value in tensors.items() if dtype != "float32" or "float64.extremes" not in name}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    assert_equal_to_torch(read_weights(tmp_path, dtype), tensors, dtype)


def test_safetensors_torch_reads_what_we_write(tmp_path):
    rng = numpy.random.default_rng(0)
    shapes = {"a": (3, 4), "b": (), "c": (0, 2), "d": (5,)}
    tensors = {f"{name}.{dtype}": rng.standard_normal(shape).astype(dtype)
               for name, shape in shapes.items() for dtype in ("float16", "float32", "float64")}  # fmt: skip
    tensors = {name: numpy.asarray(array) for name, array in tensors.items()}
    write_weights(tmp_path, tensors)
    theirs = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert theirs.keys() == tensors.keys()
    for name, array in tensors.items():
        numpy.testing.assert_array_equal(theirs[name].numpy(), array, strict=True)


@pytest.fixture(scope="module")
def vivit():
    config = transformers.VivitConfig(
        image_size=16, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, num_labels=5,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.VivitForVideoClassification(config).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("max_shard_size", ["1GB", "20KB"])
def test_save_pretrained_is_read(tmp_path, vivit, dtype, max_shard_size):
    model = transformers.VivitForVideoClassification(vivit.config).to(dtype)
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (max_shard_size == "20KB")
    saved = {}
    for path in tmp_path.glob("*.safetensors"):
        saved |= safetensors.torch.load_file(path)
    assert len(saved) == len(model.state_dict())
    assert_equal_to_torch(read_weights(tmp_path), saved)


@pytest.mark.parametrize("max_shard_bytes", [None, 20_000])
def test_transformers_opens_what_we_write(tmp_path, vivit, max_shard_bytes):
    vivit.save_pretrained(tmp_path / "theirs")
    weights = read_weights(tmp_path / "theirs")
    write_weights(tmp_path / "ours", weights, max_shard_bytes=max_shard_bytes)
    if max_shard_bytes is None:
        files = [tmp_path / side / "model.safetensors" for side in ("ours", "theirs")]
        assert files[0].read_bytes() == files[1].read_bytes()
    (tmp_path / "ours" / "config.json").write_text((tmp_path / "theirs" / "config.json").read_text())
    ours, report = transformers.VivitForVideoClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values())
    for name, value in vivit.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=0)
    # The parameters are the same to the bit; where in memory they lie, which decides how PyTorch sums, is not.
    clip = torch.randn(1, 4, 3, 16, 16)
    torch.testing.assert_close(ours.eval()(clip).logits, vivit(clip).logits, rtol=0, atol=1e-6)


def test_shards_are_cut_where_transformers_cuts_them(tmp_path, vivit):
    vivit.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    theirs = json.loads((tmp_path / "theirs" / "model.safetensors.index.json").read_text())
    order = safetensors_order(tmp_path / "theirs", theirs["weight_map"])
    write_weights(tmp_path / "ours", order, max_shard_bytes=20_000)
    ours = json.loads((tmp_path / "ours" / "model.safetensors.index.json").read_text())
    assert ours["metadata"]["total_size"] == theirs["metadata"]["total_size"]
    assert sorted(set(ours["weight_map"].values())) == sorted(set(theirs["weight_map"].values()))


def safetensors_order(directory, weight_map: dict) -> dict:
    weights = read_weights(directory)
    return {name: weights[name] for name in sorted(weight_map, key=lambda name: weight_map[name])}
