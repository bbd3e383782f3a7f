"""Acceleration: whatever makes an update faster, it computes the same."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from simple_dqn.agent import Callback
from simple_dqn.commands.build import build
from simple_dqn.environments.games import find_game
from simple_dqn.networks import acceleration
from simple_dqn.networks.acceleration import accelerate, capture, compile_optimizer
from simple_dqn.networks.rmsprop import RMSProp, update_centered
from simple_dqn.options.resolve import resolve
from simple_dqn.replay import device
from simple_dqn.replay.device import DeviceScreens
from simple_dqn.replay_memory import ReplayMemory

from .test_deep_q_network import make, make_batch, make_network

CPU = torch.device("cpu")


class Actions(Callback):
    """Writes down which actions were chosen."""

    def __init__(self):
        self.chosen = []

    def on_act(self, agent, actions):
        self.chosen += actions.tolist()


def make_run(**options):
    kind, game, rom = find_game("breakout", "ale")
    small = {
        "replay_size": 5000, "random_steps": 200, "target_steps": 100, "random_seed": 4,
        "exploration_rate_start": 0.1,  # so that nearly every action is the network's
    }  # fmt: skip
    config = resolve({"environment": kind, **small, **options})
    return build(config, game, rom, with_tests=False)


def train(steps, accelerated=lambda network: None, **options):
    """Return the actions chosen in a training of Breakout, and the weights after it."""
    with make_run(**options) as run:
        accelerated(run.network)
        run.agent.callbacks.append(actions := Actions())
        run.agent.play_random(200)
        run.agent.train(steps)
        return actions.chosen, {n: w.cpu().clone() for n, w in run.network.weights().items()}


def steps_of(optimizer, params):
    """Take steps with the same gradients each time; return the parameters."""
    generator = torch.Generator().manual_seed(5)
    for count in range(20):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator)
        lr = 1e-3 * (count + 1)  # as a schedule would move it
        for group in optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        optimizer.step()
    return params


@pytest.mark.parametrize("centered", [True, False])
def test_the_compiled_optimiser_takes_the_same_steps(centered, caplog):
    """To the rounding of float32: compiled code may fuse a product and a sum."""
    pytest.importorskip("torch._inductor")
    results = []
    for compiled in (False, True):
        torch.manual_seed(3)
        params = [torch.randn(shape, requires_grad=True) for shape in ((33, 7), (5,), (3, 4, 2, 2))]
        optimizer = RMSProp(params, 1e-3, 0.95, 0.01, centered)
        if compiled:
            before = [p.detach().clone() for p in params]
            with caplog.at_level(logging.INFO):
                compile_optimizer(optimizer)
            assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
            assert all(p.grad is None for p in params)
            if "uncompiled" in caplog.text:
                pytest.skip(caplog.text)
        results.append(steps_of(optimizer, params))
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)


def test_compiling_leaves_all_as_it_is(monkeypatch):
    """Also where a checkpoint's means are in the optimiser already."""
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    param = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = RMSProp([param], 0.1, 0.95, 0.01, centered=True)
    param.grad = torch.tensor([0.5, -3.0])
    optimizer.step()
    before = copy.deepcopy([param.data, *optimizer.state[param].values()])
    compile_optimizer(optimizer)
    for ours, theirs in zip([param.data, *optimizer.state[param].values()], before, strict=True):
        assert torch.equal(ours, theirs)
    assert param.grad is None


@pytest.mark.parametrize(
    ("error", "at_once", "line"),
    [
        (RuntimeError("no compiler\nmore lines"), False, "no compiler"),
        (NotImplementedError(), True, "NotImplementedError"),
    ],
)
def test_without_a_compiler_the_plain_optimiser_goes_on(monkeypatch, caplog, error, at_once, line):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch, "compile", broken if at_once else lambda *args, **kwargs: broken)
    torch.manual_seed(3)
    params = [torch.randn(4, requires_grad=True)]
    optimizer = RMSProp(params, 1e-3, 0.95, 0.01, True)
    plain = optimizer.update
    with caplog.at_level(logging.INFO):
        compile_optimizer(optimizer)
    assert caplog.messages == [f"the optimiser runs uncompiled: {line}"]
    assert optimizer.update is plain
    steps_of(optimizer, params)


def test_only_a_long_run_is_worth_compiling(monkeypatch):
    compiled = []
    monkeypatch.setattr(acceleration, "compile_optimizer", compiled.append)
    network = make()
    accelerate(network, acceleration.LEAST_UPDATES - 1)
    assert not compiled
    accelerate(network, acceleration.LEAST_UPDATES)
    assert compiled == [network.optimizer]
    accelerate(make(optimizer="adam"), 10**9)
    assert len(compiled) == 1


def test_what_underflows_is_zero_in_every_thread():
    """Many of Adam's moments may be denormal: those of units that no longer fire."""
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


