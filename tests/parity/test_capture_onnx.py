"""Capturing from an ONNX graph: what transformers exports compares with our trace, and hostile files are refused."""

import sys
import warnings

import numpy
import pytest

from minivivit import InputError, MissingExtraError, VivitForVideoClassification
from minivivit.verification.comparison.pairing import pair_by_order, pair_tensors
from minivivit.verification.tensors.source import open_source
from minivivit.verification.tracing.capture_onnx import capture_onnx
from minivivit.verification.tracing.recording import record_pass

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from hugging_face import random_clip, reference, relative_error  # noqa: E402

SETTINGS = {
    "image_size": [8, 12],
    "num_frames": 4,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "num_labels": 3,
}
LAYER = "vivit.encoder.layer.{N}"
THEIR_LAYER = "/vivit/layers.{N}"
MAPPING = {
    "vivit.embeddings.patch_embeddings": "/vivit/embeddings/patch_embeddings/Transpose_1_output_0",
    "vivit.embeddings.with_cls_token": "/vivit/embeddings/Concat_output_0",
    "vivit.embeddings": "/vivit/embeddings/Add_output_0",
    f"{LAYER}.layernorm_before": f"{THEIR_LAYER}/layernorm_before/LayerNormalization_output_0",
    f"{LAYER}.attention.attention.query": f"{THEIR_LAYER}/attention/q_proj/Add_output_0",
    f"{LAYER}.attention.attention.key": f"{THEIR_LAYER}/attention/k_proj/Add_output_0",
    f"{LAYER}.attention.attention.value": f"{THEIR_LAYER}/attention/v_proj/Add_output_0",
    f"{LAYER}.attention.attention.scores": f"{THEIR_LAYER}/attention/Mul_output_0",
    f"{LAYER}.attention.attention.probs": f"{THEIR_LAYER}/attention/Softmax_output_0",
    f"{LAYER}.attention.attention": f"{THEIR_LAYER}/attention/Reshape_3_output_0",
    f"{LAYER}.attention.output.dense": f"{THEIR_LAYER}/attention/o_proj/Add_output_0",
    f"{LAYER}.attention_residual": f"{THEIR_LAYER}/Add_output_0",
    f"{LAYER}.layernorm_after": f"{THEIR_LAYER}/layernorm_after/LayerNormalization_output_0",
    f"{LAYER}.intermediate.dense": f"{THEIR_LAYER}/mlp/fc1/Add_output_0",
    f"{LAYER}.intermediate": f"{THEIR_LAYER}/mlp/activation_fn/Mul_5_output_0",
    f"{LAYER}.output.dense": f"{THEIR_LAYER}/mlp/fc2/Add_output_0",
    LAYER: f"{THEIR_LAYER}/Add_1_output_0",
    "vivit.layernorm": "/vivit/layernorm/LayerNormalization_output_0",
    "pre_logits": "/Gather_output_0",
    "classifier": "logits",
}


def export(model, pixels, path, dynamo):
    """PyTorch's exporters: the older, whose names tell the module, and the newer, which keeps weights in a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.from_numpy(pixels).float(),),
            path,
            dynamo=dynamo,
            input_names=["pixel_values"],
            output_names=["logits"],
        )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two ONNX files of one model, our trace in float64, and the pixels."""
    transformers.logging.disable_progress_bar()
    directory = tmp_path_factory.mktemp("exported")
    config = transformers.VivitConfig(**SETTINGS)
    model = reference(transformers.VivitForVideoClassification, config, 0, "float32", "eager")
    pixels = random_clip(config)
    model.save_pretrained(directory)
    for dynamo in (False, True):
        export(model, pixels, directory / f"dynamo_{dynamo}.onnx", dynamo)
    ours = VivitForVideoClassification.from_pretrained(directory, dtype="float64", backend="numpy")
    trace = {}
    record_pass(ours, pixels, trace)
    return directory, trace, pixels


def test_all_values_by_a_mapping(exported):
    """Every value of our trace, in float32 and in our order."""
    directory, trace, pixels = exported
    theirs = capture_onnx(directory / "dynamo_False.onnx", pixels)
    pairs, _ = pair_tensors(open_source(trace), open_source(theirs), MAPPING)
    assert [pair.name for pair in pairs] == list(trace)
    for name, their_name, *_ in pairs:
        assert theirs[their_name].dtype == "float32"
        assert relative_error(theirs[their_name], trace[name]) < 1e-5, name
    places = [list(theirs).index(pair.their_name) for pair in pairs]
    assert places == sorted(places)


