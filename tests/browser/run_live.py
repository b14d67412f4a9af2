"""The site's live page in a real browser: `python tests/browser/run_live.py`, with Chromium, on this machine.

Builds the site with a Pyodide inside, serves it, and does in Chromium what a reader does: reverses the clip, covers the
shape, switches off a head, an MLP and the positions, trains, draws, gives a clip and a model. What Python in the
browser answers is held against what the package computes here, to 1e-4; a step must lower the loss, a cover the
class, a reversal must turn the answer round. It fails on any error on the console and any request that leaves this
machine. Printed are the seconds of every deed, which are never judged. Pictures of the page are left in --pictures.

Needs what run_site.py needs.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy
from run_site import NOT_OURS, WIDTHS, add_places, conclude, drive, published

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.bundled import bundled_clip
from minivivit.site.live import Live, Wanted

TOLERANCE = 1e-4  # of logits, in float32 there and here
TURN_ROUND = {"turning clockwise": "turning counter-clockwise"}
SHAPE = [5, 6, 9, 10]  # the places in the middle of the clip, at both times
COVERED = [time * 16 + place for time in (0, 1) for place in SHAPE]
OFF = {"heads": [[3, 2]], "mlps": [2], "positions": False}


def main() -> int:
    """Returns 0 when all of it is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser)
    with tempfile.TemporaryDirectory() as temporary, published(parser.parse_args()) as place:
        problems, model = place.problems, own_model(Path(temporary))
        job = {"kind": "live", "widths": WIDTHS, "clip": str(bundled_clip()), "model": model}
        for result in drive(place, [job]):
            problems += judge(result)
    return conclude(problems)


def own_model(folder: Path) -> list[str]:
    """A small model of Model 3, as a reader may have one: its files."""
    fields = {"image_size": 32, "num_frames": 8, "tubelet_size": [2, 16, 16], "hidden_size": 16, "num_labels": 3}
    more = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = VivitConfig(attention_type="factorised_self_attention", **fields, **more)
    VivitForVideoClassification(config, backend="numpy").save_pretrained(folder)
    return [str(folder / name) for name in ("config.json", "model.safetensors")]


def judge(result: dict[str, Any]) -> list[str]:
    """Print what was done; the problems in it."""
    problems = [error for error in result.get("errors", []) if error not in NOT_OURS]
    problems += [f"asked {address}" for address in result.get("outside", [])]
    deeds = result.get("deeds", [])
    for deed in deeds:
        print(f"{deed['name']}: {deed['seconds']:.1f} s: {deed['error'] or deed['says']}")
    sys.stdout.flush()
    by_name = {deed["name"]: deed for deed in deeds}  # of several of one name, the last
    if "bundled model" not in by_name:
        return [*problems, "it did not come to its end"]
    return problems + same_as_here(by_name) + as_promised(deeds, by_name)


def same_as_here(deeds: dict[str, dict]) -> list[str]:
    """Hold logits against those that this machine computes."""
    live = Live()
    wanted: dict[str, Wanted] = {
        "first": Wanted(),
        "reversed": Wanted(order="reversed"),
        "covered": Wanted(covered=COVERED),
        "head off": Wanted(heads=OFF["heads"]),
        "MLP off": Wanted(heads=OFF["heads"], mlps=OFF["mlps"]),
        "positions off": Wanted(**OFF),
        "all on": Wanted(),
        "forgotten": Wanted(label=5),
    }
    logits = {}
    for name, one in wanted.items():
        pixels, _ = live.pixels(one)
        with live.switched(one):
            logits[name] = live.model.forward(pixels).logits[0]
    live.train(Wanted(label=5), 0.01)
    live.train(Wanted(label=5), 0.01)
    logits["step"] = live.model.forward(live.pixels(Wanted())[0]).logits[0]
    problems = []
    for name, here in logits.items():
        apart = float(numpy.abs(here - numpy.array(deeds[name]["logits"])).max())
        bound = TOLERANCE * (10 if name == "step" else 1)  # two steps carry the roundings of the gradients on
        print(f"{name}: logits {apart:.1e} from those here")
        if not apart <= bound:
            problems.append(f"{name}: logits are {apart:.1e} from those here, more than {bound}")
    return problems


def as_promised(deeds: list[dict], by_name: dict[str, dict]) -> list[str]:
    """What each deed must bring about."""
    first, kind = by_name["first"], 4
    promises = {
        "a reversed clip turns the answer round": by_name["reversed"]["classes"][0] == TURN_ROUND[first["classes"][0]],
        "a covered shape lowers its class": by_name["covered"]["logits"][kind] < first["logits"][kind] - 1,
        "uncovered, it is as before": by_name["uncovered"]["logits"] == first["logits"],
        "what is off is shown": by_name["positions off"]["off"] == ["mlp 2", "head 3 2"]
        and by_name["all on"]["off"] == [],
        "forgotten steps leave nothing": by_name["forgotten"]["logits"] == by_name["other answer"]["logits"],
        "a drawn shape is chosen": by_name["drawn"]["drawn"] == "drawn",
        "what is no clip is refused": "x.gif" in by_name["no clip"]["error"],
        "a clip is taken": by_name["own clip"]["classes"][0] == "turning clockwise"
        and not by_name["own clip"]["error"],
        "a model that lies is refused": bool(by_name["no model"]["error"]),
        "a model is taken": len(by_name["own model"]["logits"]) == 3 and not by_name["own model"]["error"],
        "the bundled model comes back": len(by_name["bundled model"]["logits"]) == 8,
    }
    losses = [float(deed["loss"].split(": ")[-1]) for deed in deeds if deed["name"] in ("other answer", "step")]
    promises["each step lowers the loss"] = losses == sorted(losses, reverse=True) and len(set(losses)) == 3
    promises["no error stands beside what worked"] = not [
        deed["name"] for deed in deeds if deed["error"] and not deed["name"].startswith("no ")
    ]
    return [f"it does not hold that {promise}" for promise, holds in promises.items() if not holds]


if __name__ == "__main__":
    sys.exit(main())
