from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from simple_dqn.errors import UsageError
from simple_dqn.networks.dormancy import dead_shares
from simple_dqn.networks.q_network import LEAST_WEIGHTS, HiddenLinear, NoisyLinear

from .test_deep_q_network import make_network


def test_nature_network():
    """Mnih et al. 2015, Methods; with padding 1, conv1 gives 20x20, as without padding."""
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


def test_gradients_of_pixels_are_those_of_fractions():
    """The division is by the chain rule: 1/255 times the gradient with respect to weight / 255."""
    network = make_network()
    pixels = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    grads = [
        torch.autograd.grad(network.layers(states).sum(), list(network.parameters()))
        for states in (pixels, pixels.float() / 255)
    ]
    for own, plain in zip(*grads, strict=True):
        assert torch.allclose(own, plain, rtol=1e-3, atol=1e-5 * plain.abs().max())


def test_q_values_stay_in_float32_in_mixed_precision():
    """In bfloat16, Q-values near 100 would be multiples of 1/2."""
    for dueling in (False, True):
        network = make_network(shape=(3,), hidden_units=64, dueling=dueling)
        head = network.layers[-1].value if dueling else network.layers
        head[-1].bias.data += 100
        with torch.autocast("cpu", torch.bfloat16):
            q = network(torch.randn(50, 4, 3))
        assert q.dtype == torch.float32
        assert ((q * 2) % 1 != 0).any()


@pytest.mark.parametrize("needs_input_grad", [False, True])
def test_hidden_layer_is_a_linear_layer(needs_input_grad):
    """Values and gradients in float32 are those of float64; other types and autocast work, too."""
    layer, plain = HiddenLinear(700, 300), nn.Linear(700, 300).double()
    assert layer.weight.numel() >= LEAST_WEIGHTS
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(32, 700, requires_grad=needs_input_grad)
    exact = x.detach().double().requires_grad_(needs_input_grad)
    y, expected = layer(x), plain(exact)
    assert torch.allclose(y.double(), expected, atol=1e-5)
    output_grad = torch.randn(32, 300)
    y.backward(output_grad)
    expected.backward(output_grad.double())
    for own, other in ((layer.weight, plain.weight), (layer.bias, plain.bias), (x, exact)):
        if own.requires_grad:
            assert torch.allclose(own.grad.double(), other.grad, rtol=1e-4, atol=1e-4)
    assert torch.equal(layer.double()(exact), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.float()(x).dtype == torch.bfloat16


def test_dead_shares_by_hand():
    """Of 2 filters one is dead; of 3 hidden units two, of which one lives in a second call."""
    convolution, hidden = nn.Conv2d(1, 2, 1), nn.Linear(2, 3)
    with torch.no_grad():
        convolution.weight[:, 0, 0, 0] = torch.tensor([1.0, 1.0])
        convolution.bias[:] = torch.tensor([0.0, -10.0])  # never above 0
        hidden.weight[:] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        hidden.bias[:] = torch.tensor([0.0, 0.0, -2.0])  # the last one needs a pixel above 2
    network = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), hidden, nn.ReLU())
    one, three = torch.full((4, 1, 1, 1), 1.0), torch.full((4, 1, 1, 1), 3.0)
    assert dead_shares(network, lambda: network(one)) == pytest.approx((1 / 2, 2 / 3))
    assert dead_shares(network, lambda: (network(three), network(one))) == pytest.approx(
        (1 / 2, 1 / 3)
    )
    assert not network[1]._forward_hooks
    filters, units = dead_shares(nn.Sequential(hidden, nn.ReLU()), lambda: hidden(torch.ones(1, 2)))
    assert np.isnan([filters, units]).all()


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
def test_smallest_screen(padding, least):
    network = make_network(shape=(least, least), conv1_padding=padding)
    assert network(torch.zeros(1, 4, least, least, dtype=torch.uint8)).shape == (1, 4)
    with pytest.raises(UsageError, match="too small for the network"):
        make_network(shape=(least, least - 1), conv1_padding=padding)


