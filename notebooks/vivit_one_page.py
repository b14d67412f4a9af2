"""ViViT on one page: a video transformer from pixels to loss, every gradient, and learning, in NumPy alone.

This is Model 1 of "ViViT: A Video Vision Transformer" (Arnab et al. 2021, arXiv:2103.15691), with the arithmetic and
the names of the published google/vivit-b-16x2-kinetics400. A test locks it to the package minivivit, to 1e-12.

    pixels -> tubelets -> tokens -> L x (+ attention, + MLP) -> layer norm -> CLS token -> logits -> loss

Every piece is two functions, and the second is the derivative of the first:

    y, cache = f_forward(x, weight, bias)          cache: what the way back needs to see again
    dx, dweight, dbias = f_backward(dy, cache)     dx is dL/dx: how the loss L changes with each number in x

The way back is the chain rule: the same pieces in reverse order, each making dL/d(input) of dL/d(output). Where a
value was used twice, its two gradients add up; where it served many rows, as a weight does, they add up over the rows.

Parameters are one plain dict by name. A piece gets those under its own name, splatted into its arguments:
under(params, "classifier") is {"weight": ..., "bias": ...}. Shapes are written with these letters:

    B clips in a batch, of T frames with C channels, H x W pixels      N tokens in a clip: CLS and its tubelets
    D numbers in a token, in `heads` heads of d = D / heads each       F numbers in the hidden layer of the MLP

    python vivit_one_page.py     checks every gradient, then learns to tell motions apart, in a few seconds
"""

import json

import numpy as np


def under(params, prefix):
    return {name.removeprefix(prefix + "."): p for name, p in params.items() if name.startswith(prefix + ".")}


# ------------------------------------------------------------------------------------------------- operators
def linear_forward(x, weight, bias):
    """y = W x + b, for every row x of the input."""
    y = x @ weight.T + bias  # (..., inputs) @ (inputs, outputs) -> (..., outputs)
    return y, (x, weight)


def linear_backward(dy, cache):
    """y_o = sum_i W_oi x_i + b_o  =>  dx_i = sum_o W_oi dy_o,  dW_oi = sum_rows dy_o x_i,  db_o = sum_rows dy_o."""
    x, weight = cache
    x_rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # (rows, inputs), (rows, outputs)
    return dy @ weight, dy_rows.T @ x_rows, dy_rows.sum(axis=0)


def layer_norm_forward(x, weight, bias, eps=1e-6):
    """Make every row x_hat, with mean 0 and variance 1; then y = weight x_hat + bias, feature by feature."""
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse_std = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)  # (..., D) -> (..., 1)
    x_hat = centred * inverse_std
    return weight * x_hat + bias, (x_hat, inverse_std, weight)


def layer_norm_backward(dy, cache):
    """x_k moves x_hat_j directly (if j = k), through the mean and through the variance: d x_hat_j / d x_k =
    inverse_std (delta_jk - 1/D - x_hat_j x_hat_k / D). To shift or stretch a whole row changes nothing, but for eps."""
    x_hat, inverse_std, weight = cache
    dx_hat = dy * weight
    shift = dx_hat.mean(axis=-1, keepdims=True)
    stretch = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
    dx = inverse_std * (dx_hat - shift - x_hat * stretch)
    return dx, (dy * x_hat).sum(axis=(0, 1)), dy.sum(axis=(0, 1))  # the last two: (B, N, D) -> (D,)


def gelu_forward(x, slope=0.7978845608):  # sqrt(2 / pi), with the digits of the published model
    """x times the probability that a normal number is below x, very nearly: max(x, 0) without its corner."""
    tanh = np.tanh(slope * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + tanh), (x, slope, tanh)


def gelu_backward(dy, cache):
    """The product rule on x/2 (1 + tanh u), where d tanh u / dx = (1 - tanh^2 u) du/dx."""
    x, slope, tanh = cache
    du = slope * (1 + 3 * 0.044715 * x**2)
    return dy * 0.5 * (1 + tanh + x * (1 - tanh**2) * du)


# ---------------------------------------------------------------------- attention: where tokens meet (equation 7)
def split_heads(x, heads):
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)  # (B, N, D) -> (B, heads, N, d)


def merge_heads(x):
    return x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)  # (B, heads, N, d) -> (B, N, D)


