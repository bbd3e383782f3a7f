"""ALEEnvironment on real ROMs, against a slow numpy implementation on plain ALE."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from ale_py import ALEInterface

from simple_dqn.environments.atari import ALEEnvironment, shrink
from simple_dqn.environments.games import find_rom
from simple_dqn.errors import UsageError


def make(rom, seed=1, **kwargs) -> ALEEnvironment:
    return ALEEnvironment(
        rom,
        seed=np.random.SeedSequence(seed),
        **{
            "num_envs": 1, "frame_skip": 4, "repeat_action_probability": 0.0,
            "minimal_action_set": True, "game_mode": -1, "game_difficulty": -1,
            "color_averaging": False, "resize": "area", "screen_width": 84, "screen_height": 84,
            "life_loss_terminal": True, "random_starts": (1, 1), "random_starts_multiple": 1,
            "test_frame_cap": 0, **kwargs,
        },
    )  # fmt: skip


def make_ale(rom) -> ALEInterface:
    """Return a plain emulator, without frame skip or sticky actions."""
    ale = ALEInterface()
    ale.setFloat("repeat_action_probability", 0)
    ale.setInt("frame_skip", 1)
    ale.loadROM(str(rom))
    ale.reset_game()
    return ale


def slow_observation(frame: np.ndarray, older: np.ndarray) -> np.ndarray:
    """Return the maximum of two RGB frames, its luma and area mean, written out."""
    pooled = np.maximum(frame, older).astype(np.float64)
    luma = 0.299 * pooled[..., 0] + 0.587 * pooled[..., 1] + 0.114 * pooled[..., 2]
    # The area mean: cut every pixel into 84 x 84 parts, then average blocks of 210 x 160 parts.
    rows = np.repeat(luma, 84, axis=0).reshape(84, 210, 160).mean(axis=1)
    return np.repeat(rows, 84, axis=1).reshape(84, 84, 160).mean(axis=2)


def test_observations_and_rewards_match_the_slow_recipe(pong):
    env, ale = make(pong), make_ale(pong)
    first = env.restart()
    assert first.shape == (1, 84, 84)
    assert first.dtype == np.uint8
    ale.act(0)  # the one no-op
    zeros = np.zeros((210, 160, 3), np.uint8)
    assert np.abs(first[0] - slow_observation(ale.getScreenRGB(), zeros)).max() <= 1

    rng, total = np.random.default_rng(0), 0
    for _ in range(400):
        action = int(rng.integers(len(env.action_meanings)))
        step = env.act(np.array([action]))
        reward, frames = 0, []
        for _ in range(4):
            reward += ale.act(ale.getMinimalActionSet()[action])
            frames.append(ale.getScreenRGB())
        assert step.rewards[0] == reward
        # Within 1: OpenCV rounds the luma before it resizes.
        assert np.abs(step.observations[0] - slow_observation(frames[3], frames[2])).max() <= 1
        total += reward
    assert total < 0  # the opponent scored, so rewards were really compared


def test_maximum_of_two_frames_removes_flicker():
    """Space Invaders draws its shots on every other frame: one frame alone misses them."""
    from simple_dqn.environments.games import find_rom

    rom = find_rom("space_invaders")[1]
    env, ale = make(rom), make_ale(rom)
    env.restart()
    ale.act(0)
    differing = 0
    for _ in range(100):
        env.act(np.array([1]))
        for _ in range(3):
            ale.act(1)
        older = ale.getScreenRGB()
        ale.act(1)
        newer = ale.getScreenRGB()
        observed = env.last[0].astype(int)
        single = shrink(newer, 84, 84, "area").astype(int)
        assert np.abs(observed - shrink(np.maximum(older, newer), 84, 84, "area")).max() == 0
        differing += (observed != single).any()
    assert differing > 20


def test_color_averaging_matches_ale(pong):
    env = make(pong, color_averaging=True)
    env.restart()
    ale = ALEInterface()
    ale.setFloat("repeat_action_probability", 0)
    ale.setInt("frame_skip", 1)
    ale.setBool("color_averaging", True)
    ale.loadROM(str(pong))
    ale.reset_game()
    ale.act(0)
    for t in range(100):
        step = env.act(np.array([t % 6]))
        for _ in range(4):
            ale.act(ale.getMinimalActionSet()[t % 6])
        expected = cv2.resize(
            cv2.cvtColor(ale.getScreenRGB(), cv2.COLOR_RGB2GRAY), (84, 84),
            interpolation=cv2.INTER_AREA,
        )  # fmt: skip
        assert (step.observations[0] == expected).all()


def test_linear_resize_and_other_sizes(pong):
    env = make(pong, resize="linear", screen_width=60, screen_height=50)
    observation = env.restart()[0]
    grey = cv2.cvtColor(env.frames[0].max(axis=0), cv2.COLOR_RGB2GRAY)
    assert (observation == cv2.resize(grey, (60, 50), interpolation=cv2.INTER_LINEAR)).all()


def play(env: ALEEnvironment, steps: int, rng: np.random.Generator):
    """Play at random, restarting ended lanes; yield (step, lives before, lives after)."""
    for _ in range(steps):
        before = [ale.lives() for ale in env.games]
        step = env.act(rng.integers(len(env.action_meanings), size=env.num_envs))
        yield step, before, [ale.lives() for ale in env.games]
        ended = np.flatnonzero(step.terminals | step.truncateds)
        if len(ended):
            env.restart(ended)


def test_life_loss_is_a_terminal_in_training_but_the_game_continues(breakout):
    env, rng = make(breakout, random_starts=(1, 30)), np.random.default_rng(3)
    env.restart()
    lost = overs = 0
    for step, before, after in play(env, 2000, rng):
        life_lost = after[0] < before[0]
        assert step.terminals[0] == life_lost
        assert step.game_overs[0] == (life_lost and after[0] == 0)
        lost += life_lost
        overs += int(step.game_overs[0])
    assert overs >= 2
    assert 5 * overs <= lost < 5 * (overs + 1)


@pytest.mark.parametrize("how", ["test", "option"])
def test_life_loss_is_not_a_terminal_in_tests_or_if_disabled(breakout, how):
    env = make(breakout, life_loss_terminal=how != "option")
    env.remembered = how != "test"
    env.restart()
    ended = 0
    for step, _, after in play(env, 1500, np.random.default_rng(3)):
        assert step.terminals[0] == step.game_overs[0] == (after[0] == 0)
        ended += int(step.terminals[0])
    assert ended >= 2


def test_step_stops_at_a_life_loss(breakout):
    """The emulator stops at the frame of the loss instead of finishing the frame skip."""
    env, rng = make(breakout), np.random.default_rng(3)
    env.restart()
    frames = set()
    ale = env.games[0]
    for _ in range(1500):
        before = ale.getEpisodeFrameNumber()
        step = env.act(rng.integers(4, size=1))
        if step.terminals[0]:
            frames.add(ale.getEpisodeFrameNumber() - before)
            env.restart(np.array([0]))
    assert frames - {4}


def test_noop_starts_are_uniform_in_frames_even_after_a_life_loss(breakout):
    env, rng = make(breakout, random_starts=(1, 30)), np.random.default_rng(0)
    drawn = []
    for _ in range(300):
        env.restart()
        drawn.append(env.games[0].getEpisodeFrameNumber())
    assert set(drawn) == set(range(1, 31))
    ale = env.games[0]
    for _ in range(3000):
        if env.act(rng.integers(4, size=1)).terminals[0] and not ale.game_over():
            before = ale.getEpisodeFrameNumber()
            env.restart(np.array([0]))
            assert 1 <= ale.getEpisodeFrameNumber() - before <= 30
            break
    else:
        pytest.fail("no life was lost")


def test_noop_starts_in_steps_are_multiples_of_the_frame_skip(pong):
    env, drawn = make(pong, random_starts=(20, 124), random_starts_multiple=4), set()
    for _ in range(400):
        env.restart()
        drawn.add(env.games[0].getEpisodeFrameNumber())
    assert drawn == set(range(20, 125, 4))


def test_fire_on_reset_plays_two_actions_at_a_start_and_after_a_lost_life(breakout):
    """After 3 no-op frames 4 of FIRE and 4 of RIGHT; in tests also after each lost life."""
    env = make(breakout, random_starts=(3, 3), fire_on_reset=True)
    env.training = env.remembered = False
    emulated: list[str] = []
    env.on_frame = (lambda env: emulated.append(env.emulated[0].name),)
    env.restart()
    assert emulated == ["NOOP"] * 3 + ["FIRE"] * 4 + ["RIGHT"] * 4
    lives, losses = env.games[0].lives(), 0
    for action in np.random.default_rng(0).integers(4, size=2000):
        emulated.clear()
        step = env.act(np.array([action]))
        lost = env.games[0].lives() < lives
        lives = env.games[0].lives()
        losses += lost
        if step.terminals[0]:
            break
        own = [env.action_meanings[action]] * 4
        assert emulated == own + (["FIRE"] * 4 + ["RIGHT"] * 4) * lost
    assert (losses, lives) == (5, 0)


def test_fire_on_reset_needs_a_fire_button():
    with pytest.raises(UsageError, match="freeway has no FIRE button"):
        make(find_rom("freeway")[1], fire_on_reset=True)


def test_frame_cap_truncates_tests_only(pong):
    env = make(pong, test_frame_cap=100)
    noop = np.zeros(1, int)
    env.restart()
    assert not any(env.act(noop).truncateds[0] for _ in range(40))

    env.training = False
    env.restart()
    steps = [env.act(noop) for _ in range(25)]  # 1 + 25 · 4 frames
    assert [s.truncateds[0] for s in steps] == [False] * 24 + [True]
    assert not any(s.terminals[0] or s.game_overs[0] for s in steps)
    env.restart(np.array([0]))
    assert env.games[0].getEpisodeFrameNumber() == 1  # a new game


def test_waiting_lane_is_not_stepped(pong):
    env = make(pong, num_envs=2, test_frame_cap=41)
    env.training = False
    env.restart()
    actions = np.zeros(2, int)
    while not env.act(actions).truncateds.all():
        pass
    env.restart(np.array([1]))
    frame = env.games[0].getFrameNumber()
    step = env.act(actions)
    assert not (step.terminals | step.truncateds | step.game_overs).any()
    assert step.rewards[0] == 0
    assert env.games[0].getFrameNumber() == frame
    assert env.games[1].getEpisodeFrameNumber() == 5


def test_lanes_are_independent_and_reproducible(breakout):
    def run(seed, num_envs):
        env = make(breakout, seed, num_envs=num_envs, random_starts=(1, 30))
        seen = [env.restart()]
        rng = np.random.default_rng(0)
        for step, _, _ in play(env, 150, rng):
            seen.append(step.observations)
        return np.array(seen)

    three, again, other = run(7, 3), run(7, 3), run(8, 3)
    assert (three == again).all()
    assert (three != other).any()
    assert (three[:, 0] != three[:, 1]).any()


def test_returned_arrays_are_never_modified(pong):
    env = make(pong)
    first = env.restart()
    kept = first.copy()
    step = env.act(np.array([2]))
    observed = step.observations.copy()
    env.act(np.array([3]))
    assert (first == kept).all()
    assert (step.observations == observed).all()


class Spy:
    """An emulator that records the actions it receives."""

    def __init__(self, ale):
        self.ale, self.received = ale, []

    def act(self, action):
        self.received.append(action)
        return self.ale.act(action)

    def __getattr__(self, name):
        return getattr(self.ale, name)


def test_sticky_actions_repeat_the_previous_frames_action(pong):
    """In a quarter of the frames; the repeated action may itself be a repetition."""
    env = make(pong, repeat_action_probability=0.25)
    env.restart()
    spy = env.games[0] = Spy(env.games[0])
    wanted = []
    for t in range(500):
        env.act(np.array([2 + t % 2]))
        wanted += [env.actions[2 + t % 2]] * 4
    assert len(spy.received) == len(wanted)
    last, stuck = spy.received[:-1], 0
    for received, asked, before in zip(spy.received[1:], wanted[1:], last, strict=True):
        assert received in (asked, before)
        stuck += received != asked
    # Where the action changes, once in 4 frames, it is late by k frames with probability .25^k
    assert stuck / 500 == pytest.approx(0.25 + 0.25**2 + 0.25**3 + 0.25**4, abs=0.05)


def test_action_sets(breakout):
    assert make(breakout).action_meanings == ["NOOP", "FIRE", "RIGHT", "LEFT"]
    full = make(breakout, minimal_action_set=False).action_meanings
    assert len(full) == 18
    assert full[0] == "NOOP"


def test_modes_and_difficulties(breakout):
    env = make(breakout, game_mode=4, game_difficulty=1)
    env.restart()
    with pytest.raises(UsageError, match=r"--game_mode of breakout must be one of 0, 4, .*, not 3"):
        make(breakout, game_mode=3)
    message = "--game_difficulty of breakout must be one of 0, 1, not 9"
    with pytest.raises(UsageError, match=message):
        make(breakout, game_difficulty=9)


def test_listeners_receive_every_emulator_frame_and_its_sound(breakout):
    heard = []
    env = make(breakout, audible=True, num_envs=2)
    env.on_frame = (
        lambda env: heard.append((env.screen(), env.sound())),
        lambda env: env.screen().fill(0),
    )
    env.restart()
    ale = make_ale(breakout)
    expected_frames = [ale.act(0) or ale.getScreenRGB()]
    actions = [1, 2, 3, 0, 2, 2, 2] * 4
    for action in actions:
        env.remembered = False  # a life loss ends no episode
        env.act(np.array([action, 0]))
        for _ in range(4):
            ale.act(env.actions[action])
            expected_frames.append(ale.getScreenRGB())
    assert env.sound_rate == 60 * 512
    assert len(heard) == 1 + 4 * len(actions)  # of the first lane, with the no-op start
    for (screen, _), expected in zip(heard, expected_frames, strict=True):
        assert (screen == expected).all()  # each listener has its own copy
    sound = np.concatenate([s for _, s in heard])
    assert len(sound) == 512 * len(heard)
    assert len(np.unique(sound)) > 1
    assert (sound[0], make(breakout).sound_rate) == (128, 0)


def test_frame_cap_with_life_losses_as_terminals(breakout):
    """As in play: its experience is for training, but no game lasts forever."""
    env = make(breakout, test_frame_cap=2000)
    env.training, env.remembered = False, True
    env.restart()
    steps = [step for step, _, _ in play(env, 600, np.random.default_rng(3))]
    assert any(s.terminals[0] and not s.game_overs[0] for s in steps)
    env.restart()
    noop = np.zeros(1, int)
    assert any(env.act(noop).truncateds[0] for _ in range(500))
