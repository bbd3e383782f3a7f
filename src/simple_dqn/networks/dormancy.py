"""The share of a network's rectifiers that never fire, which no longer learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def dead_shares(network: nn.Module, run: Callable[[], Any]) -> tuple[float, float]:
    """Return the shares of filters and of hidden units that stay 0 throughout ``run``.

    A filter is dead if it is 0 at every position in every state (Lu et al. 2019; dormant with
    τ = 0 in Sokar et al. 2023).

    Args:
        network: its rectifiers are ``nn.ReLU`` modules.
        run: applies the network to some states, in one call or several.

    Returns:
        each from 0 to 1; nan if there are none of its kind.
    """
    fired: dict[nn.Module, Tensor] = {}  # bool [filters] or [units] of each rectifier
    kinds: dict[nn.Module, int] = {}  # 4: [B, filters, h, w], 2: [B, units]

    def observe(module: nn.Module, inputs: Any, output: Tensor) -> None:
        some = (output > 0).movedim(1, 0).flatten(1).any(dim=1)
        fired[module] = fired.get(module, torch.zeros_like(some)) | some
        kinds[module] = output.dim()

    rectifiers = [m for m in network.modules() if isinstance(m, nn.ReLU)]
    hooks = [m.register_forward_hook(observe) for m in rectifiers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()

    def share(kind: int) -> float:
        of_kind = [fired[m] for m in fired if kinds[m] == kind]
        return 1 - float(torch.cat(of_kind).float().mean()) if of_kind else float("nan")

    return share(4), share(2)
