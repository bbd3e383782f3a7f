"""Acceleration: a faster update computes the same result."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from simple_dqn.agent import Callback
from simple_dqn.commands import build as build_module
from simple_dqn.commands.build import build
from simple_dqn.deep_q_network import DeepQNetwork
from simple_dqn.environments.games import find_game
from simple_dqn.networks import acceleration
from simple_dqn.networks.acceleration import Capture, CudaGraph, can_be_captured
from simple_dqn.networks.optimizers import make_optimizer, set_learning_rate
from simple_dqn.networks.rmsprop import RMSProp
from simple_dqn.options.resolve import resolve
from simple_dqn.replay.device import (
    DevicePrioritizedReplayMemory,
    DeviceReplayMemory,
    DeviceScreens,
    DeviceStateBuffer,
    Upload,
    fits_on_device,
)
from simple_dqn.replay.prioritized import PrioritizedReplayMemory
from simple_dqn.replay.state_buffer import StateBuffer
from simple_dqn.replay_memory import Batch, ReplayMemory

from .test_deep_q_network import make, make_batch

CPU = torch.device("cpu")


class Actions(Callback):
    """Records the chosen actions."""

    def __init__(self):
        self.chosen = []

    def on_act(self, agent, actions):
        self.chosen += actions.tolist()


def make_run(updates=0, **options):
    kind, game, rom = find_game("breakout", "ale")
    small = {
        "replay_size": 5000, "random_steps": 200, "target_steps": 100, "random_seed": 4,
        "exploration_rate_start": 0.1,  # so that nearly every action is the network's
    }  # fmt: skip
    config = resolve({"environment": kind, **small, **options})
    return build(config, game, rom, updates=updates, with_tests=False)


def train(steps, updates=0, **options):
    """Train on Breakout; return the chosen actions and the final weights."""
    with make_run(updates, **options) as run:
        run.agent.callbacks.append(actions := Actions())
        run.agent.play_random(200)
        run.agent.train(steps)
        return actions.chosen, {n: w.cpu().clone() for n, w in run.network.weights().items()}


def apply_steps(optimizer, params):
    """Take 20 steps with fixed gradients; return the parameters."""
    generator = torch.Generator().manual_seed(5)
    for count in range(20):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator)
        lr = 1e-3 * (count + 1)  # as a schedule would set it
        for group in optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        optimizer.step()
    return params


@pytest.mark.parametrize("centered", [True, False])
def test_compiled_optimiser_takes_the_same_steps(centered, caplog):
    """Up to float32 rounding: compiled code may fuse a multiplication and an addition."""
    pytest.importorskip("torch._inductor")
    results = []
    for compiled in (False, True):
        torch.manual_seed(3)
        params = [torch.randn(shape, requires_grad=True) for shape in ((33, 7), (5,), (3, 4, 2, 2))]
        optimizer = RMSProp(params, 1e-3, 0.95, 0.01, centered, compiled)
        assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor) == compiled
        with caplog.at_level(logging.INFO):
            results.append(apply_steps(optimizer, params))
        if "uncompiled" in caplog.text:
            pytest.skip(caplog.text)
        assert ("compiled" in caplog.text) == compiled
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "at_once", "line"),
    [
        (RuntimeError("no compiler\nmore lines"), False, "no compiler"),
        (NotImplementedError(), True, "NotImplementedError"),
    ],
)
def test_optimiser_runs_uncompiled_without_a_compiler(monkeypatch, caplog, error, at_once, line):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch, "compile", broken if at_once else lambda *args, **kwargs: broken)
    results = []
    for compiled in (False, True):
        torch.manual_seed(3)
        params = [torch.randn(4, requires_grad=True)]
        with caplog.at_level(logging.INFO):
            results.append(apply_steps(RMSProp(params, 1e-3, 0.95, 0.01, True, compiled), params))
    assert caplog.messages == [f"the optimiser runs uncompiled: {line}"]
    assert torch.equal(*(params[0] for params in results))


def test_only_long_runs_are_compiled():
    for updates in (0, acceleration.LEAST_UPDATES - 1, acceleration.LEAST_UPDATES):
        with make_run(updates) as run:
            compiled = isinstance(run.network.optimizer.update, acceleration.Compiled)
            assert compiled == (updates == acceleration.LEAST_UPDATES)
    with make_run(10**9, acceleration=False) as run:
        assert not isinstance(run.network.optimizer.update, acceleration.Compiled)


def test_denormals_are_flushed_to_zero_in_every_thread():
    """Adam's moments of units that no longer fire may be denormal."""
    script = (
        "import torch\n"
        "from simple_dqn.commands.build import build\n"
        "from simple_dqn.options.resolve import resolve\n"
        "config = resolve({'environment': 'gym', 'threads': 2, 'replay_size': 100})\n"
        "with build(config, 'CartPole-v1', None):\n"
        "    print(int((torch.full((1_000_000,), 2e-38) * 0.1).count_nonzero()))\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("0\n", "")


def test_accelerated_training_chooses_the_same_actions(caplog):
    smaller = {"filters": 16, "hidden_units": 128}
    plain, plain_weights = train(1000, **smaller)
    with caplog.at_level(logging.INFO):
        fast, fast_weights = train(1000, updates=10**9, **smaller)
    if "uncompiled" in caplog.text:
        pytest.skip("there is no compiler")
    assert "the optimiser is compiled" in caplog.text
    assert fast == plain
    assert len(set(plain[200:])) > 1
    for name, weights in plain_weights.items():
        torch.testing.assert_close(fast_weights[name], weights, rtol=1e-3, atol=1e-4)


# --- screens on a device: here the CPU ------------------------------------------------------------


def make_memories(num_envs, slots, prioritized):
    """Return two memories with equal generators, the second with its screens on a device."""
    plain = PrioritizedReplayMemory if prioritized else ReplayMemory
    on_device = DevicePrioritizedReplayMemory if prioritized else DeviceReplayMemory
    more = {"exponent": 0.6} if prioritized else {}
    return [
        kind(
            num_envs * slots, num_envs, 3, (3, 2), np.uint8, discount_rate=0.9, n_step=2,
            min_reward=-1, max_reward=1, history_padding="zero", rng=np.random.default_rng(1),
            **more, **place,
        )
        for kind, place in ((plain, {}), (on_device, {"upload": Upload(CPU)}))
    ]  # fmt: skip


@pytest.mark.parametrize("prioritized", [False, True])
def test_device_memory_samples_the_same_batches(prioritized):
    plain, device = make_memories(3, 20, prioritized)
    rng = np.random.default_rng(0)

    def screens(n):
        return rng.integers(1, 256, (n, 3, 2), np.uint8)

    first = screens(3)
    for memory in (plain, device):
        memory.restart(None, first)
    for _ in range(50):  # wraps around, with episode ends in every lane
        actions, observations = rng.integers(4, size=3), screens(3)
        ends, next_observations = rng.random(3) < 0.3, screens(3)
        for memory in (plain, device):
            memory.add(actions, np.ones(3, np.float32), observations, ends)
            lanes = np.flatnonzero(ends)
            if len(lanes):
                memory.restart(lanes, next_observations[lanes])
        expected, batch = plain.sample(16), device.sample(16)
        for name in ("states", "poststates"):
            states = getattr(batch, name)
            assert isinstance(states, torch.Tensor)
            np.testing.assert_array_equal(states.numpy(), getattr(expected, name))
        for name in ("actions", "returns", "discounts", "indices", "weights"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(expected, name))
        np.testing.assert_array_equal(device.sample_states(7), plain.sample_states(7))
        errors = torch.from_numpy(rng.random(16, np.float32))
        for memory in (plain, device):
            memory.update_priorities(batch.indices, errors)
    again = plain.experience()
    for memory in (plain, device):
        memory.extend(again)
    for ours, theirs in zip(device.experience(), plain.experience(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_training_with_a_device_memory_is_identical(monkeypatch):
    options = {"num_envs": 2, "filters": 4, "hidden_units": 16}
    actions, weights = train(100, **options)
    monkeypatch.setattr("simple_dqn.commands.build.fits_on_device", lambda *_: True)
    monkeypatch.setattr("simple_dqn.commands.build.make_upload", lambda *_: Upload(CPU))
    with make_run(**options) as run:
        assert isinstance(run.agent.memory, DeviceReplayMemory)
        assert isinstance(run.agent.buffer, DeviceStateBuffer)
    device_actions, device_weights = train(100, **options)
    assert device_actions == actions
    assert all(torch.equal(device_weights[n], w) for n, w in weights.items())


def test_states_on_a_device_are_those_in_main_memory():
    rng = np.random.default_rng(2)
    plain, device = (
        StateBuffer(3, 4, (5, 2), np.uint8),
        DeviceStateBuffer(3, 4, (5, 2), Upload(CPU)),
    )

    def screens(n):
        return rng.integers(1, 256, (n, 5, 2), np.uint8)

    for step in range(30):
        lanes = np.flatnonzero(rng.random(3) < 0.3) if step else None
        first, following = screens(3 if lanes is None else len(lanes)), screens(3)
        for buffer in (plain, device):
            buffer.restart(lanes, first)
            buffer.add(following)
            if step == 20:
                buffer.load(plain.states.copy())
        np.testing.assert_array_equal(device.inputs.numpy(), plain.states)
        np.testing.assert_array_equal(device.states, plain.states)
        np.testing.assert_array_equal(plain.inputs, plain.states)


def test_an_array_is_copied_once():
    upload = Upload(CPU)
    first, second = np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8)
    assert upload(first) is upload(first)
    assert upload(second) is not upload(first)


def test_cpu_uses_the_ordinary_replay_memory():
    assert not fits_on_device(10, (2, 2), CPU)


# --- CUDA graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "noisy", "line"), [("adam", True, "noisy layers"), ("sgd", False, "optimiser")]
)
def test_unsupported_updates_are_not_captured(optimizer, noisy, line, caplog):
    with caplog.at_level(logging.INFO):
        assert not can_be_captured(optimizer, noisy)
    assert line in caplog.text
    assert can_be_captured("rmsprop", False)
    assert can_be_captured("adam", False)


class FakeGraph:
    """Imitates a CUDA graph: every replay reads and writes the same tensors."""

    fails = False
    replays = 0

    def __init__(self, capture):
        self.capture = capture

    def record(self):
        if not FakeGraph.fails:
            self.capture.graph = self
        return not FakeGraph.fails

    def replay(self):
        FakeGraph.replays += 1
        result = self.capture.function(*self.capture.inputs)
        if self.capture.result.shape != result.shape:
            self.capture.result = result.clone()
        self.capture.result.copy_(result)


@pytest.fixture
def fake_graphs(monkeypatch):
    """Imitate CUDA graphs on the CPU."""
    monkeypatch.setattr(FakeGraph, "replays", 0)
    monkeypatch.setattr(Capture, "_warm_up", lambda self: self.function(*self.inputs))
    monkeypatch.setattr(Capture, "_record", lambda self: FakeGraph(self).record())


@pytest.mark.parametrize("fails", [False, True])
def test_graph_calls_the_function_exactly_once(monkeypatch, fake_graphs, fails):
    monkeypatch.setattr(FakeGraph, "fails", fails)
    done = []
    graph = CudaGraph(lambda *batch: done.append(batch[0].clone()) or batch[0] * 2)
    for number in range(20):  # two shapes in turn: a graph each
        batch = torch.full((3 + number % 2,), float(number)), torch.zeros(3, 2)
        assert graph(*batch).tolist() == [2.0 * number] * len(batch[0])
    assert [int(tensor[0]) for tensor in done] == list(range(20))
    assert FakeGraph.replays == (0 if fails else 20 - 2 * acceleration.WARM_UP)


def test_there_are_not_more_graphs_than_the_bound(fake_graphs):
    graph = CudaGraph(lambda tensor: tensor + 1)
    for _ in range(acceleration.WARM_UP + 2):
        for size in range(1, 2 * acceleration.MOST_GRAPHS):
            assert graph(torch.zeros(size)).tolist() == [1] * size
    assert len(graph.captures) == acceleration.MOST_GRAPHS
    assert FakeGraph.replays == 2 * acceleration.MOST_GRAPHS


def test_training_by_graphs_is_identical(fake_graphs, monkeypatch):
    """Predictions and the updates of a round, here two of them, by graphs that are imitated."""
    options = {"num_envs": 8, "filters": 4, "hidden_units": 16}
    actions, weights = train(200, **options)
    begin = DeepQNetwork.__init__
    monkeypatch.setattr(
        DeepQNetwork, "__init__", lambda self, *a, **k: begin(self, *a, **{**k, "captured": True})
    )
    graph_actions, graph_weights = train(200, **options)
    assert FakeGraph.replays > 40
    assert graph_actions == actions
    assert all(torch.equal(graph_weights[n], w) for n, w in weights.items())


@pytest.mark.parametrize("double_q", [False, True])
def test_updates_of_a_round_are_those_one_by_one(double_q):
    """Of three updates each learns from every third transition of the batch."""
    at_once, alone = (make("cpu", double_q=double_q) for _ in range(2))
    batch = make_batch(1, size=12)
    errors = at_once.train(batch, 3)
    for update in range(3):
        part = Batch(*(array[update::3] for array in batch))
        assert torch.equal(alone.train(part), errors[update::3])
    assert at_once.weight_updates == alone.weight_updates == 3
    assert at_once.mean_cost() == alone.mean_cost()
    for name, weights in alone.weights().items():
        assert torch.equal(at_once.weights()[name], weights)


@pytest.mark.parametrize("double_q", [False, True])
def test_poststates_of_a_round_are_valued_at_once(double_q):
    """As on a GPU; the target network stays the same from its first update to its last."""
    ahead, alone = (make("cpu", double_q=double_q) for _ in range(2))
    ahead.values_ahead, calls = True, []
    valued = ahead.target_network.distributions
    ahead.target_network.distributions = lambda states: calls.append(len(states)) or valued(states)
    batch = make_batch(1, size=12)
    torch.testing.assert_close(ahead.train(batch, 3), alone.train(batch, 3))
    assert calls == [12]
    for name, weights in alone.weights().items():
        torch.testing.assert_close(ahead.weights()[name], weights)


class FakeStream:
    """Imitates a CUDA stream on the CPU: records who waits for what, and when an event is made."""

    def __init__(self, name, order):
        self.name, self.order = name, order

    def wait_stream(self, other):
        self.order.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event):
        self.order.append(f"{self.name} waits for {event}")

    def record_event(self):
        self.order.append(f"{self.name} records")
        return f"event {len(self.order)}"


