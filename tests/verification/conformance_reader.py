"""A port of ViViT's Model 1 that knows of a conformance pack what its README says, and of minivivit nothing.

    python conformance_reader.py PACK CASE DTYPE [MISTAKE]

checks every file and every tensor of the pack against its hashes, computes a case's forward pass and some gradients in
DTYPE, and prints the first tensor that does not pass, or "conforms".
"""

import hashlib
import json
import math
import struct
import sys
from pathlib import Path

import numpy


def read_safetensors(path):
    """Name -> (float64 array, its bytes)."""
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + n + offset for offset in entry["data_offsets"])
        assert entry["dtype"] == "F64"
        tensors[name] = (numpy.frombuffer(data[begin:end], "<f8").reshape(entry["shape"]), data[begin:end])
    return tensors


def read_tensors(pack, entries):
    """The tensors of an index's entries, each checked against its shape and hash, in order."""
    files = {entry["file"]: read_safetensors(pack / entry["file"]) for entry in entries.values()}
    assert sum(map(len, files.values())) == len(entries)
    assert [entry["order"] for entry in entries.values()] == list(range(len(entries)))
    for name, entry in entries.items():
        array, data = files[entry["file"]][name]
        assert list(array.shape) == entry["shape"]
        assert entry["dtype"] == "float64"
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], name
    return {name: files[entry["file"]][name][0] for name, entry in entries.items()}


def check_files(pack):
    """SHA256SUMS names every file, and each has the hash that it says."""
    listed = dict(line.split("  ")[::-1] for line in (pack / "SHA256SUMS").read_text().splitlines())
    there = {path.relative_to(pack).as_posix() for path in pack.rglob("*") if path.is_file()}
    assert there == listed.keys() | {"SHA256SUMS"}
    assert all(hashlib.sha256((pack / path).read_bytes()).hexdigest() == digest for path, digest in listed.items())


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / numpy.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps) * weight + bias


