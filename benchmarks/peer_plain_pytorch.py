"""The peer plain PyTorch: DQN in one file, in the style of CleanRL's dqn_atari.

CleanRL's scripts are meant to be copied, not installed, so this stands in for them: the Atari
wrappers and the replay buffer of Stable-Baselines3, resizing, greyscale and frame stack of
Gymnasium, and an explicit loop. Nothing is logged. Evaluation is the same loop at ε .05 without
learning.
"""

# mypy: ignore-errors
# These imports are installed in the peers' virtual environment, which mypy does not see.

from __future__ import annotations

import random

import ale_py
import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation, GrayscaleObservation, ResizeObservation
from peer_common import DEVICE, LEARNING_STARTS, MEMORY_SIZE, run, speed
from stable_baselines3.common.atari_wrappers import (
    ClipRewardEnv,
    EpisodicLifeEnv,
    FireResetEnv,
    MaxAndSkipEnv,
    NoopResetEnv,
)
from stable_baselines3.common.buffers import ReplayBuffer
from torch import nn
from torch.nn import functional

gymnasium.register_envs(ale_py)


class QNetwork(nn.Module):
    """The network of the Nature paper; takes bytes (N, 4, 84, 84)."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 32, 8, stride=4), nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * 7 * 7, 512), nn.ReLU(),
            nn.Linear(512, actions),
        )  # fmt: skip

    def forward(self, screens: torch.Tensor) -> torch.Tensor:
        """Return the value of each action, (N, actions)."""
        return self.layers(screens / 255.0)


def make_environment(task: str) -> gymnasium.Env:
    """Return one wrapped game."""
    env = MaxAndSkipEnv(NoopResetEnv(gymnasium.make(task), noop_max=30), skip=4)
    env = EpisodicLifeEnv(env)
    if "FIRE" in env.unwrapped.get_action_meanings():
        env = FireResetEnv(env)
    env = GrayscaleObservation(ResizeObservation(ClipRewardEnv(env), (84, 84)))
    return FrameStackObservation(env, 4)


class Player:
    """One game, the network that plays it, and the objects for learning."""

    def __init__(self, task: str) -> None:
        self.envs = SyncVectorEnv(
            [lambda: make_environment(task)], autoreset_mode=AutoresetMode.SAME_STEP
        )
        self.observations, _ = self.envs.reset(seed=1)
        actions = self.envs.single_action_space.n
        self.network, self.target = QNetwork(actions).to(DEVICE), QNetwork(actions).to(DEVICE)
        self.target.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.memory = ReplayBuffer(
            MEMORY_SIZE, self.envs.single_observation_space, self.envs.single_action_space, DEVICE,
            optimize_memory_usage=True, handle_timeout_termination=False,
        )  # fmt: skip
        self.steps = 0

    def act(self, epsilon: float) -> np.ndarray:
        """Return a random action with probability `epsilon`, otherwise the best one."""
        if random.random() < epsilon:
            return np.array([self.envs.single_action_space.sample()])
        with torch.no_grad():
            states = torch.as_tensor(self.observations).to(DEVICE)
            return self.network(states).argmax(dim=1).cpu().numpy()

    def learn(self) -> None:
        """Make one update from a batch of 32."""
        batch = self.memory.sample(32)
        with torch.no_grad():
            best = self.target(batch.next_observations).max(dim=1).values
            returns = batch.rewards.flatten() + 0.99 * best * (1 - batch.dones.flatten())
        values = self.network(batch.observations).gather(1, batch.actions).squeeze(1)
        loss = functional.mse_loss(values, returns)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def train(self, steps: int, epsilon: float = 0.1, learning: bool = True) -> None:
        """Play `steps` steps into the memory, with an update every 4 steps."""
        for _ in range(steps):
            actions = self.act(epsilon)
            following, rewards, terminals, truncations, infos = self.envs.step(actions)
            stored = following
            if truncations.any():
                stored = following.copy()
                stored[0] = infos["final_obs"][0]
            self.memory.add(self.observations, stored, actions, rewards, terminals, [infos])
            self.observations = following
            self.steps += 1
            if learning and self.steps % 4 == 0:
                self.learn()
            if learning and self.steps % 1_000 == 0:
                self.target.load_state_dict(self.network.state_dict())

    def test(self, steps: int) -> None:
        """Play `steps` steps without learning."""
        for _ in range(steps):
            self.observations, _, _, _, _ = self.envs.step(self.act(0.05))


def train(task: str) -> dict[str, float]:
    """Return the steps per second of learning."""
    player = Player(task)
    player.train(LEARNING_STARTS, epsilon=1.0, learning=False)
    return {"1 game": speed(player.train, "train")}


def test(task: str) -> dict[str, float]:
    """Return the steps per second of evaluation."""
    return {"1 game": speed(Player(task).test, "test")}


if __name__ == "__main__":
    run("plain PyTorch", "torch", train, test)