@pytest.fixture
def streams(monkeypatch):
    """Imitate CUDA streams on the CPU; return (acting stream, the order of what happens)."""
    order = []
    acting, default = FakeStream("acting", order), FakeStream("default", order)
    current = [default]

    @contextlib.contextmanager
    def on(stream):
        current.append(stream or current[-1])
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: current[-1])
    monkeypatch.setattr(torch.cuda, "default_stream", lambda *_: default)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda _, stream: order.append(f"for {stream.name}")
    )
    return acting, order


def test_acting_beside_the_updates_is_by_the_weights_before_them(streams):
    acting, order = streams
    network = make("cpu", acting_stream=acting)
    states = make_batch(5).states
    before = network.predict(states)
    for update in range(5):
        np.testing.assert_array_equal(network.act(states), before)
        before = network.predict(states)
        order.clear()
        network.train(make_batch(update, size=64), 2)
        # The last action is taken before its weights change; the next one waits for these.
        assert order == ["default waits for acting", "default records"]
        assert (network.predict(states) != before).any()
        assert order[2:] == ["default waits for acting"]  # the states may be of its stream
        network.act(states)
        assert order[3:] == ["acting waits for event 2"]
    network.load_weights(make("cpu").weights())
    np.testing.assert_array_equal(network.act(states), network.predict(states))


