"""The peer Stable-Baselines3: its DQN with its Atari environments, frame stack and CnnPolicy.

Training is ``model.learn``, with 1 game and an update every 4 steps, and with 8 games and 2 updates
per step of all 8; on a machine of more than 8 cores also with one and with four games per core,
in processes. Evaluation is the loop of its ``evaluate_policy``:
``model.predict(deterministic=True)`` and a step of a vectorised environment, with 1, 8 and 32
games, and with 8 and 32 in separate processes.
"""

# mypy: ignore-errors
# These imports are installed in the peers' virtual environment, which mypy does not see.

from __future__ import annotations

import os

import ale_py
import gymnasium
from peer_common import DEVICE, LEARNING_STARTS, MEMORY_SIZE, run, speed
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack

gymnasium.register_envs(ale_py)


def environments(task: str, count: int, kind: type[VecEnv] = DummyVecEnv) -> VecEnv:
    """Return `count` games as the library makes them."""
    return VecFrameStack(make_atari_env(task, n_envs=count, seed=1, vec_env_cls=kind), 4)


def make_model(envs: VecEnv) -> DQN:
    """Return the library's DQN, with an update of 32 samples every 4 steps."""
    count = envs.num_envs
    return DQN(
        "CnnPolicy", envs, buffer_size=MEMORY_SIZE, learning_starts=LEARNING_STARTS, batch_size=32,
        train_freq=max(4 // count, 1), gradient_steps=max(count // 4, 1),
        target_update_interval=10_000, learning_rate=1e-4,
        exploration_initial_eps=0.1, exploration_final_eps=0.1, device=DEVICE,
    )  # fmt: skip


def train(task: str) -> dict[str, float]:
    """Return the steps per second of learning, for each configuration."""
    ways = {}
    settings = [("1 game", 1, DummyVecEnv), ("8 games", 8, DummyVecEnv)]
    if (cores := os.cpu_count() or 1) > 8:
        settings += [(f"{cores} games in processes", cores, SubprocVecEnv)]
        settings += [(f"{4 * cores} games in processes", 4 * cores, SubprocVecEnv)]
    for way, count, kind in settings:
        model = make_model(environments(task, count, kind))
        model.learn(LEARNING_STARTS)
        ways[way] = speed(
            lambda steps, model=model: model.learn(steps, reset_num_timesteps=False), "train"
        )
        model.env.close()
    return ways


def test(task: str) -> dict[str, float]:
    """Return the steps per second of evaluation, for each configuration."""
    model = make_model(environments(task, 1))
    ways = {}
    for way, count, kind in [
        ("1 game", 1, DummyVecEnv),
        ("8 games", 8, DummyVecEnv),
        ("32 games", 32, DummyVecEnv),
        ("8 games in processes", 8, SubprocVecEnv),
        ("32 games in processes", 32, SubprocVecEnv),
    ]:
        envs = environments(task, count, kind)
        observations = envs.reset()

        def play(steps: int, envs: VecEnv = envs) -> None:
            nonlocal observations
            for _ in range(steps // envs.num_envs):
                actions, _ = model.predict(observations, deterministic=True)
                observations, _, _, _ = envs.step(actions)

        ways[way] = speed(play, "test")
        envs.close()
    return ways


if __name__ == "__main__":
    run("stable-baselines3", "stable-baselines3", train, test)