def attention_forward(x, params, heads):
    """softmax(Q K^T / sqrt(d)) V in each head. Row i of the probabilities says how much token i takes of every token's
    value: the more, the better that token's key answers its query."""
    q, q_cache = linear_forward(x, **under(params, "attention.query"))  # (B, N, D), and k and v too
    k, k_cache = linear_forward(x, **under(params, "attention.key"))
    v, v_cache = linear_forward(x, **under(params, "attention.value"))
    q, k, v = split_heads(q, heads), split_heads(k, heads), split_heads(v, heads)  # (B, heads, N, d)
    scale = q.shape[-1] ** -0.5  # a score sums d products, and would grow with sqrt(d)
    scores = q @ k.swapaxes(-1, -2) * scale  # (B, heads, N, N)
    exp = np.exp(scores - scores.max(axis=-1, keepdims=True))  # softmax: the maximum cancels, and exp cannot overflow
    probs = exp / exp.sum(axis=-1, keepdims=True)
    context = merge_heads(probs @ v)  # (B, heads, N, d) -> (B, N, D)
    y, out_cache = linear_forward(context, **under(params, "output.dense"))
    return y, (q, k, v, scale, probs, q_cache, k_cache, v_cache, out_cache)


def attention_backward(dy, cache):
    """Y = A B  =>  dA = dY B^T,  dB = A^T dY: here are two such products, and softmax between them. x went three ways,
    to q, k and v, so three gradients add up."""
    q, k, v, scale, probs, q_cache, k_cache, v_cache, out_cache = cache
    g = {}
    dcontext, g["output.dense.weight"], g["output.dense.bias"] = linear_backward(dy, out_cache)
    dcontext = split_heads(dcontext, q.shape[1])  # (B, heads, N, d)
    dv = probs.swapaxes(-1, -2) @ dcontext  # (B, heads, N, d)
    dprobs = dcontext @ v.swapaxes(-1, -2)  # (B, heads, N, N)
    # d probs_j / d scores_k = probs_j (delta_jk - probs_k): what one score gains, the others lose
    dscores = probs * (dprobs - (dprobs * probs).sum(axis=-1, keepdims=True)) * scale
    dq = dscores @ k  # (B, heads, N, d)
    dk = dscores.swapaxes(-1, -2) @ q  # row j: every query that asked key j
    dx_q, g["attention.query.weight"], g["attention.query.bias"] = linear_backward(merge_heads(dq), q_cache)
    dx_k, g["attention.key.weight"], g["attention.key.bias"] = linear_backward(merge_heads(dk), k_cache)
    dx_v, g["attention.value.weight"], g["attention.value.bias"] = linear_backward(merge_heads(dv), v_cache)
    return dx_q + dx_k + dx_v, g


# ------------------------------------------------------------------------------- one layer (equations 2 and 3)
def layer_forward(z, params, heads):
    """y = z + attention(norm(z)), then y + MLP(norm(y)): tokens exchange what they know, then each thinks alone."""
    x, before = layer_norm_forward(z, **under(params, "layernorm_before"))
    x, attended = attention_forward(x, under(params, "attention"), heads)
    y = z + x  # (B, N, D)
    x, after = layer_norm_forward(y, **under(params, "layernorm_after"))
    x, widened = linear_forward(x, **under(params, "intermediate.dense"))  # (B, N, D) -> (B, N, F)
    x, bent = gelu_forward(x)
    x, narrowed = linear_forward(x, **under(params, "output.dense"))  # (B, N, F) -> (B, N, D)
    return y + x, (before, attended, after, widened, bent, narrowed)


def layer_backward(dz, cache):
    """From the bottom up. A sum passes its gradient on to both terms: dz goes past each branch unchanged, and the
    branch adds its own. On this open road the gradient reaches the first of many layers."""
    before, attended, after, widened, bent, narrowed = cache
    g = {}
    dx, g["output.dense.weight"], g["output.dense.bias"] = linear_backward(dz, narrowed)
    dx = gelu_backward(dx, bent)
    dx, g["intermediate.dense.weight"], g["intermediate.dense.bias"] = linear_backward(dx, widened)
    dx, g["layernorm_after.weight"], g["layernorm_after.bias"] = layer_norm_backward(dx, after)
    dy = dz + dx
    dx, dattention = attention_backward(dy, attended)
    g |= {f"attention.{name}": gradient for name, gradient in dattention.items()}
    dx, g["layernorm_before.weight"], g["layernorm_before.bias"] = layer_norm_backward(dx, before)
    return dy + dx, g


