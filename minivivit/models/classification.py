"""`VivitForVideoClassification`: a clip in, one number a class out."""

from typing import Any

import numpy

from minivivit.backend import Array, one_pass
from minivivit.config import VivitConfig
from minivivit.layers.trace import Trace, record, scope
from minivivit.models.base import VivitBase
from minivivit.models.encoders.forward_options import ForwardOptions, inference_options, training_options
from minivivit.models.loss import loss_backward, loss_forward
from minivivit.models.outputs import VideoClassifierOutput, layer_outputs
from minivivit.models.parameters import Tree, classification_shapes, flatten
from minivivit.models.vivit import VivitModel
from minivivit.ops.linear import linear_backward, linear_forward
from minivivit.ops.pooling import pooling_backward, pooling_forward
from minivivit.ops.tanh import tanh_backward, tanh_forward


class VivitForVideoClassification(VivitBase):
    """ViViT with a classifier on its CLS token, or on its tokens' mean, maximum or sum.

    Parameters
    ----------
    config : VivitConfig
    dtype : {"float32", "float64"}
    backend : {"numpy", "cupy", "auto"}
    seed : int or numpy.random.Generator
        Of the first values of the parameters.

    Attributes
    ----------
    params : dict
        The parameters: a tree of plain dicts, spelled as the published checkpoint.
    """

    new_parts = ("classifier.", "pre_logits.")
    unused_parts = ("vivit.pooler.",)

    def __init__(
        self,
        config: VivitConfig,
        *,
        dtype: Any = "float32",
        backend: str | None = "auto",
        seed: int | numpy.random.Generator = 0,
    ):
        self._prepare(config, dtype)
        self._initialise(seed, backend)

    def parameter_shapes(self) -> Tree:
        """Names and shapes of the parameters, as a tree."""
        return classification_shapes(self.config)

    @property
    def vivit(self) -> VivitModel:
        """The bare model inside; it shares the parameters."""
        model = VivitModel.__new__(VivitModel)
        model.add_pooling_layer = False
        model.config, model.dtype, model.params = self.config, self.dtype, self.params["vivit"]
        model.classifier = self
        return model

    def _rename(self, weights: dict[str, Array]) -> dict[str, Array]:
        if any(name.startswith("vivit.") for name in weights):
            return weights
        head = ("classifier.", "pre_logits.")
        return {name if name.startswith(head) else f"vivit.{name}": array for name, array in weights.items()}

    # ------------------------------------------------------------------------------------------------ forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `forward`."""
        return self.forward(*args, **kwargs)

    def forward(
        self,
        pixel_values: Array = None,
        labels: Array | None = None,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        trace: Trace | None = None,
    ) -> Any:
        """Classify a batch of clips.

        Parameters
        ----------
        pixel_values : array, shape (batch, frames, channels, height, width)
            Any real or integer dtype; converted to the model's.
        labels : array, optional
            For the loss; see `minivivit.models.loss`.
        interpolate_pos_encoding, output_attentions, output_hidden_states, return_dict, trace
            See `VivitModel.forward`.

        Returns
        -------
        VideoClassifierOutput, or a tuple where `return_dict` is False
            ``loss`` (where there are labels), ``logits`` (batch, num_labels), ``hidden_states``, ``attentions``.

        Raises
        ------
        InputError
            For input that the model cannot see; the message says why.
        """
        options = inference_options(
            self.config, interpolate_pos_encoding, output_attentions, output_hidden_states, trace
        )
        logits, outputs, _ = self.run(pixel_values, options)
        loss = None
        if labels is not None:
            loss, _ = loss_forward(logits, labels, self.config)
            record(trace, "loss", loss)
        result = VideoClassifierOutput(
            loss=loss,
            logits=logits,
            **layer_outputs(outputs, options),
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return result if return_dict else result.to_tuple()

    def run(self, pixel_values: Array, options: ForwardOptions) -> tuple[Array, dict, dict | None]:
        """One pass with `options`: logits, outputs by layer, and the cache if it is kept."""
        vivit = self.vivit
        inner_options = ForwardOptions(**{**vars(options), "trace": scope(options.trace, "vivit")})
        with one_pass():
            last_hidden_state, _, outputs, vivit_cache = vivit.run(pixel_values, inner_options)
            logits, head_cache = self._head_forward(last_hidden_state, vivit.pooling, options.trace)
        cache = {"vivit": vivit_cache, "head": head_cache} if options.keep_cache else None
        return logits, outputs, cache

    def _head_forward(self, last_hidden_state: Array, pooling: str, trace: Trace | None) -> tuple[Array, dict]:
        """logits = W r + b, with r the pooled tokens or, with a representation layer, tanh(W' pooled + b')"""
        cache = {}
        x, cache["pooling"] = pooling_forward(last_hidden_state, pooling)
        if "pre_logits" in self.params:
            record(trace, "pooling", x)
            dense = self.params["pre_logits"]
            x, cache["pre_logits"] = linear_forward(x, dense["weight"], dense["bias"])
            record(trace, "pre_logits.dense", x)
            x, cache["tanh"] = tanh_forward(x)
        record(trace, "pre_logits", x)
        if "classifier" in self.params:
            dense = self.params["classifier"]
            x, cache["classifier"] = linear_forward(x, dense["weight"], dense["bias"])
        record(trace, "classifier", x)
        return x, cache

    # ------------------------------------------------------------------------------------------------ backward

    def loss_and_gradients(
        self,
        pixel_values: Array,
        labels: Array,
        *,
        interpolate_pos_encoding: bool = False,
        label_smoothing: float = 0.0,
        counts: list[int] | None = None,
        rng: numpy.random.Generator | None = None,
        gradient_checkpointing: bool = False,
        trace: Trace | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """The loss of a batch, and its gradient to every parameter and to the pixels.

        Parameters
        ----------
        pixel_values, labels : as in `forward`
        label_smoothing : float
            Of the cross-entropy.
        counts : list of int, optional
            Where these clips are a piece of a batch; see `minivivit.models.loss.loss_forward`.
        rng : numpy.random.Generator, optional
            Given, this is a training pass: dropout and stochastic depth, as the config sets them, draw from it.
        gradient_checkpointing : bool
            Keep only what goes into each layer and compute the layers again on the way back: less memory for one more
            forward pass, and the same bits.
        trace : Trace, optional
            Records every intermediate value by name, and under the name with ``gradient.`` before it the gradient
            of those that the backward pass forms whole.

        Returns
        -------
        loss : scalar of the model's dtype
        gradients : dict
            One array for each name of `state_dict`, and ``"pixel_values"``.
        """
        options = training_options(interpolate_pos_encoding, rng, gradient_checkpointing, trace)
        logits, _, cache = self.run(pixel_values, options)
        loss, loss_cache = loss_forward(logits, labels, self.config, label_smoothing, counts)
        record(trace, "loss", loss)
        return loss, self._backward(loss_backward(loss_cache), cache, scope(trace, "gradient"))

    def gradients(
        self,
        pixel_values: Array,
        dlogits: Array,
        *,
        interpolate_pos_encoding: bool = False,
        rng: numpy.random.Generator | None = None,
        gradient_checkpointing: bool = False,
    ) -> dict[str, Array]:
        """Gradients of any function of the logits, given its gradient to them.

        Parameters
        ----------
        dlogits : array, shape (batch, num_labels)
        other : see `loss_and_gradients`

        Returns
        -------
        gradients : dict
            One array for each name of `state_dict`, and ``"pixel_values"``.
        """
        options = training_options(interpolate_pos_encoding, rng, gradient_checkpointing)
        logits, _, cache = self.run(pixel_values, options)
        dlogits = self._matching(dlogits, logits, "dlogits")
        return self._backward(dlogits, cache, None)

    def _backward(self, dlogits: Array, cache: dict | None, trace: Trace | None) -> dict[str, Array]:
        """From the logits to everything, with the cache of `run`."""
        assert cache is not None
        record(trace, "classifier", dlogits)
        with one_pass():
            dlast_hidden_state, gradients = self._head_backward(dlogits, cache["head"], trace)
            dpixel_values, gradients["vivit"] = self.vivit.backward(
                dlast_hidden_state, None, cache["vivit"], scope(trace, "vivit")
            )
        flat = flatten(gradients)
        record(trace, "pixel_values", dpixel_values)
        return {**{name: flat[name] for name in self.state_dict()}, "pixel_values": dpixel_values}

    def _head_backward(self, dlogits: Array, cache: dict, trace: Trace | None) -> tuple[Array, Tree]:
        """Gradients of `_head_forward`, from the bottom up."""
        dx, gradients = dlogits, {}
        if "classifier" in cache:
            dx, dweight, dbias = linear_backward(dx, cache["classifier"])
            gradients["classifier"] = {"weight": dweight, "bias": dbias}
        record(trace, "pre_logits", dx)
        if "pre_logits" in cache:
            dx = tanh_backward(dx, cache["tanh"])
            record(trace, "pre_logits.dense", dx)
            dx, dweight, dbias = linear_backward(dx, cache["pre_logits"])
            record(trace, "pooling", dx)
            gradients["pre_logits"] = {"weight": dweight, "bias": dbias}
        return pooling_backward(dx, cache["pooling"]), gradients
