"""The text of a conformance pack's README.md, for an engineer who has the pack and none of our code."""

from typing import Any

from minivivit.verification.comparison.judgement import FEW

TEXT = r"""# ViViT conformance pack (<FORMAT>)

Small Video Vision Transformers (Arnab et al. 2021, arXiv:2103.15691), all four of the paper's models, with everything
that a port needs to check itself: weights, input, labels, every intermediate value and every gradient in float64, and
how far from these a correct computation in lower precision strays. No code of minivivit is needed. A check is:

1. Read `index.json`. Take a case, build the model that its `config.json` describes, and load its weights from the file
   `CASE/model.safetensors`.
2. Feed the tensor `pixel_values` and the `labels`; run forward, then backward from the loss.
3. Go through `tensors` in their order and compare yours with ours by the rule below. The first that fails is where the
   port goes wrong: what comes before it is right.

| case | what it is |
| --- | --- |
<CASES>

## Files
- `index.json`: `format`; `versions`; `rule` and `unit_roundoff`, see below; and `cases`: name -> an object with
  `description`, `config` (a path), `labels` (one class index a clip), `weights` and `tensors` (each an object: name of
  a tensor -> `file`, a path; `shape`; `dtype`; `order`, its place from 0 on, of `tensors` in the order of execution;
  `sha256` of the tensor's bytes), `rounding_budgets` (a path, of JSON in which `["metadata"]["rounding_budgets"]` is:
  precision -> name -> budget). Paths are relative to the pack. All `weights` of a case lie in one file,
  `CASE/model.safetensors`; its `tensors` lie in several.
- `index.schema.json`, `config.schema.json`, `trace.schema.json`: JSON Schemas (draft 2020-12) of `index.json`, of
  `CASE/config.json` and of the file with the budgets.
- `CASE/config.json`: field names and meaning as in Hugging Face transformers' `VivitConfig`, and beside them
  `attention_type`, `classifier` and so on, explained below.
- `CASE/model.safetensors`: the weights, under the names of Hugging Face's published ViViT checkpoint.
- `CASE/trace/*.safetensors`: the input, the intermediate values and the gradients.
- `SHA256SUMS`: check the pack with `sha256sum -c SHA256SUMS`.

Weights and input are numbers that float32 holds exactly. On one machine minivivit writes the same pack to the bit
whenever it is asked; on another processor the last bits of float64 may differ.

## Reading safetensors
8 bytes: length n of the header, little-endian. n bytes: the header, JSON (UTF-8), padded with spaces:
`{name: {"dtype": "F64", "shape": [...], "data_offsets": [begin, end]}, ...}`; ignore `__metadata__`. Then the numbers,
little-endian, row-major (the last index runs fastest); offsets count from the first byte after the header. In Python:

```python
import json, struct

def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + n + offset for offset in entry["data_offsets"])
        tensors[name] = (entry["shape"], struct.unpack(f"<{(end - begin) // 8}d", data[begin:end]))
    return tensors
```

A tensor's `sha256` is that of the bytes `data[begin:end]`. An empty shape, `[]`, is a single number.

## What passes
For one tensor let x be ours and y yours, of n entries each, d = y - x, b its rounding budget for the
precision that you compute in, and u that precision's `unit_roundoff` (2^-53, 2^-24, 2^-11, 2^-8, 2^-11 for float64,
float32, tf32, bfloat16, float16). With

    r = sqrt(sum d_i^2 / n)      m = max |d_i|      s = sqrt(sum x_i^2 / n)

the tensor **passes** if and only if y has no NaN and no infinity, and

    r <= F (b.rms + u s)    and    m <= M (b.max_abs + 2 u s)

with (F, M) = <FACTORS>; for gradients <GRADIENT>; and for any tensor <NOISE> where b.relative_l2 > <THRESHOLD>
(`rule` in the index has these numbers). The last is for tensors that are nothing but rounding: the gradient of a key's
bias is 0 in exact arithmetic, and any number as small as that is right. A port passes when all of its tensors do. Leave
out those that it does not form.

The budgets are measured, not estimated: each is the largest of <DRAWS> runs of our own model in that precision, minus
our float64 run, as `relative_l2` = ||d|| / ||x||, `max_abs` = m and `rms` = r. The few errors of a tensor of fewer than
<FEW> entries, such as the loss, may cancel by luck: its `rms` and `max_abs` are at least those of the tensor before it.
In bfloat16 and float16, weights and
input are rounded, what goes into a matrix product and what comes out of it, and every tensor that is named here; sums
are taken in float32. In TF32 only what goes into a matrix product is rounded, to 10 bits of fraction. Rounding is to
the nearest, ties to even. float64, above which there is nothing to measure with, has float32's budget times 2^-28: one
2^-29 for your errors, and one for those of our float64 run. A port that keeps more in float32 does better. PyTorch's
own bfloat16, float16 and float32 stay within 2 budgets in r. float16 is without loss scaling: small gradients are lost
in ours too, and the budgets say so.

## Conventions
- Shapes are (batch, ...), row-major. `pixel_values` is (batch, frames, channels, height, width).
- A weight of a linear map is (outputs, inputs): y = x W^T + b.
- **Tubelets.** `tubelet_size` is (t, h, w). The clip is cut into boxes without overlap, and what is left over at the
  end of an axis is dropped. `embeddings.patch_embeddings.projection.weight` is (hidden, channels, t, h, w), a 3D
  convolution whose stride is its kernel. Tokens are in the order of time, then rows, then columns: token
  (time * rows + row) * columns + column.
- **CLS token.** With `classifier` "token" it comes in front of the others, as token 0, before the position embeddings
  are added. With "gap" there is none, and the mean over the tokens is taken at the end.
- **Layer norm** over the last axis: (x - mean) / sqrt(variance + eps) * weight + bias, `layer_norm_eps` from the
  config, the variance divided by the number of features.
- **Attention.** Head i has the features i * d to (i + 1) * d of query, key and value, d = hidden / heads.
  scores = Q K^T / sqrt(d), of shape (batch, heads, queries, keys); probs = softmax over the keys. No mask, no dropout.
- **Depth.** `num_hidden_layers` is the number of layers of the encoder; of Model 2, of its spatial encoder. Its
  temporal encoder has `num_temporal_layers`. The other models have one encoder, and there `num_temporal_layers` says
  nothing.
- **Activation** `hidden_act`: "gelu" is x/2 (1 + erf(x / sqrt 2)); "gelu_fast" is
  x/2 (1 + tanh(0.7978845608 (x + 0.044715 x^3))). Where there is no erf, see below.
- **Layer** (pre-norm): y = x + Attention(LN_before(x)); z = y + MLP(LN_after(y)), MLP(x) = W2 act(W1 x + b1) + b2.
- **Head.** pooled = the CLS token, or the mean; with `representation_size`, tanh(W pooled + b); logits = W r + b.
- **Loss.** The mean over the batch of -log softmax(logits)[label].
- **Model 2** (`factorised_encoder`): times become part of the batch, (batch * times, places, hidden), for the spatial
  encoder; its pooled output, (batch, times, hidden), goes through the temporal encoder. Each has its own CLS token (if
  any), position embeddings and last layer norm. With `spatial_only_baseline` there is no temporal encoder, and the head
  sees the mean over the times.
- **Model 3** (`factorised_self_attention`): in a layer, attention over the tokens of the same place, (batch * places,
  times, hidden), and attention over those of the same time, (batch * times, places, hidden), each with its layer norm
  and residual; `attention_order` says which comes first. Place varies faster than batch in batch * places, and time
  in batch * times. Then the MLP.
- **Model 4** (`factorised_dot_product`): as Model 1, but the first half of the heads attends over the tokens of the
  same place, the second half over those of the same time.
- **Frame sampling** (`temporal_encoding`): of T frames and n = `num_sampled_frames`, those at round(k T / (n + 1)) for
  k = 1, 2, ..., n, half to even; the model sees these alone. Half to even: 1.5 becomes 2, 2.5 becomes 2, 4.5 becomes 4.
- **Range.** In `model1_saturated` exp(logits) overflows: subtract the largest logit first, in softmax and in the loss.
  In `model1_overflow` Q K^T overflows in float16 and Q K^T / sqrt(d) does not: scale before the product, or add up in a
  wider format. A budget of 1.79e308 (the largest number) means that our own run in that precision overflowed: the
  rule then only asks that yours did not.

## erf
In float64, to within 1e-15 of the true value: the series

    erf x = 2 / sqrt(pi) e^(-x^2) sum over n = 0, 1, ... of (2 x^2)^n x / (1 3 5 ... (2n + 1)),

whose terms are all of one sign, and for larger x the continued fraction of 1 - erf x. In Python:

```python
import math

def erf(x):
    a = abs(x)
    if a < 1.5:
        n, term = 0, a
        total = term
        while term > 1e-17 * total:
            n += 1
            term *= 2 * a * a / (2 * n + 1)
            total += term
        y = 2 / math.sqrt(math.pi) * math.exp(-a * a) * total
    else:
        fraction = a
        for n in range(150, 0, -1):
            fraction = a + n / 2 / fraction
        y = 1 - math.exp(-a * a) / (math.sqrt(math.pi) * fraction)
    return math.copysign(y, x)
```

Its derivative is 2/sqrt(pi) e^(-x^2).

## Names
`vivit.` comes before everything up to the last layer norm; L is `vivit.encoder.layer.N`, or
`vivit.spatial_encoder.layer.N` and `vivit.temporal_encoder.layer.N` in Model 2.

| name | what it is |
| --- | --- |
| `pixel_values` | the input |
| `vivit.embeddings.frame_sampling` | with frame sampling: the frames that are left |
| `vivit.embeddings.patch_embeddings` | tokens of the tubelets |
| `...embeddings.with_cls_token` | the CLS token in front of them |
| `...embeddings` | position embeddings added: what goes into layer 0 |
| `L.layernorm_before` | Model 3: `L.layernorm_temporal`, `L.layernorm_spatial` |
| `L.attention.attention.query`, `.key`, `.value` | Model 3: `L.temporal_attention...`, `L.spatial_attention...` |
| `L.attention.attention.scores`, `.probs` | Model 4: `...temporal.scores`, `...spatial.scores`, and so on |
| `L.attention.attention` | the heads put together |
| `L.attention.output.dense` | the projection after them |
| `L.attention_residual` | x + attention; Model 3: `L.temporal_attention_residual`, `L.spatial_attention_residual` |
| `L.layernorm_after` | |
| `L.intermediate.dense`, `L.intermediate` | W1 x + b1; after the activation |
| `L.output.dense` | W2 x + b2 |
| `L` | the layer's output |
| `vivit.layernorm` | the last layer norm; Model 2: `vivit.spatial_encoder.layernorm`, and `temporal` likewise |
| `vivit.spatial_encoder` | Model 2: pooled, (batch, times, hidden) |
| `pooling`, `pre_logits.dense` | with a representation layer: what goes into it, and W x + b |
| `pre_logits` | what goes into the classifier: after the tanh, or without that layer the pooled vector |
| `classifier` | logits |
| `loss` | |
| `gradient.NAME` | dloss / dNAME, of an intermediate value, of the input, and of every weight |

The gradient of a value is the whole one, through all paths from it: that of `L.attention_residual`, which goes on both
through the MLP and around it, is the sum of the two. Gradients come in the order of the backward pass, from
`classifier` to `pixel_values`, and after them those of the weights from the last layer to the first.

## With minivivit
`minivivit compare CASE/trace THEIRS` does this for you: THEIRS is a .safetensors or .npz file of your tensors under
these names, or under others with `--map`, and `--precision` is what you compute in. It names the first tensor that
rounding does not explain, and says what kind of difference it is.
"""


def readme(index: dict[str, Any], draws: int) -> str:
    """The README of a pack.

    Parameters
    ----------
    index : dict
        What ``index.json`` holds.
    draws : int
        How many runs a budget is the largest of.
    """
    rule = index["rule"]
    cases = "\n".join(f"| `{name}` | {case['description']} |" for name, case in index["cases"].items())
    values = {
        "FORMAT": index["format"],
        "CASES": cases,
        "FACTORS": _pair(rule["factors"]),
        "GRADIENT": _pair(rule["gradient_factors"]),
        "NOISE": _pair(rule["noise_factors"]),
        "THRESHOLD": f"{rule['noise']:g}",
        "DRAWS": str(draws),
        "FEW": str(FEW),
    }
    text = TEXT
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


def _pair(factors: list[float]) -> str:
    return "({:g}, {:g})".format(*factors)
