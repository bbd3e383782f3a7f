from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from simple_dqn.environment import lane_seeds
from simple_dqn.environments.atari import shrink
from simple_dqn.environments.gymnasium_games import GymEnvironment
from simple_dqn.errors import UsageError
from simple_dqn.main import main


def make(env_id, num_envs=1, seed=1, size=84) -> GymEnvironment:
    return GymEnvironment(
        env_id, num_envs=num_envs, seed=np.random.SeedSequence(seed), resize="area",
        screen_width=size, screen_height=size,
    )  # fmt: skip


class Screens(gymnasium.Env):
    """RGB screens; actions 3 to 5; action 5 ends the game."""

    action_space = gymnasium.spaces.Discrete(3, start=3)

    def __init__(self, shape=(30, 40, 3)):
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)

    def _screen(self):
        return np.full(self.observation_space.shape, 10 * self.t, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 1
        return self._screen(), {}

    def step(self, action):
        assert 3 <= action <= 5
        self.t += 1
        return self._screen(), float(action), action == 5, False, {}


class Samples(gymnasium.Env):
    """Random samples of a given observation space."""

    action_space = spaces.Discrete(2)

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.observation_space.seed(seed)
        self.shown = self.observation_space.sample()
        return self.shown, {}

    def step(self, action):
        self.shown = self.observation_space.sample()
        return self.shown, 0.0, False, False, {}


class Broken(Samples):
    """Fails in what ``failing`` names."""

    failing = ""

    def __init__(self):
        super().__init__(VECTOR)

    def reset(self, *, seed=None, options=None):
        assert self.failing != "reset"
        return super().reset(seed=seed)

    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, {"step": np.zeros(2), "reward": np.nan}.get(self.failing, 1.0), *rest

    def close(self):
        raise RuntimeError("cannot close")


VECTOR = spaces.Box(-1, 1, (2,))
TILES = spaces.Box(0, 9, (7, 7, 3), np.uint8)
SCREEN = spaces.Box(0, 255, (40, 50, 3), np.uint8)


@pytest.fixture(autouse=True)
def _registered():
    before = set(gymnasium.registry)
    gymnasium.register("Screens-v0", Screens, max_episode_steps=3)
    gymnasium.register("Grey-v0", lambda: Screens((30, 40, 1)), max_episode_steps=3)
    gymnasium.register("Deep-v0", lambda: Screens((30, 40, 7)), max_episode_steps=3)
    gymnasium.register("Many-v0", lambda: Samples(spaces.Sequence(VECTOR)))
    gymnasium.register("Board-v0", lambda: Samples(spaces.Box(-1, 1, (2, 3))))
    gymnasium.register("Parts-v0", lambda: Samples(spaces.Dict(a=spaces.Discrete(3), b=VECTOR)))
    gymnasium.register("Camera-v0", lambda: Samples(spaces.Dict(a=spaces.Discrete(3), b=SCREEN)))
    gymnasium.register("Two-v0", lambda: Samples(spaces.Dict(a=SCREEN, b=SCREEN)))
    gymnasium.register("First-v0", lambda: Samples(spaces.Box(0, 255, (3, 40, 50), np.uint8)))
    gymnasium.register("Tiles-v0", lambda: Samples(spaces.Dict(a=TILES, b=spaces.Text(9))))
    gymnasium.register("Broken-v0", Broken)
    yield
    for name in [i for i in gymnasium.registry if i not in before]:
        del gymnasium.registry[name]


def test_vectors_match_gymnasium():
    env, plain = make("CartPole-v1", num_envs=2), gymnasium.make("CartPole-v1")
    lanes = lane_seeds(np.random.SeedSequence(1), 2)
    seeds = [int(lane.generate_state(1)[0] >> 1) for lane in lanes]
    first = env.restart()
    assert first.shape == (2, 4)
    assert first.dtype == np.float32
    for lane in (0, 1):
        observation, _ = plain.reset(seed=seeds[lane])
        assert (first[lane] == observation).all()
    for t in range(100):
        actions = np.array([1, t % 2])
        step = env.act(actions)
        expected = plain.step(t % 2)  # lane 1's game
        assert (step.observations[1] == expected[0]).all()
        assert step.rewards[1] == expected[1]
        assert step.terminals[1] == expected[2]
        if step.terminals[1]:
            break
    assert not env.act(actions).terminals.any()  # it is waiting


def test_truncation_is_not_termination():
    env = make("Screens-v0")
    env.restart()
    steps = [env.act(np.array([0])) for _ in range(3)]
    assert [s.truncateds[0] for s in steps] == [False, False, True]
    assert not any(s.terminals[0] or s.game_overs[0] for s in steps)
    env.restart(np.array([0]))
    step = env.act(np.array([2]))  # the last action ends the game
    assert step.terminals[0]
    assert step.game_overs[0]
    assert not step.truncateds[0]
    assert step.rewards[0] == 5


@pytest.mark.parametrize("env_id", ["Screens-v0", "Grey-v0"])
def test_screens_become_grey_and_are_resized(env_id):
    env = make(env_id, size=50)
    assert (env.restart() == 10).all()
    assert env.observation_shape == (50, 50)
    assert (env.act(np.array([0])).observations == 20).all()


def test_atari_through_gymnasium():
    env = make("ALE/Pong-v5")
    assert env.action_meanings == ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    observation = env.restart()
    assert observation.shape == (1, 84, 84)
    plain = gymnasium.make("ALE/Pong-v5")
    rgb, _ = plain.reset(seed=int(np.random.SeedSequence(1).generate_state(1)[0] >> 1))
    assert (observation[0] == shrink(rgb, 84, 84, "area")).all()


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("NoSuch-v0", "cannot be made by Gymnasium"),
        ("nosuchmodule:Thing-v0", "cannot be made by Gymnasium"),
        ("Pendulum-v1", "DQN needs a Discrete one"),
        ("Deep-v0", "supported are one screen"),
        ("Many-v0", "supported are one screen"),
        ("Two-v0", "supported are one screen"),
    ],
)
def test_unsupported_environments_are_refused_in_one_line(env_id, message):
    with pytest.raises(UsageError, match=message) as error:
        make(env_id)
    assert "\n" not in str(error.value)


