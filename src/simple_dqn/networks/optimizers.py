"""The optimisers that ``--optimizer`` names, with their whole state allocated at the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from simple_dqn.networks.rmsprop import RMSProp

# The state of each for a parameter; ``rmsprop.RMSProp`` allocates its own.
SLOTS = {
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adadelta": ("step", "square_avg", "acc_delta"),
    "sgd": (),
}


class Adam(torch.optim.Adam):
    """Adam (Kingma and Ba 2015) in one pass over all weights, by torch's fused kernel.

    ``torch.optim.Adam`` groups the weights anew in each step, which takes as long as its
    arithmetic. Here the lists are made in the first step.
    """

    lists: tuple[list[Tensor], ...] = ()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do one update from the parameters' gradients."""
        (group,) = self.param_groups
        if not self.lists:
            slots = [
                [self.state[param][slot] for param in group["params"]] for slot in SLOTS["adam"]
            ]
            self.lists = group["params"], *slots
        params, steps, means, squares = self.lists
        grads: Any = [param.grad for param in params]
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        torch._fused_adam_(
            params, grads, means, squares, [], steps,
            lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=0.0, eps=group["eps"],
            amsgrad=False, maximize=False,
        )  # fmt: skip


def make_optimizer(
    name: str,
    params: Sequence[Tensor],
    *,
    learning_rate: float,
    decay_rate: float,
    epsilon: float,
    centered: bool,
    compiled: bool = False,
    captured: bool = False,
) -> torch.optim.Optimizer:
    """Return an optimiser.

    Args:
        name: "rmsprop" (see ``rmsprop.RMSProp``), "adam", "adadelta" or "sgd".
        params: the parameters to optimise, all on one device.
        learning_rate, decay_rate, epsilon, centered: for those that have them. Adadelta has no
            learning rate, as in its paper (Zeiler 2012).
        compiled: compile its update, if it is rmsprop.
        captured: make it capturable by a CUDA graph.
    """
    device = params[0].device
    # Captured code reads the learning rate, which a schedule can change, from a tensor.
    lr = torch.tensor(learning_rate, device=device) if captured else learning_rate
    optimizer: torch.optim.Optimizer
    if name == "rmsprop":
        return RMSProp(params, lr, decay_rate, epsilon, centered, compiled)
    if name == "adam":
        optimizer = Adam(params, lr, eps=epsilon, fused=True, capturable=captured)
    elif name == "sgd":
        optimizer = torch.optim.SGD(params, learning_rate)
    else:
        optimizer = torch.optim.Adadelta(params, 1.0, rho=decay_rate, eps=epsilon)
    for param in params:
        step = torch.zeros((), device=device if name == "adam" else "cpu")
        optimizer.state[param] = {
            slot: step if slot == "step" else torch.zeros_like(param) for slot in SLOTS[name]
        }
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(learning_rate)
        else:
            group["lr"] = learning_rate