# --------------------------------------------------------------- from pixels to tokens (section 3.2, equation 1)
def embeddings_forward(pixel_values, params):
    """z = [cls, E x_1, E x_2, ...] + p. Each box x_i of t x h x w pixels becomes a token. No pixel is in two boxes, so
    this 3D convolution is one matrix product. Attention knows no order: only p tells when and where a token was."""
    weight, bias = params["patch_embeddings.projection.weight"], params["patch_embeddings.projection.bias"]
    (B, T, C, H, W), (D, _, t, h, w) = pixel_values.shape, weight.shape
    boxes = pixel_values.reshape(B, T // t, t, C, H // h, h, W // w, w).transpose(0, 1, 4, 6, 3, 2, 5, 7)
    tubelets = boxes.reshape(B, -1, C * t * h * w)  # (B, T/t, H/h, W/w, C, t, h, w) -> (B, N - 1, C t h w)
    tokens, projected = linear_forward(tubelets, weight.reshape(D, -1), bias)  # (B, N - 1, D)
    cls = np.repeat(params["cls_token"], B, axis=0)  # (1, 1, D) -> (B, 1, D)
    z = np.concatenate([cls, tokens], axis=1) + params["position_embeddings"]  # (B, N, D) + (1, N, D)
    return z, (projected, boxes.shape, pixel_values.shape, weight.shape)


def embeddings_backward(dz, cache):
    """p and cls served every clip, so their gradients sum over the batch; and each pixel goes back to its place."""
    projected, boxes_shape, pixels_shape, weight_shape = cache
    g = {"position_embeddings": dz.sum(axis=0, keepdims=True), "cls_token": dz[:, :1].sum(axis=0, keepdims=True)}
    dtubelets, dweight, g["patch_embeddings.projection.bias"] = linear_backward(dz[:, 1:], projected)
    g["patch_embeddings.projection.weight"] = dweight.reshape(weight_shape)  # (D, C t h w) -> (D, C, t, h, w)
    dboxes = dtubelets.reshape(boxes_shape).transpose(0, 1, 5, 4, 2, 6, 3, 7)  # (B, T/t, t, C, H/h, h, W/w, w)
    return dboxes.reshape(pixels_shape), g


# --------------------------------------------------------------------------------------- the model and its loss
def vivit_forward(pixel_values, params, heads, keep_caches=True):
    """Clips (B, T, C, H, W) to logits (B, labels). Without the caches of the way back it takes far less memory."""
    z, embedded = embeddings_forward(pixel_values, under(params, "vivit.embeddings"))  # (B, N, D)
    layers = []
    while layer := under(params, f"vivit.encoder.layer.{len(layers)}"):
        z, cache = layer_forward(z, layer, heads)
        layers.append(cache if keep_caches else None)
    y, normed = layer_norm_forward(z, **under(params, "vivit.layernorm"))
    logits, classified = linear_forward(y[:, 0], **under(params, "classifier"))  # CLS alone: (B, D) -> (B, labels)
    return logits, (embedded, layers, normed, classified, y.shape)


def vivit_backward(dlogits, cache):
    """The gradient of every parameter, by name, and of the pixels."""
    embedded, layers, normed, classified, y_shape = cache
    g = {}
    dcls, g["classifier.weight"], g["classifier.bias"] = linear_backward(dlogits, classified)
    dy = np.zeros(y_shape, dlogits.dtype)
    dy[:, 0] = dcls  # the logits saw no other token
    dz, g["vivit.layernorm.weight"], g["vivit.layernorm.bias"] = layer_norm_backward(dy, normed)
    for index in reversed(range(len(layers))):
        dz, dlayer = layer_backward(dz, layers[index])
        g |= {f"vivit.encoder.layer.{index}.{name}": gradient for name, gradient in dlayer.items()}
    g["pixel_values"], dembeddings = embeddings_backward(dz, embedded)
    return g | {f"vivit.embeddings.{name}": gradient for name, gradient in dembeddings.items()}


def loss_and_gradients(pixel_values, labels, params, heads):
    """The mean of -log p(right label), where p = softmax(logits), and its gradient to everything. It begins with
    d(-log p_right) / d logit_k = p_k - (1 if k is right else 0): wrong classes down, the right one up."""
    logits, cache = vivit_forward(pixel_values, params, heads)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # (B, labels); never log(0)
    right = np.arange(len(labels)), labels
    dlogits = np.exp(log_p)
    dlogits[right] -= 1
    return -log_p[right].mean(), vivit_backward(dlogits / len(labels), cache)


# ------------------------------------------------------------------------------------------------------ learning
def adamw_step(params, gradients, state, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    """p moves against m / sqrt(v), running means of its gradient and of its square, freed of their start at 0: by about
    lr where gradients agree, whatever their size, and by less where they vary. Changes params in place."""
    t = state["t"] = state.get("t", 0) + 1
    for name, p in params.items():
        m, v = state.setdefault(name, (np.zeros_like(p), np.zeros_like(p)))
        m += (1 - beta1) * (gradients[name] - m)
        v += (1 - beta2) * (gradients[name] ** 2 - v)
        if name.endswith("weight") and "layernorm" not in name:  # matrices shrink; biases, scales and tokens do not
            p *= 1 - lr * weight_decay
        p -= lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)


def initial_parameters(rng, clip, tubelet, D, F, num_layers, num_labels, std=0.2):
    """Small random matrices; scales 1; biases, CLS token and positions 0. clip is (T, C, H, W), tubelet (t, h, w)."""
    (T, C, H, W), (t, h, w) = clip, tubelet
    layer = {f"attention.attention.{name}": (D, D) for name in ("query", "key", "value")}
    layer |= {"attention.output.dense": (D, D), "intermediate.dense": (F, D), "output.dense": (D, F)}
    layer |= {"layernorm_before": (D,), "layernorm_after": (D,)}
    shapes = {"vivit.embeddings.patch_embeddings.projection": (D, C, t, h, w)}
    shapes |= {f"vivit.encoder.layer.{i}.{name}": layer[name] for i in range(num_layers) for name in layer}
    shapes |= {"vivit.layernorm": (D,), "classifier": (num_labels, D)}
    params = {"vivit.embeddings.cls_token": np.zeros((1, 1, D))}
    params["vivit.embeddings.position_embeddings"] = np.zeros((1, 1 + T // t * (H // h) * (W // w), D))
    for name, shape in shapes.items():
        params[f"{name}.weight"] = np.ones(shape) if len(shape) == 1 else std * rng.standard_normal(shape)
        params[f"{name}.bias"] = np.zeros(shape[0])
    return {name: p.astype("float32") for name, p in params.items()}


def load(directory):
    """Published parameters. A safetensors file is a length (8 bytes), as many bytes of JSON, and the numbers."""
    file = np.fromfile(f"{directory}/model.safetensors", np.uint8)
    start = 8 + int.from_bytes(file[:8].tobytes(), "little")
    params, numbers = json.loads(file[8:start].tobytes()), file[start:]  # params: as yet, where each one is
    params.pop("__metadata__", None)
    for name, entry in params.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] != "F32" or not 0 <= begin <= end <= len(numbers):
            raise ValueError(f"{name} is not float32, or not in the file")
        params[name] = numbers[begin:end].view("<f4").reshape(entry["shape"])
    return params


def moving_squares(rng, B):
    """Clips (B, 8, 1, 16, 16) of a moving square, and where to: right, left, down or up. No single frame shows it."""
    labels, starts = rng.integers(4, size=B), rng.integers(16, size=(B, 2))
    steps = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])[labels]  # (B, 2): pixels a frame, down and right
    square = np.pad(np.ones((5, 5), "float32"), (0, 11))  # (16, 16); what leaves on one side comes in on the other
    paths = [start + step * t for start, step in zip(starts, steps, strict=True) for t in range(8)]
    frames = [np.roll(square, place, axis=(0, 1)) for place in paths]
    return np.reshape(frames, (B, 8, 1, 16, 16)), labels


