"""Write networks of other packages and their own Q-values, in the environment of the peers.

    benchmarks/.venv/bin/pip install stable-baselines3 sb3-contrib pfrl
    benchmarks/.venv/bin/python tests/foreign/make_files.py FOLDER

Each network has random weights. Beside each file lies <name>.npz with 256 random states and the
package's own Q-values of them; ``tests/test_import.py`` compares ours.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pfrl
import torch
from sb3_contrib import QRDQN
from stable_baselines3 import DQN
from torch import nn

STATES = 256
SCREENS = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)


class Screens(gym.Env):
    """Random screens and four actions, as Breakout has."""

    observation_space, action_space = SCREENS, gym.spaces.Discrete(4)


def cleanrl_atari(actions: int) -> nn.Module:
    """Return the network of CleanRL's dqn_atari.py, written out: it is one file, not a package."""

    class QNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(
                nn.Conv2d(4, 32, 8, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
                nn.Conv2d(64, 64, 3, stride=1), nn.ReLU(), nn.Flatten(),
                nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, actions),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x / 255.0)

    return QNetwork()


def cleanrl_vector() -> nn.Module:
    """Return the network of CleanRL's dqn.py, whose hidden layers have different sizes."""

    class QNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(
                nn.Linear(4, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 2)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x)

    return QNetwork()


def main(folder: Path) -> None:
    """Write the files."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    screens = rng.integers(0, 256, (STATES, 4, 84, 84), np.uint8)
    vectors = rng.normal(size=(STATES, 4)).astype(np.float32)

    def keep(name: str, states: np.ndarray, q_values: torch.Tensor) -> None:
        np.savez_compressed(folder / f"{name}.npz", states=states, q_values=q_values.numpy())

    with torch.no_grad():
        for name, make, env, states in (
            ("sb3_breakout.zip", DQN, Screens(), screens),
            ("sb3_cartpole.zip", DQN, gym.make("CartPole-v1"), vectors),
            ("qrdqn_breakout.zip", QRDQN, Screens(), screens),
            ("qrdqn_cartpole.zip", QRDQN, gym.make("CartPole-v1"), vectors),
        ):
            policy = "CnnPolicy" if states is screens else "MlpPolicy"
            model = make(policy, env, buffer_size=10, device="cpu")
            model.save(folder / name)
            tensor = torch.as_tensor(states)
            if make is DQN:
                q_values = model.q_net(tensor)
            else:
                q_values = model.quantile_net(tensor).mean(dim=1)
            keep(name, states, q_values)
        for name, network, states in (
            ("cleanrl_breakout.cleanrl_model", cleanrl_atari(4), screens),
            ("cleanrl_cartpole.cleanrl_model", cleanrl_vector(), vectors),
        ):
            torch.save(network.state_dict(), folder / name)
            keep(name, states, network(torch.as_tensor(states)))
        head = pfrl.q_functions.DiscreteActionValueHead()
        network = nn.Sequential(pfrl.nn.LargeAtariCNN(), nn.Linear(512, 4), head)
        torch.save(network.state_dict(), folder / "pfrl_breakout.pt")
        scaled = torch.as_tensor(screens).to(torch.float32) / 255
        keep("pfrl_breakout.pt", screens, network(scaled).q_values)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