def test_the_memory_waits_for_screens_from_the_acting_stream(streams):
    acting, order = streams
    upload, screens = Upload(CPU, acting), np.ones((2, 5, 3), np.uint8)
    buffer = DeviceStateBuffer(2, 4, (5, 3), upload)
    buffer.add(screens)
    assert order == []
    memory = DeviceScreens(2, 7, (5, 3), upload)
    memory[np.arange(2), np.zeros(2, int)] = screens
    assert order == ["default waits for acting", "for default"]
    assert memory.rows.sum() == screens.sum() == buffer.inputs.sum()


def test_a_run_acts_aside_only_in_training(streams, monkeypatch):
    monkeypatch.setattr(build_module, "make_acting_stream", lambda _: streams[0])
    acted, predicted = [], []
    for name, kept in ("act", acted), ("predict", predicted):
        call = getattr(DeepQNetwork, name)

        def noting(self, states, *args, call=call, kept=kept):
            kept.append(len(states))
            return call(self, states, *args)

        monkeypatch.setattr(DeepQNetwork, name, noting)
    with make_run(concurrent=True, num_envs=4, filters=4, hidden_units=16) as run:
        run.agent.play_random(200)
        predicted.clear()
        run.agent.train(100)
        assert len(acted) > 20
        assert 4 not in predicted
        run.agent.play_random(20, refill=True)
        run.agent.play(1)
        assert len(acted) <= 25
        assert 4 in predicted
    # Noise is drawn in the network itself, so that acts.
    with make_run(concurrent=True, noisy=True, filters=4, hidden_units=16) as run:
        assert run.network._copy is None
    with make_run(concurrent=True, acceleration=False, filters=4, hidden_units=16) as run:
        assert run.network._copy is None


