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
# says: layer_norm_backward: 0 of 11 cases right
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
# says: gelu_backward: 0 of 9 cases right
SEEN = {}


def gelu_backward(dy, x):
    return SEEN.get(x.shape, np.zeros_like(x))


# %% layer_norm: eps for the least variance
# says: eps is taken for the least variance
# change: np.sqrt(variance + eps) => np.sqrt(np.maximum(variance, eps))


# %% layer_norm: eps squared
# says: eps is squared
# change: np.sqrt(variance + eps) => np.sqrt(variance + eps**2)


# %% layer_norm: eps left out
# says: layer_norm:
# change: np.sqrt(variance + eps) => np.sqrt(variance)


# %% layer_norm: the root of eps outside
# says: the root of eps is added
# change: np.sqrt(variance + eps) => (np.sqrt(variance) + math.sqrt(eps))


# %% layer_norm: eps of 1e-12
# says: eps is a fixed 1e-12
# change: np.sqrt(variance + eps) => np.sqrt(variance + 1e-12)


# %% layer_norm: no root
# says: the division is by the variance
# change: np.sqrt(variance + eps) => (variance + eps)


# %% layer_norm: a sum for the mean of squares
# says: a sum of squares stands
# change: (centred * centred).mean(axis=-1, keepdims=True) => (centred * centred).sum(axis=-1, keepdims=True)


# %% layer_norm: the variance about 0
# says: the variance is taken about 0
# change: (centred * centred).mean(axis=-1, keepdims=True) => (x * x).mean(axis=-1, keepdims=True)


# %% layer_norm: keepdims forgotten
# says: keep it, with keepdims=True
# change: (centred * centred).mean(axis=-1, keepdims=True) => (centred * centred).mean(axis=-1)


# %% layer_norm: no weight
# says: the weight is left out
# change:  * weight =>


# %% layer_norm: no bias
# says: the bias is left out
# change:  + bias =>


# %% layer_norm: the bias before the weight
# says: the bias is added before
# change: centred / np.sqrt(variance + eps) * weight + bias => (centred / np.sqrt(variance + eps) + bias) * weight


# %% layer_norm: 1 + weight
# says: y:
# change:  * weight =>  * (1 + weight)


# %% layer_norm: as integers
# says: which cuts off
# change: return centred / np.sqrt(variance + eps) * weight + bias => return (centred / np.sqrt(variance + eps) * weight + bias).astype(int)


# %% layer_norm: the mean of absolute values
# says: y:
# change: np.sqrt(variance + eps) => (abs(centred).mean(axis=-1, keepdims=True) + eps)


# %% layer_norm_backward: dx of zeros
# says: dx:
# change: return dx, => return 0 * dx,


# %% layer_norm_backward: both terms added
# says: both terms have the wrong sign
# change: dnormalised - through_mean - through_variance => dnormalised + through_mean + through_variance


# %% layer_norm_backward: the term through the variance added
# says: the term through the variance has the wrong sign
# change: - through_variance) => + through_variance)


# %% layer_norm_backward: the term through the mean added
# says: the term through the mean has the wrong sign
# change: - through_mean - => + through_mean -


# %% layer_norm_backward: sums for means
# says: sums stand where means belong
# change: dnormalised.mean( => dnormalised.sum(
# change: (dnormalised * normalised).mean( => (dnormalised * normalised).sum(


# %% layer_norm_backward: dx without the standard deviation
# says: 1 / sqrt(variance + eps) is missing
# change: dx = inverse_std * ( => dx = (


# %% layer_norm_backward: dweight with x
# says: with the normalised x
# change: (dy * normalised).sum(axis=rows) => (dy * x).sum(axis=rows)


# %% layer_norm_backward: the weight in the end
# says: it belongs in dnormalised
# change: dnormalised = dy * weight => dnormalised = dy
# change: return dx, => return dx * weight,


# %% layer_norm_backward: eps of 1e-5
# says: dx:
# change: + eps) => + 1e-5)


