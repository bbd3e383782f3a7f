"""The peer Tianshou: its DQN with its Atari wrappers, DQNet, Collector and replay buffer.

As in its Atari example, the buffer stores single screens and stacks them when sampled, and the
network takes unscaled pixels. Training calls Collector and update in turn instead of the library's
trainer, which searches the whole buffer for NaN before each update and is many times slower.
Evaluation collects at ε .05, with 1, 8 and 32 games, and with 8 and 32 in separate processes.
"""

# mypy: ignore-errors
# These imports are installed in the peers' virtual environment, which mypy does not see.

from __future__ import annotations

import ale_py
import gymnasium
from peer_common import LEARNING_STARTS, MEMORY_SIZE, STEPS, WARM_UP, run, speed
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import BaseVectorEnv
from tianshou.env.atari import atari_wrapper
from tianshou.env.atari.atari_network import DQNet
from tianshou.env.atari.atari_wrapper import AtariEnvFactory
from tianshou.highlevel.env import EnvMode, VectorEnvType
from tianshou.utils.torch_utils import policy_within_training_step

gymnasium.register_envs(ale_py)

# Tianshou 2.0.1 makes a space of dtype np.integer, which NumPy 2.4 rejects: use uint8 instead.
atari_wrapper.get_space_dtype = lambda space: space.dtype.type


def environments(
    task: str, count: int, mode: EnvMode, kind: VectorEnvType = VectorEnvType.DUMMY
) -> BaseVectorEnv:
    """Return `count` games as the library makes them."""
    factory = AtariEnvFactory(task, 4, use_envpool_if_available=False, venv_type=kind)
    return factory.create_venv(count, mode, seed=1)


def make_algorithm(envs: BaseVectorEnv) -> DQN:
    """Return the library's DQN."""
    actions = envs.action_space[0]
    policy = DiscreteQLearningPolicy(
        model=DQNet(4, 84, 84, action_shape=actions.n), action_space=actions,
        eps_training=0.1, eps_inference=0.05,
    )  # fmt: skip
    return DQN(
        policy=policy, optim=AdamOptimizerFactory(lr=1e-4), gamma=0.99, target_update_freq=500,
        is_double=False,
    )  # fmt: skip


def train(task: str) -> dict[str, float]:
    """Return the steps per second of collecting and learning in turn, for each configuration."""
    return {"1 game": train_with(task, 1), "8 games": train_with(task, 8)}


def train_with(task: str, count: int) -> float:
    """Return the steps per second with `count` games and an update of 32 samples every 4 steps."""
    envs = environments(task, count, EnvMode.TRAINING)
    algorithm = make_algorithm(envs)
    buffer = VectorReplayBuffer(
        MEMORY_SIZE, buffer_num=count, ignore_obs_next=True, save_only_last_obs=True, stack_num=4
    )
    collector = Collector(algorithm, envs, buffer, exploration_noise=True)
    collector.reset()
    collector.collect(n_step=LEARNING_STARTS, random=True)
    steps_at_once = max(count, 4)

    def play(steps: int) -> None:
        for _ in range(steps // steps_at_once):
            collector.collect(n_step=steps_at_once)
            for _ in range(steps_at_once // 4):
                algorithm.update(buffer, sample_size=32)

    with policy_within_training_step(algorithm.policy):
        return speed(play, "train")


def test(task: str) -> dict[str, float]:
    """Return the steps per second of evaluation, for each configuration."""
    ways = {}
    for way, count, kind in [
        ("1 game", 1, VectorEnvType.DUMMY),
        ("8 games", 8, VectorEnvType.DUMMY),
        ("32 games", 32, VectorEnvType.DUMMY),
        ("8 games in processes", 8, VectorEnvType.SUBPROC_SHARED_MEM_AUTO),
        ("32 games in processes", 32, VectorEnvType.SUBPROC_SHARED_MEM_AUTO),
    ]:
        envs = environments(task, count, EnvMode.TEST, kind)
        # The collector's default buffer would be larger: 4.5 GB for 8 games.
        buffer = VectorReplayBuffer(WARM_UP + STEPS["test"], buffer_num=count)
        collector = Collector(make_algorithm(envs), envs, buffer, exploration_noise=True)
        collector.reset()
        ways[way] = speed(
            lambda steps, collector=collector: collector.collect(n_step=steps), "test"
        )
        envs.close()
    return ways


if __name__ == "__main__":
    run("tianshou", "tianshou", train, test)
