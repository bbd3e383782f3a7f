"""The player, with a scripted keyboard and a fake clock."""

from __future__ import annotations

import re

import numpy as np
import pytest

from simple_dqn.agent import Agent
from simple_dqn.environment import Environment, Step
from simple_dqn.replay.state_buffer import StateBuffer
from simple_dqn.watch import player as module
from simple_dqn.watch.interface import QUIT, Display
from simple_dqn.watch.keys import KEYS
from simple_dqn.watch.player import NewGame, Player, Quit

FRAMES_PER_STEP = 4


class Clock:
    """Time passes only while the player sleeps or the display draws."""

    now = 50.0

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


class Games(Environment):
    """Games of ``length`` steps of four frames, with reward 1; screens show the frame number."""

    def __init__(self, length=5):
        self.num_envs, self.length = 1, length
        self.frame_skip, self.is_console = FRAMES_PER_STEP, True
        self.action_meanings = ["NOOP", "FIRE", "RIGHT", "LEFT"]
        self.observation_shape, self.observation_dtype = (2, 2), np.dtype(np.uint8)
        self.actions, self.frames, self.steps, self.restarts = [], 0, 0, 0
        self.lives = [3]

    def frame(self):
        self.frames += 1
        for listener in self.on_frame:
            listener(self)

    def screen(self):
        return np.full((210, 160, 3), self.frames % 256, np.uint8)

    def sound(self):
        return np.zeros(512, np.uint8)

    def restart(self, lanes=None):
        self.steps, self.restarts = 0, self.restarts + 1
        self.frame()
        return np.zeros((1, 2, 2), np.uint8)

    def act(self, actions):
        self.actions.append(int(actions[0]))
        for _ in range(FRAMES_PER_STEP):
            self.frame()
        self.steps += 1
        over = np.array([self.steps == self.length])
        return Step(
            np.full((1, 2, 2), self.steps % 256, np.uint8), np.ones(1, np.float32), over,
            np.array([False]), over,
        )  # fmt: skip


class Network:
    """Always prefers RIGHT, action 2."""

    def predict(self, states):
        return np.array([[0.0, 0.1, 0.9, 0.2]], np.float32)


class Script(Display):
    """Presses keys at given frames: {number of the frame: keys}; a set is held from then on."""

    def __init__(self, clock, environment, keys, drawing=0.0, forever=False):
        self.clock, self.environment, self.script = clock, environment, dict(keys)
        self.held: set[str] = set()
        self.scenes, self.times, self.closed = [], [], False
        self.drawing = drawing
        self.idle = 0

    def keys(self):
        pressed = self.script.pop(self.environment.frames, [])
        if isinstance(pressed, set):
            self.held, pressed = pressed, []
        self.idle += 1
        return [pressed] if isinstance(pressed, str) else pressed

    def joystick(self):
        return self.held

    def draw(self, scene):
        state = scene.state
        self.scenes.append(scene._replace(state=None if state is None else state.copy()))
        self.times.append(self.clock.now)
        self.clock.now += self.drawing

    def close(self):
        self.closed = True


class Play:
    """An agent with a player, a script of keys and a clock."""

    def __init__(
        self, monkeypatch, keys=(), length=5, has_network=True, speaker=None, drawing=0.0, game="",
        game_class=Games,
    ):  # fmt: skip
        self.clock = Clock()
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.clock.now)
        monkeypatch.setattr(module.time, "sleep", self.clock.sleep)
        self.environment = game_class(length)
        self.display = Script(self.clock, self.environment, keys, drawing)
        self.agent = Agent(
            self.environment, None, Network(), StateBuffer(1, 4, (2, 2), np.uint8),
            exploration_rate_test=0, train_frequency=4, train_repeat=1, batch_size=32,
            target_steps=0, rng=np.random.default_rng(0),
        )  # fmt: skip
        self.player = Player(self.agent, self.display, speaker, has_network, game)
        self.agent.callbacks.append(self.player)

    def status(self, index=-1) -> str:
        return self.display.scenes[index].status


def test_m_takes_over_and_returns_control(monkeypatch):
    # Frame 1 is the restart; step k is frames 4k-2 to 4k+1.
    keys = {5: ["m"], 9: {"LEFT"}, 17: {"LEFT", "FIRE"}, 21: set(), 25: ["m"]}
    play = Play(monkeypatch, keys, length=8)
    play.agent.play(1)
    # the network; NOOP (nothing held); LEFT, LEFT; LEFT before FIRE; NOOP; the network again
    assert play.environment.actions == [2, 0, 3, 3, 3, 0, 2, 2]
    assert play.player.players == {"the network", "you"}
    assert play.status(20).startswith("you play · score 4 · lives 3 · 1x")
    assert play.status().startswith("the network plays, ε 0")


