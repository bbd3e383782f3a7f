"""A Q-network of torch's own layers alone, for other programs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simple_dqn.networks.q_network import DuelingHead, QNetwork


class PlainQNetwork(nn.Module):
    """Q-values [B, A] of states, without noise: uint8 screens [B, H, h, w] are divided by 255 here.

    Args:
        network: whose weights are copied.
    """

    def __init__(self, network: QNetwork) -> None:
        super().__init__()
        self.layers = plain(network.layers)
        self.quantiles = network.quantiles

    def forward(self, states: Tensor) -> Tensor:
        """Return the Q-values of states [B, H, *shape], uint8 screens or others as float32."""
        scaled = states.to(torch.float32) / 255 if states.dtype == torch.uint8 else states
        scaled = scaled.to(torch.float32)
        if scaled.dim() == 5:  # boards
            scaled = scaled.flatten(1, 2)
        values: Tensor = self.layers(scaled)
        return torch.unflatten(values, 1, (-1, self.quantiles)).mean(dim=2)


def plain(module: nn.Module) -> nn.Module:
    """Return a copy of layers in which our own ones are torch's."""
    if isinstance(module, nn.Linear):
        copy: nn.Module = nn.Linear(
            module.in_features, module.out_features, bias=module.bias is not None
        )
    elif isinstance(module, nn.Conv2d):
        copy = nn.Conv2d(
            module.in_channels, module.out_channels, module.kernel_size, module.stride,  # type: ignore[arg-type]
            module.padding,  # type: ignore[arg-type]
        )  # fmt: skip
    elif isinstance(module, DuelingHead):
        value, advantage = ([plain(m) for m in part] for part in (module.value, module.advantage))
        return DuelingHead(value, advantage, module.quantiles)
    elif isinstance(module, nn.Sequential):
        return nn.Sequential(*map(plain, module))
    else:
        return module
    own = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    copy.load_state_dict({name: own[name] for name in copy.state_dict()})
    return copy