def test_discrete_observations_become_one_hot():
    env, plain = make("CliffWalking-v1", num_envs=2), gymnasium.make("CliffWalking-v1")
    state, _ = plain.reset()
    first = env.restart()
    assert first.shape == (2, 48)
    assert (first == np.eye(48)[state]).all()
    for action in (0, 1, 1, 2):  # up, right, right, down into the cliff
        state, reward, *_ = plain.step(action)
        step = env.act(np.array([action, 0]))
        assert (step.observations[0] == np.eye(48)[state]).all()
        assert step.rewards[0] == reward
    assert step.rewards[0] == -100


def test_waiting_lane_is_unchanged_while_others_play():
    env = make("Screens-v0", num_envs=2)
    env.restart()
    env.act(np.array([2, 0]))  # the first lane's game ends at once
    before = env.last[0].copy()
    for t in range(7):  # and would have ended several more times
        step = env.act(np.array([2, 0]))
        assert (step.observations[0] == before).all()
        assert (step.rewards[0], step.terminals[0], step.truncateds[0]) == (0, False, False)
        if step.truncateds[1]:
            assert t in (1, 4)  # every third of its steps
            env.restart(np.array([1]))
    assert (env.restart(np.array([0])) == 10).all()
    assert not env.act(np.array([0, 0])).terminals.any()


@pytest.mark.parametrize(
    ("env_id", "size", "seen"),
    [
        ("Board-v0", 6, lambda shown: shown.reshape(-1)),
        ("Parts-v0", 5, lambda shown: [*np.eye(3)[shown["a"]], *shown["b"]]),
        ("Blackjack-v1", 32 + 11 + 2, None),
    ],
)
def test_non_image_observations_are_flattened(env_id, size, seen):
    env = make(env_id, num_envs=2)
    first = env.restart()
    step = env.act(np.array([1, 0]))
    assert first.shape == step.observations.shape == (2, size)
    assert first.dtype == step.observations.dtype == np.float32
    for lane in (0, 1) if seen else ():
        shown = env.games.envs[lane].unwrapped.shown
        assert step.observations[lane] == pytest.approx(seen(shown))