def forward(config, weights, pixels, labels, mistake):
    """Every intermediate value of Model 1 by name, with a CLS token."""
    t, h, w = config["tubelet_size"]
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    batch, frames, channels, height, width = pixels.shape
    grid = frames // t, height // h, width // w
    out = {"pixel_values": pixels}

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        eps = 1e-3 if mistake == "eps" else config["layer_norm_eps"]
        return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    cut = pixels[:, : grid[0] * t, :, : grid[1] * h, : grid[2] * w]
    boxes = cut.reshape(batch, grid[0], t, channels, grid[1], h, grid[2], w).transpose(0, 1, 4, 6, 3, 2, 5, 7)
    embedding = "vivit.embeddings.patch_embeddings"
    kernel = weights[f"{embedding}.projection.weight"].reshape(hidden, -1)
    x = boxes.reshape(batch, -1, kernel.shape[1]) @ kernel.T + weights[f"{embedding}.projection.bias"]
    out[embedding] = x
    x = numpy.concatenate([numpy.repeat(weights["vivit.embeddings.cls_token"], batch, 0), x], axis=1)
    out["vivit.embeddings.with_cls_token"] = x
    x = out["vivit.embeddings"] = x + weights["vivit.embeddings.position_embeddings"]
    for number in range(config["num_hidden_layers"]):
        layer = f"vivit.encoder.layer.{number}"
        normed = out[f"{layer}.layernorm_before"] = norm(x, f"{layer}.layernorm_before")
        attention, split = f"{layer}.attention.attention", []
        for part in ("query", "key", "value"):
            y = out[f"{attention}.{part}"] = linear(normed, f"{attention}.{part}")
            split.append(y.reshape(batch, -1, heads, hidden // heads).transpose(0, 2, 1, 3))
        query, key, value = split
        scale = x.dtype.type(1 if mistake == "scale" else math.sqrt(hidden // heads))
        transposed = key.swapaxes(-1, -2)
        scores = query @ transposed / scale if mistake == "scaled late" else query / scale @ transposed
        out[f"{attention}.scores"] = scores
        exps = numpy.exp(scores - (0 if mistake == "naive softmax" else scores.max(axis=-1, keepdims=True)))
        probs = out[f"{attention}.probs"] = exps / exps.sum(axis=-1, keepdims=True)
        merged = out[attention] = (probs @ value).transpose(0, 2, 1, 3).reshape(batch, -1, hidden)
        y = out[f"{layer}.attention.output.dense"] = linear(merged, f"{layer}.attention.output.dense")
        x = out[f"{layer}.attention_residual"] = x + y
        normed = out[f"{layer}.layernorm_after"] = norm(x, f"{layer}.layernorm_after")
        u = out[f"{layer}.intermediate.dense"] = linear(normed, f"{layer}.intermediate.dense")
        assert config["hidden_act"] == "gelu_fast"
        a = out[f"{layer}.intermediate"] = u / 2 * (1 + numpy.tanh(0.7978845608 * (u + 0.044715 * u**3)))
        y = out[f"{layer}.output.dense"] = linear(a, f"{layer}.output.dense")
        x = out[layer] = x + y
    out["vivit.layernorm"] = norm(x, "vivit.layernorm")
    out["pre_logits"] = out["vivit.layernorm"][:, 0]
    logits = out["classifier"] = linear(out["pre_logits"], "classifier")
    shifted = logits - (0 if mistake == "naive loss" else logits.max(axis=-1, keepdims=True))
    log_probs = shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))
    out["loss"] = -log_probs[numpy.arange(batch), labels].mean()
    return out | head_gradients(log_probs, labels, out["pre_logits"], weights["classifier.weight"])


def head_gradients(log_probs, labels, pooled, weight):
    """Where the way back begins."""
    dlogits = (numpy.exp(log_probs) - numpy.eye(log_probs.shape[1], dtype=log_probs.dtype)[labels]) / 2
    return {
        "gradient.classifier": dlogits,
        "gradient.pre_logits": dlogits @ weight,
        "gradient.classifier.weight": dlogits.T @ pooled,
        "gradient.classifier.bias": dlogits.sum(axis=0),
    }


def passes(name, ours, yours, budget, unit, rule):
    """The README's rule."""
    d = numpy.asarray(yours, "float64") - ours
    r, m, s = math.sqrt((d * d).mean()), abs(d).max(), math.sqrt((ours * ours).mean())
    factors = rule["gradient_factors"] if name.startswith("gradient.") else rule["factors"]
    factor, maximum = rule["noise_factors"] if budget["relative_l2"] > rule["noise"] else factors
    allowed = r <= factor * (budget["rms"] + unit * s) and m <= maximum * (budget["max_abs"] + 2 * unit * s)
    return bool(numpy.isfinite(yours).all()) and allowed


def main(pack, case, dtype, mistake=""):
    check_files(pack)
    index = json.loads((pack / "index.json").read_text())
    assert index["format"] == "minivivit-conformance/1"
    everything = {
        name: (read_tensors(pack, entry["weights"]), read_tensors(pack, entry["tensors"]))
        for name, entry in index["cases"].items()
    }
    entry, (weights, expected) = index["cases"][case], everything[case]
    config = json.loads((pack / entry["config"]).read_text())
    budgets = json.loads((pack / entry["rounding_budgets"]).read_text())["metadata"]["rounding_budgets"][dtype]
    weights = {name: array.astype(dtype) for name, array in weights.items()}
    labels = [entry["labels"][0]] * 2 if mistake == "labels" else entry["labels"]
    ours = forward(config, weights, expected["pixel_values"].astype(dtype), labels, mistake)
    assert all(array.dtype == dtype for array in ours.values())
    assert {name for name in expected if not name.startswith("gradient.")} < set(ours) < set(expected)
    unit = index["unit_roundoff"][dtype]
    for name, array in expected.items():
        if name in ours and not passes(name, array, ours[name], budgets[name], unit, index["rule"]):
            return name
    return "conforms"


if __name__ == "__main__":
    numpy.seterr(all="ignore")  # a port in C says nothing either
    print(main(Path(sys.argv[1]), *sys.argv[2:]))
    assert not [name for name in sys.modules if name.startswith("minivivit")]