def test_a_thousand_steps_accelerated_choose_the_actions_of_the_plain_path():
    smaller = {"filters": 16, "hidden_units": 128}
    plain, plain_weights = train(1000, **smaller)

    def compiled(network):
        compile_optimizer(network.optimizer)
        if network.optimizer.update is update_centered:
            pytest.skip("there is no compiler")

    fast, fast_weights = train(1000, compiled, **smaller)
    assert fast == plain
    assert len(set(plain[200:])) > 1
    for name, weights in plain_weights.items():
        torch.testing.assert_close(fast_weights[name], weights, rtol=1e-3, atol=1e-4)


# --- screens on a device: any device will do for these -------------------------------------------


def make_memories(num_envs, slots, **options):
    """Return two memories that draw alike, one with its screens in a DeviceScreens."""
    memories = []
    for on_device in (False, True):
        screens = DeviceScreens(num_envs, slots, (3, 2), CPU) if on_device else None
        memories.append(
            ReplayMemory(
                num_envs * slots, num_envs, 3, (3, 2), np.uint8, discount_rate=0.9, n_step=2,
                min_reward=-1, max_reward=1, history_padding="zero",
                rng=np.random.default_rng(1), screens=screens, **options,
            )
        )  # fmt: skip
    return memories


def test_screens_on_a_device_make_the_states_that_an_array_makes():
    plain, device = make_memories(3, 20)
    rng = np.random.default_rng(0)

    def screens(n):
        return rng.integers(1, 256, (n, 3, 2), np.uint8)

    first = screens(3)
    for memory in (plain, device):
        memory.restart(None, first)
    for _ in range(50):  # round the ring, with ends in all lanes
        actions, observations = rng.integers(4, size=3), screens(3)
        ends, next_observations = rng.random(3) < 0.3, screens(3)
        for memory in (plain, device):
            memory.add(actions, np.ones(3, np.float32), observations, ends)
            lanes = np.flatnonzero(ends)
            if len(lanes):
                memory.restart(lanes, next_observations[lanes])
        expected, batch = plain.sample(16), device.sample(16)
        assert batch.states.shape == (16, 3)
        for name in ("states", "poststates"):
            states = device.screens.lookup(torch.as_tensor(getattr(batch, name)))
            np.testing.assert_array_equal(states.numpy(), getattr(expected, name))
        for name in ("actions", "returns", "discounts", "indices", "weights"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(expected, name))
        np.testing.assert_array_equal(device.sample_states(7), plain.sample_states(7))
    again = plain.experience()
    for memory in (plain, device):
        memory.extend(again)
    for ours, theirs in zip(device.experience(), plain.experience(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_training_from_screens_on_a_device_is_the_same_training(monkeypatch):
    def everywhere(num_envs, slots, shape, device):
        return DeviceScreens(num_envs, slots, shape, device)

    options = {"num_envs": 2, "filters": 4, "hidden_units": 16}
    actions, weights = train(100, **options)
    monkeypatch.setattr("simple_dqn.commands.build.device_screens", everywhere)
    with make_run(**options) as run:
        assert run.agent.memory.states_are_slots
    own_actions, own_weights = train(100, **options)
    assert own_actions == actions
    assert all(torch.equal(own_weights[n], w) for n, w in weights.items())


def test_a_cpu_has_no_device_screens():
    assert device.device_screens(1, 10, (2, 2), CPU) is None


# --- CUDA graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "line"),
    [({"noisy": True}, "noisy layers"), ({"optimizer": "sgd"}, "optimiser")],
)
def test_what_cannot_be_captured_runs_plain(options, line, caplog):
    options = dict(options)
    noisy = options.pop("noisy", False)
    network = make(network=make_network(noisy=noisy, shape=(36, 36)), **options)
    plain = network.train
    with caplog.at_level(logging.INFO):
        capture(network)
    assert network.train == plain
    assert line in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
@pytest.mark.parametrize("double_q", [False, True])
def test_a_graph_learns_what_eager_updates_learn(optimizer, double_q):
    eager, graphed = (make("cuda", optimizer=optimizer, double_q=double_q) for _ in range(2))
    capture(graphed)
    for step in range(20):
        batch = make_batch(step)
        errors = eager.train(batch).clone()
        torch.testing.assert_close(graphed.train(batch), errors, rtol=1e-4, atol=1e-5)
        for network in (eager, graphed):
            network.set_learning_rate(1e-4 * (step + 1))
            if step % 7 == 0:
                network.update_target_network()
    assert graphed.weight_updates == eager.weight_updates == 20
    assert graphed.mean_cost() == pytest.approx(eager.mean_cost(), rel=1e-4)
    for name, weights in eager.weights().items():
        torch.testing.assert_close(graphed.weights()[name], weights, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
def test_a_thousand_steps_on_a_gpu_choose_the_actions_of_the_plain_path():
    plain, plain_weights = train(1000, backend="gpu", acceleration=False)
    fast, fast_weights = train(1000, capture, backend="gpu")
    assert fast == plain
    for name, weights in plain_weights.items():
        torch.testing.assert_close(fast_weights[name], weights, rtol=1e-2, atol=1e-3)
