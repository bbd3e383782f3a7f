"""Agent: the order of its calls, its counters, and the transitions it stores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_dqn.agent import Agent, Callback
from simple_dqn.callbacks.schedules import Schedule
from simple_dqn.replay.state_buffer import StateBuffer
from simple_dqn.replay_memory import ReplayMemory
from simple_dqn.statistics import Statistics

from .conftest import TapeEnvironment


class FakeNetwork:
    """Always prefers action 2; records its updates and its target network copies."""

    network = torch.nn.Sequential()

    def __init__(self):
        self.tape = []
        self.predicted = []
        self.weight_updates = 0

    def predict(self, states, hooks=False):
        self.predicted.append(states.copy())
        return np.tile([0.0, 1.0, 2.0], (len(states), 1))

    act = predict

    def train(self, batch, updates):
        self.weight_updates += updates
        self.tape += [("train", self.agent.total_train_steps)] * updates
        return torch.zeros(len(batch.actions))

    def update_target_network(self):
        self.tape.append(("copy", self.agent.total_train_steps))

    def mean_cost(self):
        return 0.0


class Tape(Callback):
    def __init__(self):
        self.events, self.rates, self.steps, self.active = [], [], [], []

    def on_phase_start(self, agent):
        self.events.append(f"start {agent.phase} {agent.phase.steps} {agent.phase.games}")

    def on_step(self, agent, step):
        self.rates.append(agent.exploration_rate)
        self.steps.append(step)
        self.active.append(agent.games.active.copy())

    def on_train(self, agent, errors):
        self.events.append("train")

    def on_phase_end(self, agent):
        self.events.append("end")


def make(environment, **kwargs):
    n = environment.num_envs
    memory = ReplayMemory(
        kwargs.pop("size", 1000 * n), n, 2, (), np.int64, discount_rate=0.9, n_step=1,
        min_reward=-1e9, max_reward=1e9, history_padding="zero", rng=np.random.default_rng(1),
    )  # fmt: skip
    network, tape = FakeNetwork(), Tape()
    agent = Agent(
        environment, memory, network, StateBuffer(n, 2, (), np.int64),
        **{
            "exploration_rate_test": 0.0, "train_frequency": 4, "train_repeat": 1,
            "batch_size": 5, "target_steps": 10, "rng": np.random.default_rng(2),
            "callbacks": [tape], **kwargs,
        },
    )  # fmt: skip
    network.agent = agent
    return agent, memory, network, tape


def test_memory_stores_the_transitions_played():
    """Observation = index: every sample must be two consecutive steps of one episode."""
    environment = TapeEnvironment(lengths=(5, 8))
    agent, memory, _, _ = make(environment)
    agent.play_random(200)
    acted = [args for what, args in environment.tape if what == "act"]
    assert len(acted) == 100
    batch = memory.sample(2000)
    for state, action, reward, discount, poststate in zip(
        batch.states, batch.actions, batch.returns, batch.discounts, batch.poststates, strict=True
    ):
        lane, (episode, step) = poststate[1] // 10**6, divmod(poststate[1] % 10**6, 1000)
        length = environment.lengths[lane]
        assert reward == step >= 1
        assert discount == (0 if step == length else np.float32(0.9))
        assert poststate[0] == state[1] == poststate[1] - 1
        assert state[0] == (state[1] - 1 if step >= 2 else 0)
        assert action == acted[episode * length + step - 1][lane]


def test_lanes_restart_after_episodes_and_in_every_phase():
    environment = TapeEnvironment(lengths=(2, 3))
    agent, memory, _, _ = make(environment)
    agent.play_random(8)
    assert [e for e in environment.tape if e[0] == "restart"] == [
        ("restart", None), ("restart", [0]), ("restart", [1]), ("restart", [0]),
    ]  # fmt: skip
    assert environment.training
    held = memory.filled.copy()
    agent.test(steps=4)
    assert not environment.training
    assert (memory.filled == held).all()  # a test phase stores nothing


def test_update_and_target_copy_intervals():
    agent, _, network, tape = make(TapeEnvironment(lengths=(7,)))
    agent.train(30)
    assert network.tape == [
        ("train", 4), ("train", 8), ("copy", 10), ("train", 12), ("train", 16), ("train", 20),
        ("copy", 20), ("train", 24), ("train", 28), ("copy", 30),
    ]  # fmt: skip
    assert agent.total_train_steps == 30
    assert tape.events == ["start train 30 0"] + ["train"] * 7 + ["end"]


@pytest.mark.parametrize(("num_envs", "repeat"), [(1, 1), (2, 1), (3, 2), (8, 1), (12, 3)])
def test_intervals_count_steps_over_all_lanes(num_envs, repeat):
    agent, _, network, tape = make(
        TapeEnvironment(lengths=(7,) * num_envs), batch_size=1, train_repeat=repeat
    )
    agent.train(120)
    assert agent.total_train_steps == 120
    assert len(tape.steps) == 120 // num_envs
    assert sum(what == "train" for what, _ in network.tape) == 30 * repeat
    copies = [step for what, step in network.tape if what == "copy"]
    assert len(copies) == min(12, 120 // num_envs)


def test_exploration_decays_linearly_in_training_steps_only():
    agent, _, _, tape = make(TapeEnvironment())

    def assign(rate):
        agent.exploration_rate_train = rate

    agent.callbacks.append(Schedule(assign, 1.0, 0.1, 100, "linear"))
    agent.play_random(20)
    assert set(tape.rates) == {1.0}
    tape.rates.clear()
    agent.train(150)
    np.testing.assert_allclose(tape.rates[:101], 1 - 0.9 * np.arange(101) / 100)
    np.testing.assert_allclose(tape.rates[100:], 0.1)
    tape.rates.clear()
    agent.test(steps=5)
    assert set(tape.rates) == {0.0}


def test_share_of_greedy_and_random_actions():
    environment = TapeEnvironment(lengths=(9, 9, 9, 9))
    agent, _, network, _ = make(environment, exploration_rate_test=0.3)
    agent.test(steps=8000)
    actions = np.array([args for what, args in environment.tape if what == "act"])
    for lane in range(4):
        share = (actions[:, lane] == 2).mean()
        assert share == pytest.approx(0.7 + 0.3 / 3, abs=0.05)
    # Each lane explores independently: all four at once with probability .3⁴.
    assert len(network.predicted) == pytest.approx(2000 * (1 - 0.3**4), rel=0.02)
    assert all(len(states) == 4 for states in network.predicted)


def test_network_sees_the_current_states():
    agent, _, network, _ = make(TapeEnvironment(lengths=(3,)))
    agent.test(steps=5)
    assert [s[0].tolist() for s in network.predicted] == [
        [0, 0], [0, 1], [1, 2], [0, 1000], [1000, 1001],
    ]  # fmt: skip


class ScriptedGames(TapeEnvironment):
    """Games of given lengths and scores, assigned in the order in which they start."""

    def __init__(self, games, num_envs):
        super().__init__(lengths=(1,) * num_envs)
        self.lengths, self.scores = np.ones(num_envs, int), np.zeros(num_envs)
        self.games, self.started = games, 0

    def restart(self, lanes=None):
        for lane in range(self.num_envs) if lanes is None else lanes:
            self.lengths[lane], self.scores[lane] = self.games[self.started]
            self.started += 1
        return super().restart(lanes)

    def act(self, actions):
        step = super().act(actions)
        return step._replace(rewards=np.where(step.game_overs, self.scores, 0))


GAMES = st.lists(st.tuples(st.integers(1, 30), st.integers(-9, 9)), min_size=40, max_size=40)


@settings(deadline=None)
@given(games=GAMES, num_envs=st.integers(1, 7), steps=st.integers(0, 30))
def test_testing_in_lanes_counts_the_games_of_sequential_play(games, num_envs, steps):
    """For any lengths, however they correlate with the scores, and any number of lanes."""
    played, expected = 0, []
    for length, score in games:
        played += length
        expected += [score] if played <= steps else []

    agent, _, _, tape = make(ScriptedGames(games, num_envs))
    agent.callbacks.append(statistics := Statistics(10))
    agent.test(steps=steps)
    assert statistics.game_rewards == expected
    assert statistics.row["nr_games"] == len(expected)
    assert statistics.row["steps"] == steps
    if num_envs == 1:
        assert len(tape.steps) == steps


@settings(deadline=None)
@given(games=GAMES, num_envs=st.integers(1, 7), count=st.integers(1, 20))
def test_testing_n_games_counts_the_first_n_started(games, num_envs, count):
    agent, _, _, tape = make(ScriptedGames(games, num_envs))
    agent.callbacks.append(statistics := Statistics(10))
    agent.test(games=count)
    assert sorted(statistics.game_rewards) == sorted(score for _, score in games[:count])
    assert tape.events == [f"start test 0 {count}", "end"]


def test_testing_uses_separate_games():
    training, testing = TapeEnvironment(lengths=(3,)), TapeEnvironment(lengths=(2, 2))
    agent, memory, _, _ = make(training, testing=(testing, StateBuffer(2, 2, (), np.int64)))
    assert [environment for environment, _ in agent.all_lanes] == [training, testing]
    agent.train(4)
    done = len(training.tape)
    agent.test(steps=6)
    assert len(training.tape) == done
    assert not testing.training
    # 2 + 2 + 2 steps, end to end: one lane's second game precedes the other lane's
    assert sum(what == "act" for what, _ in testing.tape) == 4
    agent.train(4)
    assert len(training.tape) > done
    assert memory.count == 8
    agent.play(1)
    assert not training.training


def test_no_copies_without_a_target_network():
    agent, _, network, _ = make(TapeEnvironment(), target_steps=0)
    agent.train(50)
    assert {what for what, _ in network.tape} == {"train"}


def test_resume_refills_the_memory_with_the_current_policy():
    agent, memory, network, tape = make(TapeEnvironment())
    agent.exploration_rate_train = 0.25
    agent.play_random(30, refill=True)
    assert set(tape.rates) == {0.25}
    assert network.predicted
    assert memory.count == 30
    assert agent.total_train_steps == 0


def test_learning_waits_for_a_full_history_if_padding_is_rejected():
    agent, memory, network, _ = make(TapeEnvironment(lengths=(9,)))
    memory.reject_padded = True  # with 2 screens per state: from the second transition on
    agent.train_frequency = 1
    agent.train(4)
    assert [step for what, step in network.tape if what == "train"] == [2, 3, 4]


def test_last_step_can_be_sampled_before_the_next_episode():
    """A memory of two screens holds one transition, the newest, even at an episode's end."""
    agent, memory, network, _ = make(TapeEnvironment(lengths=(3,)), size=3, batch_size=1)
    agent.train_frequency = 1
    learnt = []
    train = network.train
    network.train = lambda *args: learnt.append(args[0].poststates[0, -1]) or train(*args)
    memory.slots = 2  # of the three, with a history of one screen
    memory.history_length = 1
    agent.train(7)
    assert learnt == [1, 2, 3, 1001, 1002, 1003, 2001]
    assert [s for what, s in network.tape if what == "train"] == [1, 2, 3, 4, 5, 6, 7]