def test_dict_with_one_screen_uses_the_screen():
    env = make("Camera-v0")
    env.restart()
    observation = env.act(np.array([1])).observations[0]
    shown = env.games.envs[0].unwrapped.shown["b"]
    assert (observation == shrink(shown, 84, 84, "area")).all()


def test_channels_first_screens():
    env = make("First-v0")
    env.restart()
    observation = env.act(np.array([1])).observations[0]
    shown = env.games.envs[0].unwrapped.shown
    assert (
        observation == shrink(np.ascontiguousarray(shown.transpose(1, 2, 0)), 84, 84, "area")
    ).all()


def test_small_boards_are_flattened_and_texts_ignored():
    env = make("Tiles-v0")
    assert env.restart().shape == (1, 147)
    observation = env.act(np.array([1])).observations[0]
    assert (observation == env.games.envs[0].unwrapped.shown["a"].reshape(-1)).all()


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        ("reset", "'Broken-v0' itself failed in reset: AssertionError"),
        ("step", "'Broken-v0' itself failed in step: "),
        ("reward", "'Broken-v0' returned the reward nan"),
    ],
)
def test_failing_environment_is_named(monkeypatch, failing, message):
    monkeypatch.setattr(Broken, "failing", failing)
    env = make("Broken-v0")
    with pytest.raises(UsageError, match=message):  # noqa: PT012 (one of the two)
        env.restart()
        env.act(np.array([0]))
    env.close()  # fails as well, but harmlessly


def test_run_that_fails_before_its_first_row_leaves_nothing(in_tmp, capsys, monkeypatch):
    monkeypatch.setattr(Broken, "failing", "reward")
    assert main(["train", "Broken-v0"]) == 2
    assert "'Broken-v0' returned the reward nan" in capsys.readouterr().err.splitlines()[-1]
    assert not any(in_tmp.rglob("*.*"))


def test_actions_follow_the_wrapped_action_space():
    def two_actions():
        game = gymnasium.make("ALE/Pong-v5")
        return gymnasium.wrappers.TransformAction(game, lambda a: a + 2, spaces.Discrete(2))

    gymnasium.register("TwoPong-v0", two_actions)
    env = make("TwoPong-v0")
    env.restart()
    assert env.action_meanings == ["0", "1"]
    assert env.act(np.array([1])).observations.shape == (1, 84, 84)


def test_module_in_the_current_folder_is_found(in_tmp, capsys):
    module = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
gymnasium.register("Local-v0", CartPoleEnv)
"""
    (in_tmp / "custom_games.py").write_text(module)
    options = ["--random_steps", "50", "--train_steps", "20", "--test_steps", "20", "--epochs", "1"]
    assert main(["train", "custom_games:Local-v0", *options]) == 0
    assert (in_tmp / "results/custom_games-Local-v0.csv").exists()


def test_time_is_the_last_number_of_a_vector():
    """CartPole's limit is 500 steps; without a limit, or with screens, there is no such number."""
    env = GymEnvironment(
        "CartPole-v1", num_envs=1, seed=np.random.SeedSequence(1), resize="area", screen_width=84,
        screen_height=84, observe_time=True,
    )  # fmt: skip
    assert env.observation_shape == (5,)
    assert env.restart()[0, 4] == 0
    for step in range(1, 6):
        assert env.act(np.array([step % 2])).observations[0, 4] == np.float32(step / 500)
    env.restart()
    state = env.state_dict()
    first = env.act(np.array([1])).observations
    env.load_state_dict(state)
    np.testing.assert_array_equal(env.act(np.array([1])).observations, first)
    assert main(["train", "pong", "--observe_time"]) == 2
