"""ShareCores: fewer threads while worker processes play test games."""

from __future__ import annotations

import torch

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback


class ShareCores(Callback):
    """Leaves cores to the worker processes that play test games.

    Args:
        workers: number of those processes.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.threads = torch.get_num_threads()

    def on_phase_start(self, agent: Agent) -> None:
        """Predict in fewer threads: more would wait for each other and for the games."""
        self.threads = torch.get_num_threads()
        if agent.phase == "test":
            torch.set_num_threads(max(self.threads - self.workers, 1))

    def on_phase_end(self, agent: Agent) -> None:
        """Restore the number of threads."""
        torch.set_num_threads(self.threads)
