"""Strongest states and attributions of filters, against brute force and gradients by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from simple_dqn.analysis.filters import (
    StrongestStates,
    activation_maps,
    attribute,
    convolutions,
    randomized,
    receptive_field,
)
from simple_dqn.errors import UsageError
from simple_dqn.networks.q_network import QNetwork


def make(history=4, shape=(84, 84), padding=1, batch_norm=False):
    """Return a network whose batch normalisation, if any, is not the identity."""
    torch.manual_seed(3)
    network = QNetwork(
        3, history, shape, filters=32, hidden_layers=1, hidden_units=8, conv1_padding=padding,
        batch_norm=batch_norm, weight_init="xavier", dueling=False, quantiles=1, noisy=False,
    )  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def random_states(n, history=4, shape=(84, 84)):
    return np.random.default_rng(4).integers(0, 256, (n, history, *shape), np.uint8)


def watch(network, states, filters):
    """Pass the states to the callback through an agent's buffer."""
    strongest = StrongestStates(network, filters)
    buffer = np.zeros((2, *states.shape[1:]), np.uint8)  # the second lane must not count
    buffer[1] = 255
    agent = SimpleNamespace(buffer=SimpleNamespace(states=buffer))
    strongest.on_phase_start(agent)
    for state in states:
        buffer[0] = state
        strongest.on_act(agent, np.zeros(2, np.int64))
    strongest.on_phase_end(agent)
    return strongest


def rectified_maps(network, state):
    """Return the maps of one state, layer by layer, with torch functions in float64."""
    x = torch.from_numpy(state[None]).double() / 255
    maps = []
    for conv in convolutions(network):
        x = F.conv2d(x, conv.weight.double(), conv.bias.double(), conv.stride, conv.padding)
        x = x.clamp(min=0)
        maps.append(x[0].detach().numpy())
    return maps


def test_strongest_states_match_brute_force():
    """Small whole numbers only, so that sums are exact and many states and positions tie."""
    rng = np.random.default_rng(5)
    network = make(history=2, shape=(40, 44))
    for conv in convolutions(network):
        for weights in (conv.weight, conv.bias):
            values = rng.choice([-1, 0, 1], size=weights.shape, p=[0.05, 0.9, 0.05])
            weights.data = torch.from_numpy(values).float()
        conv.bias.data[1] = -1e6  # dead
    states = np.uint8(255) * (rng.random((30, 2, 40, 44)) < 0.3)
    states = np.concatenate([states] * 5)  # 150: more than two batches, with every state repeated

    strongest = watch(network, states, filters=40)
    every = [rectified_maps(network, state) for state in states]
    assert strongest.steps == 150
    assert [len(layer.steps) for layer in strongest.layers] == [32, 40, 40]
    for i, layer in enumerate(strongest.layers):
        for k in range(len(layer.steps)):
            best, where, when = 0.0, None, None
            for step, maps in enumerate(every):
                for (y, x), value in np.ndenumerate(maps[i][k]):
                    if value > best:
                        best, where, when = value, [y, x], step
            if best == 0:
                assert layer.activations[k] <= 0
            else:
                assert layer.activations[k] == best
                assert list(layer.positions[k]) == where
                assert layer.steps[k] == when < 30
                np.testing.assert_array_equal(layer.states[k], states[when])
        assert layer.activations[1] <= 0
        assert (layer.activations > 0).sum() > 20


def test_activations_match_the_network():
    network, states = make(batch_norm=True), random_states(3)
    rectified = []
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *args: rectified.append(args[2]))
    network(torch.from_numpy(states))
    expected = rectified[:3]
    for maps, after in zip(activation_maps(network, states), expected, strict=True):
        torch.testing.assert_close(maps.clamp(min=0), after, rtol=1e-4, atol=1e-4)


def test_new_game_resets_and_empty_game_has_no_activations():
    network = make()
    strongest = watch(network, random_states(3), filters=2)
    assert all((layer.activations > -np.inf).all() for layer in strongest.layers)
    agent = SimpleNamespace(buffer=SimpleNamespace(states=np.zeros((1, 4, 84, 84), np.uint8)))
    strongest.on_phase_start(agent)
    strongest.on_phase_end(agent)
    assert strongest.steps == 0
    for layer in attribute(network, "fan_in", strongest.layers):
        assert (layer.strongest.activations == -np.inf).all()
        assert layer.guided.values.shape == (2, 4, 84, 84)


