"""LearntState: what a Q-network has learnt, as snapshots and checkpoints store it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from simple_dqn.networks.q_network import QNetwork


class LearntState(ABC):
    """θ, θ⁻, the optimiser's state and the counts of a ``DeepQNetwork``: read and restored."""

    network: QNetwork
    target_network: QNetwork  # the network itself if there is none
    optimizer: torch.optim.Optimizer
    weight_updates: int
    _cost: Tensor
    _cost_updates: int

    def weights(self) -> dict[str, Tensor]:
        """Return θ, by the names used in a snapshot."""
        return {name: t.contiguous() for name, t in self.network.state_dict().items()}

    @abstractmethod
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Set θ and the target network to what ``weights`` returned."""

    def training_state(self) -> dict[str, Tensor]:
        """Return what else resuming needs: the target network and the optimiser's state."""
        return {name: t.contiguous() for name, t in self._training_tensors().items()}

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        """Restore what ``training_state`` returned, or a part of it."""
        own = self._training_tensors()
        for name, tensor in state.items():
            own[name].copy_(tensor)

    def _training_tensors(self) -> dict[str, Tensor]:
        tensors = {}
        if self.target_network is not self.network:
            tensors = {f"target.{n}": t for n, t in self.target_network.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": t for name, t in slots.items()}
        return tensors

    def state_dict(self) -> dict[str, Any]:
        """Return all that resuming exactly needs, see ``storage.states``."""
        networks = self.network, self.target_network
        return dict(
            weights=self.weights(),
            training_state=self.training_state(),
            noises=[[list(layer.noise or ()) for layer in n.noisy_layers] for n in networks],
            weight_updates=self.weight_updates,
            cost=self._cost.clone(),
            cost_updates=self._cost_updates,
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.load_weights(state["weights"])
        self.load_training_state(state["training_state"])
        networks = self.network, self.target_network
        for network, noises in zip(networks, state["noises"], strict=True):
            for layer, noise in zip(network.noisy_layers, noises, strict=True):
                layer.load_noise(noise)
        self.weight_updates = state["weight_updates"]
        self._cost.copy_(state["cost"])
        self._cost_updates = state["cost_updates"]