def test_without_a_network_the_user_plays_from_the_start(monkeypatch):
    play = Play(monkeypatch, {1: {"RIGHT"}, 6: ["m"], 10: ["q"]}, has_network=False)
    play.agent.play(1)
    assert play.environment.actions == [2] * 5
    assert play.player.players == {"you"}
    notes = {scene.status.rpartition(" · ")[2] for scene in play.display.scenes}
    assert "no network to return control to" in notes
    assert "no network, so no Q-values" in notes


@pytest.mark.parametrize(("keys", "speed"), [([], 1), (["s"], 2), (["a", "a"], 1 / 4)])
def test_frame_rate_is_the_games_rate_times_the_speed(monkeypatch, keys, speed):
    play = Play(monkeypatch, {1: keys}, length=20)
    play.player.on_phase_end = lambda agent: None
    play.agent.play(1)
    seconds = play.display.times[-1] - play.display.times[0]
    assert seconds == pytest.approx(80 / (60 * speed), rel=0.03)
    rate = int(re.search(r"(\d+) frames/s", play.status())[1])
    assert rate == pytest.approx(60 * speed, rel=0.03)
    assert len(play.display.scenes) == pytest.approx(81 if speed <= 1 else 41, abs=1)


def test_slow_display_skips_pictures_but_not_game_frames(monkeypatch):
    play = Play(monkeypatch, length=30, drawing=0.025)  # 40 pictures a second at best
    play.player.on_phase_end = lambda agent: None
    before = play.clock.now
    play.agent.play(1)
    assert play.clock.now - before == pytest.approx(120 / 60, rel=0.1)
    assert 50 < len(play.display.scenes) < 80


def test_pause_and_single_steps(monkeypatch):
    play = Play(monkeypatch, {5: "p"}, length=4)
    waited = []

    def keys():
        """While paused: n after a second, again after two, then p."""
        script = play.display.script.pop(play.environment.frames, [])
        if play.player._paused and not script:
            waited.append(play.environment.frames)
            script = {30: ["n"], 60: ["n"], 90: ["p"]}.get(len(waited), [])
        return list(script)

    monkeypatch.setattr(play.display, "keys", keys)
    play.agent.play(1)
    assert play.environment.actions == [2] * 4
    assert set(waited[:30]) == {5}  # nothing moves
    assert waited.count(9) >= 25  # one step is four frames
    assert waited.count(13) >= 25
    assert any("paused" in scene.status for scene in play.display.scenes)


def test_q_shows_the_values_and_the_action_taken(monkeypatch):
    play = Play(monkeypatch, {2: "q", 9: ["m"], 13: {"LEFT"}, 17: "q"}, length=6)
    asked = []
    predict = play.agent.network.predict
    play.agent.network.predict = lambda states: asked.append(1) or predict(states)
    play.agent.play(1)
    shown = [scene.q_values for scene in play.display.scenes]
    assert shown[0] is None
    assert shown[-1] is None
    assert len(asked) == 6 + 4  # for the actions, and once per step while they are shown
    first = next(q for q in shown if q is not None)
    assert first.values == pytest.approx([0, 0.1, 0.9, 0.2])
    assert (first.names, first.action) == (["NOOP", "FIRE", "RIGHT", "LEFT"], 2)
    assert {q.action for q in shown if q is not None} == {2, 0, 3}


def test_v_shows_the_state_and_h_the_keys(monkeypatch):
    play = Play(monkeypatch, {1: ["v", "h"], 13: ["h"]}, length=6)
    play.agent.play(1)
    states = [scene.state for scene in play.display.scenes if scene.state is not None]
    assert states[0].shape == (4, 2, 2)
    without_sound = {key: what for key, what in KEYS.items() if key not in "[]"}
    helps = [scene.help for scene in play.display.scenes]
    assert dict(helps[4]) == {"left, right": "joystick", "space": "fire", **without_sound}
    assert helps[-1] == ()


def test_the_arrows_of_the_game_that_is_played_count(monkeypatch):
    play = Play(monkeypatch, {1: {"UP"}, 6: {"DOWN"}, 10: set()}, has_network=False, game="pong")
    play.agent.play(1)
    assert play.environment.actions[:3] == [2, 2, 3]  # RIGHT, and then LEFT
    other = Play(monkeypatch, {1: {"UP"}}, has_network=False, game="breakout")
    other.agent.play(1)
    assert other.environment.actions == [0] * 5


def test_the_help_has_only_keys_that_do_something(monkeypatch):
    """No sound, no network and no digits here."""
    play = Play(monkeypatch, {1: "h"}, has_network=False, game="pong")
    play.agent.play(1)
    shown = dict(next(scene.help for scene in play.display.scenes if scene.help))
    assert shown["arrows"] == "joystick; up is RIGHT, down is LEFT"
    assert set(shown) == {"arrows", "space", "a", "s", "p", "n", "v", "r", "h", "Esc"}
    play = Play(monkeypatch, {1: "h"}, speaker=Mute())
    play.agent.play(1)
    shown = dict(next(scene.help for scene in play.display.scenes if scene.help))
    assert set(KEYS) < set(shown)


