"""ShareCores: fewer threads while processes play the games of tests."""

from __future__ import annotations

import torch

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback


class ShareCores(Callback):
    """While processes play the games of tests, leaves them the cores.

    Args:
        workers: those processes.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.threads = torch.get_num_threads()

    def on_phase_start(self, agent: Agent) -> None:
        """Predict in fewer threads, which would else wait for each other and for the games."""
        self.threads = torch.get_num_threads()
        if agent.phase == "test":
            torch.set_num_threads(max(self.threads - self.workers, 1))

    def on_phase_end(self, agent: Agent) -> None:
        """Learn in all of them again."""
        torch.set_num_threads(self.threads)