class GuidedReLU(torch.autograd.Function):
    """A rectifier that passes back only positive gradients, where its input was positive."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0) * (gradient > 0)


def by_hand(network, layer, k, position, state, rectify):
    """Return the gradient of one rectified unit with respect to the state divided by 255."""
    x = inputs = (torch.from_numpy(state[None]).float() / 255).requires_grad_()
    for module in network.layers:
        if isinstance(module, nn.ReLU):
            x = rectify(x)
            if layer == 0:
                break
            layer -= 1
        else:
            x = module(x)
    (gradient,) = torch.autograd.grad(x[0, k, position[0], position[1]], inputs)
    return gradient[0].numpy()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_attributions_match_hand_written_gradients(batch_norm):
    network = make(batch_norm=batch_norm)
    found = watch(network, random_states(10), filters=8).layers
    control = randomized(network, "fan_in")
    layers = attribute(network, "fan_in", found)
    assert [layer.name for layer in layers] == [
        "convolution 1, 8x8/4, 32 filters",
        "convolution 2, 4x4/2, 64 filters",
        "convolution 3, 3x3/1, 64 filters",
    ]
    for i, (layer, best) in enumerate(zip(layers, found, strict=True)):
        assert (best.activations > 0).sum() >= 3
        for k, (state, position) in enumerate(zip(best.states, best.positions, strict=True)):
            if best.activations[k] <= 0:
                continue
            guided = by_hand(network, i, k, position, state, GuidedReLU.apply)
            gradient = by_hand(network, i, k, position, state, F.relu)
            close = dict(rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(layer.guided.values[k], guided, **close)
            np.testing.assert_allclose(layer.gradient.values[k], gradient, **close)
            assert np.abs(guided).max() > 1e-3
            assert np.allclose(guided, gradient) == (i == 0)  # no rectifier below the first

            maps = activation_maps(control, state[None])[i][0, k]
            strongest = divmod(int(maps.argmax()), maps.shape[1])
            if maps.max() > 0:
                random = by_hand(control, i, k, strongest, state, GuidedReLU.apply)
                np.testing.assert_allclose(layer.control.values[k], random, **close)

            for view in (layer.guided, layer.gradient, layer.control):
                top, left, bottom, right = view.fields[k]
                outside = view.values[k].copy()
                outside[:, top:bottom, left:right] = 0
                assert not outside.any()
                assert view.values.dtype == np.float32


def test_network_and_torch_generator_are_unchanged():
    network = make(batch_norm=True)
    network.layers[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    generator = torch.get_rng_state()
    first, second = (
        attribute(network, "fan_in", watch(network, random_states(3), 2).layers) for _ in range(2)
    )
    np.testing.assert_array_equal(first[2].control.values, second[2].control.values)
    assert torch.equal(torch.get_rng_state(), generator)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    for module in network.modules():
        assert not module.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert [p.requires_grad for p in network.parameters()][:2] == [False, True]
    assert all(p.grad is None for p in network.parameters())


def test_control_network_is_untrained():
    network = make(batch_norm=True)
    control = randomized(network, "fan_in")
    for ours, theirs in zip(control.modules(), network.modules(), strict=True):
        if isinstance(ours, nn.Conv2d | nn.Linear):
            bound = 1 / np.sqrt(ours.weight[0].numel())
            assert 0.9 * bound < ours.weight.abs().max() <= bound
            assert not torch.equal(ours.weight, theirs.weight)
        if isinstance(ours, nn.BatchNorm1d | nn.BatchNorm2d):
            assert (ours.weight == 1).all()
            assert not ours.bias.any()
            assert not ours.running_mean.any()
            assert (ours.running_var == 1).all()
    assert all(not conv.bias.any() for conv in convolutions(randomized(network, "xavier")))


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize("shape", [(84, 84), (60, 41)])
def test_receptive_field_matches_the_gradient(padding, shape):
    network = make(history=1, shape=shape, padding=padding)
    x = inputs = torch.ones((1, 1, *shape), requires_grad=True)
    path = convolutions(network)
    for i, conv in enumerate(path):
        x = F.conv2d(x, conv.weight.abs(), None, conv.stride, conv.padding)
        rows, columns = x.shape[2:]
        for unit in [(0, 0), (rows - 1, columns - 1), (rows // 2, 0), (rows // 3, columns // 2)]:
            unit_value = x[0, 0, unit[0], unit[1]]
            (gradient,) = torch.autograd.grad(unit_value, inputs, retain_graph=True)
            y, x_ = np.nonzero(gradient[0, 0].numpy())
            expected = (y.min(), x_.min(), y.max() + 1, x_.max() + 1)
            assert receptive_field(path[: i + 1], unit, shape) == expected


@pytest.mark.parametrize("history", [1, 2, 3, 5])
def test_any_history_and_screen_size(history):
    network = make(history, (48, 36), padding=0)
    found = watch(network, random_states(2, history, (48, 36)), filters=64)
    layers = attribute(network, "xavier", found.layers)
    assert [layer.guided.values.shape for layer in layers] == [
        (32, history, 48, 36), (64, history, 48, 36), (64, history, 48, 36),
    ]  # fmt: skip


def test_vectors_are_refused_in_one_line():
    with pytest.raises(UsageError, match=r"^the network has no convolutional layer[^\n]*vectors$"):
        StrongestStates(make(1, (4,)), filters=4)


@pytest.mark.gpu
def test_gpu_matches_cpu():
    states = random_states(70)
    found = watch(make().cuda(), states, filters=4).layers
    there = attribute(make().cuda(), "fan_in", found)
    here = attribute(make(), "fan_in", watch(make(), states, filters=4).layers)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_array_equal(a.strongest.steps, b.strongest.steps)
        for kind in ("guided", "gradient", "control"):
            values = getattr(a, kind).values, getattr(b, kind).values
            np.testing.assert_allclose(*values, rtol=0.01, atol=0.001)
