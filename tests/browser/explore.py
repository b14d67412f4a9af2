"""The page of `minivivit explore` in Chromium: `python tests/browser/explore.py [--seed N] [--pictures DIR]`.

Pages of the bundled model, of small models of the other three kinds, and of a sampled one are written and opened. In
each, numbers drawn at random are looked up by their address and held against a trace that is made here, with NumPy; so
are the sums that the page writes out. Then the page is used as a reader uses it. Needs Chromium (`--browser`), Node 18
and npm, which fetches playwright-core into a temporary folder. What differs is printed, and the exit code is 1.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from playwright import playwright

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1])]

from minivivit import VivitConfig, VivitForVideoClassification, VivitImageProcessor  # noqa: E402
from minivivit.bundled import bundled_clip, bundled_model_directory  # noqa: E402
from minivivit.command_line import run_command  # noqa: E402
from minivivit.explore.network_steps import stages  # noqa: E402
from minivivit.explore.recording import axis_of_head, partners  # noqa: E402
from minivivit.layers.trace import Trace  # noqa: E402
from minivivit.models.parameters import flatten  # noqa: E402
from minivivit.video.default_processor import load_processor  # noqa: E402
from minivivit.video.reading import read_video  # noqa: E402

# The page keeps 16 significant bits of a number: a relative error of 2^-16 (minivivit.explore.packing).
KEPT = 2.0**-16
SMALL = {
    "image_size": 32,
    "num_frames": 8,
    "tubelet_size": [4, 8, 8],
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_temporal_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "num_labels": 5,
    "initializer_range": 0.3,
}
OTHERS: dict[str, dict] = {
    "model_2": {"attention_type": "factorised_encoder"},
    "model_3": {"attention_type": "factorised_self_attention", "hidden_act": "gelu"},
    "model_4": {"attention_type": "factorised_dot_product", "hidden_act": "quick_gelu"},
    "averaged": {"classifier": "gap", "representation_size": 16, "hidden_act": "silu"},
    "sampled": {"hidden_size": 240, "intermediate_size": 300, "num_hidden_layers": 3, "tubelet_size": [2, 4, 4]},
}


class Copies(dict):
    """A store for `Trace` that keeps what the backward pass goes on to change, as it was."""

    def __setitem__(self, name, array):
        super().__setitem__(name, numpy.array(array))


class Truth:
    """Values, gradients, and bounds of what 16 bits do to them, from a trace and NumPy."""

    def __init__(self, directory: Path):
        self.model = VivitForVideoClassification.from_pretrained(directory, dtype="float64", backend="numpy")
        config = self.config = self.model.config
        processor, _ = load_processor(directory, config)
        pixels = processor.pixel_values(read_video(bundled_clip(), range(8)))
        self.store = Copies()
        label = int(self.model(pixels).logits[0].argmax())
        self.model.loss_and_gradients(pixels, numpy.array([label]), trace=Trace(self.store))
        self.parameters = flatten(self.model.params)
        self.grid = config.grid_size
        self.stages = stages(config, self.grid)
        self.makers = {step["out"]: (stage, step) for stage in self.stages for step in stage["steps"]}

    def rows(self, name: str) -> numpy.ndarray:
        """A value or gradient as (tokens, features)."""
        array = self.store[name]
        if self.config.attention_type == "factorised_self_attention" and ".temporal_attention." in name:
            array = array.swapaxes(0, 1)
        return array.reshape(-1, array.shape[-1])

    def error(self, name: str, row: int) -> numpy.ndarray:
        """How far the page's row may be from the truth: what is kept by its bits, what is computed by its formula."""
        y = self.rows(name)[row]
        _, step = self.makers[name]
        if step["kind"] == "activation":  # no activation is steeper than 1.13
            return 1.13 * self.error(step["in"][0], row) + KEPT * numpy.abs(y)
        if step["kind"] != "norm":
            return KEPT * numpy.abs(y)
        x, weight = self.rows(step["in"][0])[row], numpy.abs(self.parameters[step["weight"]])
        std = numpy.sqrt(x.var() + step["eps"])
        normed = numpy.abs(x - x.mean()) / std
        of_x = KEPT * (numpy.abs(x) + numpy.abs(x).mean()) / std
        return weight * (of_x + normed * of_x.mean() * 2 + normed * numpy.sqrt((of_x**2).mean())) + KEPT * numpy.abs(y)

    def attention(self, stage: dict, step: dict, head: int, row: int) -> dict[str, numpy.ndarray]:
        """Scores, probabilities and their gradients over the partners of a row, with bounds."""
        tokens = partners(stage["space"], axis_of_head(step, head), row, self.grid, int(self.config.use_cls_token))
        inner = step["out"].rpartition(".")[0]
        size = self.config.hidden_size // step["heads"]
        part = slice(head * size, (head + 1) * size)
        query, key, value = (self.rows(f"{inner}.{name}")[:, part] for name in ("query", "key", "value"))
        scores = key[tokens] @ query[row] / size**0.5
        of_scores = 2 * KEPT * numpy.abs(key[tokens]) @ numpy.abs(query[row]) / size**0.5
        powers = numpy.exp(scores - scores.max())
        probs = powers / powers.sum()
        of_probs = probs * (of_scores + of_scores.max()) * 1.01
        dcontext = self.rows(f"gradient.{inner}")[row, part]
        dprobs = value[tokens] @ dcontext
        of_dprobs = 2 * KEPT * numpy.abs(value[tokens]) @ numpy.abs(dcontext)
        centred = dprobs - dprobs @ probs
        of_mean = of_dprobs @ probs + numpy.abs(dprobs) @ of_probs
        return {
            "tokens": tokens,
            "scores": scores,
            "scores error": of_scores,
            "probs": probs,
            "probs error": of_probs,
            "gradient probs": dprobs,
            "gradient probs error": of_dprobs,
            "gradient scores": probs * centred,
            "gradient scores error": probs * (of_dprobs + of_mean) + of_probs * numpy.abs(centred),
        }

    def sum_error(self, step: dict, row: int, index: int) -> float:
        """How far a linear map's written-out sum may be from the truth."""
        weight = self.parameters[step["weight"]].reshape(len(self.parameters[step["weight"]]), -1)[index]
        if step["role"] == "tubelet":
            return float("nan")
        x, of_x = self.rows(step["in"][0])[row], self.error(step["in"][0], row)
        return float(of_x @ numpy.abs(weight) + 1.01 * KEPT * numpy.abs(x) @ numpy.abs(weight))

    def draw(self, rng: numpy.random.Generator, kept: dict, row_of: dict) -> dict | None:
        """One number: where it is in the page, what it is, and how far off it may be shown."""
        stage = self.stages[int(rng.integers(1, len(self.stages)))]
        step = stage["steps"][int(rng.integers(len(stage["steps"])))]
        token = int(rng.choice(kept["tubelets"]))
        if self.config.use_cls_token and rng.random() < 0.2:
            token = -1
        row = row_of[stage["space"]](token)
        what = ("values", "gradients")[int(rng.integers(2))]
        before = "gradient." if what == "gradients" else ""
        address = {"token": "cls" if token < 0 else token, "part": step["out"], "what": what}
        if row is None:
            return None
        if step["kind"] in ("scores", "softmax"):
            head = int(rng.choice(kept["heads"]))
            if not kept["whole"]:
                return None
            found = self.attention(stage, step, head, row)
            name = before.replace(".", " ") + step["out"].rpartition(".")[2]
            number = int(rng.integers(len(found["tokens"])))
            expected, error = found[name][number], found[f"{name} error"][number]
            address |= {"head": head, "number": number}
            return {"address": address, "expected": float(expected), "error": float(error), "sum": float(error)}
        name = before + step["out"]
        if name not in self.store:
            return None
        y = self.rows(name)[row]
        number = int(rng.integers(len(y)))
        error = KEPT * abs(y[number]) if before else self.error(step["out"], row)[number]
        case = {"address": address | {"number": number}, "expected": float(y[number]), "error": float(error)}
        if not before and step["kind"] == "linear" and step["role"] != "tubelet" and kept["whole"]:
            case["sum"] = self.sum_error(step, row, number)
        return case