def test_play_with_a_memory_stores_life_losses_as_terminals():
    environment = TapeEnvironment(lengths=(3,), lives=2)
    agent, memory, network, tape = make(environment)
    agent.play(2)
    assert (environment.training, environment.remembered) == (False, True)
    assert [step.game_overs[0] for step in tape.steps] == [False] * 5 + [True] + [False] * 5 + [
        True
    ]
    assert memory.count == 12
    assert memory.terminals[0].sum() == 4  # life losses are terminals
    assert network.tape == []
    agent.memory = None
    agent.play(1)
    assert (environment.training, environment.remembered) == (False, False)


def test_offline_training_does_not_act_but_keeps_all_intervals():
    environment = TapeEnvironment(lengths=(7,))
    agent, memory, network, tape = make(environment)
    agent.play_random(20)
    acts, held = sum(what == "act" for what, _ in environment.tape), memory.filled.copy()
    statistics = Statistics(10)
    agent.callbacks.append(statistics)
    tape.events.clear()
    agent.train(30, offline=True)
    assert network.tape == [
        ("train", 4), ("train", 8), ("copy", 10), ("train", 12), ("train", 16), ("train", 20),
        ("copy", 20), ("train", 24), ("train", 28), ("copy", 30),
    ]  # fmt: skip
    assert sum(what == "act" for what, _ in environment.tape) == acts
    assert (memory.filled == held).all()
    assert tape.events == ["start train 30 0"] + ["train"] * 7 + ["end"]
    assert (statistics.row["steps"], statistics.row["nr_games"]) == (30, 0)


def test_concurrent_learning_lacks_the_transitions_of_the_round():
    """By hand: 2 lanes, an update each 4 steps, so at the end of every second round."""
    held = {}
    for concurrent in (False, True):
        agent, memory, network, _ = make(TapeEnvironment(lengths=(50, 50)), concurrent=concurrent)
        counts = held[concurrent] = []
        train = network.train
        network.train = lambda *args, t=train, m=memory, c=counts: c.append(m.count) or t(*args)
        agent.play_random(4)
        agent.train(16)
        assert network.weight_updates == 4
    assert held == {False: [8, 12, 16, 20], True: [6, 10, 14, 18]}


def test_concurrent_learning_waits_for_the_games_after_the_updates():
    calls = []

    class Recording(TapeEnvironment):
        def send(self, lanes, actions):
            calls.append("send")
            super().send(lanes, actions)

        def receive(self):
            calls.append("receive")
            return super().receive()

    agent, _, network, _ = make(Recording(lengths=(50, 50)), concurrent=True)
    train = network.train
    network.train = lambda *args: calls.append("learn") or train(*args)
    agent.play_random(4)
    calls.clear()
    agent.train(8)
    assert calls == ["send", "receive", "send", "learn", "receive"] * 2