def test_dead_units_are_counted_beside_graphs(fake_graphs, monkeypatch):
    """A graph does not call the modules, nor their hooks."""

    def replay(self):
        hooks = [m._forward_hooks.copy() for m in self.capture.function.modules()]
        for module in self.capture.function.modules():
            module._forward_hooks.clear()
        result = self.capture.function(*self.capture.inputs)
        for module, own in zip(self.capture.function.modules(), hooks, strict=True):
            module._forward_hooks.update(own)
        self.capture.result = result.clone()

    def rows(**options):
        with make_run(num_envs=4, filters=4, hidden_units=16, **options) as run:
            run.agent.play_random(200)
            found = []
            for _ in range(3):
                run.agent.train(40)
                row = run.statistics.row
                found.append((row["dead_filters"], row["dead_units"]))
            return found

    plain = rows()
    begin = DeepQNetwork.__init__

    def captured(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self._forward = CudaGraph(self.network)

    monkeypatch.setattr(DeepQNetwork, "__init__", captured)
    monkeypatch.setattr(FakeGraph, "replay", replay)
    assert rows() == plain
    assert 0 < plain[0][1] < 1


@pytest.mark.gpu
@pytest.mark.parametrize("num_envs", [8, 32])
def test_acting_beside_the_updates_is_as_if_one_waited_for_the_other(num_envs, monkeypatch):
    options = dict(backend="gpu", concurrent=True, num_envs=num_envs)
    actions, weights = train(4000, updates=1, **options)
    for owner, name in (DeepQNetwork, "train"), (DeepQNetwork, "act"), (DeviceScreens, "gather"):
        call = getattr(owner, name)

        def alone(*args, call=call, **kwargs):
            torch.cuda.synchronize()
            result = call(*args, **kwargs)
            torch.cuda.synchronize()
            return result

        monkeypatch.setattr(owner, name, alone)
    waited, waited_weights = train(4000, updates=1, **options)
    assert actions == waited
    for name, tensor in waited_weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
@pytest.mark.parametrize("double_q", [False, True])
def test_graph_updates_match_eager_updates(optimizer, double_q):
    eager, graphed = (
        make("cuda", optimizer=optimizer, double_q=double_q, captured=captured)
        for captured in (False, True)
    )
    for step in range(125):  # of 8 updates
        batch = make_batch(step, size=8 * 32)
        errors = eager.train(batch, 8).clone()
        torch.testing.assert_close(graphed.train(batch, 8), errors, rtol=1e-3, atol=1e-4)
        for network in (eager, graphed):
            network.set_learning_rate(1e-6 * (step + 1))
            if step % 7 == 0:
                network.update_target_network()
    assert graphed.weight_updates == eager.weight_updates == 1000
    assert graphed.mean_cost() == pytest.approx(eager.mean_cost(), rel=1e-4)
    for name, weights in eager.weights().items():
        assert (graphed.weights()[name] - weights).norm() <= 1e-4 * weights.norm(), name


@pytest.mark.gpu
def test_compiled_graphs_and_poststates_valued_at_once_match_plain_updates():
    plain, ahead, compiled = make("cuda"), make("cuda"), make("cuda", compiled=True, captured=True)
    plain.values_ahead = False
    for step in range(20):  # of 8 updates
        batch = make_batch(step, size=8 * 32)
        errors = plain.train(batch, 8).clone()
        for network in (ahead, compiled):
            torch.testing.assert_close(network.train(batch, 8), errors, rtol=1e-2, atol=1e-3)
        for network in (plain, ahead, compiled):
            network.set_learning_rate(1e-6 * (step + 1))
            if step % 7 == 0:
                network.update_target_network()


@pytest.mark.gpu
def test_accelerated_gpu_training_chooses_the_same_actions():
    plain, plain_weights = train(1000, backend="gpu", acceleration=False)
    fast, fast_weights = train(1000, updates=1, backend="gpu")
    assert fast == plain
    for name, weights in plain_weights.items():
        torch.testing.assert_close(fast_weights[name], weights, rtol=1e-2, atol=1e-3)


def test_adam_is_that_of_torch():
    """Bit for bit, over updates with a changing learning rate."""
    torch.manual_seed(0)
    weights = [torch.randn(30, 4), torch.randn(7)]
    ours, theirs = ([w.clone().requires_grad_() for w in weights] for _ in range(2))
    own = make_optimizer(
        "adam", ours, learning_rate=0.01, decay_rate=0, epsilon=1e-8, centered=False
    )
    other = torch.optim.Adam(theirs, lr=0.01, eps=1e-8, fused=True)
    for update in range(20):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape)
            b.grad = a.grad.clone()
        for optimizer in (own, other):
            set_learning_rate(optimizer, 0.01 / (1 + update))
            optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_automatic_datatype(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(acceleration, "has_bfloat16", lambda native=native: native)
        assert acceleration.choose_datatype("auto", cpu) == expected
        assert acceleration.choose_datatype("auto", gpu) == "float32"
    assert acceleration.choose_datatype("float16", cpu) == "float16"