def test_main_values_by_shape_and_order(exported):
    """The newer exporter's names (linear_3, add_7) say nothing."""
    directory, trace, pixels = exported
    assert (directory / "dynamo_True.onnx.data").is_file()
    theirs = capture_onnx(directory / "dynamo_True.onnx", pixels)
    pairs, _ = pair_by_order(open_source(trace), open_source(theirs))
    main = {"pixel_values", "vivit.embeddings", "vivit.layernorm", "classifier"}
    main |= {name for name in trace if name.endswith((".0", ".1", "_residual", "layernorm_after", "probs", ".query"))}
    assert {pair.name for pair in pairs} >= main
    for name, their_name, *_ in pairs:
        if name in main:
            assert relative_error(theirs[their_name], trace[name]) < 1e-5, (name, their_name)


def test_chosen_names(exported):
    directory, _, pixels = exported
    path = directory / "dynamo_False.onnx"
    everything = capture_onnx(path, pixels)
    chosen = capture_onnx(path, pixels, names=["logits", "/vivit/embeddings/Add_output_0"])
    assert list(chosen) == ["pixel_values", "/vivit/embeddings/Add_output_0", "logits"]
    assert all(numpy.array_equal(array, everything[name]) for name, array in chosen.items())
    with pytest.raises(InputError, match="has no tensor 'nothing'; it holds"):
        capture_onnx(path, pixels, names=["nothing"])


# --------------------------------------------------------------------------------------------------------------------
# Small graphs by hand
# --------------------------------------------------------------------------------------------------------------------

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
SHAPE = ["batch", 3]


def graph(path, nodes, inputs=(("x", FLOAT, SHAPE),), outputs=(("y", FLOAT, ["rows", "columns"]),), initializers=()):
    """An ONNX file of a few nodes."""
    infos = [[onnx.helper.make_tensor_value_info(*info) for info in side] for side in (inputs, outputs)]
    nodes = [onnx.helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes]
    made = onnx.helper.make_graph(nodes, "graph", *infos, list(initializers))
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def external_tensor(location, **entries):
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[3], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


PIXELS = numpy.arange(6.0).reshape(2, 3)


def test_only_floating_values_and_no_constants(tmp_path):
    value = onnx.numpy_helper.from_array(numpy.float32([2]))
    nodes = [
        ("Constant", [], ["two"], {"value": value}),
        ("Mul", ["x", "two"], ["doubled"]),
        ("Cast", ["doubled"], ["integer"], {"to": INT64}),
        ("Cast", ["integer"], ["wide"], {"to": onnx.TensorProto.DOUBLE}),
        ("Split", ["wide"], ["left", "right"], {"axis": 1}),
        ("Cast", ["right"], ["y"], {"to": FLOAT}),
    ]
    sizes = onnx.numpy_helper.from_array(numpy.int64([1, 2]), "sizes")
    nodes[4][1].append("sizes")
    values = capture_onnx(graph(tmp_path / "model.onnx", nodes, initializers=[sizes]), PIXELS)
    assert list(values) == ["x", "doubled", "wide", "left", "right", "y"]
    assert [array.dtype.name for array in values.values()] == ["float32"] * 2 + ["float64"] * 3 + ["float32"]
    assert numpy.array_equal(values["right"], 2 * PIXELS[:, 1:])
    with pytest.raises(InputError, match=r"'integer' of .* is a tensor\(int64\)"):
        capture_onnx(tmp_path / "model.onnx", PIXELS, names=["integer"])


def test_external_data_in_a_folder_below(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights.bin").write_bytes(b"1234" + numpy.float32([1, 2, 3]).tobytes())
    tensor = external_tensor("data/weights.bin", offset=4, length=12)
    path = graph(tmp_path / "model.onnx", [("Add", ["x", "w"], ["y"])], initializers=[tensor])
    assert numpy.array_equal(capture_onnx(path, PIXELS)["y"], PIXELS + numpy.float32([1, 2, 3]))


@pytest.mark.parametrize(
    "location", ["../outside.bin", "/{folder}/../outside.bin", "data/../../outside.bin", "link.bin", ""]
)
def test_external_data_outside(location, tmp_path):
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "outside.bin").write_bytes(bytes(12))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    tensor = external_tensor(location.format(folder=str(folder).lstrip("/")))
    path = graph(folder / "model.onnx", [("Add", ["x", "w"], ["y"])], initializers=[tensor])
    with pytest.raises(InputError, match="outside of its own folder: not read"):
        capture_onnx(path, PIXELS)


