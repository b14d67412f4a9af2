"""Wrong answers to assignment 3 (see 01_tubelet_embedding.py for the form)."""

import math

import numpy as np
from scipy.special import erf


# %% layer_norm: the unbiased variance
# says: divide by n
def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(x.var(axis=-1, ddof=1, keepdims=True) + eps) * weight + bias


# %% layer_norm: eps outside of the root
# says: eps stands outside of the root
def layer_norm(x, weight, bias, eps):
    return (x - x.mean(axis=-1, keepdims=True)) / (x.std(axis=-1, keepdims=True) + eps) * weight + bias


# %% layer_norm: eps of its own
# says: eps is a fixed 1e-6
def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6) * weight + bias


# %% layer_norm: over the batch
# says: over the first axis
def layer_norm(x, weight, bias, eps):
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) * weight + bias


# %% layer_norm: over tokens and features
# says: over all axes but the first
def layer_norm(x, weight, bias, eps):
    axes = tuple(range(1, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt(x.var(axis=axes, keepdims=True) + eps) * weight + bias


# %% layer_norm: divided by the variance
# says: the division is by the variance
def layer_norm(x, weight, bias, eps):
    return (x - x.mean(axis=-1, keepdims=True)) / (x.var(axis=-1, keepdims=True) + eps) * weight + bias


# %% layer_norm: in place
# says: changes its input x in place
def layer_norm(x, weight, bias, eps):
    x -= x.mean(axis=-1, keepdims=True)
    x /= np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    return x * weight + bias


# %% layer_norm: made for two axes
# says: raises ValueError
def layer_norm(x, weight, bias, eps):
    rows, features = x.shape
    y = np.empty_like(x)
    for row in range(rows):
        y[row] = (x[row] - x[row].mean()) / math.sqrt(x[row].var() + eps) * weight + bias
    return y


# %% layer_norm_backward: the term through the mean forgotten
# says: the term through the mean is missing
def layer_norm_backward(dy, x, weight, eps):
    s = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    normalised = (x - x.mean(axis=-1, keepdims=True)) * s
    dnormalised = dy * weight
    dx = s * (dnormalised - normalised * (dnormalised * normalised).mean(axis=-1, keepdims=True))
    axes = tuple(range(x.ndim - 1))
    return dx, (dy * normalised).sum(axis=axes), dy.sum(axis=axes)


# %% layer_norm_backward: the term through the variance forgotten
# says: the term through the variance is missing
def layer_norm_backward(dy, x, weight, eps):
    s = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    normalised = (x - x.mean(axis=-1, keepdims=True)) * s
    dnormalised = dy * weight
    dx = s * (dnormalised - dnormalised.mean(axis=-1, keepdims=True))
    axes = tuple(range(x.ndim - 1))
    return dx, (dy * normalised).sum(axis=axes), dy.sum(axis=axes)


# %% layer_norm_backward: mean and variance taken for constants
# says: both terms
def layer_norm_backward(dy, x, weight, eps):
    s = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    normalised = (x - x.mean(axis=-1, keepdims=True)) * s
    axes = tuple(range(x.ndim - 1))
    return dy * weight * s, (dy * normalised).sum(axis=axes), dy.sum(axis=axes)


# %% layer_norm_backward: the weight forgotten
# says: the weight is missing
def layer_norm_backward(dy, x, weight, eps):
    s = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    normalised = (x - x.mean(axis=-1, keepdims=True)) * s
    dx = s * (dy - dy.mean(axis=-1, keepdims=True) - normalised * (dy * normalised).mean(axis=-1, keepdims=True))
    axes = tuple(range(x.ndim - 1))
    return dx, (dy * normalised).sum(axis=axes), dy.sum(axis=axes)


# %% layer_norm_backward: sums over the first axis only
# says: over all but the last
def layer_norm_backward(dy, x, weight, eps):
    s = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    normalised = (x - x.mean(axis=-1, keepdims=True)) * s
    dn = dy * weight
    dx = s * (dn - dn.mean(axis=-1, keepdims=True) - normalised * (dn * normalised).mean(axis=-1, keepdims=True))
    return dx, (dy * normalised).sum(axis=0), dy.sum(axis=0)


# %% layer_norm_backward: means for the parameters
# says: a mean over the rows
def layer_norm_backward(dy, x, weight, eps):
    s = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    normalised = (x - x.mean(axis=-1, keepdims=True)) * s
    dn = dy * weight
    dx = s * (dn - dn.mean(axis=-1, keepdims=True) - normalised * (dn * normalised).mean(axis=-1, keepdims=True))
    axes = tuple(range(x.ndim - 1))
    return dx, (dy * normalised).mean(axis=axes), dy.mean(axis=axes)


# %% layer_norm_backward: the package's
# says: this case earns nothing
def layer_norm_backward(dy, x, weight, eps):
    from minivivit.ops import layer_norm as package

    _, cache = package.layer_norm_forward(x, weight, weight * 0, eps)
    return package.layer_norm_backward(dy, cache)


# %% layer_norm_backward: finite differences, which are not exact
# says: layer_norm_backward: 0 of 5 cases right
def layer_norm_backward(dy, x, weight, eps):
    step = 1e-3
    dx = np.empty_like(x)
    for index in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[index] = step
        change = layer_norm(x + moved, weight, 0, eps) - layer_norm(x, weight, 0, eps)
        dx[index] = (dy * change).sum() / step
    return dx, np.zeros_like(weight), np.zeros_like(weight)


# %% gelu: the approximation with tanh
# says: the approximation with tanh
def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# %% gelu: the root of 2 forgotten
# says: within erf is missing
def gelu(x):
    return 0.5 * x * (1 + erf(x))


# %% gelu: for one number only
# says: raises TypeError
def gelu(x):
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


# %% gelu: never leaves its loop
# says: stopped after
def gelu(x):
    total, term, n = x / 1.0, x / 1.0, 0
    while not np.all(term == 0) or n >= 0:
        n += 1
        term = -term * x * x / (2 * n)
        total = total + np.nan_to_num(term) * 0
    return total


# %% gelu_backward: the second term forgotten
# says: the term x phi(x) is missing
def gelu_backward(dy, x):
    return dy * 0.5 * (1 + erf(x / math.sqrt(2)))


# %% gelu_backward: the density without its constant
# says: the factor 1 / sqrt(2 pi)
def gelu_backward(dy, x):
    return dy * (0.5 * (1 + erf(x / math.sqrt(2))) + x * np.exp(-(x**2) / 2))


# %% gelu_backward: dy forgotten
# says: dy is left out
def gelu_backward(dy, x):
    return 0.5 * (1 + erf(x / math.sqrt(2))) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


# %% gelu_backward: answers from the visible example
# says: gelu_backward: 0 of 4 cases right
SEEN = {}


def gelu_backward(dy, x):
    return SEEN.get(x.shape, np.zeros_like(x))
