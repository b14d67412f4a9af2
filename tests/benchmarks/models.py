"""Forward time of the paper's four models at full size, as ratios to Model 1 in one run, beside the paper's.

    python tests/benchmarks/models.py

ViViT-B/16x2, one clip of 32 frames of 224 x 224, float32. The models take turns, round after round, so that a slow
minute of the machine falls on all. The paper's runtimes are of Table 2, on a TPU, here as ratios to Model 1's.
"explained" is the ratio of multiply-accumulates, as ``minivivit info --table2`` counts them.
"""

import argparse
import json
import statistics
import time

import numpy

from minivivit import VivitConfig, VivitForVideoClassification
from minivivit.models.counting import TABLE_2, count

# The paper's Table 2: milliseconds a clip on a TPU.
PAPER_MILLISECONDS = {
    "spatio_temporal": 58.9,
    "factorised_encoder": 17.4,
    "factorised_self_attention": 31.7,
    "factorised_dot_product": 22.9,
    "average_pool": 17.3,
}


def measure(rounds: int) -> list[dict]:
    """Median seconds and multiply-accumulates of each model, and their ratios to Model 1."""
    pixel_values = numpy.random.default_rng(0).standard_normal((1, 32, 3, 224, 224), dtype=numpy.float32)
    configs = {name: VivitConfig(num_labels=400, **fields) for name, fields, _, _ in TABLE_2}
    models = {name: VivitForVideoClassification(config, backend="numpy") for name, config in configs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for round_number in range(rounds + 1):  # the first round warms up
        for name, model in models.items():
            start = time.perf_counter()
            model(pixel_values)
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    rows = []
    for name, milliseconds in PAPER_MILLISECONDS.items():
        rows.append(
            {
                "model": name,
                "seconds": statistics.median(seconds[name]),
                "multiply_accumulates": sum(row["multiply_accumulates"] for row in count(configs[name])),
                "paper": milliseconds / PAPER_MILLISECONDS["spatio_temporal"],
            }
        )
    for row in rows:
        # the median of the rounds' own ratios: a slow minute then falls on both sides of a ratio
        pairs = zip(seconds[row["model"]], seconds["spatio_temporal"], strict=True)
        row["time"] = statistics.median(own / model_1 for own, model_1 in pairs)
        row["explained"] = row["multiply_accumulates"] / rows[0]["multiply_accumulates"]
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = measure(args.rounds)
    if args.json:
        print(json.dumps(rows))
        return
    print(f"{'model':28}{'seconds':>9}{'time':>7}{'explained':>11}{'time/explained':>16}{'paper':>7}")
    for row in rows:
        print(
            f"{row['model']:28}{row['seconds']:9.2f}{row['time']:7.2f}{row['explained']:11.2f}"
            f"{row['time'] / row['explained']:16.2f}{row['paper']:7.2f}"
        )


if __name__ == "__main__":
    main()
