"""Player: shows a game at its own pace and lets a person at the keyboard take part in it."""

from __future__ import annotations

import logging
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from simple_dqn.agent import Agent, Callback
from simple_dqn.environment import Environment, Step
from simple_dqn.watch.interface import QUIT, Display
from simple_dqn.watch.joystick import choose
from simple_dqn.watch.scene import QMeter, QValues, Scene
from simple_dqn.watch.sound import Speaker

logger = logging.getLogger(__name__)

KEYS = {
    "arrows": "joystick",
    "space": "fire",
    "0-9": "actions of other games",
    "m": "take over, give back",
    "a": "slower",
    "s": "faster",
    "p": "pause, go on",
    "n": "one step while paused",
    "q": "Q-values",
    "v": "what the network sees",
    "[": "quieter",
    "]": "louder",
    "r": "new game",
    "h": "this help",
    "Esc": "quit",
}
FOR_PLAYING = {"arrows", "space", "0-9", "m", "[", "]", "r"}  # not while training or testing
SPEEDS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, float("inf"))
LAST_LOOK = 2.0  # seconds that the end of a game stays, unless a key is pressed
SLACK = 0.1  # seconds that the game may be late and then hurry
LATE_RATE = 30  # pictures a second while the game is late
FULL_SPEED_RATE = 15  # and while it goes as fast as it can: drawing costs it time
IDLE = 1 / 30  # seconds between looks at the keyboard while nothing moves


class Quit(Exception):
    """The person wants to leave."""


class NewGame(Exception):
    """The person wants to give this game up and begin another."""