def test_external_data_outside_in_a_nested_graph(tmp_path):
    """Wherever a tensor may hide: here in an attribute of a node within a branch."""
    constant = onnx.helper.make_node("Constant", [], ["z"], value=external_tensor("../outside.bin"))
    branch = onnx.helper.make_graph([constant], "branch", [], [onnx.helper.make_tensor_value_info("z", FLOAT, [3])])
    condition = onnx.numpy_helper.from_array(numpy.array(True), "condition")
    nodes = [("If", ["condition"], ["w"], {"then_branch": branch, "else_branch": branch}), ("Add", ["x", "w"], ["y"])]
    with pytest.raises(InputError, match="outside of its own folder"):
        capture_onnx(graph(tmp_path / "model.onnx", nodes, initializers=[condition]), PIXELS)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "which is missing; copy it beside"),
        ({"location": "short.bin"}, "has 11 bytes, too few|is no valid ONNX|cannot be run"),
        ({"location": "short.bin", "length": 12}, "has 11 bytes, too few for the tensor 'w'"),
        ({"location": "short.bin", "offset": -4}, "too few"),
        ({"location": "short.bin", "offset": 8, "length": 8}, "too few"),
        ({"location": "short.bin", "offset": "many"}, "too few"),
    ],
)
def test_broken_external_data(entries, message, tmp_path):
    (tmp_path / "short.bin").write_bytes(bytes(11))
    tensor = external_tensor(**{"location": "absent.bin", **entries})
    path = graph(tmp_path / "model.onnx", [("Add", ["x", "w"], ["y"])], initializers=[tensor])
    with pytest.raises(InputError, match=message) as caught:
        capture_onnx(path, PIXELS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(100), b"version https://git-lfs.github.com/spec/v1\n"])
def test_files_that_are_no_models(content, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"is empty|no ONNX model|no valid ONNX model|Git LFS") as caught:
        capture_onnx(tmp_path / "model.onnx", PIXELS)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        capture_onnx(tmp_path / "absent.onnx", PIXELS)


def test_every_truncation_is_refused(exported, tmp_path):
    content = (exported[0] / "dynamo_False.onnx").read_bytes()
    for length in numpy.linspace(1, len(content) - 1, 25).astype(int):
        (tmp_path / "model.onnx").write_bytes(content[:length])
        with pytest.raises(InputError) as caught:
            capture_onnx(tmp_path / "model.onnx", exported[2])
        assert "\n" not in str(caught.value)


def test_graphs_that_cannot_be_captured(tmp_path):
    path = tmp_path / "model.onnx"
    add, two = [("Add", ["x", "w"], ["y"])], (("x", FLOAT, SHAPE), ("w", FLOAT, SHAPE))
    unknown = [("Add", ["x", "nowhere"], ["y"])]
    backwards = [("Relu", ["z"], ["y"]), ("Relu", ["x"], ["z"])]
    relu = [("Relu", ["x"], ["y"])]
    bfloat16 = [("Cast", ["x"], ["y"], {"to": onnx.TensorProto.BFLOAT16})]
    for arguments, message in [
        ({"nodes": add, "inputs": two}, r"has 2 inputs \('x', 'w'\)"),
        ({"nodes": relu, "inputs": ()}, "has 0 inputs|no valid ONNX"),
        ({"nodes": unknown}, "no valid ONNX model: .*nowhere"),
        ({"nodes": backwards}, "no valid ONNX model: .*sorted"),
        ({"nodes": [("Nonsense", ["x"], ["y"])]}, "Nonsense"),
        ({"nodes": bfloat16, "outputs": [("y", onnx.TensorProto.BFLOAT16, SHAPE)]}, "computes in bfloat16"),
        (
            {"nodes": relu, "inputs": [("x", INT64, SHAPE)], "outputs": [("y", INT64, SHAPE)]},
            "expected a floating type|be run",
        ),
        ({"nodes": relu, "inputs": [("x", FLOAT, [2, 4])]}, r"shape \(2, 3\); .* takes numbers of shape \(2, 4\)"),
        ({"nodes": relu, "inputs": [("x", FLOAT, [2])]}, r"takes numbers of shape \(2,\)"),
    ]:
        graph(path, **arguments)
        with pytest.raises(InputError, match=message) as caught:
            capture_onnx(path, PIXELS)
        assert "\n" not in str(caught.value)


def test_sizes_are_known_before_memory_is_taken(tmp_path):
    """A file of a few bytes asks for 4 TB."""
    shape = onnx.numpy_helper.from_array(numpy.int64([1 << 20, 1 << 20]), "shape")
    nodes = [("ConstantOfShape", ["shape"], ["large"]), ("ReduceSum", ["large"], ["sum"]), ("Add", ["x", "sum"], ["y"])]
    path = graph(tmp_path / "model.onnx", nodes, initializers=[shape])
    for names, size in [(None, "4,398,046,511,120"), (["y"], "4,398,046,511,104")]:
        with pytest.raises(InputError, match=f"take {size} bytes, more than max_bytes"):
            capture_onnx(path, PIXELS, names=names)
    path = graph(tmp_path / "model.onnx", [("Relu", ["x"], ["y"])])
    capture_onnx(path, PIXELS, max_bytes=24)
    with pytest.raises(InputError, match="take 24 bytes, more than max_bytes = 23; choose some by names"):
        capture_onnx(path, PIXELS, max_bytes=23)  # known once the batch is


def test_without_the_packages(monkeypatch, tmp_path):
    path = graph(tmp_path / "model.onnx", [("Relu", ["x"], ["y"])])
    for package in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MissingExtraError, match=rf"'{package}', which is not installed: .*\[parity\]"):
                capture_onnx(path, PIXELS)
