"""Player: shows a game in real time and lets the user take over at the keyboard."""

from __future__ import annotations

import logging
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.environment import Environment, Step
from simple_dqn.options.option import short_text
from simple_dqn.watch.interface import QUIT, Display
from simple_dqn.watch.joystick import choose, keys_of, turned_arrows
from simple_dqn.watch.keys import FOR_PLAYING, effective_keys
from simple_dqn.watch.scene import QMeter, QValues, Scene
from simple_dqn.watch.sound import Speaker

logger = logging.getLogger(__name__)

SPEEDS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, float("inf"))
LAST_LOOK = 2.0  # seconds for which the end of a game stays visible, unless a key is pressed
SLACK = 0.1  # seconds of delay that the game catches up on; longer delays are dropped
LATE_RATE = 30  # pictures per second while the game is late
FULL_SPEED_RATE = 15  # pictures per second at full speed, where drawing takes time from the game
IDLE = 1 / 30  # seconds between reads of the keyboard while waiting
LATE = 0.004  # seconds that a frame may be late by and still count as in time


class Quit(Exception):
    """The user asked to quit."""


class NewGame(Exception):
    """The user asked for a new game."""


class Player(Callback):
    """Shows lane 0 of an agent, as a callback and as a listener of its environment's frames.

    In ``Agent.play`` it paces the game to real time and the user may take over; the exceptions
    Quit and NewGame propagate through the agent. While training or testing it only watches, at
    the agent's speed: no key changes what is learnt, and Esc only closes the display.

    Args:
        agent: the agent to show.
        display: where to show it.
        speaker: plays the sound; None for silence.
        has_network: whether a trained network is available to play.
        game: its name, which may say what the arrows mean.

    Attributes:
        manual: whether the user plays.
        players: who has played in this game: "the network", "you".
        score: raw score of this game so far.
        over: whether that game has ended.
    """

    def __init__(
        self,
        agent: Agent,
        display: Display,
        speaker: Speaker | None,
        has_network: bool,
        game: str = "",
    ) -> None:
        self.agent = agent
        self.display: Display | None = display
        self.speaker = speaker
        self.has_network = has_network
        self.manual = not has_network
        self.players: set[str] = set()
        self.score, self.over = 0.0, False

        for environment, _ in agent.all_lanes:
            environment.on_frame += (self.on_frame,)
        games = agent.environment
        self._meanings = games.action_meanings
        self._turned = turned_arrows(game, self._meanings)
        self._speed = SPEEDS.index(1)
        display.offer(self._meanings, self._turned, [key for key, _ in self._keys(playing=True)])
        self._begun = self._paused = self._one_step = False
        self._shows_q = self._shows_state = self._shows_help = False
        self._note = "h: keys"  # at the end of the status line, until the next key
        self._q: QValues | None = None
        self._action = 0
        self._q_meter = QMeter(self._meanings, games.frames_per_second / games.frame_skip)
        self._unseen: Environment | None = None  # has a picture that on_act is going to show
        self._due = self._drawn = 0.0  # time of the next frame and of the last picture
        self._times: deque[float] = deque()  # of the frames in the last second

    # --- called by the agent and the environment --------------------------------------------

    def on_phase_start(self, agent: Agent) -> None:
        """Reset the score; training and testing start at full speed, playing at normal speed."""
        self.score, self.over = 0.0, False
        self.players = set()
        if agent.phase != "play" and not self._begun:
            self._speed = len(SPEEDS) - 1
        self._begun = True

    def on_frame(self, environment: Environment) -> None:
        """Show a frame when it is due, play its sound and read the keyboard.

        Where a step is one picture, the network has not seen yet what it shows: it waits for
        ``on_act``.
        """
        if environment.frame_skip > 1 or self._unseen is not None:
            self._show(environment)
        if environment.frame_skip == 1:
            self._unseen = environment

    def _show(self, environment: Environment) -> None:
        """Show a frame when it is due, play its sound and read the keyboard."""
        self._unseen = None
        display = self.display
        if display is None:
            return
        speed, now = SPEEDS[self._speed], time.perf_counter()
        self._times.append(now)
        while self._times[0] < now - 1 and len(self._times) > 2:
            self._times.popleft()
        if speed == float("inf"):
            self._look(FULL_SPEED_RATE)
        else:
            late = self._wait_until_due(environment, speed)
            self._look(LATE_RATE if late else display.frames_per_second)

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """Wait while paused or alone; in manual mode, replace the action with the user's.

        Their keys are read when the next frame is due, so that it shows what they do.
        """
        self._q, self._action = None, int(actions[0])
        if self._unseen is not None:
            self._show(self._unseen)
        else:
            self._look(FULL_SPEED_RATE)  # lane 0 has no frames once only other lanes are active
        while self.display is not None and self._is_stopped(self.display):
            self._wait()
        if self.display is None:
            return
        self._one_step = False
        if self.manual:
            speed = SPEEDS[self._speed]
            self._sleep_until(self._due + 1 / (agent.environment.frames_per_second * speed))
            held = self.display.joystick()
            actions[0] = self._action = choose(held, self._meanings, self._turned)
        self.players.add("you" if self.manual else "the network")

    def on_step(self, agent: Agent, step: Step) -> None:
        """Add up the score; show the last picture of a game, which no action follows."""
        self.score = step.rewards[0] + (0 if self.over else self.score)
        self.over = bool(step.game_overs[0] or step.truncateds[0])
        if self.over and self._unseen is not None:
            self._show(self._unseen)

    def on_phase_end(self, agent: Agent) -> None:
        """Show the end of a game for a moment."""
        if agent.phase == "play" and self.display is not None:
            self._note = "game over"
            until = time.perf_counter() + LAST_LOOK
            while time.perf_counter() < until and not self._wait():
                pass
            self._note = ""

    def close(self) -> None:
        """Close display and speaker."""
        for device in (self.display, self.speaker):
            if device is not None:
                device.close()
        self.display = self.speaker = None

    def _look(self, rate: float) -> None:
        """Read the keyboard and draw, unless that was done less than 1/``rate`` seconds ago."""
        # 0.9: a frame that is slightly early is drawn too.
        if self.display is not None and time.perf_counter() - self._drawn > 0.9 / rate:
            self._read_keys()
            self._draw()

    def _is_stopped(self, display: Display) -> bool:
        """Whether the game waits: paused, or no one is there to watch or to play it."""
        if self.agent.phase == "play" and not display.attended(self.manual):
            return True
        return self._paused and not self._one_step

    def _wait_until_due(self, environment: Environment, speed: float) -> bool:
        """Play the frame's sound and wait until it is due; return whether it was late."""
        seconds = 1 / (environment.frames_per_second * speed)
        if self.speaker is not None:
            self.speaker.play(environment.sound(), seconds)
        self._due += seconds
        now = time.perf_counter()
        if self._due < now - SLACK:  # do not try to catch up
            self._due = now
        late = self._due < now - LATE
        self._sleep_until(self._due)
        return late

    def _sleep_until(self, due: float) -> None:
        """Wait for the time of a frame, and react to keys meanwhile."""
        while (left := due - time.perf_counter()) > IDLE:
            time.sleep(IDLE)
            if self._read_keys():  # in a slow game the next picture may be seconds away
                self._draw()
        time.sleep(max(left, 0))

    # --- the keyboard -----------------------------------------------------------------------

    def _wait(self) -> bool:
        """Wait for a moment with the game stopped; return whether a key was pressed."""
        if self.speaker is not None:
            self.speaker.play(np.empty(0, np.uint8), 0)
        time.sleep(IDLE)
        pressed = self._read_keys()
        self._times.clear()
        self._draw()
        return pressed

    def _read_keys(self) -> bool:
        """Handle the pressed keys; return whether there were any."""
        keys = self.display.keys() if self.display is not None else []
        for key in keys:
            self._note = ""
            if self.agent.phase == "play" or key not in FOR_PLAYING:
                self._handle(key)
            else:
                self._note = f"{key} works only in play"
        return bool(keys)

    def _handle(self, key: str) -> None:
        """Handle one key."""
        if key in ("escape", QUIT):
            self._leave()
        elif key == "m" and self.has_network:
            self.manual = not self.manual
        elif key == "m":
            self._note = "no network to return control to"
        elif key in ("a", "s"):
            speed = self._speed + (1 if key == "s" else -1)
            self._speed = min(max(speed, 0), len(SPEEDS) - 1)
            self._due = 0.0
            self._times.clear()
        elif key == "p":
            self._paused = not self._paused
        elif key == "n":
            self._one_step = self._paused
        elif key == "q" and self.has_network:
            self._shows_q = not self._shows_q
        elif key == "q":
            self._note = "no network, so no Q-values"
        elif key == "v" and self._sees_pictures():
            self._shows_state = not self._shows_state
        elif key == "v":
            self._note = "the network sees numbers, not pictures"
        elif key in ("[", "]") and self.speaker is not None:
            self.speaker.change_volume(0.1 if key == "]" else -0.1)
            self._note = f"volume {self.speaker.volume:.0%}"
        elif key in ("[", "]"):
            self._note = "no sound"
        elif key == "r":
            raise NewGame
        elif key == "h":
            self._shows_help = not self._shows_help

    def _leave(self) -> None:
        """Quit the game; while training or testing, only close the display."""
        if self.agent.phase == "play":
            raise Quit
        self.close()
        for environment, _ in self.agent.all_lanes:
            environment.on_frame = tuple(f for f in environment.on_frame if f != self.on_frame)
        logger.info("the display is closed; the %s phase continues", self.agent.phase)

    # --- the picture ------------------------------------------------------------------------

    def _q_values(self) -> QValues:
        """Return the Q-values of the current state; predicted once per step."""
        if self._q is None:
            values = self.agent.network.predict(self.agent.buffer.states[:1])[0]
            self._q = self._q_meter.read(values, self._action)
        return self._q._replace(action=self._action)

    def _draw(self) -> None:
        """Draw the current scene."""
        if self.display is None:
            return
        environment = self.agent.environment
        self._drawn = time.perf_counter()
        self.display.draw(
            Scene(
                environment.screen(),
                environment.pixel_aspect,
                self._status(),
                self._q_values() if self._shows_q else None,
                self.agent.buffer.states[0] if self._shows_state else None,
                self._help() if self._shows_help else (),
            )
        )

    def _help(self) -> tuple[tuple[str, str], ...]:
        """Return the keys that have an effect in this game, and what they do."""
        playing = self.agent.phase == "play"
        own = keys_of(self._meanings, self._turned) if playing else []
        return (*own, *self._keys(playing))

    def _keys(self, playing: bool) -> list[tuple[str, str]]:
        """Return the keys besides those of the game that have an effect."""
        sound = self.speaker is not None
        return effective_keys(playing, self.has_network, self._sees_pictures(), sound)

    def _sees_pictures(self) -> bool:
        """Whether what the network sees can be shown."""
        states = self.agent.buffer.states
        return states.ndim == 4 and states.dtype == np.uint8

    def _rate(self) -> float:
        """Return the frames per second, over the last second, or the last two frames."""
        spent = self._times[-1] - self._times[0] if self._times else 0
        return (len(self._times) - 1) / spent if spent else 0

    def _status(self) -> str:
        """Return the status line: who plays, score, lives and speed."""
        agent = self.agent
        if agent.phase == "play":
            who = "you play" if self.manual else f"the network plays, ε {agent.exploration_rate:g}"
        else:
            who = f"{agent.phase}, ε {agent.exploration_rate:.3f}"
        lives = agent.environment.lives
        speed = SPEEDS[self._speed]
        times = f"{speed:g}x" if speed >= 1 else f"1/{1 / speed:g}x"
        shown = "full speed" if speed > 16 else times
        pieces = [who, f"score {short_text(self.score)}"]
        pieces += [f"lives {lives[0]}"] if len(lives) and lives[0] else []
        rate, unit = self._rate(), "frames" if agent.environment.is_console else "pictures"
        rate_text = f", {rate:.{0 if rate >= 9.5 else 1}f} {unit}/s" if rate else ""
        pieces += ["paused" if self._paused else shown + rate_text]
        pieces += [self._note] if self._note else []
        return " · ".join(pieces)