class Player(Callback):
    """Shows the first lane of an agent: a callback, and a listener to its environment's frames.

    In ``Agent.play`` it paces the game to real time and a person may take over; the exceptions
    Quit and NewGame then leave the agent. While training or testing it only looks on, as fast as
    the agent goes, so that no key changes what is learnt; Esc closes it and the agent goes on.

    Args:
        agent: whose game it is.
        display: where to show it.
        speaker: where to let it be heard; None for silence.
        has_network: whether there is a trained network that could play.

    Attributes:
        manual: whether the person plays.
        players: who has played in this game: "the network", "you".
        score: of this game so far.
        over: whether the score is of a game that has ended.
    """

    def __init__(
        self, agent: Agent, display: Display, speaker: Speaker | None, has_network: bool
    ) -> None:
        self.agent = agent
        self.display: Display | None = display
        self.speaker = speaker
        self.has_network = has_network
        self.manual = not has_network
        self.players: set[str] = set()
        self.score, self.over = 0.0, False

        for environment in agent.environments:
            environment.on_frame += (self.on_frame,)
        self._meanings = agent.environment.action_meanings
        self._speed = SPEEDS.index(1)
        self._begun = self._paused = self._one_step = False
        self._shows_q = self._shows_state = self._shows_help = False
        self._note = "h: keys"  # what the status line says until the next key
        self._q: QValues | None = None
        self._action = 0
        self._q_meter = QMeter(self._meanings)
        self._due = self._drawn = 0.0  # when the next frame is due, when the last was drawn
        self._times: deque[float] = deque()  # of the frames of the last second

    # --- what the agent and the environment tell --------------------------------------------

    def on_phase_start(self, agent: Agent) -> None:
        """A phase begins: at normal speed in play, else as fast as it goes."""
        self.score, self.over = 0.0, False
        self.players = set()
        if agent.phase != "play" and not self._begun:
            self._speed = len(SPEEDS) - 1
        self._begun = True

    def on_frame(self, environment: Environment) -> None:
        """Show a frame when it is due, read the keyboard and let the sound be heard."""
        display = self.display
        if display is None:
            return
        speed, now = SPEEDS[self._speed], time.perf_counter()
        self._times.append(now)
        while self._times[0] < now - 1:
            self._times.popleft()
        if speed == float("inf"):
            self._look(FULL_SPEED_RATE)
        else:
            late = self._wait_until_due(environment, speed)
            self._look(LATE_RATE if late else display.frames_per_second)

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """Wait while paused; then do what the person does, if it is the person's turn."""
        self._look(FULL_SPEED_RATE)  # also while another lane plays on alone
        self._q, self._action = None, int(actions[0])
        while self._paused and not self._one_step and self.display is not None:
            self._wait()
        if self.display is None:
            return
        self._one_step = False
        if self.manual:
            actions[0] = self._action = choose(self.display.joystick(), self._meanings)
        self.players.add("you" if self.manual else "the network")

    def on_step(self, agent: Agent, step: Step) -> None:
        """Add up the score."""
        self.score = step.rewards[0] + (0 if self.over else self.score)
        self.over = bool(step.game_overs[0] or step.truncateds[0])

    def on_phase_end(self, agent: Agent) -> None:
        """Let the person see how a game ended."""
        if agent.phase == "play" and self.display is not None:
            self._note = "game over"
            until = time.perf_counter() + LAST_LOOK
            while time.perf_counter() < until and not self._wait():
                pass
            self._note = ""

    def close(self) -> None:
        """Give display and sound back."""
        for thing in (self.display, self.speaker):
            if thing is not None:
                thing.close()
        self.display = self.speaker = None

    def _look(self, rate: float) -> None:
        """Read the keyboard and draw, unless that was done less than 1/``rate`` seconds ago."""
        # A frame that comes a little early is welcome.
        if self.display is not None and time.perf_counter() - self._drawn > 0.9 / rate:
            self._read_keys()
            self._draw()

    def _wait_until_due(self, environment: Environment, speed: float) -> bool:
        """Let the frame be heard and wait for its time; return whether that had passed before."""
        seconds = 1 / (environment.frames_per_second * speed)
        if self.speaker is not None:
            self.speaker.play(environment.sound(), seconds)
        self._due += seconds
        now = time.perf_counter()
        if self._due < now - SLACK:  # what was lost is lost
            self._due = now
        late = self._due < now
        while (left := self._due - time.perf_counter()) > IDLE:
            time.sleep(IDLE)
            self._read_keys()
        time.sleep(max(left, 0))
        return late

    # --- the keyboard -----------------------------------------------------------------------

    def _wait(self) -> bool:
        """Let a moment pass in which the game stands still; return whether a key was pressed."""
        if self.speaker is not None:
            self.speaker.play(np.empty(0, np.uint8), 0)
        time.sleep(IDLE)
        pressed = self._read_keys()
        self._times.clear()
        self._draw()
        return pressed

    def _read_keys(self) -> bool:
        """Do what the pressed keys ask for; return whether there were any."""
        keys = self.display.keys() if self.display is not None else []
        for key in keys:
            self._note = ""
            if self.agent.phase == "play" or key not in FOR_PLAYING:
                self._do(key)
            else:
                self._note = f"{key} is for playing"
        return bool(keys)

    def _do(self, key: str) -> None:
        """Do what one key asks for."""
        if key in ("escape", QUIT):
            self._leave()
        elif key == "m" and self.has_network:
            self.manual = not self.manual
        elif key == "m":
            self._note = "there is no network to give back to"
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
            self._note = "there is no network, so there are no Q-values"
        elif key == "v" and self.agent.buffer.states.ndim == 4:
            self._shows_state = not self._shows_state
        elif key == "v":
            self._note = "the network sees numbers, no picture"
        elif key in ("[", "]") and self.speaker is not None:
            self.speaker.change_volume(0.1 if key == "]" else -0.1)
            self._note = f"volume {self.speaker.volume:.0%}"
        elif key in ("[", "]"):
            self._note = "there is no sound"
        elif key == "r":
            raise NewGame
        elif key == "h":
            self._shows_help = not self._shows_help

    def _leave(self) -> None:
        """Leave the game; or, while training, only the display."""
        if self.agent.phase == "play":
            raise Quit
        self.close()
        for environment in self.agent.environments:
            environment.on_frame = tuple(f for f in environment.on_frame if f != self.on_frame)
        logger.info("the display is closed; the %s phase goes on", self.agent.phase)

    # --- the picture ------------------------------------------------------------------------

    def _q_values(self) -> QValues:
        """Return the Q-values of the state that is acted in; asked for once a step."""
        if self._q is None:
            values = self.agent.network.predict(self.agent.buffer.states[:1])[0]
            self._q = self._q_meter.read(values, self._action)
        return self._q._replace(action=self._action)

    def _draw(self) -> None:
        """Draw what there is to see."""
        if self.display is None:
            return
        environment = self.agent.environment
        hidden = set() if self.agent.phase == "play" else FOR_PLAYING
        self._drawn = time.perf_counter()
        self.display.draw(
            Scene(
                environment.screen(),
                environment.pixel_aspect,
                self._status(),
                self._q_values() if self._shows_q else None,
                self.agent.buffer.states[0] if self._shows_state else None,
                tuple(kv for kv in KEYS.items() if kv[0] not in hidden) if self._shows_help else (),
            )
        )

    def _rate(self) -> float:
        """Return the frames a second of the last second."""
        spent = self._times[-1] - self._times[0] if self._times else 0
        return (len(self._times) - 1) / spent if spent else 0

    def _status(self) -> str:
        """Return the line that says who plays, score, lives and speed."""
        agent = self.agent
        if agent.phase == "play":
            who = "you play" if self.manual else f"the network plays, ε {agent.exploration_rate:g}"
        else:
            who = f"{agent.phase}, ε {agent.exploration_rate:.3f}"
        lives = agent.environment.lives
        speed = SPEEDS[self._speed]
        times = f"{speed:g}x" if speed >= 1 else f"1/{1 / speed:g}x"
        shown = "full speed" if speed > 16 else times
        pieces = [who, f"score {self.score:g}"]
        pieces += [f"lives {lives[0]}"] if len(lives) and lives[0] else []
        rate = f", {self._rate():.0f} frames/s" if len(self._times) > 1 else ""
        pieces += ["paused" if self._paused else shown + rate]
        pieces += [self._note] if self._note else []
        return " · ".join(pieces)
