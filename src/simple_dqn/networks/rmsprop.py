"""RMSProp as in DeepMind's code of 2015, and as in the original simple_dqn's library.

Neither is ``torch.optim.RMSprop``, whose ε is outside the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from simple_dqn.networks.acceleration import Compiled


class RMSProp(torch.optim.Optimizer):
    """RMSProp with ε inside the root (Graves 2013, eq. 38-40; DeepMind's NeuralQLearner.lua).

    Centred, the paper's "gradient momentum .95" and "squared gradient momentum .95":

        g ← ρ g + (1−ρ) dθ      s ← ρ s + (1−ρ) dθ²      θ ← θ − lr · dθ / √(s − g² + ε)

    Uncentred, as Neon's RMSProp, which the original simple_dqn used:

        s ← ρ s + (1−ρ) dθ²                              θ ← θ − lr · dθ / (√(s + ε) + ε)

    Args:
        params: parameters to optimise.
        lr: learning rate.
        decay_rate: ρ.
        epsilon: ε.
        centered: which of the two formulas.
        compile: compile the update, see ``acceleration.Compiled``.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Tensor,
        decay_rate: float,
        epsilon: float,
        centered: bool,
        compile: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr})
        # Each new number would be compiled again, and a GPU divides by a number with other rounding
        # than by a tensor, as a graph does.
        for group in self.param_groups:
            device = group["params"][0].device
            if compile or device.type == "cuda":
                group["lr"] = torch.as_tensor(lr, device=device)
        self.decay_rate, self.epsilon = decay_rate, epsilon
        update: Callable[..., None] = update_centered if centered else update_uncentered
        self.update = Compiled(update) if compile else update
        self.slots = ("square_avg", "grad_avg") if centered else ("square_avg",)
        for group in self.param_groups:
            for param in group["params"]:
                for slot in self.slots:
                    self.state[param][slot] = torch.zeros_like(param)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do one update from the parameters' gradients, for all parameters at once."""
        for group in self.param_groups:
            params = group["params"]
            grads = [param.grad for param in params]
            slots = [[self.state[param][slot] for param in params] for slot in self.slots]
            self.update(params, grads, *slots, group["lr"], self.decay_rate, self.epsilon)


Tensors = list[Tensor]


def update_centered(
    params: Tensors, grads: Tensors, squares: Tensors, means: Tensors,
    lr: float | Tensor, decay_rate: float, epsilon: float,
) -> None:  # fmt: skip
    """Do the centred update in place."""
    torch._foreach_mul_(squares, decay_rate)
    torch._foreach_addcmul_(squares, grads, grads, 1 - decay_rate)
    torch._foreach_lerp_(means, grads, 1 - decay_rate)
    roots = torch._foreach_addcmul(squares, means, means, -1)
    torch._foreach_add_(roots, epsilon)
    torch._foreach_sqrt_(roots)
    torch._foreach_div_(roots, -lr)
    torch._foreach_addcdiv_(params, grads, roots)


def update_uncentered(
    params: Tensors, grads: Tensors, squares: Tensors,
    lr: float | Tensor, decay_rate: float, epsilon: float,
) -> None:  # fmt: skip
    """Do the uncentred update in place."""
    torch._foreach_mul_(squares, decay_rate)
    torch._foreach_addcmul_(squares, grads, grads, 1 - decay_rate)
    roots = torch._foreach_add(squares, epsilon)
    torch._foreach_sqrt_(roots)
    torch._foreach_add_(roots, epsilon)
    torch._foreach_div_(roots, -lr)
    torch._foreach_addcdiv_(params, grads, roots)
