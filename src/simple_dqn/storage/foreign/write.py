"""Writing a network for other programs: ONNX, and the state dicts of other packages."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from simple_dqn.errors import UsageError
from simple_dqn.networks.plain import PlainQNetwork

OPSET = 23  # of ONNX


def onnx_bytes(network: PlainQNetwork, states: Tensor) -> bytes:
    """Return an ONNX model: states [batch, ...] to q_values [batch, actions].

    Args:
        network: without noise.
        states: an example, uint8 screens or float32 vectors [B, ...]; the model takes any batch.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise UsageError("an ONNX file needs the extra 'export': pip install '.[export]'") from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # lacking torchvision is no matter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(), (states,), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["states"], output_names=["q_values"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def stable_baselines3_bytes(network: PlainQNetwork, actions: int) -> bytes:
    """Return the state dict of a policy of Stable-Baselines3's DQN or sb3-contrib's QR-DQN.

    Raises:
        UsageError: they have no such network.
    """
    layers = list(_layers(network))
    net = "q_net" if network.quantiles == 1 else "quantile_net"
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in layers)
    names = [f"{net}.{2 * n}" for n in range(len(layers))]
    if convolutions:
        if len(layers) != convolutions + 2:
            raise UsageError("a CnnPolicy has one hidden layer: this network has more")
        names = [f"features_extractor.cnn.{2 * n}" for n in range(convolutions)]
        names += ["features_extractor.linear.0", f"{net}.0"]
    found: dict[str, Tensor] = {}
    for target in ("", "_target"):
        for name, layer in zip(names, layers, strict=True):
            for part, values in layer.state_dict().items():
                if layer is layers[-1] and network.quantiles > 1:  # quantile 1 of all actions first
                    values = values.unflatten(0, (actions, -1)).transpose(0, 1).flatten(0, 1)
                found[f"{net}{target}.{name}.{part}"] = values.contiguous()
    return _saved(found)


def cleanrl_bytes(network: PlainQNetwork) -> bytes:
    """Return the state dict of CleanRL's QNetwork.

    Raises:
        UsageError: it has no such network.
    """
    layers = list(_layers(network))
    if network.quantiles > 1:
        raise UsageError("CleanRL's DQN has no quantiles")
    number, found = 0, {}
    for position, layer in enumerate(layers):
        flattens = position and isinstance(layers[position - 1], nn.Conv2d)
        number += bool(flattens and isinstance(layer, nn.Linear))  # nn.Flatten has a number
        for part, values in layer.state_dict().items():
            found[f"network.{number}.{part}"] = values
        number += 2  # the rectifier has one
    return _saved(found)


def _layers(network: PlainQNetwork) -> Iterator[nn.Conv2d | nn.Linear]:
    """Yield the layers with weights of a network of layers in a row.

    Raises:
        UsageError: it has others, or a padding that no other package has.
    """
    assert isinstance(network.layers, nn.Sequential)
    first = network.layers[0]
    if isinstance(first, nn.Conv2d) and (first.kernel_size, first.out_channels) != ((8, 8), 32):
        raise UsageError("other packages' convolutions are Nature's, with 32 filters: export ONNX")
    for layer in network.layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if isinstance(layer, nn.Conv2d) and any(layer.padding):
                raise UsageError(
                    "other packages' networks have --conv1_padding 0: this has another"
                )
            if layer.bias is None:
                raise UsageError("other packages' networks have biases: this has none")
            yield layer
        elif not isinstance(layer, nn.ReLU | nn.Flatten):
            raise UsageError(
                f"other packages have layers in a row, no {type(layer).__name__}: export ONNX"
            )


def _saved(found: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(found, buffer)
    return buffer.getvalue()
