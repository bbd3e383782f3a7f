"""What changes with the training steps; callbacks, so the loop knows none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.environment import Step


class Schedule(Callback):
    """Moves a number from ``start`` to ``end`` over the first ``steps`` training steps.

    Linear: start + (end − start)·t/steps. Exponential: start·(end/start)^(t/steps). Then constant.

    Args:
        assign: told the number, at the start of each phase and after each training step.
        start, end: both above 0 if exponential.
        steps: training steps; 0 for ``end`` at once.
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
        """Assign the number of now."""
        self.assign(self.value(agent.total_train_steps))

    def on_step(self, agent: Agent, step: Step) -> None:
        """Assign the number for the next step."""
        if agent.phase == "train":
            self.assign(self.value(agent.total_train_steps))

    def on_train(self, agent: Agent, errors: Any) -> None:
        """Assign the number for the next step where there is no ``on_step``: offline."""
        if agent.phase.offline:
            self.assign(self.value(agent.total_train_steps))


class NoisyExploration(Callback):
    """Acts by noisy layers while training and by their means in tests (Fortunato et al. 2018).

    Within a training phase each update draws new noise, which the steps until the next one act by;
    when a resumed run refills its memory, each step does.

    Args:
        draw_noise: told whether there is to be noise.
    """

    def __init__(self, draw_noise: Callable[[bool], None]) -> None:
        self.draw_noise = draw_noise

    def on_phase_start(self, agent: Agent) -> None:
        """Begin to act by noise, if the phase is one of training."""
        if not agent.phase.rounds:  # else that of the checkpoint
            self.draw_noise(agent.phase in ("random", "train"))

    def on_step(self, agent: Agent, step: Step) -> None:
        """Draw for the next step, if it acts by the network and no update draws."""
        if agent.phase == "random" and agent.exploration_rate < 1:
            self.draw_noise(True)

    def on_phase_end(self, agent: Agent) -> None:
        """What is measured at the end of a phase is without noise."""
        self.draw_noise(False)
