"""Every command on weights as transformers has them in memory: the answers are those of the published layout."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy
import pytest

sys.path.insert(0, str(Path(__file__).parent / "models"))
from test_stored_names import in_memory

from minivivit.bundled import bundled_clip, bundled_model_directory
from minivivit.cli import main
from minivivit.files.safetensors_file import write_safetensors
from minivivit.files.weights import read_weights

LEFT_OUT = re.compile(r"minivivit: note: .*: left out 'module\.model\.vivit\.embeddings\.position_ids': no weights\n")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The bundled model as it is; and with names in memory, behind two wrappers, and with a buffer of integers."""
    directory = tmp_path_factory.mktemp("models")
    shutil.copytree(bundled_model_directory(), directory / "published")
    shutil.copytree(bundled_model_directory(), directory / "in_memory")
    tensors = {
        f"module.model.{in_memory(name)}": array for name, array in read_weights(directory / "published").items()
    }
    assert any(".q_proj." in name for name in tensors)
    path = directory / "in_memory" / "model.safetensors"
    write_safetensors(path, {**tensors, "module.model.vivit.embeddings.position_ids": numpy.zeros((1, 4), "float32")})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["module.model.vivit.embeddings.position_ids"]["dtype"] = "I32"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return directory


COMMANDS = {
    "classify": ["classify", bundled_clip(), "--json", "--model", "MODEL"],
    "trace": ["trace", bundled_clip(), "OUT", "--dtype", "float32", "--model", "MODEL"],
    "gradcheck": ["gradcheck", "--parameter", "classifier.*", "--entries", "0", "--json", "--model", "MODEL"],
    "evaluate": ["evaluate", "--clips", "2", "--model", "MODEL"],
    "train": ["train", "motion", "--steps", "1", "--batch-size", "2", "--output", "OUT", "--model", "MODEL"],
    "convert": ["convert", "MODEL", "OUT"],
    "info": ["info", "--json", "--model", "MODEL"],
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough) if name == "train" else name for name in COMMANDS]
)
def test_a_command(models, tmp_path, capsys, name, monkeypatch):
    monkeypatch.chdir(models)
    outputs, notes = [], []
    for model in ("published", "in_memory"):
        words = {"MODEL": model, "OUT": tmp_path / model}
        assert main([str(words.get(word, word)) for word in COMMANDS[name]]) == 0
        output = capsys.readouterr()
        outputs.append(re.sub(r"\d+\.\d+ s|\d+ s", "", output.out.replace(str(tmp_path / model), "OUT")))
        notes.append(output.err)
    assert outputs[1].replace("in_memory", "published") == outputs[0]
    assert bool(LEFT_OUT.search(notes[1])) == (name != "info")  # which reads no weights
    assert not LEFT_OUT.search(notes[0])
