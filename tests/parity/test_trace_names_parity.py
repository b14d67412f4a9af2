"""notebooks/trace_names.md against the modules that transformers has."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.parity
pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PAGE = Path(__file__).parents[2] / "notebooks" / "trace_names.md"


def test_the_modules_and_parameters_are_there():
    config = transformers.VivitConfig(
        image_size=16, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=8, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=12,
    )  # fmt: skip
    classifier, bare = transformers.VivitForVideoClassification(config), transformers.VivitModel(config)
    modules = {**dict(bare.named_modules()), **dict(classifier.named_modules())}
    parameters = dict(classifier.named_parameters())
    found_modules, found_parameters = set(), set()
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        column = {7: 4, 4: 2}.get(len(cells))
        if column is None:
            continue
        names = re.findall("`([^`]*)`", cells[column])
        for name in names:
            name = name.replace("layers.N", "layers.1")
            if column == 2:
                assert name in parameters
                found_parameters.add(name)
            elif "." in name or name in ("classifier", "pooler"):
                assert name in modules
                found_modules.add(name)
    others = {name for name in parameters if "layers.0" not in name}
    assert found_parameters == others
    assert len(found_modules) > 12
