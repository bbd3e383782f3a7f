"""Schedules: numbers that change with the training steps; callbacks, so the loop knows none."""

from __future__ import annotations

from collections.abc import Callable

from simple_dqn.agent import Agent, Callback
from simple_dqn.structures import Step

SHAPES = ("linear", "exponential")


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
