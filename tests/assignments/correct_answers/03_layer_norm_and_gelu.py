"""Right answers to assignment 3 in other styles (see 01_tubelet_embedding.py for the form)."""

import math

import numpy as np
from scipy.special import erf


# %% layer_norm: loops
def layer_norm(x, weight, bias, eps):
    rows = x.reshape(-1, x.shape[-1])
    y = np.zeros(rows.shape)
    for i, row in enumerate(rows):
        mean = sum(row) / len(row)
        variance = sum((entry - mean) ** 2 for entry in row) / len(row)
        for k, entry in enumerate(row):
            y[i, k] = weight[k] * (entry - mean) / math.sqrt(variance + eps) + bias[k]
    return y.reshape(x.shape)


# %% layer_norm: np.var and a power
def layer_norm(x, weight, bias, eps):
    return weight * (x - np.mean(x, -1, keepdims=True)) * (np.var(x, -1, keepdims=True) + eps) ** -0.5 + bias


# %% layer_norm: the mean of the squares minus the square of the mean, in float64
def layer_norm(x, weight, bias, eps):
    z = x.astype(np.float64)
    mean = z.mean(-1)[..., None]
    variance = (z * z).mean(-1)[..., None] - mean**2
    return ((z - mean) / np.sqrt(variance + eps) * weight + bias).astype(x.dtype)


# %% layer_norm_backward: the Jacobian of every row
def layer_norm_backward(dy, x, weight, eps):
    n = x.shape[-1]
    rows, dy_rows = x.reshape(-1, n), dy.reshape(-1, n)
    dx, dweight, dbias = np.zeros(rows.shape), np.zeros(n), np.zeros(n)
    for i in range(len(rows)):
        s = 1 / math.sqrt(rows[i].var() + eps)
        normalised = (rows[i] - rows[i].mean()) * s
        jacobian = s * (np.eye(n) - 1 / n - np.outer(normalised, normalised) / n)
        dx[i] = jacobian @ (weight * dy_rows[i])
        dweight += dy_rows[i] * normalised
        dbias += dy_rows[i]
    return dx.reshape(x.shape), dweight, dbias


# %% layer_norm_backward: step by step, as a computer would
def layer_norm_backward(dy, x, weight, eps):
    n = x.shape[-1]
    mean = x.mean(axis=-1, keepdims=True)
    centred = x - mean
    variance = (centred**2).sum(axis=-1, keepdims=True) / n
    std = np.sqrt(variance + eps)
    normalised = centred / std
    dnormalised = dy * weight
    dcentred = dnormalised / std
    dstd = -(dnormalised * centred).sum(axis=-1, keepdims=True) / std**2
    dvariance = dstd / (2 * std)
    dcentred = dcentred + dvariance * 2 * centred / n
    dmean = -dcentred.sum(axis=-1, keepdims=True)
    dx = dcentred + dmean / n
    rows = (-1, n)
    return dx, np.einsum("ik,ik->k", dy.reshape(rows), normalised.reshape(rows)), np.einsum("ik->k", dy.reshape(rows))


# %% gelu: math.erf, entry by entry
def gelu(x):
    y = np.zeros(x.shape, x.dtype)
    for index in np.ndindex(x.shape):
        y[index] = x[index] * (1 + math.erf(x[index] / math.sqrt(2))) / 2
    return y


# %% gelu: vectorize, float64
def gelu(x):
    return x * np.vectorize(lambda entry: 0.5 * math.erfc(-float(entry) / 2**0.5))(x)


# %% gelu_backward: product rule, entry by entry
def gelu_backward(dy, x):
    dx = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        entry = float(x[index])
        phi = math.exp(-entry * entry / 2) / math.sqrt(2 * math.pi)
        dx[index] = dy[index] * (0.5 * (1 + math.erf(entry / math.sqrt(2))) + entry * phi)
    return dx


# %% gelu_backward: in float64
def gelu_backward(dy, x):
    z = x.astype(np.float64)
    return dy * (0.5 + 0.5 * erf(z * math.sqrt(0.5)) + z * (2 * np.pi) ** -0.5 * np.exp(-np.square(z) / 2))


# %% layer_norm: np.var
# change: (centred * centred).mean(axis=-1, keepdims=True) => np.var(x, axis=-1, keepdims=True)


# %% layer_norm: the standard deviation, squared
# change: (centred * centred).mean(axis=-1, keepdims=True) => x.std(axis=-1, keepdims=True) ** 2


# %% layer_norm: a sum and a length
# change: (centred * centred).mean(axis=-1, keepdims=True) => np.sum(centred**2, -1, keepdims=True) / x.shape[-1]


# %% layer_norm: einsum
# change: (centred * centred).mean(axis=-1, keepdims=True) => np.einsum("...k,...k->...", centred, centred)[..., None] / x.shape[-1]


