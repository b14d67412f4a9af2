"""Which faults cannot be seen, in which recordings, and why.

The numbers are `measure.strength`: the largest effect of the fault on any tensor of the recording, in norm or in one
entry, over what rounding to the precision does to it. Right ports reach 2.7 of it in norm and 4.2 in one entry (see
`minivivit.verification.comparison.judgement`), so that what stays below 2 has no size to be seen by.
"""

from .measure import Column

# In every coarse recording.
INSIDE = {
    "times reversed inside the temporal attention": "what leaves the layers is right",
}

# In full recordings, paired by a map that names layouts: reported as an error of the map, with exit code 2, in a line
# that says which axes look exchanged.
OTHER_SHAPES = {"batch_first forgotten": "query, key and value come out as (tokens, clips, hidden)"}

# Ours strays little there, and what is allowed beside it (u, twenty times for a gradient, more where few entries carry
# the error) is many times that.
ALLOWED = "more than rounding makes, and less than is allowed"

FLOAT16 = {
    "TF32 in the convolution": "0.68 of rounding",
    "kernel through float16": "0.48 of rounding",
    "epsilon outside the root": "1.8 of rounding",
    "epsilon 1e-3": "0.98 of rounding",
    "layer 1 through float16": "0.75 of rounding",
    "epsilon 1e-4 in the temporal encoder": "0.26 of rounding",
}

BFLOAT16 = {
    "TF32 in the convolution": "0.092 of rounding",
    "kernel through float16": "0.065 of rounding",
    "epsilon outside the root": "0.22 of rounding",
    "epsilon 1e-3": "0.11 of rounding",
    "deviation kept in bfloat16": "0.55 of rounding",
    "norm's weight through bfloat16": "0.5 of rounding",
    "layer 1 through float16": "0.083 of rounding",
    "second layer of the MLP through bfloat16": "0.29 of rounding",
    "epsilon 1e-4 in the temporal encoder": "0.018 of rounding",
    "first row of a weight's gradient zeroed": f"41 of rounding; {ALLOWED}",
    "last column of a weight's gradient doubled": f"11 of rounding; {ALLOWED}",
}

# Only in a coarse recording: in a full one the step is seen by itself, see
# `minivivit.verification.comparison.suspicion`, or its tensor.
COARSE_FLOAT16 = {
    "norm's weight through bfloat16": "1.6 of rounding",
    "erf GELU in layer 1": "0.11 of rounding",
    "int8 weights in the MLP": f"7.5 of rounding; {ALLOWED}",
    "second layer of the MLP through bfloat16": "2.2 of rounding",
    "erf GELU in the spatial encoder": "0.13 of rounding",
    "erf backward": "0.84 of rounding",
    "erf backward, Model 3": "0.65 of rounding",
}

COARSE_BFLOAT16 = {
    "erf GELU in layer 1": "0.013 of rounding",
    "int8 weights in the MLP": "0.84 of rounding",
    "int8 weights everywhere": "1.6 of rounding",
    "erf GELU in the spatial encoder": "0.017 of rounding",
    "branch times 0.9 in the temporal encoder": f"10 of rounding; {ALLOWED}",
    "erf backward": "0.1 of rounding",
    "erf backward, Model 3": "0.062 of rounding",
    "activations through int8": "0.89 of rounding",
    "activations through float8": "2.6 of rounding",
    "an activation of one's own": "1.7 of rounding",
    "layer norm's backward without the mean": f"19 of rounding; {ALLOWED}",
    "layer norm's backward without the projection": f"19 of rounding; {ALLOWED}",
    "layer norm's backward with neither": f"26 of rounding; {ALLOWED}",
    "the last key lost": "2.5 of rounding",
    "softmax-one": "6.4 of rounding in one entry",
    "only one key column": "3.8 of rounding",
    "the last place lost, spatial encoder": "9.5 of rounding in one entry",
    "query without bias, spatial attention": "4.4 of rounding in one entry",
}

# Seen, but a tensor or more further on: at the first wrong one the error is less than is allowed.
LATER_FLOAT16 = {
    "layer norm's backward without the projection": f"77 of rounding; {ALLOWED}",
    "layer norm's backward with neither": f"49 of rounding; {ALLOWED}",
    "layer norm's backward, spatial encoder": f"63 of rounding; {ALLOWED}",
}