class Slow(Games):
    """Four steps a second, each one picture."""

    def __init__(self, length=5):
        super().__init__(length)
        self.frame_skip, self.is_console, self.frames_per_second = 1, False, 4

    def act(self, actions):
        self.actions.append(int(actions[0]))
        self.steps += 1
        self.frame()
        over = np.array([self.steps == self.length])
        observations = np.full((1, 2, 2), self.steps, np.uint8)
        return Step(observations, np.ones(1, np.float32), over, np.array([False]), over)


def test_where_a_step_is_one_picture_each_is_shown_at_the_games_rate(monkeypatch):
    play = Play(monkeypatch, {}, length=8, game_class=Slow)
    play.player.on_phase_end = lambda agent: None
    before = play.clock.now
    play.agent.play(1)
    shown = [int(scene.screen[0, 0, 0]) for scene in play.display.scenes]
    assert shown == list(range(1, 10))  # the first one, and one for each step
    times = play.display.times
    assert np.diff(times[1:]) == pytest.approx([0.25] * 7, abs=0.02)
    assert play.clock.now - before == pytest.approx(8 * 0.25, abs=0.3)
    assert "4.0 pictures/s" in play.status()


class Unsaid(Games):
    """Four pictures a step, of which it says nothing."""

    def __init__(self, length=5):
        super().__init__(length)
        self.frame_skip = 1


def test_a_game_that_does_not_say_its_pictures_a_step_is_shown_whole(monkeypatch):
    play = Play(monkeypatch, {}, length=5, game_class=Unsaid)
    play.player.on_phase_end = lambda agent: None
    before = play.clock.now
    play.agent.play(1)
    assert play.clock.now - before == pytest.approx(21 / 60, abs=0.04)
    assert len(play.display.scenes) == pytest.approx(21, abs=1)


def test_q_values_and_state_belong_to_the_picture_they_are_shown_with(monkeypatch):
    play = Play(monkeypatch, {1: ["q", "v"]}, length=8, game_class=Slow)
    play.agent.network.predict = lambda states: states[:, -1, 0, :1] + np.array([[0, 0, 9, 0]])
    play.agent.play(1)
    checked = set()
    for scene in play.display.scenes:
        step = int(scene.screen[0, 0, 0]) - 1  # the first picture is that of step 0
        if scene.q_values and step < 8:  # after the end there is nothing to decide
            assert scene.q_values.values[0] == scene.state[-1, 0, 0] == step
            checked.add(step)
    assert checked == set(range(8))


def test_a_key_is_answered_before_the_next_picture_of_a_slow_game(monkeypatch):
    play = Play(monkeypatch, {2: ["a", "a", "a", "a"]}, length=3, game_class=Slow)
    keys = play.display.keys
    asked = []

    def later():
        if play.clock.now > 53 and not asked:
            asked.append(play.clock.now)
            return ["h"]
        return keys()

    monkeypatch.setattr(play.display, "keys", later)
    play.agent.play(1)
    shown = [bool(scene.help) for scene in play.display.scenes]
    answered = play.display.times[shown.index(True)]
    assert answered - asked[0] < 0.1  # at 1/16 of the speed a picture lasts 4 seconds


def test_r_restarts_the_game_and_the_score(monkeypatch):
    play = Play(monkeypatch, {10: ["r"]}, length=5)
    with pytest.raises(NewGame):
        play.agent.play(1)
    play.agent.play(1)
    assert play.environment.restarts == 2
    assert "score 5" in play.status()
    assert "game over" in play.status()


@pytest.mark.parametrize("key", ["escape", QUIT])
def test_quit_keys(monkeypatch, key):
    play = Play(monkeypatch, {7: [key]})
    with pytest.raises(Quit):
        play.agent.play(1)
    assert not play.display.closed  # left to the caller, who opened it
    play.player.close()
    assert play.display.closed
    play.player.close()  # closing twice is allowed


def test_end_of_game_stays_visible_until_a_timeout_or_key(monkeypatch):
    play = Play(monkeypatch, length=2)
    play.agent.play(1)
    assert play.clock.now - play.display.times[8] == pytest.approx(module.LAST_LOOK, abs=0.1)
    impatient = Play(monkeypatch, length=2)
    keys = impatient.display.keys
    monkeypatch.setattr(
        impatient.display, "keys",
        lambda: ["h"] if impatient.player._note == "game over" else keys(),
    )  # fmt: skip
    impatient.agent.play(1)
    assert impatient.clock.now - impatient.display.times[8] < 0.2


