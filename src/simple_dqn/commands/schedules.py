"""The schedules of a run, from its options."""

from __future__ import annotations

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.callbacks.schedules import NoisyExploration, Schedule
from simple_dqn.options.definitions import Config
from simple_dqn.replay.prioritized import PrioritizedReplayMemory


def make_schedules(config: Config, agent: Agent) -> list[Callback]:
    """Return the schedules of ε, the learning rate, α and β of the replay, and the noise."""

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
        replay, memory = config.replay, agent.memory
        start, end = replay.priority_exponent, replay.priority_exponent_end
        schedules.append(
            Schedule(
                memory.set_importance_exponent, replay.importance_exponent_start, 1.0, whole_run,
                "linear",
            )
        )  # fmt: skip
        if end is not None:
            steps = replay.priority_decay_steps or whole_run
            schedules.append(Schedule(memory.set_exponent, start, end, steps, "linear"))
    if learning.noisy:
        schedules.append(NoisyExploration(agent.network.network.draw_noise))
    return schedules
