"""ALEEnvironment: Atari 2600 games on the Arcade Learning Environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ale_py import Action, ALEInterface, ALEState, LoggerMode
from numpy.typing import NDArray

from simple_dqn.environment import Environment, Step, lane_seeds
from simple_dqn.errors import UsageError
from simple_dqn.storage.states import conform

ALEInterface.setLoggerMode(LoggerMode.Error)  # no banner on every start
cv2.setNumThreads(1)  # one screen is too little work for several threads


INTERPOLATIONS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}


def shrink(rgb: NDArray[np.uint8], width: int, height: int, resize: str) -> NDArray[np.uint8]:
    """Turn an RGB or grey screen, uint8 [h, w(, 3)], into an observation, uint8 [height, width].

    Luma .299 R + .587 G + .114 B, then a resize: ``area`` averages the covered pixels, as
    DeepMind's torch7 ``image.scale`` does when shrinking; ``linear`` is OpenCV's default.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) if rgb.ndim == 3 else rgb
    return cv2.resize(grey, (width, height), interpolation=INTERPOLATIONS[resize])  # type: ignore


class ALEEnvironment(Environment):
    """Atari 2600 games on ale-py, preprocessed as DeepMind did in 2015.

    From emulator frames to an observation, in order (docs/faithfulness.md has the sources):
      1. repeat the action for ``frame_skip`` frames, summing the rewards; stop at a terminal
      2. pool the last two frames, because the console draws some sprites only every other frame
      3. luma, RGB to grey
      4. resize to ``screen_height`` x ``screen_width``
    Episodes:
      5. losing a life is a terminal in training; the game continues at the next ``restart``
      6. every restart plays a random number of no-op frames, the only randomness in an otherwise
         deterministic console; their rewards are dropped
      7. a test game is truncated after ``test_frame_cap`` frames
      8. with ``fire_on_reset``, FIRE and the action after it are played, each for ``frame_skip``
         frames, at every restart and after every lost life (``FireResetEnv`` of OpenAI baselines)

    Args:
        rom: path of the ROM.
        num_envs: N, the number of lanes.
        seed: of the no-op starts and sticky actions. Lane i draws the same numbers as a single
            game with the i-th seed of ``lane_seeds``.
        frame_skip: frames for which an action is repeated.
        repeat_action_probability: probability, per frame, that the previous frame's action is used
            (sticky actions, Machado et al. 2018, section 5.2).
        minimal_action_set: only the actions that the game uses, instead of all 18.
        game_mode, game_difficulty: the console's switches; -1 for the game's default.
        color_averaging: pool by ALE's colour averaging instead of the maximum.
        resize, screen_width, screen_height: of the observation, see ``shrink``.
        life_loss_terminal: whether 5 applies.
        random_starts: (least, most) no-op frames of 6, drawn uniformly; (1, 1) for no randomness.
        random_starts_multiple: draw only multiples of this many frames.
        test_frame_cap: frames of 7; 0 for none.
        fire_on_reset: whether 8 applies.
        audible: whether there is ``sound``.

    Raises:
        UsageError: the game has no such mode or difficulty, or no FIRE.
    """

    is_console = True
    pixel_aspect = 7 / 4  # 160x210 pixels fill a 4:3 screen

    def __init__(
        self,
        rom: Path,
        *,
        num_envs: int,
        seed: np.random.SeedSequence,
        frame_skip: int,
        repeat_action_probability: float,
        minimal_action_set: bool,
        game_mode: int,
        game_difficulty: int,
        color_averaging: bool,
        resize: str,
        screen_width: int,
        screen_height: int,
        life_loss_terminal: bool,
        random_starts: tuple[int, int],
        random_starts_multiple: int,
        test_frame_cap: int,
        fire_on_reset: bool = False,
        audible: bool = False,
    ) -> None:
        self.num_envs, self.frame_skip = num_envs, frame_skip
        self.repeat_action_probability = repeat_action_probability
        self.color_averaging = color_averaging
        self.resize = resize
        self.observation_shape = (screen_height, screen_width)
        self.observation_dtype = np.dtype(np.uint8)
        self.life_loss_terminal = life_loss_terminal
        self.random_starts = random_starts
        self.random_starts_multiple = random_starts_multiple
        self.test_frame_cap = test_frame_cap
        self.fire_on_reset = fire_on_reset

        self.rngs: list[np.random.Generator] = []
        self.games: list[ALEInterface] = []
        for lane, lane_seed in enumerate(lane_seeds(seed, num_envs)):
            ale_seed, own_seed = lane_seed.spawn(2)
            self.rngs.append(np.random.default_rng(own_seed))
            ale = ALEInterface()
            ale.setInt("random_seed", int(ale_seed.generate_state(1)[0] >> 1))
            ale.setInt("frame_skip", 1)  # skipped here, because pooling needs the last two frames
            ale.setFloat("repeat_action_probability", 0)  # done here: ALE forgets the last action
            ale.setBool("color_averaging", color_averaging)
            ale.setBool("sound_obs", audible and lane == 0)
            ale.loadROM(str(rom))
            _set_switches(ale, rom.stem, game_mode, game_difficulty)
            ale.reset_game()
            self.games.append(ale)

        ale = self.games[0]
        self.sound_rate = int(self.frames_per_second * ale.getAudioSize()) if audible else 0
        self.actions = ale.getMinimalActionSet() if minimal_action_set else ale.getLegalActionSet()
        self.action_meanings = [action.name for action in self.actions]
        if fire_on_reset and self.action_meanings[1:2] != ["FIRE"]:
            raise UsageError(f"--fire_on_reset: {rom.stem} has no FIRE button")
        height, width = ale.getScreenDims()
        # The last two frames of each lane, [2, height, width, 3]: the newer one at ``newest``.
        self.frames = np.zeros((num_envs, 2, height, width, 3), np.uint8)
        self.newest = [0] * num_envs
        self.emulated = [Action.NOOP] * num_envs  # the last frame's action
        self.lives: list[int] = [0] * num_envs
        self.waiting = [False] * num_envs
        self.last = np.zeros((num_envs, *self.observation_shape), np.uint8)

    def restart(self, lanes: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """See Environment. After a lost life the game continues; otherwise a new one starts."""
        everywhere = lanes is None
        for lane in range(self.num_envs) if lanes is None else lanes:
            ale = self.games[lane]
            if everywhere or ale.game_over() or self._capped(lane):
                ale.reset_game()
                self.emulated[lane] = Action.NOOP
            self.frames[lane] = 0  # black is the identity of the maximum: older frames vanish
            multiple = self.random_starts_multiple
            low, high = (bound // multiple for bound in self.random_starts)
            noop_frames = multiple * int(self.rngs[lane].integers(low, high + 1))
            for left in reversed(range(noop_frames)):
                self._emulate(lane, Action.NOOP)
                if left < 2:
                    self._grab(lane)
            if self.fire_on_reset:
                self._press_fire(lane)
            self.lives[lane] = ale.lives()
            self.waiting[lane] = False
            self.last[lane] = self._observe(lane)
        return self.last.copy() if lanes is None else self.last[lanes]

    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """See Environment."""
        n = self.num_envs
        rewards = np.zeros(n, np.float64)
        terminals, truncateds, game_overs = np.zeros((3, n), np.bool_)
        for lane in range(n):
            if self.waiting[lane]:
                continue
            ale, action = self.games[lane], self.actions[actions[lane]]
            reward, game_over, life_lost = 0, False, False
            for left in reversed(range(self.frame_skip)):
                reward += self._emulate(lane, action)
                game_over = ale.game_over()
                life_lost = (
                    self.remembered and self.life_loss_terminal and ale.lives() < self.lives[lane]
                )
                if left < 2 or game_over or life_lost:
                    self._grab(lane)
                if game_over or life_lost:
                    break
            over = game_over or life_lost
            if self.fire_on_reset and not over and ale.lives() < self.lives[lane]:
                reward += self._press_fire(lane)
                game_over = ale.game_over()
            rewards[lane] = reward
            terminals[lane] = game_over or life_lost
            truncateds[lane] = not terminals[lane] and self._capped(lane)
            game_overs[lane] = game_over
            self.lives[lane] = ale.lives()
            self.waiting[lane] = terminals[lane] or truncateds[lane]
            self.last[lane] = self._observe(lane)
        return Step(self.last.copy(), rewards, terminals, truncateds, game_overs)

    def state_dict(self) -> dict[str, Any]:
        """See Environment."""
        lanes = [
            dict(
                emulator=np.frombuffer(ale.cloneState(include_rng=True).serialize(), np.uint8),
                generator=self.rngs[lane].bit_generator.state,
                frames=self.frames[lane].copy(),
                newest=self.newest[lane],
                emulated=self.emulated[lane].value,
                lives=int(self.lives[lane]),
                waiting=bool(self.waiting[lane]),
            )
            for lane, ale in enumerate(self.games)
        ]
        return dict(lanes=lanes, observations=self.last.copy())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Environment."""
        own = self.state_dict()
        for lane in own["lanes"]:
            lane["emulator"] = np.zeros(0, np.uint8)  # of any length
        state = conform(state, own)
        for lane, saved in enumerate(state["lanes"]):
            try:
                self.games[lane].restoreState(ALEState(saved["emulator"].tobytes()))
            except SystemError:  # how ale-py reports an exception in the emulator
                raise ValueError("not a state of the emulator") from None
            self.rngs[lane].bit_generator.state = saved["generator"]
            self.frames[lane] = saved["frames"]
            self.newest[lane] = saved["newest"] & 1
            self.emulated[lane] = Action(saved["emulated"])
            self.lives[lane] = saved["lives"]
            self.waiting[lane] = saved["waiting"]
        self.last[...] = state["observations"]

    def _emulate(self, lane: int, action: Action) -> int:
        """Emulate one frame and return its reward; notify the listeners."""
        sticky = self.repeat_action_probability
        if sticky and self.rngs[lane].random() < sticky:
            action = self.emulated[lane]
        self.emulated[lane] = action
        reward: int = self.games[lane].act(action)
        if lane == 0:
            for listener in self.on_frame:
                listener(self)
        return reward

    def _press_fire(self, lane: int) -> int:
        """Play FIRE and the action after it; return the reward."""
        reward = 0
        for action in self.actions[1:3]:
            for left in reversed(range(self.frame_skip)):
                reward += self._emulate(lane, action)
                if left < 2:
                    self._grab(lane)
        return reward

    def screen(self) -> NDArray[np.uint8]:
        """See Environment: in ALE's colours; with colour averaging, a blend of two frames."""
        screen: NDArray[np.uint8] = self.games[0].getScreenRGB()
        return screen

    def sound(self) -> NDArray[np.uint8]:
        """See Environment: 512 samples per frame."""
        return self.games[0].getAudio().copy() if self.sound_rate else super().sound()

    def _capped(self, lane: int) -> bool:
        """Whether the lane's game has reached the frame cap of test games."""
        return (
            not self.training
            and 0 < self.test_frame_cap <= self.games[lane].getEpisodeFrameNumber()
        )

    def _grab(self, lane: int) -> None:
        """Store the emulator's current frame over the older one."""
        self.newest[lane] ^= 1
        self.games[lane].getScreenRGB(self.frames[lane, self.newest[lane]])

    def _observe(self, lane: int) -> NDArray[np.uint8]:
        """Pool the last two frames and shrink them: uint8 [screen_height, screen_width]."""
        frames = self.frames[lane]
        # ALE has already averaged: its newest frame contains both.
        pooled = frames[self.newest[lane]] if self.color_averaging else cv2.max(*frames)
        height, width = self.observation_shape
        return shrink(pooled, width, height, self.resize)

    def close(self) -> None:
        """Release the emulators."""
        self.games.clear()


def _set_switches(ale: ALEInterface, game: str, mode: int, difficulty: int) -> None:
    """Set the console's switches; -1 leaves a switch as it is.

    Raises:
        UsageError: the game has no such mode or difficulty.
    """
    if mode >= 0:
        _check_switch(ale.getAvailableModes(), mode, "game_mode", game)
        ale.setMode(mode)
    if difficulty >= 0:
        _check_switch(ale.getAvailableDifficulties(), difficulty, "game_difficulty", game)
        ale.setDifficulty(difficulty)


def _check_switch(available: list[int], value: int, name: str, game: str) -> None:
    """Raise UsageError if a switch has no such position in this game."""
    if value not in available:
        raise UsageError(
            f"--{name} of {game} must be one of {', '.join(map(str, available))}, not {value}"
        )
