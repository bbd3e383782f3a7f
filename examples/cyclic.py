"""A custom schedule: exploration that rises again and again."""

import math

from simple_dqn.agent import Callback


class CyclicExploration(Callback):
    def on_step(self, agent, step):
        if agent.phase == "train":
            phase = agent.total_train_steps / 10_000
            agent.exploration_rate_train = 0.05 + 0.25 * (1 + math.cos(2 * math.pi * phase))
