"""`notebooks/capture.md`: its Python, commands and C are run in order, with a small model, and agree with ours."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy
import pytest

from minivivit import cli

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from hugging_face import random_clip, reference  # noqa: E402
from test_capture_onnx import export  # noqa: E402

PAGE = (Path(__file__).parents[2] / "notebooks" / "capture.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTINGS = {
    "image_size": 8,
    "num_frames": 4,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "num_labels": 4,
}


def compile_and_run_c(source):
    """The function, in a program that records what a port would have."""
    main = 'int main(void) {\n    static float zeros[288];\n    record("tokens", zeros, 288);\n'
    main += '    record("logits", zeros, 4);\n    return 0;\n}\n'
    Path("port.c").write_text(source + main, encoding="utf-8")
    subprocess.run(["cc", "-Wall", "-Werror", "-o", "port", "port.c"], check=True)
    subprocess.run(["./port"], check=True)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A directory with a checkpoint, pixel values and an exported graph, as the page asks for."""
    transformers.logging.disable_progress_bar()
    monkeypatch.chdir(tmp_path)
    config = transformers.VivitConfig(**SETTINGS)
    model = reference(transformers.VivitForVideoClassification, config, 0, "float32")
    model.save_pretrained("vivit")
    numpy.save("pixel_values.npy", random_clip(config, batch=1))
    export(model, numpy.load("pixel_values.npy"), "vivit.onnx", dynamo=False)


@pytest.mark.usefixtures("workplace")
def test_everything_on_the_page(capsys):
    languages = [language for language, _ in BLOCK.findall(PAGE)]
    assert languages.count("python") == 5
    assert languages.count("sh") == 5
    mappings = iter(["onnx_names.json", "port_names.json"])
    comparisons = []
    for language, source in BLOCK.findall(PAGE):
        if language == "python":
            run_python(source)
        elif language == "sh":
            for line in source.splitlines():
                command = shlex.split(line)
                assert command[0] == "minivivit"
                assert cli.main(command[1:]) == 0, (line, capsys.readouterr())
                comparisons += [capsys.readouterr().out] if command[1] == "compare" else []
        elif language == "json":
            Path(next(mappings)).write_text(json.dumps(json.loads(source)), encoding="utf-8")
        elif language == "c" and shutil.which("cc"):
            compile_and_run_c(source)
    assert len(comparisons) == 4
    assert list(numpy.load("port.npz")) == ["clip", "patches", "tokens", "blocks.0.norm", "blocks.0.qkv"]
    if shutil.which("cc"):
        assert list(numpy.load("from_c.npz")) == ["tokens", "logits"]


def run_python(source):
    """Run a block by itself; those of flax, and of C where there is no compiler, are only compiled."""
    code = compile(source, "capture.md", "exec")
    if "import flax" in source or (".f32" in source and not Path("tokens.f32").is_file()):
        return
    exec(code, {"__name__": "capture"})


@pytest.mark.usefixtures("workplace")
def test_a_fault_in_the_port_by_hand_is_named(capsys):
    """Its layer norm with another epsilon."""
    blocks = BLOCK.findall(PAGE)
    (port,) = [source for language, source in blocks if language == "python" and "einsum" in source]
    (commands,) = [source.splitlines() for language, source in blocks if language == "sh" and "port.npz" in source]
    _, mapping = [source for language, source in blocks if language == "json"]
    Path("port_names.json").write_text(mapping, encoding="utf-8")
    assert "1e-6" in port
    run_python(port.replace("1e-6", "1e-2"))
    assert cli.main(shlex.split(commands[0])[1:]) == 0
    capsys.readouterr()
    assert cli.main([*shlex.split(commands[1])[1:], "--json"]) == 1
    first = json.loads(capsys.readouterr().out)["first_divergent"]
    assert first == "vivit.encoder.layer.0.layernorm_before"
