"""What each head and each MLP writes into the residual stream, as its share of the logits."""

from dataclasses import dataclass
from typing import Any

import numpy

from minivivit.config import VivitConfig


@dataclass(frozen=True)
class HeadShare:
    """One part of the logits.

    Attributes
    ----------
    stage : str
        The stage of `minivivit.explore.network_steps.stages` that wrote it; ``""`` for what the last step adds.
    part : str
        ``"head"``, ``"attention bias"``, ``"MLP"``, ``"embedding"`` or ``"bias"``.
    head : int or None
    attention : str
        For heads: the name of the attention, for a layer may have two.
    logits : numpy.ndarray, shape (classes,)
    """

    stage: str
    part: str
    head: int | None
    attention: str
    logits: numpy.ndarray


def head_shares(
    tensors: dict[str, tuple[numpy.ndarray, list[int] | None]],
    parameters: dict[str, numpy.ndarray],
    of: list[dict[str, Any]],
    config: VivitConfig,
) -> list[HeadShare]:
    r"""Split the logits into a sum over the parts of the network.

    The residual stream of the last layer is a sum of what the embedding and each branch have written. The last layer
    norm divides by a standard deviation; taken as the number that it is, what follows is linear:

    .. math::
        z_c = \sum_u \sum_k W_{ck}\, w_k\, \frac{u_k - \bar u}{\sigma} + \text{bias}, \qquad
        u \in \{\text{embedding}, P_h V_h W_O^\top, b_O, \mathrm{MLP}_l\}

    with the tokens averaged or summed as the classifier does. The parts add up to the logits.

    Parameters
    ----------
    tensors : dict
        Of `minivivit.explore.recording.Recording`.
    parameters : dict
        The model's ``state_dict()``.
    of : list of dict
        Of `minivivit.explore.network_steps.stages`.

    Returns
    -------
    list of HeadShare
        Empty where the way to the logits is not linear in this sense (a representation layer, the maximum of tokens),
        and where the tokens that it needs are not in `tensors`. In Model 2 the last encoder's embedding is one part.

    References
    ----------
    Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", https://transformer-circuits.pub/2021/framework
    """
    norm = of[-2]["steps"][0]
    space, stream, heads = of[-2]["space"], norm["in"][0], config.num_attention_heads
    one_token = config.use_cls_token and space in ("clip", "moments")
    known = one_token or (tensors[stream][1] is None and config.classifier in ("gap", "gsp"))
    if norm["kind"] != "norm" or space not in ("clip", "moments") or not known:
        return []
    if "classifier.weight" not in parameters or config.representation_size is not None:
        return []
    rows = slice(0, 1) if one_token else slice(None)

    def array(name: str) -> numpy.ndarray:
        return tensors[name][0][rows].astype(numpy.float64)  # (tokens that count, hidden)

    last = array(stream)
    std = numpy.sqrt(last.var(axis=1, keepdims=True) + norm["eps"])
    to_logits = parameters["classifier.weight"].astype(numpy.float64) * parameters[norm["weight"]]  # (classes, hidden)

    def logits(written: numpy.ndarray) -> numpy.ndarray:
        normed = (written - written.mean(axis=1, keepdims=True)) / std
        return to_logits @ (normed.sum(axis=0) if config.classifier == "gsp" else normed.mean(axis=0))

    shares = []
    for stage in (stage for stage in of if stage["space"] == space):
        for step in stage["steps"]:
            if step["role"] == "place":
                shares.append(HeadShare(stage["id"], "embedding", None, "", logits(array(step["out"]))))
            elif step["role"] == "attention output":
                merged, weight = array(step["in"][0]), parameters[step["weight"]].astype(numpy.float64)
                size = weight.shape[1] // heads
                for head in range(heads):
                    part = slice(head * size, (head + 1) * size)
                    share = logits(merged[:, part] @ weight[:, part].T)
                    shares.append(HeadShare(stage["id"], "head", head, step["in"][0], share))
                constant = numpy.broadcast_to(parameters[step["bias"]].astype(numpy.float64), last.shape)
                shares.append(HeadShare(stage["id"], "attention bias", None, step["in"][0], logits(constant)))
            elif step["role"] == "MLP output":
                shares.append(HeadShare(stage["id"], "MLP", None, "", logits(array(step["out"]))))
    count = len(last) if config.classifier == "gsp" else 1
    bias = parameters["classifier.weight"].astype(numpy.float64) @ parameters[norm["bias"]] * count
    shares.append(HeadShare("", "bias", None, "", bias + parameters["classifier.bias"]))
    return shares