def rows_of(config: VivitConfig) -> dict:
    """Space -> the row that stands for a tubelet, or for CLS, -1; None where none does."""
    _, rows, columns = config.grid_size
    places, cls = rows * columns, int(config.use_cls_token)
    return {
        "tubelets": lambda token: None if token < 0 else token,
        "clip": lambda token: 0 if token < 0 else cls + token,
        "frames": lambda token: 0 if token < 0 else token // places * (places + cls) + cls + token % places,
        "moments": lambda token: 0 if token < 0 else cls + token // places,
        "times": lambda token: 0 if token < 0 else token // places,
        "one": lambda token: 0,
    }


def build(folder: Path) -> dict[str, Path]:
    """Directories of the models, by name."""
    found = {"bundled": bundled_model_directory()}
    for number, (name, fields) in enumerate(OTHERS.items()):
        config = VivitConfig(**{**SMALL, **fields})
        rng = numpy.random.default_rng(number)
        model = VivitForVideoClassification(config, dtype="float64", backend="numpy", seed=number)
        for array in model.state_dict().values():
            if array.ndim == 1:
                array += 0.2 * rng.standard_normal(array.shape)
        model.save_pretrained(folder / name)
        crop = {"height": 32, "width": 32}
        VivitImageProcessor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder / name)
        found[name] = folder / name
    return found


def cases_of(directory: Path, page: Path, rng: numpy.random.Generator, count: int) -> list[dict]:
    """Random numbers of a page, with the truth."""
    text = page.read_text("utf-8")
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    truth = Truth(directory)
    cases: list[dict] = []
    while len(cases) < count:
        case = truth.draw(rng, data["kept"], rows_of(truth.config))
        if case is not None:
            cases.append(case)
    return cases


def main() -> int:
    """Returns 0 where all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--numbers", type=int, default=100, help="of the bundled model; a quarter of each other")
    parser.add_argument("--browser", default=shutil.which("chromium") or "/usr/bin/chromium")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the page, to be looked at")
    arguments = parser.parse_args()
    rng = numpy.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="minivivit-explore-") as place:
        folder = Path(place)
        pages = []
        for name, directory in build(folder).items():
            page = folder / f"{name}.html"
            model = [] if name == "bundled" else ["--model", str(directory)]
            assert run_command(["explore", *model, "--output", str(page)]) == 0
            count = arguments.numbers if name == "bundled" else arguments.numbers // 4
            pages.append({"name": name, "page": str(page), "cases": cases_of(directory, page, rng, count)})
        (folder / "pages.json").write_text(json.dumps(pages))
        playwright(folder)
        for name in ("explore.mjs", "width.mjs"):
            shutil.copyfile(HERE / name, folder / name)
        command = ["node", "explore.mjs", arguments.browser, "pages.json"]
        if arguments.pictures is not None:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            command.append(str(arguments.pictures.resolve()))
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
