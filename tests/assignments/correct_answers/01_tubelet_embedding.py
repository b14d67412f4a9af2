"""Right answers to assignment 1 in other styles. A block is one answer: `# %% TASK: the style`."""

import numpy as np


# %% cut_tubelets: loops over every pixel
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    n_t, n_h, n_w = frames // t, height // h, width // w
    tubelets = np.zeros((batch, n_t * n_h * n_w, channels * t * h * w))
    for b in range(batch):
        token = 0
        for k in range(n_t):
            for i in range(n_h):
                for j in range(n_w):
                    pixel = 0
                    for c in range(channels):
                        for frame in range(t):
                            for row in range(h):
                                for column in range(w):
                                    tubelets[b, token, pixel] = video[b, k * t + frame, c, i * h + row, j * w + column]
                                    pixel += 1
                    token += 1
    return tubelets


# %% cut_tubelets: slices and a list
def cut_tubelets(video, tubelet_size):
    (t, h, w), (batch, frames, channels, height, width) = tubelet_size, video.shape
    found = []
    for k in range(0, frames - t + 1, t):
        for i in range(0, height - h + 1, h):
            for j in range(0, width - w + 1, w):
                box = video[:, k : k + t, :, i : i + h, j : j + w]
                found.append(np.moveaxis(box, 2, 1).reshape(batch, -1))
    return np.stack(found, axis=1)


# %% cut_tubelets: einsum
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    video = video[:, : frames - frames % t, :, : height - height % h, : width - width % w]
    boxes = video.reshape(batch, frames // t, t, channels, height // h, h, width // w, w)
    return np.einsum("btfcirjs->btijcfrs", boxes).reshape(batch, -1, channels * t * h * w)


# %% tubelet_embedding: einsum over windows
def tubelet_embedding(video, weight, bias):
    t, h, w = weight.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(video, (t, h, w), axis=(1, 3, 4))[:, ::t, :, ::h, ::w]
    tokens = np.einsum("bncijthw,dcthw->bnijd", windows, weight)
    return tokens.reshape(len(video), -1, len(weight)) + bias


# %% tubelet_embedding: a convolution in loops, float64
def tubelet_embedding(video, weight, bias):
    video, weight, bias = (a.astype(np.float64) for a in (video, weight, bias))
    t, h, w = weight.shape[2:]
    batch, frames, channels, height, width = video.shape
    tokens = []
    for k in range(frames // t):
        for i in range(height // h):
            for j in range(width // w):
                box = video[:, k * t : k * t + t, :, i * h : i * h + h, j * w : j * w + w]
                tokens.append([[(kernel.swapaxes(0, 1) * b).sum() for kernel in weight] for b in box])
    return np.array(tokens).swapaxes(0, 1) + bias


# %% cls_token: an array to be filled
def cls_token(tokens, cls):
    batch, count, hidden = tokens.shape
    z = np.empty((batch, count + 1, hidden), dtype=tokens.dtype)
    z[:, 0] = cls[0, 0]
    z[:, 1:] = tokens
    return z


# %% cls_token: sample by sample
def cls_token(tokens, cls):
    return np.array([np.vstack([cls[0], sample]) for sample in tokens])


# %% position_embedding: loops
def position_embedding(tokens, positions):
    z = tokens.copy()
    for sample in range(z.shape[0]):
        for token in range(z.shape[1]):
            for feature in range(z.shape[2]):
                z[sample, token, feature] += positions[0, token, feature]
    return z


# %% position_embedding: np.add on a copy
def position_embedding(tokens, positions):
    return np.add(tokens, np.broadcast_to(positions, tokens.shape))
