"""Wrong answers to assignment 1. A block is one answer: `# %% TASK: the mistake`, `# says: PART OF THE REPORT`."""

import numpy as np


# %% cut_tubelets: reshape to the final shape, without transpose
# says: reshape without transpose
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    n_t, n_h, n_w = frames // t, height // h, width // w
    whole = video[:, : n_t * t, :, : n_h * h, : n_w * w]
    return whole.reshape(batch, n_t * n_h * n_w, -1)


# %% cut_tubelets: channels last, as in an image file
# says: frames, rows, columns, channels
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    n_t, n_h, n_w = frames // t, height // h, width // w
    boxes = video[:, : n_t * t, :, : n_h * h, : n_w * w].reshape(batch, n_t, t, channels, n_h, h, n_w, w)
    return boxes.transpose(0, 1, 4, 6, 2, 5, 7, 3).reshape(batch, n_t * n_h * n_w, -1)


# %% cut_tubelets: frames before channels within a tubelet
# says: frames, channels, rows, columns
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    n_t, n_h, n_w = frames // t, height // h, width // w
    boxes = video[:, : n_t * t, :, : n_h * h, : n_w * w].reshape(batch, n_t, t, channels, n_h, h, n_w, w)
    return boxes.transpose(0, 1, 4, 6, 2, 3, 5, 7).reshape(batch, n_t * n_h * n_w, -1)


# %% cut_tubelets: time varies fastest among the tubelets
# says: time varies slowest
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    tubelets = []
    for i in range(height // h):
        for j in range(width // w):
            for k in range(frames // t):
                box = video[:, k * t : (k + 1) * t, :, i * h : (i + 1) * h, j * w : (j + 1) * w]
                tubelets.append(box.transpose(0, 2, 1, 3, 4).reshape(batch, -1))
    return np.stack(tubelets, axis=1)


# %% cut_tubelets: columns before rows
# says: columns before rows
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    tubelets = []
    for k in range(frames // t):
        for j in range(width // w):
            for i in range(height // h):
                box = video[:, k * t : (k + 1) * t, :, i * h : (i + 1) * h, j * w : (j + 1) * w]
                tubelets.append(box.transpose(0, 2, 1, 3, 4).reshape(batch, -1))
    return np.stack(tubelets, axis=1)


# %% cut_tubelets: no thought of remainders
# says: raises ValueError: cannot reshape array
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    boxes = video.reshape(batch, frames // t, t, channels, height // h, h, width // w, w)
    return boxes.transpose(0, 1, 4, 6, 3, 2, 5, 7).reshape(batch, -1, channels * t * h * w)


# %% cut_tubelets: a step too far, overlapping tubelets
# says: has shape
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    batch, frames, channels, height, width = video.shape
    tubelets = []
    for k in range(frames - t + 1):
        for i in range(0, height - h + 1, h):
            for j in range(0, width - w + 1, w):
                box = video[:, k : k + t, :, i : i + h, j : j + w]
                tubelets.append(box.transpose(0, 2, 1, 3, 4).reshape(batch, -1))
    return np.stack(tubelets, axis=1)


# %% cut_tubelets: the visible example by heart
# says: expected an array of shape
def cut_tubelets(video, tubelet_size):
    batch, frames, channels, height, width = video.shape
    if np.isclose(video.ravel()[0], -1.1):
        boxes = video.reshape(batch, 2, 2, channels, 2, 4, 2, 4)
        return boxes.transpose(0, 1, 4, 6, 3, 2, 5, 7).reshape(batch, 8, -1)
    return None


# %% tubelet_embedding: the bias left out
# says: the bias is missing
def tubelet_embedding(video, weight, bias):
    return cut_tubelets(video, weight.shape[2:]) @ weight.reshape(len(weight), -1).T


# %% tubelet_embedding: the kernels reshaped to (pixels, hidden)
# says: mixes the kernels
def tubelet_embedding(video, weight, bias):
    return cut_tubelets(video, weight.shape[2:]) @ weight.reshape(-1, len(weight)) + bias


# %% tubelet_embedding: the package's answer
# says: this case earns nothing
def tubelet_embedding(video, weight, bias):
    from minivivit.ops.tubelet_embedding import tubelet_embedding_forward

    tokens, _ = tubelet_embedding_forward(video, weight, bias)
    return tokens


# %% tubelet_embedding: the mean of a tubelet, as some pool patches
# says: divided by its number of pixels
def tubelet_embedding(video, weight, bias):
    return cut_tubelets(video, weight.shape[2:]) @ weight.reshape(len(weight), -1).T / weight[0].size + bias


# %% cls_token: behind the others
# says: it comes first
def cls_token(tokens, cls):
    return np.concatenate([tokens, np.repeat(cls, len(tokens), axis=0)], axis=1)


# %% cls_token: not repeated for every sample
# says: raises ValueError
def cls_token(tokens, cls):
    return np.concatenate([cls, tokens], axis=1)


# %% cls_token: in the place of the first token
# says: replaces the first token
def cls_token(tokens, cls):
    z = tokens.copy()
    z[:, :1] = cls
    return np.concatenate([z], axis=1) if z.ndim < 3 else np.concatenate([z[:, :1], tokens[:, 1:]], axis=1)


# %% position_embedding: in place
# says: changes its input tokens in place
def position_embedding(tokens, positions):
    tokens += positions
    return tokens


# %% position_embedding: not for the CLS token
# says: it has one too
def position_embedding(tokens, positions):
    z = tokens + positions
    z[:, 0] = tokens[:, 0]
    return z


# %% position_embedding: forgot to return
# says: is None
def position_embedding(tokens, positions):
    z = tokens + positions


# %% position_embedding: waits for ever
# says: stopped after
def position_embedding(tokens, positions):
    i = 0
    z = tokens.copy()
    while i < tokens.shape[1]:
        z[:, i] = tokens[:, i] + positions[0, i]
    return z
