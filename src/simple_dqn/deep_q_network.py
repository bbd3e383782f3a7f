"""DeepQNetwork: predicts Q-values and learns them. The only room that optimises."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simple_dqn.errors import UsageError
from simple_dqn.networks.q_network import QNetwork
from simple_dqn.networks.rmsprop import RMSProp
from simple_dqn.replay_memory import Batch
from simple_dqn.state import State, counted

# The clipped TD error bounds what flows back, so a constant is enough to lift float16's small
# gradients out of its underflow without reaching its overflow.
FLOAT16_SCALE = 128.0

MODAL = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.dropout._DropoutNd)

# What each optimiser keeps for a parameter; a centred rmsprop also keeps grad_avg.
SLOTS = {
    "rmsprop": {"square_avg"},
    "adam": {"step", "exp_avg", "exp_avg_sq"},
    "adadelta": {"step", "square_avg", "acc_delta"},
    "sgd": set(),
}


class DeepQNetwork:
    """The action-value function Q(s, a; θ) and its target network θ⁻ (Mnih et al. 2015).

    Args:
        network: the module that is θ; it is moved to ``device``.
        device: where it runs, see ``choose_device``.
        datatype: "float32", or "bfloat16" or "float16" for mixed precision: the products are
            computed in it, weights and optimiser stay float32.
        optimizer: "rmsprop" (see ``optimizers.RMSProp``), "adam", "adadelta" or "sgd".
        learning_rate, decay_rate, epsilon, centered: of the optimiser, where it has them.
        loss_reduction: "sum" or "mean" of the gradients of a batch.
        clip_error: bound of the TD error in an update; 0 for none.
        has_target_network: False: the targets come from θ itself.
        double_q: Double Q-learning (van Hasselt et al. 2016).

    Attributes:
        weight_updates: updates done so far.
        lookup: turns what a batch has as states, if the memory keeps its screens on the device,
            into the states.
    """

    def __init__(
        self,
        network: QNetwork,
        device: torch.device,
        *,
        datatype: str,
        optimizer: str,
        learning_rate: float,
        decay_rate: float,
        epsilon: float,
        centered: bool,
        loss_reduction: str,
        clip_error: float,
        has_target_network: bool,
        double_q: bool = False,
    ) -> None:
        self.device = device
        self.datatype = datatype
        self.loss_reduction = loss_reduction
        self.clip_error = clip_error
        self.double_q = double_q
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval()
        self.target_network = copy.deepcopy(network) if has_target_network else self.network
        self.target_network.requires_grad_(not has_target_network)

        # A walk through all modules costs time, and only these know learning from predicting.
        self._has_modes = any(isinstance(m, MODAL) for m in self.network.modules())

        params = list(self.network.parameters())
        self.optimizer: torch.optim.Optimizer
        self._slots = SLOTS[optimizer] | (
            {"grad_avg"} if optimizer == "rmsprop" and centered else set()
        )
        if optimizer == "rmsprop":
            self.optimizer = RMSProp(params, learning_rate, decay_rate, epsilon, centered)
        elif optimizer == "adam":
            self.optimizer = torch.optim.Adam(params, learning_rate, eps=epsilon, fused=True)
        elif optimizer == "sgd":
            self.optimizer = torch.optim.SGD(params, learning_rate)
        else:  # Adadelta as in its paper has no learning rate (Zeiler 2012)
            self.optimizer = torch.optim.Adadelta(params, 1.0, rho=decay_rate, eps=epsilon)

        # τ of each quantile: the midpoints of K equal parts of [0, 1], [K, 1]
        k = network.quantiles
        self._midpoints = ((torch.arange(k, device=device) + 0.5) / k)[:, None]
        self.lookup: Callable[[Tensor], Tensor] | None = None
        self.weight_updates = 0
        self._cost = torch.zeros((), device=device)  # summed since the last mean_cost()
        self._cost_updates = 0

    def predict(self, states: NDArray[Any]) -> NDArray[np.float32]:
        """Return Q(s, a; θ), [N, A], of states [N, H, *shape]."""
        with torch.inference_mode(), self._precision():
            q: NDArray[np.float32] = self.network(self._tensor(states)).cpu().numpy()
        return q

    def train(self, batch: Batch) -> Tensor:
        """Do one update of θ towards r + γ max_a' Q(s', a'; θ⁻) and return |δ|, [B].

        What is learnt of an action is K quantiles of its return, K = 1 for plain Q-values: then
        all that follows is Q-learning. For K > 1 it is quantile regression (Dabney et al. 2018,
        algorithm 1), and δ that is returned the error of the mean.

        The result stays on the device, so that nothing waits for it unless it is read; the next
        update may overwrite it. ``acceleration`` wraps this method.
        """
        states, poststates = self._states(batch.states), self._states(batch.poststates)
        actions, weights = self._tensor(batch.actions), self._tensor(batch.weights)
        returns, discounts = self._tensor(batch.returns), self._tensor(batch.discounts)

        # Noisy layers: an update is of one draw of the noise, θ⁻ has its own
        self.draw_noise()
        self.target_network.draw_noise()

        # Q(s', a'; θ⁻) of the best action: best by θ⁻ itself, or with Double Q-learning by θ
        with torch.no_grad(), self._precision():
            postq = self.target_network.distributions(poststates)  # [B, A, K]
            judge = self.network.distributions(poststates) if self.double_q else postq
            best = judge.mean(dim=2).argmax(dim=1)  # [B]
            maxpostq = _of_actions(postq, best)  # [B, K]

        # y = r + γ max_a' Q(s', a'; θ⁻); the discount is 0 after a terminal
        targets = returns[:, None] + discounts[:, None] * maxpostq  # [B, K]

        # Q(s, a; θ) of the actions that were taken
        if self._has_modes:
            self.network.train()
        with self._precision():
            preq = self.network.distributions(states)  # [B, A, K]
        if self._has_modes:
            self.network.eval()
        q = _of_actions(preq, actions)  # [B, K]

        # δ = y − Q(s, a; θ), each target against each quantile. The error is clipped, not the
        # loss: its gradient never vanishes.
        with torch.no_grad():
            deltas = targets[:, None, :] - q[:, :, None]  # [B, K, K]
            errors = deltas.clamp(-self.clip_error, self.clip_error) if self.clip_error else deltas
            if self.network.quantiles > 1:  # quantile τ is where overshooting costs (1−τ)/τ as much
                errors = errors * (self._midpoints - (deltas < 0).float()).abs()
            errors = weights[:, None] * errors.mean(dim=2)  # [B, K]
            if self.loss_reduction == "mean":
                errors /= len(errors)
            means: Tensor = (targets - q).mean(dim=1)  # [B]
            self._cost += (0.5 * weights * means.square()).mean()

        # θ ← optimiser(θ, −δ ∂Q(s, a; θ)/∂θ)
        self.optimizer.zero_grad(set_to_none=True)
        if self.datatype == "float16":
            torch.autograd.backward(q, -errors * FLOAT16_SCALE)
            torch._foreach_div_([p.grad for p in self.network.parameters()], FLOAT16_SCALE)
        else:
            torch.autograd.backward(q, -errors)
        self.optimizer.step()

        self.weight_updates += 1
        self._cost_updates += 1
        return means.abs()

    def update_target_network(self) -> None:
        """Copy θ to the target network, θ⁻ ← θ."""
        if self.target_network is not self.network:
            self.target_network.load_state_dict(self.network.state_dict())

    def draw_noise(self, noisy: bool = True) -> None:
        """Draw new noise for the noisy layers of θ; False: none, as in a test."""
        self.network.draw_noise(noisy)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the step size of the optimiser; a schedule moves it."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # what is compiled reads it from there
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate

    def mean_cost(self) -> float:
        """Return the mean of ½δ² over all samples since the last call; 0 without an update."""
        mean = self._cost.item() / max(self._cost_updates, 1)
        self._cost.zero_()
        self._cost_updates = 0
        return mean

    def require_finite(self) -> None:
        """Raise FloatingPointError if θ or the cost since the last ``mean_cost`` is not finite."""
        finite = all(bool(param.isfinite().all()) for param in self.network.parameters())
        if not (finite and math.isfinite(self._cost.item())):
            raise FloatingPointError

    def _precision(self) -> AbstractContextManager[Any]:
        """Mixed precision, if it was asked for."""
        if self.datatype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.datatype))

    def _tensor(self, array: NDArray[Any] | Tensor) -> Tensor:
        return torch.as_tensor(array).to(self.device, non_blocking=True)

    def _states(self, states: NDArray[Any]) -> Tensor:
        """Return the states of a batch, [B, H, *shape]."""
        tensor = self._tensor(states)
        return tensor if self.lookup is None else self.lookup(tensor)

    def weights(self) -> dict[str, Tensor]:
        """Return θ, by the names that a snapshot uses."""
        return {name: t.contiguous() for name, t in self.network.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Set θ and the target network.

        Raises:
            UsageError: the names or shapes are another network's.
        """
        _require_same("weights", self.network.state_dict(), weights)
        self.network.load_state_dict(weights)
        self.update_target_network()

    def training_state(self) -> dict[str, Tensor]:
        """Return what else learning goes on from: the target network and the optimiser."""
        state = {}
        if self.target_network is not self.network:
            state = {f"target.{n}": t for n, t in self.target_network.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{name}": t for name, t in slots.items()}
        return {name: t.contiguous() for name, t in state.items()}

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        """Set the target network and the optimiser, as far as ``state`` and we have them.

        Raises:
            UsageError: the names or shapes are another network's or optimiser's.
        """
        target = _under("target.", state)
        if target:
            _require_same("target network", self.network.state_dict(), target)
        params = list(self.network.parameters())
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", state).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index) if index.isdecimal() else -1, {})[slot] = tensor
        expected = {
            index: {slot: torch.Size() if slot == "step" else param.shape for slot in self._slots}
            for index, param in enumerate(params)
        }
        found = {index: {n: t.shape for n, t in named.items()} for index, named in slots.items()}
        if found and found != expected:
            raise UsageError("the optimiser's state is another optimiser's or network's")
        if target and self.target_network is not self.network:
            self.target_network.load_state_dict(target)
        if found:
            # In the memory layout of the parameters: fused optimisers go through both side by side.
            for number, param in enumerate(params):
                for slot in self._slots - {"step"}:
                    slots[number][slot] = torch.empty_like(param).copy_(slots[number][slot])
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})

    def state_dict(self) -> State:
        """Return all that learning goes on from exactly, see ``state``."""
        noises = [
            [list(layer.noise or ()) for layer in network.noisy_layers]
            for network in (self.network, self.target_network)
        ]
        return dict(
            weights=self.weights(),
            training_state=self.training_state(),
            noises=noises,
            weight_updates=self.weight_updates,
            cost=self._cost.clone(),
            cost_updates=self._cost_updates,
        )

    def load_state_dict(self, state: State) -> None:
        """Take in what ``state_dict`` returned.

        Raises:
            UsageError: it is another network's or optimiser's.
        """
        self.load_weights(state["weights"])
        self.load_training_state(state["training_state"])
        networks = self.network, self.target_network
        for network, noises in zip(networks, state["noises"], strict=True):
            for layer, noise in zip(network.noisy_layers, noises, strict=True):
                layer.load_noise(noise)
        self.weight_updates = counted(state["weight_updates"])
        self._cost.copy_(state["cost"])
        self._cost_updates = counted(state["cost_updates"])


def _of_actions(values: Tensor, actions: Tensor) -> Tensor:
    """Return of values [B, A, K] those of one action each, [B, K]."""
    return values[torch.arange(len(actions), device=values.device), actions]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _require_same(what: str, own: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Raise UsageError unless both have the same names, shapes and types."""
    if _kinds(own) != _kinds(other):
        raise UsageError(f"the {what} are of another network (number of actions or layers)")


def _kinds(tensors: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def choose_device(backend: str, device_id: int) -> torch.device:
    """Return the device for ``--backend cpu|gpu|auto`` and ``--device_id``.

    Raises:
        UsageError: a GPU was asked for and there is none of that number.
    """
    gpus = torch.cuda.device_count() if backend != "cpu" and torch.cuda.is_available() else 0
    if backend == "cpu" or (backend == "auto" and gpus == 0):
        return torch.device("cpu")
    if device_id >= gpus:
        there = f"there are {gpus} CUDA GPUs, numbered from 0" if gpus else "there is no CUDA GPU"
        raise UsageError(f"--backend {backend} --device_id {device_id}: {there}; try --backend cpu")
    torch.cuda.set_device(device_id)  # for streams and graphs, which belong to the device of now
    return torch.device("cuda", device_id)
