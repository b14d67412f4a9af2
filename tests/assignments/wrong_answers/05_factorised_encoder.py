"""Wrong answers to assignment 5 (see 01_tubelet_embedding.py for the form)."""

import numpy as np


# %% separate_frames: places and times exchanged
# says: places and times are exchanged
def separate_frames(tokens, num_times):
    return tokens.reshape(-1, num_times, tokens.shape[-1])


# %% separate_frames: the times in front of the samples
# says: the times are in front of the samples
def separate_frames(tokens, num_times):
    batch, count, hidden = tokens.shape
    return tokens.reshape(batch, num_times, -1, hidden).transpose(1, 0, 2, 3).reshape(batch * num_times, -1, hidden)


# %% separate_frames: every n-th token
# says: as if place varied slowest
def separate_frames(tokens, num_times):
    return np.concatenate([np.stack([sample[t::num_times] for t in range(num_times)]) for sample in tokens])


# %% separate_frames: an axis too many
# says: join batch and times
def separate_frames(tokens, num_times):
    batch, count, hidden = tokens.shape
    return tokens.reshape(batch, num_times, count // num_times, hidden)


# %% separate_frames: numbers of the visible example
# says: raises ValueError
def separate_frames(tokens, num_times):
    return tokens.reshape(20, 3, 6)


# %% transformer_layer: norms after the sums
# says: post-norm
def transformer_layer(x, params, num_heads, eps):
    before, after = params["layernorm_before"], params["layernorm_after"]
    y = x + multi_head_attention_forward(x, params["attention"], num_heads)[0]
    y = layer_norm_forward(y, before["weight"], before["bias"], eps)[0]
    z = y + mlp_forward(y, params, "gelu")[0]
    return layer_norm_forward(z, after["weight"], after["bias"], eps)[0]


# %% transformer_layer: no first residual connection
# says: the first residual connection is missing
def transformer_layer(x, params, num_heads, eps):
    before, after = params["layernorm_before"], params["layernorm_after"]
    normalised = layer_norm_forward(x, before["weight"], before["bias"], eps)[0]
    y = multi_head_attention_forward(normalised, params["attention"], num_heads)[0]
    normalised = layer_norm_forward(y, after["weight"], after["bias"], eps)[0]
    return y + mlp_forward(normalised, params, "gelu")[0]


# %% transformer_layer: no second residual connection
# says: the second residual connection is missing
def transformer_layer(x, params, num_heads, eps):
    before, after = params["layernorm_before"], params["layernorm_after"]
    normalised = layer_norm_forward(x, before["weight"], before["bias"], eps)[0]
    y = x + multi_head_attention_forward(normalised, params["attention"], num_heads)[0]
    normalised = layer_norm_forward(y, after["weight"], after["bias"], eps)[0]
    return mlp_forward(normalised, params, "gelu")[0]


# %% transformer_layer: the residual connection takes the normalised x
# says: the normalised x is added
def transformer_layer(x, params, num_heads, eps):
    before, after = params["layernorm_before"], params["layernorm_after"]
    x = layer_norm_forward(x, before["weight"], before["bias"], eps)[0]
    y = x + multi_head_attention_forward(x, params["attention"], num_heads)[0]
    y = layer_norm_forward(y, after["weight"], after["bias"], eps)[0]
    return y + mlp_forward(y, params, "gelu")[0]


# %% transformer_layer: the first norm twice
# says: layernorm_before is used twice
def transformer_layer(x, params, num_heads, eps):
    norm = params["layernorm_before"]
    normalised = layer_norm_forward(x, norm["weight"], norm["bias"], eps)[0]
    y = x + multi_head_attention_forward(normalised, params["attention"], num_heads)[0]
    normalised = layer_norm_forward(y, norm["weight"], norm["bias"], eps)[0]
    return y + mlp_forward(normalised, params, "gelu")[0]


# %% transformer_layer: adds in place
# says: changes its input x in place
def transformer_layer(x, params, num_heads, eps):
    before, after = params["layernorm_before"], params["layernorm_after"]
    x += multi_head_attention_forward(
        layer_norm_forward(x, before["weight"], before["bias"], eps)[0], params["attention"], num_heads
    )[0]
    x += mlp_forward(layer_norm_forward(x, after["weight"], after["bias"], eps)[0], params, "gelu")[0]
    return x


# %% transformer_layer: the package's
# says: this case earns nothing
def transformer_layer(x, params, num_heads, eps):
    from minivivit.layers.transformer_layer import transformer_layer_forward

    return transformer_layer_forward(x, params, num_heads=num_heads, activation="gelu", eps=eps)[0]


# %% transformer_layer: forgets the [0]
# says: raises
def transformer_layer(x, params, num_heads, eps):
    before, after = params["layernorm_before"], params["layernorm_after"]
    normalised = layer_norm_forward(x, before["weight"], before["bias"], eps)
    y = x + multi_head_attention_forward(normalised, params["attention"], num_heads)
    normalised = layer_norm_forward(y, after["weight"], after["bias"], eps)
    return y + mlp_forward(normalised, params, "gelu")


# %% encoder: positions left out
# says: the position embeddings are left out
def encoder(tokens, params, num_heads, eps):
    z = np.concatenate([np.repeat(params["cls_token"], len(tokens), axis=0), tokens], axis=1)
    for layer in params["layer"].values():
        z = transformer_layer(z, layer, num_heads, eps)
    return layer_norm_forward(z, params["layernorm"]["weight"], params["layernorm"]["bias"], eps)[0]


# %% encoder: positions before the CLS token
# says: the CLS token gets no position embedding
def encoder(tokens, params, num_heads, eps):
    z = tokens + params["position_embeddings"][:, 1:]
    z = np.concatenate([np.repeat(params["cls_token"], len(tokens), axis=0), z], axis=1)
    for layer in params["layer"].values():
        z = transformer_layer(z, layer, num_heads, eps)
    return layer_norm_forward(z, params["layernorm"]["weight"], params["layernorm"]["bias"], eps)[0]


# %% encoder: every layer starts from the beginning
# says: it takes what the layer before gave
def encoder(tokens, params, num_heads, eps):
    z = np.concatenate([np.repeat(params["cls_token"], len(tokens), axis=0), tokens], axis=1)
    z = z + params["position_embeddings"]
    for layer in params["layer"].values():
        y = transformer_layer(z, layer, num_heads, eps)
    return layer_norm_forward(y, params["layernorm"]["weight"], params["layernorm"]["bias"], eps)[0]


# %% encoder: no last norm
# says: the last layer norm is left out
def encoder(tokens, params, num_heads, eps):
    z = np.concatenate([np.repeat(params["cls_token"], len(tokens), axis=0), tokens], axis=1)
    z = z + params["position_embeddings"]
    for layer in params["layer"].values():
        z = transformer_layer(z, layer, num_heads, eps)
    return z


# %% encoder: the first layer only, again and again
# says: the first layer is applied again and again
def encoder(tokens, params, num_heads, eps):
    z = np.concatenate([np.repeat(params["cls_token"], len(tokens), axis=0), tokens], axis=1)
    z = z + params["position_embeddings"]
    for _ in params["layer"]:
        z = transformer_layer(z, params["layer"]["0"], num_heads, eps)
    return layer_norm_forward(z, params["layernorm"]["weight"], params["layernorm"]["bias"], eps)[0]


# %% encoder: a number never counted up
# says: stopped after
def encoder(tokens, params, num_heads, eps):
    z = np.concatenate([np.repeat(params["cls_token"], len(tokens), axis=0), tokens], axis=1)
    z, number = z + params["position_embeddings"], 0
    while number < len(params["layer"]):
        z = transformer_layer(z, params["layer"][str(number)], num_heads, eps)
    return layer_norm_forward(z, params["layernorm"]["weight"], params["layernorm"]["bias"], eps)[0]


# %% factorised_encoder: frames by their mean
# says: a frame is the mean of its tokens
def factorised_encoder(tokens, params, num_times, num_heads, eps):
    frames = encoder(separate_frames(tokens, num_times), params["spatial_encoder"], num_heads, eps)
    h = frames[:, 1:].mean(axis=1).reshape(len(tokens), num_times, -1)
    return encoder(h, params["temporal_encoder"], num_heads, eps)[:, 0]


# %% factorised_encoder: no temporal encoder
# says: the temporal encoder is left out
def factorised_encoder(tokens, params, num_times, num_heads, eps):
    frames = encoder(separate_frames(tokens, num_times), params["spatial_encoder"], num_heads, eps)
    return frames[:, 0].reshape(len(tokens), num_times, -1).mean(axis=1)


# %% factorised_encoder: all temporal tokens
# says: return the CLS token
def factorised_encoder(tokens, params, num_times, num_heads, eps):
    frames = encoder(separate_frames(tokens, num_times), params["spatial_encoder"], num_heads, eps)
    h = frames[:, 0].reshape(len(tokens), num_times, -1)
    return encoder(h, params["temporal_encoder"], num_heads, eps)


# %% factorised_encoder: samples and times mixed on the way back
# says: in one reshape
def factorised_encoder(tokens, params, num_times, num_heads, eps):
    frames = encoder(separate_frames(tokens, num_times), params["spatial_encoder"], num_heads, eps)
    h = frames[:, 0].reshape(num_times, len(tokens), -1).transpose(1, 0, 2)
    return encoder(h, params["temporal_encoder"], num_heads, eps)[:, 0]


# %% factorised_encoder: the last token for the CLS token
# says: a frame is its last token
def factorised_encoder(tokens, params, num_times, num_heads, eps):
    frames = encoder(separate_frames(tokens, num_times), params["spatial_encoder"], num_heads, eps)
    h = frames[:, -1].reshape(len(tokens), num_times, -1)
    return encoder(h, params["temporal_encoder"], num_heads, eps)[:, 0]


# %% factorised_encoder: built on the package's stack of layers
# says: this case earns nothing
def factorised_encoder(tokens, params, num_times, num_heads, eps):
    from minivivit.layers.layer_stack import layer_stack_forward

    layer_stack_forward(tokens, params["spatial_encoder"]["layer"], transformer_layer)


# %% encoder: layers sorted as text
# says: sorted by their names as text
# change: params["layer"].values() => (params["layer"][name] for name in sorted(params["layer"]))


# %% encoder: three layers at most
# says: encoder:
# change: params["layer"].values() => list(params["layer"].values())[:3]


# %% encoder: in the other order
# says: in reverse order
# change: params["layer"].values() => reversed(params["layer"].values())


# %% encoder: eps of 1e-6
# says: z:
# change: , eps)[0] => , 1e-6)[0]


# %% transformer_layer: eps of 1e-6
# says: z:
# change: before["bias"], eps => before["bias"], 1e-6
# change: after["bias"], eps => after["bias"], 1e-6


# %% transformer_layer: the MLP sees x
# says: the MLP sees x
# change: layer_norm_forward(y, => layer_norm_forward(x,


# %% transformer_layer: ReLU
# says: the activation is ReLU
# change: "gelu" => "relu"


# %% transformer_layer: tanh
# says: the approximation of GELU
# change: "gelu" => "gelu_new"


# %% transformer_layer: one head
# says: transformer_layer:
# change: , num_heads)[0] => , 1)[0]


# %% separate_frames: places counted as times
# says: has shape
# change: batch * num_times, count // num_times => batch, count


# %% factorised_encoder: the first frame for all
# says: y:
# change: frames[:, 0].reshape(batch, num_times, hidden) => np.repeat(frames[:batch, :1], num_times, axis=1)


# %% factorised_encoder: the encoders exchanged
# says: factorised_encoder:
# change: "spatial_encoder" => "temporal_encoder_"
# change: "temporal_encoder"] => "spatial_encoder"]
# change: "temporal_encoder_" => "temporal_encoder"
