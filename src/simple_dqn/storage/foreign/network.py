"""A network of another package: its layers, and what is known about how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from simple_dqn.errors import UsageError
from simple_dqn.networks.q_network import BOARD_CONVOLUTIONS, CONVOLUTIONS

PADDED = 8  # hidden layers of different sizes may take this many times their own memory


class Layer(NamedTuple):
    """A layer as torch lays it out: weight [out, in] or [out, in, height, width], bias [out]."""

    weight: Tensor
    bias: Tensor


class ForeignNetwork(NamedTuple):
    """A network of another package.

    Attributes:
        source: what wrote it, for messages.
        layers: convolutions, if any, then fully connected layers.
        options: of ours that the source implies, by name.
        presses_fire: whether its games start with FIRE, if they have that button.
        quantiles_first: the outputs are of quantile 1 for all actions, then of quantile 2...
        epoch: after which it was saved; 0 if that is not known.
        differs: what is not the same here, a sentence each.
    """

    source: str
    layers: list[Layer]
    options: Mapping[str, Any] = MappingProxyType({})
    presses_fire: bool = False
    quantiles_first: bool = False
    epoch: int = 0
    differs: tuple[str, ...] = ()


class Shape(NamedTuple):
    """What the layers of a network say about it.

    Attributes:
        kind: "screen", "board" or "vector".
        inputs: channels of the first convolution, or features of the first layer.
        options: the network's options.
        outputs: of the last layer: actions times quantiles.
    """

    kind: str
    inputs: int
    options: dict[str, Any]
    outputs: int


def make_layer(weight: Any, bias: Any = None) -> Layer:
    """Return a layer in float32; without a bias it gets zeros.

    Raises:
        ValueError: a value is no number, or the shapes do not fit.
    """
    weight = torch.as_tensor(weight)
    if weight.dim() not in (2, 4) or not weight.numel():
        raise ValueError(f"weights {list(weight.shape)}")
    weight = weight.to(torch.float32)
    bias = torch.zeros(len(weight)) if bias is None else torch.as_tensor(bias).to(torch.float32)
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"weights {list(weight.shape)} with biases {list(bias.shape)}")
    if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        raise ValueError("weights that are not finite")
    return Layer(weight, bias)


def shape_of(layers: Sequence[Layer]) -> Shape:
    """Return what the layers say; hidden layers may have different sizes.

    Raises:
        UsageError: they are not those of a network that is known here.
    """
    convolutions = [layer for layer in layers if layer.weight.dim() == 4]
    linear = list(layers[len(convolutions) :])
    sizes = " ".join("x".join(map(str, layer.weight.shape)) for layer in layers)
    unknown = UsageError(
        f"its layers ({sizes:.200}) are those of no network here: three convolutions of 8x8, 4x4 "
        f"and 3x3 with filters as 1:2:2, one of 3x3, or none, then fully connected layers"
    )
    if not linear or any(layer.weight.dim() != 2 for layer in linear):
        raise unknown
    inputs, outputs = layers[0].weight.shape[1], len(layers[-1].weight)
    options: dict[str, Any] = dict(
        hidden_layers=len(linear) - 1, batch_norm=False, dueling=False, noisy=False
    )
    hidden = [len(layer.weight) for layer in linear[:-1]]
    if hidden:
        options["hidden_units"] = max(hidden)
    if any(a.weight.shape[1] != len(b.weight) for a, b in zip(linear[1:], linear, strict=False)):
        raise unknown
    kind = {0: "vector", 1: "board", 3: "screen"}.get(len(convolutions), "")
    if convolutions:
        filters = len(convolutions[0].weight)
        known = CONVOLUTIONS if kind == "screen" else BOARD_CONVOLUTIONS
        channels, expected = inputs, []
        for multiple, kernel, _ in known:
            expected.append((multiple * filters, channels, kernel, kernel))
            channels = multiple * filters
        if [tuple(layer.weight.shape) for layer in convolutions] != expected:
            raise unknown
        if linear[0].weight.shape[1] % channels:
            raise unknown
        options["filters"] = filters
    if not kind or not hidden:
        raise unknown
    return Shape(kind, inputs, options, outputs)


def same_sizes(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers that compute the same, with hidden layers of equal size.

    The units that are added have no weights, so they are 0 and change nothing.

    Raises:
        UsageError: that would take much more memory than the network does.
    """
    convolutions = [layer for layer in layers if layer.weight.dim() == 4]
    linear = list(layers[len(convolutions) :])
    most = max(len(layer.weight) for layer in linear[:-1])
    needed = sum(most * layer.weight.shape[1] for layer in linear) + most * most * len(linear)
    if needed > PADDED * sum(layer.weight.numel() for layer in linear) + 1_000_000:
        raise UsageError("its hidden layers have too different sizes")
    padded: list[Layer] = []
    for number, (weight, bias) in enumerate(linear):
        rows = most if number < len(linear) - 1 else len(weight)
        columns = most if number else weight.shape[1]
        wide = torch.zeros(rows, columns)
        wide[: len(weight), : weight.shape[1]] = weight
        long = torch.zeros(rows)
        long[: len(bias)] = bias
        padded.append(Layer(wide, long))
    return [*convolutions, *padded]


def actions_first(layer: Layer, actions: int) -> Layer:
    """Return an output layer [quantiles · actions] as [actions · quantiles]."""
    order = np.arange(len(layer.weight)).reshape(-1, actions).T.reshape(-1)
    return Layer(layer.weight[order], layer.bias[order])
