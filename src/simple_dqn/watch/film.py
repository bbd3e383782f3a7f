"""The pictures of a recording: the game in sharp pixels, all of one size, and the Q-values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.environment import Environment
from simple_dqn.errors import UsageError
from simple_dqn.watch.panel import draw_panel, least_height
from simple_dqn.watch.scene import BACKGROUND, Picture, QMeter, QValues, Scene, fit, resize

VIDEO_ROOM = 1000, 1920  # rows and columns of the game with automatic scale
GIF_ROOM = 450, 800
LARGEST_SIDE = 4096  # of pictures that are larger than the room already: players take no more
ENCODABLE_SIDE = 16_384  # of H.264
PANEL_ROWS = 630  # of a video with a panel of PANEL_WIDTH; higher videos have a wider one
PANEL_WIDTH = 280


class Film(Callback):
    """Turns the game's screen into the picture of a recording.

    All pictures have the size of the first one. A screen of another shape is fitted into it.

    Args:
        scale: rows per row of the game, 0 for as many as fit into ``room``.
        pixel_aspect: width over height of the game's pixels; scales the columns, rounded.
        meter: to draw the Q-values; None to omit them.
        room: rows and columns of the game with automatic scale.
    """

    def __init__(
        self,
        scale: int,
        pixel_aspect: float,
        meter: QMeter | None,
        room: tuple[int, int] = VIDEO_ROOM,
    ) -> None:
        self.scale = scale
        self.pixel_aspect = pixel_aspect
        self.meter = meter
        self.room = room
        self.q: QValues | None = None
        self._first: tuple[int, ...] = ()  # shape of the first screen
        self._size = 0, 0  # and of its picture, without the panel
        self._panel: Picture | None = None

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """Compute the Q-values of the current state."""
        if self.meter is not None:
            values = agent.network.predict(agent.buffer.states[:1])[0]
            self.q, self._panel = self.meter.read(values, int(actions[0])), None

    def __call__(self, screen: Picture) -> Picture:
        """Return the picture for a screen of the game."""
        if not self._first:
            self._first, self._size = screen.shape, self.size(*screen.shape[:2])
        alike = screen.shape == self._first
        height, width = self._size
        if alike:
            game = resize(screen, height, width)
        else:
            game = fit(screen, height, width, self.pixel_aspect)
        if self.meter is None:
            return game
        needed = max(height, least_height(len(self.meter.names)))
        if self._panel is None:  # shared by all frames of a step
            panel_width = PANEL_WIDTH * max(needed, PANEL_ROWS) // PANEL_ROWS
            self._panel = np.full((needed, panel_width, 3), BACKGROUND, np.uint8)
            draw_panel(self._panel, Scene(screen, 1, q_values=self.q))
        picture = np.full((needed, width + self._panel.shape[1], 3), BACKGROUND, np.uint8)
        top = (needed - height) // 2
        picture[top : top + height, :width] = game
        picture[:, width:] = self._panel
        return picture

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the picture for a screen of ``height`` x ``width``.

        Raises:
            UsageError: no video can be as large as the chosen scale makes it.
        """
        rows, columns = self.room
        wide = width * self.pixel_aspect
        scale = self.scale or max(min(rows // height, int(columns / wide)), 1)
        size = height * scale, width * max(round(scale * self.pixel_aspect), 1)
        if self.scale and max(size) > ENCODABLE_SIDE:
            raise UsageError(
                f"--video_scale {scale} makes pictures of {size[1]}x{size[0]} pixels and a video "
                f"has at most {ENCODABLE_SIDE} a side: leave it out"
            )
        shrink = 1.0 if self.scale else min(LARGEST_SIDE / max(size), 1.0)
        return max(int(size[0] * shrink), 1), max(int(size[1] * shrink), 1)


class Delayed(Callback):
    """Passes each picture on once the Q-values of the state that it shows are known.

    For games with one picture a step: the environment calls its listeners before the network has
    seen the new state, so the picture waits for that. Comes after the Film in the callbacks.

    Args:
        recorders: get the pictures.
    """

    def __init__(self, recorders: list[Callable[[Environment], None]]) -> None:
        self.recorders = recorders
        self._waiting: Environment | None = None

    def __call__(self, environment: Environment) -> None:
        """Keep the picture waiting; in a step of several pictures only the last one waits."""
        self._pass_on()
        self._waiting = environment

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """Pass the picture on."""
        self._pass_on()

    def on_phase_end(self, agent: Agent) -> None:
        """Pass the last picture on, which no action follows."""
        self._pass_on()

    def _pass_on(self) -> None:
        environment, self._waiting = self._waiting, None
        if environment is not None:
            for recorder in self.recorders:
                recorder(environment)