# %% layer_norm: half a power
# change: centred / np.sqrt(variance + eps) => centred * np.power(variance + eps, -0.5)


# %% layer_norm: the linear map in one
# change: centred / np.sqrt(variance + eps) * weight + bias => centred * (weight / np.sqrt(variance + eps)) + bias


# %% layer_norm: expand_dims
# change: x.mean(axis=-1, keepdims=True) => np.expand_dims(x.mean(axis=-1), axis=-1)


# %% layer_norm: hypot for the root
# change: np.sqrt(variance + eps) => np.hypot(np.sqrt(variance), math.sqrt(eps))


# %% layer_norm: a matrix that takes the mean away
def layer_norm(x, weight, bias, eps):
    n = x.shape[-1]
    centred = x @ (np.eye(n) - 1 / n)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * weight + bias


# %% layer_norm: apply_along_axis
def layer_norm(x, weight, bias, eps):
    def of_row(row):
        return (row - row.mean()) / math.sqrt(row.var() + eps) * weight + bias

    return np.apply_along_axis(of_row, -1, x)


# %% layer_norm_backward: the two means under one
# change: dnormalised - through_mean - through_variance => dnormalised - (through_mean + through_variance)


# %% layer_norm_backward: sums over n
# change: dnormalised.mean(axis=-1, keepdims=True) => dnormalised.sum(axis=-1, keepdims=True) / x.shape[-1]


# %% layer_norm_backward: rows, once reshaped
# change: (dy * normalised).sum(axis=rows), dy.sum(axis=rows) => (dy * normalised).reshape(-1, x.shape[-1]).sum(axis=0), dy.reshape(-1, x.shape[-1]).sum(axis=0)


# %% layer_norm_backward: a list of results
# change: return dx, (dy * normalised).sum(axis=rows), dy.sum(axis=rows) => return [dx, np.add.reduce(dy * normalised, axis=rows), np.add.reduce(dy, axis=rows)]


# %% layer_norm_backward: float64 within
# change: centred = x - x.mean => x, dy = x.astype(np.float64), dy.astype(np.float64); centred = x - x.mean


# %% layer_norm_backward: a projection off two directions
def layer_norm_backward(dy, x, weight, eps):
    n = x.shape[-1]
    std = np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    xhat = (x - x.mean(axis=-1, keepdims=True)) / std
    g = dy * weight / std
    g = g - g.mean(axis=-1, keepdims=True) - xhat * np.einsum("...k,...k->...", g, xhat)[..., None] / n
    axes = tuple(range(dy.ndim - 1))
    return g, np.sum(dy * xhat, axis=axes), np.sum(dy, axis=axes)


# %% gelu: ndtr
from scipy.special import ndtr


def gelu(x):
    return x * ndtr(x)


# %% gelu: erfc
from scipy.special import erfc


def gelu(x):
    return 0.5 * x * erfc(-x / math.sqrt(2))


# %% gelu: 1 minus half of erfc
from scipy.special import erfc


def gelu(x):
    return x * (1 - 0.5 * erfc(x / 2**0.5))


# %% gelu: x/2 times 1 + erf
from scipy.special import erf


def gelu(x):
    return x / 2 * (1 + erf(x * math.sqrt(0.5)))


# %% gelu: x/2 + x/2 erf
from scipy.special import erf


def gelu(x):
    return x / 2 + x / 2 * erf(x / np.sqrt(2))


# %% gelu: the NormalDist of the standard library
from statistics import NormalDist


def gelu(x):
    return x * np.vectorize(NormalDist().cdf)(x)


# %% gelu: by the sign
from scipy.special import erfc


def gelu(x):
    return np.where(x > 0, x - x * 0.5 * erfc(x / math.sqrt(2)), x * 0.5 * erfc(-x / math.sqrt(2)))


# %% gelu_backward: ndtr
from scipy.special import ndtr


def gelu_backward(dy, x):
    return dy * (ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))


# %% gelu_backward: erfc
from scipy.special import erfc


def gelu_backward(dy, x):
    return dy * 0.5 * erfc(-x / math.sqrt(2)) + dy * x * np.exp(-x * x / 2) * (2 * math.pi) ** -0.5


# %% gelu_backward: the density by itself
from scipy.special import erf


def gelu_backward(dy, x):
    density = np.exp(-0.5 * np.square(x)) * 0.3989422804014327
    return np.multiply(dy, 0.5 + 0.5 * erf(x / 2**0.5) + x * density)


# %% gelu_backward: math, entry by entry, in a list
import math


def gelu_backward(dy, x):
    def slope(z):
        return 0.5 * math.erfc(-z / math.sqrt(2)) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return dy * np.array([slope(float(z)) for z in x.ravel()]).reshape(x.shape)
