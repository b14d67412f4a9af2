"""ViViT Models 1, 2 and 3 in PyTorch, as a team elsewhere might write them: nothing here is shared with ours.

Clips are (batch, channels, frames, height, width), the tubelet embedding is a Conv3d, query, key and value are one
layer, heads have an axis of their own, Models 2 and 3 keep times and places apart, (batch, times, places, hidden), and
modules have other names. Every step is a method, so that one can be replaced.
"""

from typing import Any

import torch
from torch import nn


class Tap(nn.Identity):
    """A place where a hook sees a value that leaves no other module."""


class Attention(nn.Module):
    """Over the second last axis; any number of leading axes."""

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (hidden // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.scores, self.probs, self.context = Tap(), Tap(), Tap()

    def split(self, x: Any) -> Any:
        """(..., tokens, hidden) -> (..., heads, tokens, head size)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def parts(self, x: Any) -> Any:
        """Query, key and value, heads apart."""
        return tuple(self.split(part) for part in self.qkv(x).chunk(3, -1))

    def score(self, query: Any, key: Any) -> Any:
        """(..., heads, tokens, tokens)."""
        return query @ key.transpose(-1, -2) * self.scale

    def normalise(self, scores: Any) -> Any:
        """The probabilities."""
        return scores.softmax(-1)

    def mix(self, probs: Any, value: Any) -> Any:
        """(..., heads, tokens, head size)."""
        return probs @ value

    def attend(self, query: Any, key: Any, value: Any) -> Any:
        """What each head sees."""
        return self.mix(self.probs(self.normalise(self.scores(self.score(query, key)))), value)

    def merge(self, context: Any) -> Any:
        """(..., heads, tokens, head size) -> (..., tokens, hidden)."""
        return context.transpose(-2, -3).flatten(-2)

    def forward(self, x: Any) -> Any:
        """(..., tokens, hidden)."""
        return self.proj(self.merge(self.context(self.attend(*self.parts(x)))))


class Mlp(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, hidden: int, wide: int):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(hidden, wide), nn.GELU(approximate="tanh"), nn.Linear(wide, hidden)

    def forward(self, x: Any) -> Any:
        """(..., hidden)."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm layer of Models 1 and 2."""

    def __init__(self, c: dict):
        super().__init__()
        hidden, eps = c["hidden_size"], c["layer_norm_eps"]
        self.norm1, self.attn = nn.LayerNorm(hidden, eps=eps), Attention(hidden, c["num_attention_heads"])
        self.mid = Tap()
        self.norm2, self.mlp = nn.LayerNorm(hidden, eps=eps), Mlp(hidden, c["intermediate_size"])

    def attention_sum(self, x: Any) -> Any:
        """The first half."""
        return self.mid(x + self.attn(self.norm1(x)))

    def mlp_sum(self, x: Any) -> Any:
        """The second half."""
        return x + self.mlp(self.norm2(x))

    def forward(self, x: Any) -> Any:
        """(..., tokens, hidden)."""
        return self.mlp_sum(self.attention_sum(x))


class DividedBlock(nn.Module):
    """A layer of Model 3: over time, over space, MLP; x is (batch, times, places, hidden)."""

    def __init__(self, c: dict):
        super().__init__()
        hidden, heads, eps = c["hidden_size"], c["num_attention_heads"], c["layer_norm_eps"]
        self.norm_t, self.attn_t, self.mid_t = nn.LayerNorm(hidden, eps=eps), Attention(hidden, heads), Tap()
        self.norm_s, self.attn_s, self.mid_s = nn.LayerNorm(hidden, eps=eps), Attention(hidden, heads), Tap()
        self.norm2, self.mlp = nn.LayerNorm(hidden, eps=eps), Mlp(hidden, c["intermediate_size"])

    def over_time(self, y: Any) -> Any:
        """A sequence for each place."""
        return self.attn_t(y.transpose(1, 2)).transpose(1, 2)

    def over_space(self, y: Any) -> Any:
        """A sequence for each time."""
        return self.attn_s(y)

    def time_sum(self, x: Any) -> Any:
        """The first third."""
        return self.mid_t(x + self.over_time(self.norm_t(x)))

    def space_sum(self, x: Any) -> Any:
        """The second third."""
        return self.mid_s(x + self.over_space(self.norm_s(x)))

    def mlp_sum(self, x: Any) -> Any:
        """The last third."""
        return x + self.mlp(self.norm2(x))

    def forward(self, x: Any) -> Any:
        """(batch, times, places, hidden)."""
        return self.mlp_sum(self.space_sum(self.time_sum(x)))


class PatchEmbed(nn.Module):
    """Tubelets: (batch, channels, frames, height, width) -> (batch, hidden, times, rows, columns)."""

    def __init__(self, c: dict):
        super().__init__()
        tubelet = tuple(c["tubelet_size"])
        self.proj = nn.Conv3d(c["num_channels"], c["hidden_size"], tubelet, tubelet)

    def forward(self, video: Any) -> Any:
        """The convolution."""
        return self.proj(video)


class Encoder(nn.Module):
    """CLS token, positions, layers, norm: all of Model 1 after the tubelets, and each half of Model 2."""

    def __init__(self, c: dict, tokens: int, depth: int):
        super().__init__()
        hidden = c["hidden_size"]
        self.cls, self.pos = (nn.Parameter(torch.zeros(1, count, hidden)) for count in (1, 1 + tokens))
        self.cat, self.tokens = Tap(), Tap()
        self.blocks = nn.ModuleList(Block(c) for _ in range(depth))
        self.norm, self.pooled = nn.LayerNorm(hidden, eps=c["layer_norm_eps"]), Tap()

    def with_cls(self, x: Any) -> Any:
        """The CLS token in front."""
        return torch.cat([self.cls.expand(*x.shape[:-2], 1, -1), x], -2)

    def add_positions(self, x: Any) -> Any:
        """What enters the first layer."""
        return x + self.pos

    def run(self, x: Any) -> Any:
        """All layers."""
        for block in self.blocks:
            x = block(x)
        return x

    def pool(self, x: Any) -> Any:
        """One vector a sequence."""
        return x[..., 0, :]

    def forward(self, x: Any) -> Any:
        """(..., tokens, hidden) -> (..., hidden)."""
        return self.pooled(self.pool(self.norm(self.run(self.tokens(self.add_positions(self.cat(self.with_cls(x))))))))


class Joint(nn.Module):
    """Model 1."""

    def __init__(self, c: dict):
        super().__init__()
        times, places = grid(c)
        self.embed, self.body = PatchEmbed(c), Encoder(c, times * places, c["num_hidden_layers"])
        self.head = nn.Linear(c["hidden_size"], c["num_labels"])

    def forward(self, video: Any) -> Any:
        """The logits."""
        return self.head(self.body(self.embed(video).flatten(2).transpose(1, 2)))


class Factorised(nn.Module):
    """Model 2."""

    def __init__(self, c: dict):
        super().__init__()
        times, places = grid(c)
        self.embed = PatchEmbed(c)
        self.space = Encoder(c, places, c["num_hidden_layers"])
        self.time = Encoder(c, times, c["num_temporal_layers"])
        self.head = nn.Linear(c["hidden_size"], c["num_labels"])

    def fold(self, x: Any) -> Any:
        """(batch, hidden, times, rows, columns) -> (batch, times, places, hidden)."""
        return x.flatten(3).permute(0, 2, 3, 1)

    def between(self, x: Any) -> Any:
        """What the temporal encoder is given: (batch, times, hidden)."""
        return x

    def forward(self, video: Any) -> Any:
        """The logits."""
        return self.head(self.time(self.between(self.space(self.fold(self.embed(video))))))


class Divided(nn.Module):
    """Model 3."""

    def __init__(self, c: dict):
        super().__init__()
        hidden, (times, places) = c["hidden_size"], grid(c)
        self.embed = PatchEmbed(c)
        self.pos, self.tokens = nn.Parameter(torch.zeros(1, times, places, hidden)), Tap()
        self.blocks = nn.ModuleList(DividedBlock(c) for _ in range(c["num_hidden_layers"]))
        self.norm, self.pooled = nn.LayerNorm(hidden, eps=c["layer_norm_eps"]), Tap()
        self.head = nn.Linear(hidden, c["num_labels"])

    def add_positions(self, x: Any) -> Any:
        """What enters the first layer."""
        return x + self.pos

    def run(self, x: Any) -> Any:
        """All layers."""
        for block in self.blocks:
            x = block(x)
        return x

    def pool(self, x: Any) -> Any:
        """One vector a clip, of what the norm made."""
        return x.mean((1, 2))

    def classify(self, x: Any) -> Any:
        """The logits, of what the layers made."""
        return self.head(self.pooled(self.pool(self.norm(x))))

    def forward(self, video: Any) -> Any:
        """The logits."""
        x = self.tokens(self.add_positions(self.embed(video).flatten(3).permute(0, 2, 3, 1)))
        return self.classify(self.run(x))


def grid(c: dict) -> tuple[int, int]:
    """Times and places of the tubelets."""
    (depth, height, width), (rows, columns) = c["tubelet_size"], c["image_size"]
    return c["num_frames"] // depth, (rows // height) * (columns // width)