def main():
    rng, heads, state = np.random.default_rng(0), 4, {}
    params = initial_parameters(rng, clip=(8, 1, 16, 16), tubelet=(2, 8, 8), D=32, F=64, num_layers=2, num_labels=4)

    # A gradient times a small random step u is the change of the loss along u (here away from the zeros of the start).
    clips, labels = moving_squares(rng, B=2)
    point = {name: p + 0.1 * rng.standard_normal(p.shape) for name, p in {**params, "pixel_values": clips}.items()}
    _, gradients = loss_and_gradients(point["pixel_values"], labels, point, heads)
    errors = []
    for name, p in point.items():
        u, losses = 1e-6 * rng.standard_normal(p.shape), []
        for step in (u, -2 * u, u):  # to one side, to the other side, and back
            p += step
            losses.append(loss_and_gradients(point["pixel_values"], labels, point, heads)[0])
        errors.append(abs((losses[0] - losses[1]) / 2 - (gradients[name] * u).sum()) / 1e-6)
    print(f"{len(errors)} gradients against finite differences: they agree to {max(errors):.0e}")
    for step in range(101):
        clips, labels = moving_squares(rng, B=16)
        loss, gradients = loss_and_gradients(clips, labels, params, heads)
        adamw_step(params, gradients, state, lr=3e-3)
        if step % 10 == 0:
            print(f"step {step:3}   loss {loss:.3f}")
    clips, labels = moving_squares(rng, B=256)
    logits, _ = vivit_forward(clips, params, heads, keep_caches=False)
    print(f"{np.mean(logits.argmax(axis=-1) == labels):.1%} of 256 new clips are classified rightly")


if __name__ == "__main__":
    main()
