from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from simple_dqn.errors import UsageError

from .test_deep_q_network import make_network


def test_the_nature_network():
    """Mnih et al. 2015, Methods; with padding 1, conv1 gives 20x20 as without it."""
    network = make_network(actions=18)
    shapes = [tuple(p.shape) for p in network.parameters()]
    assert shapes == [
        (32, 4, 8, 8), (32,), (64, 32, 4, 4), (64,), (64, 64, 3, 3), (64,),
        (512, 3136), (512,), (18, 512), (18,),
    ]  # fmt: skip
    assert sum(p.numel() for p in network.parameters()) == 1_693_362
    assert network(torch.zeros(5, 4, 84, 84, dtype=torch.uint8)).shape == (5, 18)


def test_pixels_are_divided_by_255_once():
    network = make_network()
    pixels = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    assert torch.allclose(network(pixels), network.layers(pixels.float() / 255), atol=1e-6)


def test_vectors_and_hidden_units():
    network = make_network(shape=(3,), hidden_units=7)
    assert [tuple(p.shape) for p in network.parameters()] == [(7, 12), (7,), (4, 7), (4,)]
    assert network(torch.zeros(2, 4, 3)).shape == (2, 4)


def test_initial_weights():
    for module in make_network().layers:
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / np.sqrt(module.weight[0].numel())
            for values in (module.weight, module.bias):
                assert values.abs().max() <= bound
                if values.numel() > 1000:  # and uniform: its standard deviation is bound / √3
                    assert values.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    for module in make_network(weight_init="xavier").layers:
        if isinstance(module, nn.Conv2d | nn.Linear):
            receptive = module.weight[0][0].numel()
            fan_in, fan_out = module.weight[0].numel(), module.weight.shape[0] * receptive
            bound = np.sqrt(6 / (fan_in + fan_out))
            assert bound * 0.9 < module.weight.abs().max() <= bound
            assert (module.bias == 0).all()


@pytest.mark.parametrize(("padding", "least"), [(0, 36), (1, 34)])
def test_the_smallest_screen(padding, least):
    network = make_network(shape=(least, least), conv1_padding=padding)
    assert network(torch.zeros(1, 4, least, least, dtype=torch.uint8)).shape == (1, 4)
    with pytest.raises(UsageError, match="too small for the network"):
        make_network(shape=(least, least - 1), conv1_padding=padding)


@pytest.mark.parametrize("quantiles", [1, 3])
def test_a_dueling_network_adds_values_and_centred_advantages(quantiles):
    network = make_network(shape=(3,), hidden_units=7, dueling=True, quantiles=quantiles)
    head = network.layers[-1]
    states = torch.randn(5, 4, 3)
    features = states.flatten(1).detach()
    v = head.value(features).detach().numpy()
    a = head.advantage(features).detach().numpy()
    z = network.distributions(states).detach().numpy()
    for b in range(5):
        for action in range(4):
            for k in range(quantiles):
                column = [a[b, other * quantiles + k] for other in range(4)]
                expected = v[b, k] + column[action] - sum(column) / 4
                assert z[b, action, k] == pytest.approx(expected, abs=1e-5)
    q = network(states).detach().numpy()
    assert q == pytest.approx(z.mean(axis=2), abs=1e-6)


def test_quantiles_of_a_screen_network():
    network = make_network(actions=6, quantiles=11)
    states = torch.zeros(2, 4, 84, 84, dtype=torch.uint8)
    assert network.distributions(states).shape == (2, 6, 11)
    assert network(states).shape == (2, 6)
