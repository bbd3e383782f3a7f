"""TestPlayer: chooses actions in a process that plays test games. LoadPlayers: gives it θ."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.deep_q_network import DeepQNetwork
from simple_dqn.replay.state_buffer import StateBuffer


class TestPlayer(StateBuffer):
    """The current states of a process's lanes, and a copy of the Q-network that acts on them.

    Args:
        network: the copy.
        args: see StateBuffer.
    """

    def __init__(self, network: DeepQNetwork, *args: Any) -> None:
        super().__init__(*args)
        self.network = network

    def actions(self) -> NDArray[np.int64]:
        """Return argmax_a Q(s, a; θ) in each lane, [n]."""
        best: NDArray[np.int64] = self.network.predict(self.states).argmax(axis=1)
        return best

    def load_weights(self, weights: dict[str, NDArray[Any]]) -> None:
        """Set θ."""
        self.network.load_weights({name: torch.as_tensor(w) for name, w in weights.items()})


class LoadPlayers(Callback):
    """Gives the processes that play test games the current weights when a test starts."""

    def on_phase_start(self, agent: Agent) -> None:
        """Load the weights, and the states of a resumed test."""
        environment: Any = agent.environment
        if environment.chooses:
            weights = {name: t.cpu().numpy() for name, t in agent.network.weights().items()}
            environment.load_players(weights, agent.buffer.states)