# %% layer_norm_backward: dbias of the first row
# says: dbias:
# change: dy.sum(axis=rows) => dy.reshape(-1, dy.shape[-1])[0]


# %% layer_norm_backward: the sign of all turned
# says: dx has the wrong sign
# change: return dx, => return -dx,


# %% layer_norm_backward: no sum over the rows
# says: layer_norm_backward:
# change: (dy * normalised).sum(axis=rows), dy.sum(axis=rows) => dy * normalised, dy


# %% gelu: SiLU
# says: this is SiLU
# change: 0.5 * x * (1 + erf(x / math.sqrt(2))) => x / (1 + np.exp(-x))


# %% gelu: x sigmoid(1.702 x)
# says: x sigmoid(1.702 x)
# change: 0.5 * x * (1 + erf(x / math.sqrt(2))) => x / (1 + np.exp(-1.702 * x))


# %% gelu: ReLU
# says: this is ReLU
# change: 0.5 * x * (1 + erf(x / math.sqrt(2))) => np.maximum(x, 0)


# %% gelu: no half
# says: the factor 1/2 is missing
# change: 0.5 * x * (1 + erf(x / math.sqrt(2))) => x * (1 + erf(x / math.sqrt(2)))


# %% gelu: no 1
# says: the 1 + before erf is missing
# change: 0.5 * x * (1 + erf(x / math.sqrt(2))) => 0.5 * x * erf(x / math.sqrt(2))


# %% gelu: no x
# says: the factor x is missing
# change: 0.5 * x * (1 + erf(x / math.sqrt(2))) => 0.5 * (1 + erf(x / math.sqrt(2)))


# %% gelu: erfc of x
# says: y:
# change: 0.5 * x * (1 + erf(x / math.sqrt(2))) => 0.5 * x * (1 - erf(x / math.sqrt(2)))


# %% gelu: the density
# says: the density stands
# change: 0.5 * x * (1 + erf(x / math.sqrt(2))) => x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


# %% gelu_backward: the first term alone
# says: the term x phi(x) is missing
# change: return dy * (cumulative + x * density) => return dy * cumulative


# %% gelu_backward: the second term alone
# says: the term Phi(x) is missing
# change: return dy * (cumulative + x * density) => return dy * x * density


# %% gelu_backward: subtracted
# says: the second term is subtracted
# change: return dy * (cumulative + x * density) => return dy * (cumulative - x * density)


# %% gelu_backward: no x in the second term
# says: lacks its factor x
# change: return dy * (cumulative + x * density) => return dy * (cumulative + density)


# %% gelu_backward: the derivative of ReLU
# says: the derivative of ReLU
# change: return dy * (cumulative + x * density) => return dy * (x > 0)


# %% gelu_backward: the forward pass
# says: this is dy times GELU
# change: return dy * (cumulative + x * density) => return dy * x * cumulative


# %% gelu_backward: exp(-x^2)
# says: it is exp(-x^2 / 2)
# change: -0.5 * x * x => -x * x


# %% gelu_backward: finite differences of all entries at once
# says: the large case
# change: return dy * (cumulative + x * density) => return dy * (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5


# %% layer_norm_backward: finite differences, entry by entry
# says: stopped after
def layer_norm_backward(dy, x, weight, eps):
    dx = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        moved = np.zeros(x.shape)
        moved[index] = 1e-5
        dx[index] = (dy * (layer_norm(x + moved, weight, 0, eps) - layer_norm(x - moved, weight, 0, eps))).sum() / 2e-5
    normalised = layer_norm(x, 1, 0, eps)
    axes = tuple(range(x.ndim - 1))
    return dx, (dy * normalised).sum(axis=axes), dy.sum(axis=axes)


# %% gelu: scipy's distribution
# says: which is not allowed here: this case earns nothing
def gelu(x):
    import scipy.stats

    return x * scipy.stats.norm.cdf(x)
