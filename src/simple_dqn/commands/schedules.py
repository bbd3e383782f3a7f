"""The schedules of a run, from its options."""

from __future__ import annotations

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.callbacks.schedules import NoisyExploration, Schedule
from simple_dqn.options.definitions import Config
from simple_dqn.replay.prioritized import PrioritizedReplayMemory


def make_schedules(config: Config, agent: Agent) -> list[Callback]:
    """Return the schedules of ε, the learning rate, β of the replay, and the noise."""

    def set_exploration_rate(rate: float) -> None:
        agent.exploration_rate_train = rate

    options, learning = config.agent, config.network
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
    if isinstance(agent.memory, PrioritizedReplayMemory):
        set_beta, start = (
            agent.memory.set_importance_exponent,
            config.replay.importance_exponent_start,
        )
        schedules.append(Schedule(set_beta, start, 1.0, whole_run, "linear"))
    if learning.noisy:
        schedules.append(NoisyExploration(agent.network.network.draw_noise))
    return schedules
