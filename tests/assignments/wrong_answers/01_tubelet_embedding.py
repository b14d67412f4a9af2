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


# %% cut_tubelets: as many tubelets as begin, not as fit
# says: raises ValueError
# change: frames // t, height // h, width // w => -(-frames // t), -(-height // h), -(-width // w)


# %% cut_tubelets: the remainder dropped in front
# says: drop it at the end
# change: : n_t * t, :, : n_h * h, : n_w * w => frames - n_t * t :, :, height - n_h * h :, width - n_w * w :


# %% cut_tubelets: rows and columns of a tubelet exchanged
# says: rows and columns within a tubelet are exchanged
# change: 3, 2, 5, 7 => 3, 2, 7, 5


# %% cut_tubelets: time fastest, by the transpose
# says: time varies slowest
# change: 0, 1, 4, 6, 3 => 0, 4, 6, 1, 3


# %% cut_tubelets: columns before rows, by the transpose
# says: rows come first
# change: 0, 1, 4, 6, 3 => 0, 1, 6, 4, 3


# %% cut_tubelets: three channels, always
# says: raises ValueError
# change: channels * t * h * w => 3 * t * h * w


# %% cut_tubelets: axes of length 1 taken away
# says: has shape
# change: channels * t * h * w) => channels * t * h * w).squeeze()


# %% cut_tubelets: in float16
# says: float16, a lower precision
# change: channels * t * h * w) => channels * t * h * w).astype(np.float16)


# %% cut_tubelets: height and width of a tubelet exchanged
# says: cut_tubelets:
# change: t, h, w = tubelet_size => t, w, h = tubelet_size


# %% cut_tubelets: the last frames first
# says: the right numbers in the wrong places
# change: whole = video[ => whole = video[:, ::-1][


# %% cut_tubelets: the first channel only
# says: cut_tubelets:
# change: batch, n_t * n_h * n_w, channels * t * h * w) => batch, n_t * n_h * n_w, channels, -1)[:, :, 0]


# %% tubelet_embedding: one bias for all
# says: tokens:
# change: + bias => + bias[0]


# %% tubelet_embedding: the bias subtracted
# says: tokens:
# change: + bias => - bias


# %% tubelet_embedding: the kernels turned round, as a convolution in mathematics
# says: tokens:
# change: weight.reshape( => weight[..., ::-1, ::-1, ::-1].reshape(


# %% tubelet_embedding: the kernels with the channels last
# says: tokens:
# change: weight.reshape( => weight.transpose(0, 2, 3, 4, 1).reshape(


# %% tubelet_embedding: nothing below 0
# says: tokens:
# change: tubelets @ kernels.T + bias => np.maximum(tubelets @ kernels.T + bias, 0)


# %% tubelet_embedding: three channels, always
# says: raises ValueError
# change: weight.reshape(len(weight), -1) => weight.reshape(len(weight), 3 * weight[0, 0].size)


# %% tubelet_embedding: tubelets as large as they were in the first example
# says: tubelet_embedding:
# change: weight.shape[2:] => (2, 4, 3)


# %% cls_token: zeros in front
# says: zeros are put in front
# change: np.broadcast_to(cls, => 0 * np.broadcast_to(cls,


# %% cls_token: added to every token
# says: it is a token of its own
# change: return np.concatenate([first, tokens], axis=1) => return tokens + first


# %% cls_token: twice
# says: has shape
# change: [first, tokens] => [first, first, tokens]


# %% cls_token: one number of it
# says: z:
# change: (cls, (len => (cls.mean(), (len


# %% cls_token: an axis too many
# says: has shape
# change: [first, tokens], axis=1) => [first, tokens], axis=1)[None]


# %% position_embedding: multiplied
# says: they are added
# change: tokens + positions => tokens * positions


# %% position_embedding: left out
# says: the positions are left out
# change: tokens + positions => tokens + 0 * positions


# %% position_embedding: the first for all
# says: gets the position of the first
# change: tokens + positions => tokens + positions[:, :1]


# %% position_embedding: subtracted
# says: z:
# change: tokens + positions => tokens - positions


# %% position_embedding: one number a place
# says: z:
# change: tokens + positions => tokens + positions.mean(axis=-1, keepdims=True)


# %% position_embedding: scaled by the root of hidden
# says: z:
# change: tokens + positions => tokens + tokens.shape[-1] ** 0.5 * positions


# %% position_embedding: shifted by one
# says: shifted by one
# change: tokens + positions => tokens + np.roll(positions, 1, axis=1)


# %% position_embedding: for the first sample
# says: the positions reach the first sample only
# change: tokens + positions => tokens + positions * (np.arange(len(tokens)) == 0)[:, None, None]


# %% position_embedding: in the other order
# says: z:
# change: tokens + positions => tokens + positions[:, ::-1]
