"""`VivitModel`: a clip in, one vector a token out, and one for the clip."""

from typing import Any

import numpy

from minivivit.backend import Array, one_pass
from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.layers.trace import Trace, record
from minivivit.models.attention_mask import attention_bias
from minivivit.models.base import ENCODERS, VivitBase
from minivivit.models.encoders.embeddings import token_grid
from minivivit.models.encoders.forward_options import ForwardOptions, inference_options, training_options
from minivivit.models.outputs import VivitModelOutput, layer_outputs
from minivivit.models.parameters import Tree, flatten, model_shapes
from minivivit.ops.activation import ACTIVATIONS
from minivivit.ops.linear import linear_backward, linear_forward
from minivivit.ops.pooling import pooling_backward, pooling_forward


class VivitModel(VivitBase):
    """The bare ViViT: embeddings, the encoder that `config.attention_type` names, and a pooler.

    Parameters
    ----------
    config : VivitConfig
    add_pooling_layer : bool
        Whether there is a pooler: a dense layer with `config.pooler_act` on the CLS token (or on the mean, maximum or
        sum over all tokens, as `config.classifier` says).
    dtype : {"float32", "float64"}
    backend : {"numpy", "cupy", "auto"}
    seed : int or numpy.random.Generator
        Of the first values of the parameters.

    Attributes
    ----------
    params : dict
        The parameters: a tree of plain dicts, spelled as the published checkpoint.
    """

    # The model that this one is inside of, where it is.
    classifier: VivitBase | None = None

    new_parts = ("pooler.",)
    unused_parts = ("pooler.", "classifier.", "pre_logits.")

    def __init__(
        self,
        config: VivitConfig,
        add_pooling_layer: bool = True,
        *,
        dtype: Any = "float32",
        backend: str | None = "auto",
        seed: int | numpy.random.Generator = 0,
    ):
        self.add_pooling_layer = add_pooling_layer
        self._prepare(config, dtype)
        self._initialise(seed, backend)

    def parameter_shapes(self) -> Tree:
        """Names and shapes of the parameters, as a tree."""
        return model_shapes(self.config, self.add_pooling_layer)

    @property
    def _whole(self) -> VivitBase:
        return self.classifier or self

    def _set_arguments(self, overrides: dict[str, Any]) -> None:
        self.add_pooling_layer = overrides.pop("add_pooling_layer", True)

    def _rename(self, weights: dict[str, Array]) -> dict[str, Array]:
        return {name.removeprefix("vivit."): array for name, array in weights.items()}

    # ------------------------------------------------------------------------------------------------ forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `forward`."""
        return self.forward(*args, **kwargs)

    def forward(
        self,
        pixel_values: Array = None,
        interpolate_pos_encoding: bool = False,
        attention_mask: Array | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        trace: Trace | None = None,
    ) -> Any:
        """Encode a batch of clips.

        Parameters
        ----------
        pixel_values : array, shape (batch, frames, channels, height, width)
            Any real or integer dtype; converted to the model's.
        interpolate_pos_encoding : bool
            Resample the position embeddings when the clip has another size than the model
            (`minivivit.ops.interpolate_position_embeddings`).
        attention_mask : array, optional
            See `minivivit.models.attention_mask`. Model 1 only.
        output_attentions, output_hidden_states, return_dict : bool, optional
            Left out, the config decides.
        trace : Trace, optional
            Records every intermediate value by name.

        Returns
        -------
        VivitModelOutput, or a tuple where `return_dict` is False
            ``last_hidden_state`` (batch, tokens, hidden); ``pooler_output`` (batch, pooler_output_size);
            ``hidden_states``, what went into each layer and what came out of the last; ``attentions``, (batch, heads,
            tokens, tokens) for each layer. In the factorised models, attentions (and in Model 2 hidden states too) are
            a dict with "spatial" and "temporal".

        Raises
        ------
        InputError
            For input that the model cannot see; the message says why.
        """
        options = inference_options(
            self.config, interpolate_pos_encoding, output_attentions, output_hidden_states, trace
        )
        last_hidden_state, pooler_output, outputs, _ = self.run(pixel_values, options, attention_mask)
        result = VivitModelOutput(
            last_hidden_state=last_hidden_state,
            pooler_output=pooler_output,
            **layer_outputs(outputs, options),
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return result if return_dict else result.to_tuple()

    def run(
        self, pixel_values: Array, options: ForwardOptions, attention_mask: Array | None = None
    ) -> tuple[Array, Array | None, dict, dict | None]:
        """One pass with `options`: last_hidden_state, pooler_output, outputs by layer, and the cache if it is kept."""
        pixels = self.checked_pixels(pixel_values)
        if attention_mask is not None:
            bias = self._attention_bias(attention_mask, pixels, options)
            options = ForwardOptions(**{**vars(options), "attention_bias": bias})
        encode, _ = ENCODERS[self.config.attention_type]
        pooler_output, pooler_cache = None, None
        with one_pass():
            last_hidden_state, outputs, cache = encode(pixels, self.params, self.config, options)
            if self.add_pooling_layer:
                pooler_output, pooler_cache = self._pooler_forward(last_hidden_state, options.trace)
        if cache is not None:
            cache = {"encoder": cache, "pooler": pooler_cache}
        return last_hidden_state, pooler_output, outputs, cache

    def _attention_bias(self, attention_mask: Array, pixels: Array, options: ForwardOptions) -> Array:
        if self.config.attention_type != "spatio_temporal":
            raise InputError(f"attention_mask has no meaning with attention_type {self.config.attention_type!r}")
        times, rows, columns = token_grid(pixels.shape, self.config, options.interpolate)
        tokens = times * rows * columns + int(self.config.use_cls_token)
        shape = (len(pixels), self.config.num_attention_heads, tokens)
        return attention_bias(attention_mask, shape, self.dtype, self.xp)

    @property
    def pooling(self) -> str:
        """How `last_hidden_state` becomes one vector a clip: the classifier's pooling, or the mean over time."""
        return "gap" if self.config.spatial_only_baseline else self.config.classifier

    def _pooler_forward(self, last_hidden_state: Array, trace: Trace | None) -> tuple[Array, dict]:
        """pooled = act(W pool(y) + b)"""
        activate, _ = ACTIVATIONS[self.config.pooler_act]
        dense = self.params["pooler"]["dense"]
        pooled, pooling_cache = pooling_forward(last_hidden_state, self.pooling)
        record(trace, "pooler.pooling", pooled)
        before, dense_cache = linear_forward(pooled, dense["weight"], dense["bias"])
        record(trace, "pooler.dense", before)
        y, activation_cache = activate(before)
        record(trace, "pooler", y)
        return y, {"pooling": pooling_cache, "dense": dense_cache, "activation": activation_cache}

    # ------------------------------------------------------------------------------------------------ backward

    def gradients(
        self,
        pixel_values: Array,
        *,
        dlast_hidden_state: Array | None = None,
        dpooler_output: Array | None = None,
        interpolate_pos_encoding: bool = False,
        rng: numpy.random.Generator | None = None,
        gradient_checkpointing: bool = False,
    ) -> dict[str, Array]:
        """Gradients of any function of the outputs, given its gradients to them.

        Parameters
        ----------
        dlast_hidden_state, dpooler_output : arrays of the shapes of the outputs, optional
            What is left out counts as 0.
        rng : numpy.random.Generator, optional
            Given, dropout and stochastic depth are on and draw from it.
        gradient_checkpointing : bool
            Less memory for one more forward pass; the same bits.

        Returns
        -------
        gradients : dict
            One array for each name of `state_dict`, and ``"pixel_values"``.
        """
        options = training_options(interpolate_pos_encoding, rng, gradient_checkpointing)
        last_hidden_state, pooler_output, _, cache = self.run(pixel_values, options)
        dlast = self._checked_gradient(dlast_hidden_state, last_hidden_state, "dlast_hidden_state")
        dpooler = self._checked_gradient(dpooler_output, pooler_output, "dpooler_output")
        dpixel_values, gradients = self.backward(dlast, dpooler, cache)
        return {**flatten(gradients), "pixel_values": dpixel_values}

    def backward(
        self, dlast_hidden_state: Array, dpooler_output: Array | None, cache: dict | None, trace: Trace | None = None
    ) -> tuple[Array, Tree]:
        """From the gradients of the outputs to those of the pixels and of the parameters, with the cache of `run`."""
        if cache is None:
            raise InputError("this pass kept no cache; run it with keep_cache=True")
        _, encode_backward = ENCODERS[self.config.attention_type]
        gradients = {}
        with one_pass():
            if cache["pooler"] is not None and dpooler_output is not None:
                dlast, gradients["pooler"] = self._pooler_backward(dpooler_output, cache["pooler"])
                dlast_hidden_state = dlast_hidden_state + dlast
            dpixel_values, encoder_gradients = encode_backward(dlast_hidden_state, cache["encoder"], trace)
        return dpixel_values, {**encoder_gradients, **gradients}

    def _pooler_backward(self, dy: Array, cache: dict) -> tuple[Array, Tree]:
        """Gradients of `_pooler_forward`, from the bottom up."""
        _, activate_backward = ACTIVATIONS[self.config.pooler_act]
        dbefore = activate_backward(dy, cache["activation"])
        dpooled, dweight, dbias = linear_backward(dbefore, cache["dense"])
        return pooling_backward(dpooled, cache["pooling"]), {"dense": {"weight": dweight, "bias": dbias}}

    def _checked_gradient(self, gradient: Array | None, output: Array | None, name: str) -> Array | None:
        if gradient is None:
            return None if output is None else self.xp.zeros_like(output)
        if output is None:
            raise InputError(f"{name} was given, but the model has no pooler (add_pooling_layer=False)")
        return self._matching(gradient, output, name)