LATER_BFLOAT16 = {
    "ReLU's backward": f"42 of rounding; {ALLOWED}",
    "key detached": f"51 of rounding; {ALLOWED}",
    "branch of the MLP detached": f"63 of rounding; {ALLOWED}",
}

LATER_COARSE_BFLOAT16 = {
    "activation's backward left out": f"57 of rounding; {ALLOWED}",
    "scores' backward without the scale": f"42 of rounding; {ALLOWED}",
    "value's gradient with P not transposed": f"16 of rounding; {ALLOWED}",
    "softmax's backward, spatial encoder": f"120 of rounding; {ALLOWED}",
}

# Paired by order, with layouts that are found.
MERGED = "the gradients of query, key and value are one tensor, which pairs with none of ours"
TURNED = "a layout that undoes it is found"
BY_ORDER = OTHER_SHAPES | {
    "space and time exchanged": "scores come out of another shape",
    "spatial attention over time": "scores come out of another shape",
    "query and key exchanged": f"{TURNED} for the scores; the probabilities differ",
    "softmax's backward without the sum": MERGED,
    "scores' backward without the scale": MERGED,
    "value's gradient with P not transposed": MERGED,
    "key detached": MERGED,
    "softmax's backward, spatial encoder": MERGED,
    "weight's gradient transposed": TURNED,
    "classifier's gradient transposed": TURNED,
    "weight's gradient transposed, temporal attention": TURNED,
}

# Freshly initialised weights.
FRESH = {
    "positions in reverse": "positions start at 0",
    "CLS token without its position": "positions start at 0",
    "positions halved": "positions start at 0",
    "positions of another clip length": "positions start at 0",
    "CLS token of clip 0 alone": "CLS tokens and positions start at 0",
    "probabilities cut at 1e-2": "attention is uniform at first: no probability is so small",
    "the projection's bias lost": "biases start at 0",
    "query without bias, spatial attention": "biases start at 0",
    "norm's weight through bfloat16": "norms start at 1 and 0",
    "norms of a layer shared": "norms start at 1 and 0",
    "final norm with layer 0's parameters": "norms start at 1 and 0",
    "classifier's bias lost": "biases start at 0",
    "spatial CLS token in the temporal encoder": "CLS tokens and positions start at 0",
    "temporal positions missing": "positions start at 0",
    "temporal positions reversed": "positions start at 0",
    "spatial positions missing": "positions start at 0",
    "spatial positions with columns first": "positions start at 0",
    "norms of space and time exchanged": "norms start at 1 and 0",
    "positions of time missing": "positions start at 0",
    "positions missing": "positions start at 0",
    "positions with places first": "positions start at 0",
    "MLP without bias": "biases start at 0",
}

# Seen, and in the right layer, but not at its first gradient.
LATER = {
    "erf backward, Model 3": "51 of rounding at the MLP's weight; at the layer's output less than gradients may stray"
}

HIDDEN: dict[Column, dict[str, str]] = {
    Column(pairing="order"): BY_ORDER,
    Column(coarse=True): INSIDE,
    Column(coarse=True, pairing="order"): INSIDE,
    Column(dtype="float16"): FLOAT16,
    Column(dtype="bfloat16"): BFLOAT16,
    Column(coarse=True, dtype="float16"): INSIDE | FLOAT16 | COARSE_FLOAT16,
    Column(coarse=True, dtype="bfloat16"): INSIDE | BFLOAT16 | COARSE_BFLOAT16,
    Column(fresh=True): FRESH,
    Column(coarse=True, fresh=True): INSIDE | FRESH,
}

SEEN_LATER: dict[Column, dict[str, str]] = {
    Column(dtype="float16"): LATER_FLOAT16,
    Column(dtype="bfloat16"): LATER_BFLOAT16,
    Column(coarse=True, dtype="float16"): LATER_FLOAT16,
    Column(coarse=True, dtype="bfloat16"): LATER_BFLOAT16 | LATER_COARSE_BFLOAT16,
    Column(coarse=True, fresh=True): LATER,
}
