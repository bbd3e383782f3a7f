"""Schedules over the training steps, as callbacks to keep them out of the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.environment import Step


class Schedule(Callback):
    """Changes a number from ``start`` to ``end`` over the first ``steps`` training steps.

    Linear: start + (end − start)·t/steps. Exponential: start·(end/start)^(t/steps). Then constant.

    Args:
        assign: called with the number at the start of each phase and after each training step.
        start, end: both above 0 if exponential.
        steps: training steps; 0 for ``end`` from the start.
        shape: "linear" or "exponential".
    """

    def __init__(
        self, assign: Callable[[float], None], start: float, end: float, steps: int, shape: str
    ) -> None:
        self.assign = assign
        self.start, self.end, self.steps = start, end, steps
        self.exponential = shape == "exponential"

    def value(self, step: int) -> float:
        """Return the number after ``step`` training steps."""
        done = min(step / self.steps, 1.0) if self.steps else 1.0
        if self.exponential:
            return float(self.start * (self.end / self.start) ** done)
        return self.start + (self.end - self.start) * done

    def on_phase_start(self, agent: Agent) -> None:
        """Assign the current number."""
        self.assign(self.value(agent.total_train_steps))

    def on_step(self, agent: Agent, step: Step) -> None:
        """Assign the number for the next step."""
        if agent.phase == "train":
            self.assign(self.value(agent.total_train_steps))

    def on_train(self, agent: Agent, errors: Any) -> None:
        """Assign the number for the next step offline, where there is no ``on_step``."""
        if agent.phase.offline:
            self.assign(self.value(agent.total_train_steps))


class NoisyExploration(Callback):
    """Acts with noisy layers in training and with their means in tests (Fortunato et al. 2018).

    In a training phase, each update draws new noise, used by the steps until the next update. When
    a resumed run refills its memory, each step draws.

    Args:
        draw_noise: called with whether to draw noise or use the means.
    """

    def __init__(self, draw_noise: Callable[[bool], None]) -> None:
        self.draw_noise = draw_noise

    def on_phase_start(self, agent: Agent) -> None:
        """Draw noise if the phase is one of training."""
        if not agent.phase.rounds:  # else the noise is the checkpoint's
            self.draw_noise(agent.phase in ("random", "train"))

    def on_step(self, agent: Agent, step: Step) -> None:
        """Draw for the next step if the network acts and there are no updates."""
        if agent.phase == "random" and agent.exploration_rate < 1:
            self.draw_noise(True)

    def on_phase_end(self, agent: Agent) -> None:
        """Remove the noise for the measurements at the end of the phase."""
        self.draw_noise(False)
