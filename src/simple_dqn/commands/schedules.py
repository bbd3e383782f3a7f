"""The schedules of a run, from its options."""

from __future__ import annotations

from functools import partial

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.callbacks.schedules import NoisyExploration, Schedule
from simple_dqn.options.definitions import Config
from simple_dqn.replay.prioritized import PrioritizedReplayMemory
from simple_dqn.replay_memory import ReplayMemory


def make_schedules(config: Config, agent: Agent) -> list[Callback]:
    """Return the schedules of ε, the learning rate, n, α and β of the replay, and the noise."""
    memory = agent.memory

    def set_exploration_rate(rate: float) -> None:
        agent.exploration_rate_train = rate

    options, learning, replay = config.agent, config.network, config.replay
    whole_run = config.run.epochs * config.run.train_steps
    schedules: list[Callback] = [
        Schedule(
            set_exploration_rate, options.exploration_rate_start, options.exploration_rate_end,
            options.exploration_decay_steps, options.exploration_schedule,
        )
    ]  # fmt: skip
    if learning.learning_rate_schedule != "constant":
        schedules.append(
            Schedule(
                agent.network.set_learning_rate, learning.learning_rate,
                learning.learning_rate_end, learning.learning_rate_decay_steps or whole_run,
                learning.learning_rate_schedule,
            )
        )  # fmt: skip
    if memory is not None and replay.n_step_end is not None:
        schedules.append(
            Schedule(
                partial(set_n_step, memory), replay.n_step, replay.n_step_end,
                replay.n_step_decay_steps or whole_run, "linear",
            )
        )  # fmt: skip
    if isinstance(memory, PrioritizedReplayMemory):
        schedules.append(
            Schedule(
                memory.set_importance_exponent, replay.importance_exponent_start, 1.0, whole_run,
                "linear",
            )
        )  # fmt: skip
        if replay.priority_exponent_end is not None:
            schedules.append(
                Schedule(
                    memory.set_exponent, replay.priority_exponent, replay.priority_exponent_end,
                    replay.priority_decay_steps or whole_run, "linear",
                )
            )  # fmt: skip
    if learning.noisy:
        schedules.append(NoisyExploration(agent.network.network.draw_noise))
    return schedules


def set_n_step(memory: ReplayMemory, number: float) -> None:
    """Sum as many rewards in a return as ``number`` says, rounded."""
    memory.n_step = round(number)