@pytest.mark.parametrize("quantiles", [1, 3])
def test_dueling_network_adds_values_and_centred_advantages(quantiles):
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


def test_hidden_layers():
    two = make_network(shape=(3,), hidden_units=7, hidden_layers=2)
    shapes = [tuple(p.shape) for p in two.parameters()]
    assert shapes == [(7, 12), (7,), (7, 7), (7,), (4, 7), (4,)]
    none = make_network(shape=(3,), hidden_layers=0)
    assert [tuple(p.shape) for p in none.parameters()] == [(4, 12)]  # a table for one-hot states
    dueling = make_network(shape=(3,), hidden_units=7, hidden_layers=2, dueling=True)
    assert sorted(tuple(p.shape) for p in dueling.parameters()) == sorted(
        [(7, 12), (7,), *2 * [(7, 7), (7,)], (1, 7), (1,), (4, 7), (4,)]
    )


def test_noisy_layer_matches_its_equations():
    """Fortunato et al. 2018, equations 9 to 11: w = μ + σ ⊙ f(ε_out) f(ε_in)ᵀ."""
    torch.manual_seed(3)
    layer = NoisyLinear(6, 4)
    torch.nn.init.normal_(layer.sigma_weight)
    torch.nn.init.normal_(layer.sigma_bias)
    x = torch.randn(5, 6)
    assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
    layer.draw_noise(True)
    f_in, f_out = layer.noise
    weight = layer.weight + layer.sigma_weight * f_out[:, None] * f_in[None, :]
    bias = layer.bias + layer.sigma_bias * f_out
    assert torch.allclose(layer(x), x @ weight.T + bias, atol=1e-5)
    before = layer(x)
    layer.draw_noise(True)
    assert not torch.allclose(layer(x), before)
    layer.draw_noise(False)
    assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))


def test_initial_scale_of_the_factorised_noise():
    torch.manual_seed(4)
    layer = NoisyLinear(400, 300)
    assert torch.allclose(layer.sigma_weight, torch.tensor(0.5 / 20))
    assert torch.allclose(layer.sigma_bias, torch.tensor(0.5 / 20))
    layer.draw_noise(True)
    for noise in layer.noise:  # f(ε)² = |ε|, whose mean is √(2/π); signs are balanced
        assert noise.square().mean().item() == pytest.approx(np.sqrt(2 / np.pi), rel=0.15)
        assert abs(noise.sign().mean().item()) < 0.2


def test_only_fully_connected_layers_are_noisy():
    network = make_network(noisy=True, dueling=True)
    noisy = {name for name, m in network.named_modules() if isinstance(m, NoisyLinear)}
    linear = {name for name, m in network.named_modules() if isinstance(m, nn.Linear)}
    assert noisy == linear
    assert len(noisy) == 4
    pixels = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    mean = network(pixels)
    network.draw_noise()
    assert not torch.allclose(network(pixels), mean)
    network.draw_noise(False)
    assert torch.equal(network(pixels), mean)


def test_board_goes_through_one_small_convolution():
    """Young and Tian 2019: 3x3 with 16 filters, 128 hidden units; here of two observations."""
    network = make_network(shape=(4, 10, 9), filters=16, hidden_units=128, actions=3)
    shapes = [tuple(p.shape) for p in network.parameters()]
    assert shapes == [(16, 16, 3, 3), (16,), (128, 16 * 8 * 7), (128,), (3, 128), (3,)]
    boards = torch.randint(0, 2, (5, 4, 4, 10, 9), dtype=torch.uint8)  # [B, H, channels, r, c]
    conv, hidden, out = network.layers[0], network.layers[3], network.layers[5]
    x = nn.functional.conv2d(boards.reshape(5, 16, 10, 9).float(), conv.weight, conv.bias).relu()
    expected = out(hidden(x.flatten(1)).relu())
    torch.testing.assert_close(network(boards * 255), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(boards.float()), expected, rtol=1e-4, atol=1e-5)
