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


# %% cut_tubelets: np.transpose and a view without copies
# change: boxes.transpose(0, 1, 4, 6, 3, 2, 5, 7) => np.transpose(boxes, axes=[0, 1, 4, 6, 3, 2, 5, 7])


# %% cut_tubelets: moveaxis
# change: boxes.transpose(0, 1, 4, 6, 3, 2, 5, 7) => np.moveaxis(boxes, [4, 6, 3], [2, 3, 4])


# %% cut_tubelets: the remainder dropped by a negative end
# change: video[:, : n_t * t, :, : n_h * h, : n_w * w] => video[:, : frames - frames % t, :, : height - height % h, : width - width % w]


# %% cut_tubelets: strides
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    windows = np.lib.stride_tricks.sliding_window_view(video, (t, h, w), axis=(1, 3, 4))[:, ::t, :, ::h, ::w]
    return np.moveaxis(windows, 2, 4).reshape(len(video), -1, video.shape[2] * t * h * w)


# %% cut_tubelets: one sample after the other
def cut_tubelets(video, tubelet_size):
    t, h, w = tubelet_size
    clips = []
    for clip in video:
        found = []
        for k in range(clip.shape[0] // t):
            for i in range(clip.shape[2] // h):
                for j in range(clip.shape[3] // w):
                    box = clip[k * t : (k + 1) * t, :, i * h : (i + 1) * h, j * w : (j + 1) * w]
                    found.append(box.swapaxes(0, 1).ravel())
        clips.append(found)
    return np.array(clips)


# %% cut_tubelets: indices of every pixel
def cut_tubelets(video, tubelet_size):
    (t, h, w), (batch, frames, channels, height, width) = tubelet_size, video.shape
    n_t, n_h, n_w = frames // t, height // h, width // w
    k, i, j, c, a, b, d = np.indices((n_t, n_h, n_w, channels, t, h, w))
    return video[:, k * t + a, c, i * h + b, j * w + d].reshape(batch, n_t * n_h * n_w, -1)


# %% tubelet_embedding: matmul and add
# change: tubelets @ kernels.T + bias => np.add(np.matmul(tubelets, kernels.transpose()), bias)


# %% tubelet_embedding: einsum over pixels
# change: tubelets @ kernels.T + bias => np.einsum("bnp,dp->bnd", tubelets, kernels) + bias


# %% tubelet_embedding: np.dot
# change: tubelets @ kernels.T + bias => np.dot(tubelets, kernels.T) + bias[None, None]


# %% tubelet_embedding: tensordot
# change: tubelets @ kernels.T + bias => np.tensordot(tubelets, kernels, axes=([2], [1])) + bias


# %% tubelet_embedding: a column of ones for the bias
# change: tubelets @ kernels.T + bias => np.concatenate([tubelets, np.ones((*tubelets.shape[:2], 1))], axis=-1) @ np.vstack([kernels.T, bias])


# %% tubelet_embedding: the package's cut, which is allowed here
def tubelet_embedding(video, weight, bias):
    from minivivit.ops.tubelet_embedding import cut_tubelets as given

    tubelets = given(video, weight.shape[2:])
    return (tubelets @ weight.reshape(len(weight), -1).T + bias).reshape(len(video), -1, len(weight))


# %% tubelet_embedding: one kernel after the other
def tubelet_embedding(video, weight, bias):
    tubelets = cut_tubelets(video, weight.shape[2:])
    return np.stack([tubelets @ kernel.ravel() + b for kernel, b in zip(weight, bias)], axis=-1)


# %% cls_token: np.repeat
def cls_token(tokens, cls):
    return np.concatenate([np.repeat(cls, len(tokens), axis=0), tokens], axis=1)


# %% cls_token: np.tile
def cls_token(tokens, cls):
    return np.concatenate([np.tile(cls, (tokens.shape[0], 1, 1)), tokens], 1)


# %% cls_token: ones times the token
def cls_token(tokens, cls):
    return np.hstack([np.ones((len(tokens), 1, 1), tokens.dtype) * cls, tokens])


# %% cls_token: np.insert
def cls_token(tokens, cls):
    return np.insert(tokens, 0, cls[0, 0], axis=1)


# %% cls_token: padding, then added
def cls_token(tokens, cls):
    return np.pad(tokens, ((0, 0), (1, 0), (0, 0))) + np.pad(cls, ((0, 0), (0, tokens.shape[1]), (0, 0)))


# %% cls_token: np.r_ of every sample
def cls_token(tokens, cls):
    return np.stack([np.r_[cls[0], sample] for sample in tokens])


# %% position_embedding: positions first
def position_embedding(tokens, positions):
    return positions + tokens


# %% position_embedding: the first axis taken off
def position_embedding(tokens, positions):
    return tokens + positions[0]


# %% position_embedding: repeated
def position_embedding(tokens, positions):
    return tokens + np.repeat(positions, len(tokens), axis=0)


# %% position_embedding: subtracted from its negative
def position_embedding(tokens, positions):
    return tokens - (-positions)


# %% position_embedding: sample by sample
def position_embedding(tokens, positions):
    return np.array([sample + positions[0] for sample in tokens])


# %% position_embedding: einsum of both
def position_embedding(tokens, positions):
    return np.einsum("btd->btd", tokens) + np.einsum("otd->otd", positions)


# %% position_embedding: a list comprehension over tokens
def position_embedding(tokens, positions):
    return np.stack([tokens[:, i] + positions[:, i] for i in range(tokens.shape[1])], axis=1)