class Mute:
    volume = 0.5

    def __init__(self):
        self.played = []

    def play(self, samples, seconds):
        self.played.append((len(samples), seconds))

    def change_volume(self, by):
        self.volume += by

    def close(self):
        pass


def test_every_frame_plays_sound_and_brackets_change_the_volume(monkeypatch):
    speaker = Mute()
    play = Play(monkeypatch, {1: ["]"], 5: ["[", "["], 9: ["s"]}, length=4, speaker=speaker)
    play.agent.play(1)
    assert speaker.volume == pytest.approx(0.4)
    heard = [seconds for count, seconds in speaker.played if count]
    assert len(heard) == 17
    assert heard[:9] == pytest.approx([1 / 60] * 9)
    assert heard[9:] == pytest.approx([1 / 120] * 8)
    assert any("volume 40%" in scene.status for scene in play.display.scenes)
    silent = Play(monkeypatch, {1: ["]"]})
    silent.agent.play(1)
    assert any(scene.status.endswith(" · no sound") for scene in silent.display.scenes)


def test_keys_during_a_test_affect_only_the_display(monkeypatch):
    keys = {5: ["m", "r"], 9: {"LEFT"}, 13: ["h"], 41: ["escape"]}
    play = Play(monkeypatch, keys, length=5)
    frame = play.environment.frame
    monkeypatch.setattr(play.environment, "frame", lambda: (play.clock.sleep(0.04), frame()))
    play.agent.test(games=3)
    assert play.environment.actions == [2] * 15
    assert play.display.closed
    assert play.environment.on_frame == ()
    assert any("r works only in play" in scene.status for scene in play.display.scenes)
    assert {"m", "r", "["}.isdisjoint(dict(next(s.help for s in play.display.scenes if s.help)))
    assert play.status().startswith("test, ε 0.000 · score 4")  # of the second game
    assert play.clock.now == pytest.approx(50 + 0.04 * play.environment.frames)  # no waiting


def test_watching_a_test_draws_at_most_15_times_a_second(monkeypatch):
    play = Play(monkeypatch, length=1000)
    act = play.environment.act

    def slow(actions):
        play.clock.now += 0.004
        return act(actions)

    monkeypatch.setattr(play.environment, "act", slow)
    play.agent.test(games=1)
    assert len(play.display.scenes) == pytest.approx(4 * 15, rel=0.15)


def test_escape_at_any_speed_keeps_a_test_running(monkeypatch):
    """At a low speed the keyboard is read while waiting for the next frame."""
    play = Play(monkeypatch, {2: ["a"] * 9, 6: ["escape"]}, length=5)
    frame = play.environment.frame
    monkeypatch.setattr(play.environment, "frame", lambda: (play.clock.sleep(0.08), frame()))
    play.agent.test(games=2)
    assert play.display.closed
    assert play.environment.actions == [2] * 10


def test_chosen_speed_persists_into_the_next_phase(monkeypatch):
    play = Play(monkeypatch, {2: ["a"]}, length=5)
    frame = play.environment.frame
    monkeypatch.setattr(play.environment, "frame", lambda: (play.clock.sleep(0.08), frame()))
    play.agent.test(games=1)
    play.agent.test(games=1)
    assert "16x" in play.status()


def test_rate_is_measured_over_the_last_second(monkeypatch):
    play = Play(monkeypatch, length=2500)
    frame = play.environment.frame

    def slower_and_slower():
        play.clock.sleep(0.0005 if play.environment.frames < 4000 else 0.02)
        frame()

    monkeypatch.setattr(play.environment, "frame", slower_and_slower)
    play.agent.test(games=1)
    assert "50 frames/s" in play.status()


def test_keyboard_is_read_while_only_another_lane_is_active(monkeypatch):
    play = Play(monkeypatch, {1: ["h"]}, length=3)
    play.environment.on_frame = ()  # lane 0 is no longer active
    act = play.environment.act
    monkeypatch.setattr(play.environment, "act", lambda a: (play.clock.sleep(0.1), act(a))[1])
    play.agent.test(games=1)
    assert play.display.scenes[-1].help


def test_v_reports_a_state_without_a_picture(monkeypatch):
    play = Play(monkeypatch, {1: ["v"]})
    play.agent.testing_lanes = play.environment, StateBuffer(1, 4, (2,), np.float32)
    monkeypatch.setattr(play.environment, "restart", lambda lanes=None: (
        play.environment.frame(), np.zeros((1, 2), np.float32))[1])  # fmt: skip
    act = Games.act
    monkeypatch.setattr(play.environment, "act", lambda actions: act(
        play.environment, actions)._replace(observations=np.zeros((1, 2), np.float32)))  # fmt: skip
    play.environment.length = 100
    play.agent.test(games=1)
    assert play.display.scenes[-1].state is None
    assert "numbers, not pictures" in play.display.scenes[0].status
