"""The network that maps states to Q-values: modules and their initial weights.

The shapes of a batch of B states in the Nature network, with 84x84 screens and A actions:

    uint8   [B, 4, 84, 84]   states
    float32 [B, 4, 84, 84]   0 to 255; see PixelConv2d
            [B, 32, 20, 20]  conv 8x8, stride 4, padding conv1_padding, ReLU
            [B, 64, 9, 9]    conv 4x4, stride 2, ReLU
            [B, 64, 7, 7]    conv 3x3, stride 1, ReLU
            [B, 3136]        flattened
            [B, 512]         hidden, ReLU
            [B, A, K]        K quantiles of the return; K = 1 for plain Q-values
            [B, A]           Q-values: their mean
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from simple_dqn.errors import UsageError

# (filters as a multiple of the first layer's, kernel, stride), Mnih et al. 2015, Methods.
CONVOLUTIONS: tuple[tuple[int, int, int], ...] = ((1, 8, 4), (2, 4, 2), (2, 3, 1))
BOARD_CONVOLUTIONS = ((1, 3, 1),)  # Young and Tian 2019

NOISE = 0.5  # σ₀, Fortunato et al. 2018, section 3.2

# Products smaller than this are faster in one call of ``torch.nn.functional.linear``.
LEAST_WEIGHTS = 100_000

WITH_MODES = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)

# Private in torch; where it is missing, the layers are plain.
_onednn: Any = None
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    _onednn = torch.ops.mkldnn._linear_pointwise


class QNetwork(nn.Module):
    """Q-values of all actions from a state: a trunk for its kind, then a linear head.

    Screens go through three convolutions, boards through one of 3x3 (Young and Tian 2019), vectors
    directly into the hidden layers. Without a hidden layer, Q is linear in the observations without
    bias: a table if these are one-hot.

    Args:
        num_actions: A.
        history_length: H.
        observation_shape: (height, width) for screens, (channels, rows, columns) for boards, (d,)
            for vectors.
        filters: of the first convolution; for screens, the other two have twice as many each.
        hidden_layers: fully connected layers before the output; the last one is part of the head.
        hidden_units: rectifier units per hidden layer.
        conv1_padding: zero padding of the first convolution, pixels.
        batch_norm: normalise each hidden layer before its rectifier (Ioffe and Szegedy 2015).
        weight_init: "fan_in" or "xavier".
        dueling: see ``DuelingHead``.
        quantiles: K, equally likely values of each action's return.
        noisy: the fully connected layers are ``NoisyLinear``.

    Raises:
        UsageError: the screen is too small for the three convolutions.
    """

    def __init__(
        self,
        num_actions: int,
        history_length: int,
        observation_shape: tuple[int, ...],
        *,
        filters: int,
        hidden_layers: int,
        hidden_units: int,
        conv1_padding: int,
        batch_norm: bool,
        weight_init: str,
        dueling: bool,
        quantiles: int,
        noisy: bool,
    ) -> None:
        super().__init__()
        layers, features = make_trunk(
            history_length, observation_shape, filters, conv1_padding, batch_norm
        )
        layers += [nn.Flatten()]
        fully_connected = NoisyLinear if noisy else HiddenLinear
        output = NoisyLinear if noisy else OutputLinear

        def hidden(features: int) -> list[nn.Module]:
            norm = [nn.BatchNorm1d(hidden_units)] if batch_norm else []
            return [fully_connected(features, hidden_units), *norm, nn.ReLU()]

        def head(outputs: int) -> list[nn.Module]:
            if not hidden_layers:
                return [output(features, outputs, bias=False)]
            return [*hidden(features), output(hidden_units, outputs)]

        for _ in range(hidden_layers - 1):
            layers += hidden(features)
            features = hidden_units
        if dueling:
            layers += [DuelingHead(head(quantiles), head(num_actions * quantiles), quantiles)]
        else:
            layers += head(num_actions * quantiles)
        self.layers = nn.Sequential(*layers)
        self.noisy_layers = [m for m in self.layers.modules() if isinstance(m, NoisyLinear)]
        self.quantiles = quantiles
        # τ of each quantile: the midpoints of K equal parts of [0, 1], [K, 1]
        midpoints = (torch.arange(quantiles) + 0.5) / quantiles
        self.midpoints: Tensor
        self.register_buffer("midpoints", midpoints[:, None], persistent=False)
        self.apply(INITIALIZERS[weight_init])

    def forward(self, states: Tensor) -> Tensor:
        """Return Q-values, [B, A], of states [B, H, *shape], uint8 screens or float32 vectors."""
        return self.distributions(states).mean(dim=2)

    @cached_property
    def has_modes(self) -> bool:
        """Whether a layer behaves differently in training: train() and eval() take time."""
        return any(isinstance(module, WITH_MODES) for module in self.modules())

    def draw_noise(self, noisy: bool = True) -> None:
        """Draw new noise in all noisy layers; False: use their means, as in a test."""
        for layer in self.noisy_layers:
            layer.draw_noise(noisy)

    def distributions(self, states: Tensor) -> Tensor:
        """Return the quantiles of the return of each action, [B, A, K]."""
        if states.dim() == 5:  # boards: the channels of all observations side by side
            states = states.flatten(1, 2)
        values: Tensor = self.layers(states)
        return values.float().reshape(len(values), -1, self.quantiles)


def make_trunk(
    history_length: int,
    observation_shape: tuple[int, ...],
    filters: int,
    conv1_padding: int,
    batch_norm: bool,
) -> tuple[list[nn.Module], int]:
    """Return the convolutions, if there are any, and how many features they give; see QNetwork."""
    if len(observation_shape) == 1:
        return [], history_length * observation_shape[0]
    if len(observation_shape) == 2:
        channels, *size = history_length, *observation_shape
        convolutions = CONVOLUTIONS
    else:
        channels, *size = history_length * observation_shape[0], *observation_shape[1:]
        convolutions, conv1_padding = BOARD_CONVOLUTIONS, 0
    layers: list[nn.Module] = []
    padding = conv1_padding
    for multiple, kernel, stride in convolutions:
        size = [(side + 2 * padding - kernel) // stride + 1 for side in size]
        outputs = multiple * filters
        convolution = nn.Conv2d if layers else PixelConv2d
        layers += [convolution(channels, outputs, kernel, stride, padding)]
        layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
        layers += [nn.ReLU()]
        channels, padding = outputs, 0
    if min(size) < 1:
        raise UsageError(
            f"a screen of {observation_shape[1]}x{observation_shape[0]} pixels is too "
            f"small for the network: --screen_width and --screen_height from 36"
        )
    return layers, channels * math.prod(size)


class PixelConv2d(nn.Conv2d):
    """A convolution of fractions, which takes bytes as well: 255 stands for 1.

    The division by 255 is applied to the weights, a hundredth as many numbers, here and nowhere
    else.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of states [B, C, h, w]."""
        if input.dtype != torch.uint8:
            return super().forward(input)
        # Convolutions are fastest with channels last, as the replay memory lays out its batches.
        # On the CPU the two conversions are vectorised one by one, but not both at once.
        pixels = input.contiguous(memory_format=torch.channels_last).to(self.weight.dtype)
        features: Tensor = self._conv_forward(pixels, self.weight / 255, self.bias)
        return features


class HiddenLinear(nn.Linear):
    """A linear layer whose float32 products on a CPU are oneDNN's instead of MKL's.

    torch multiplies matrices by MKL, which on AMD processors leaves half of AVX-512 unused; its
    convolutions are oneDNN's already.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return y, [B, out], of x [B, in]."""
        plain = (
            _onednn is None
            or self.weight.numel() < LEAST_WEIGHTS
            or self.weight.device.type != "cpu"
            or not input.dtype == self.weight.dtype == torch.float32
            or torch.is_autocast_enabled("cpu")
        )
        if plain:
            return super().forward(input)
        y: Tensor = _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return y


class _Product(torch.autograd.Function):
    """y = x Wᵀ + b and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Any:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        of_x = _onednn(grad, weight.t(), None, "none", [], "") if ctx.needs_input_grad[0] else None
        return of_x, _onednn(grad.t(), x.t(), None, "none", [], ""), grad.sum(dim=0)


class OutputLinear(nn.Linear):
    """A linear layer that stays in float32 in mixed precision.

    The Q-values of two actions often differ by less than bfloat16 resolves, 1/128 between 1 and 2.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return y, [B, out], of x [B, in]."""
        if not torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class DuelingHead(nn.Module):
    """Q(s, a) = V(s) + A(s, a) − mean over a' of A(s, a') (Wang et al. 2016, equation 9).

    Args:
        value: layers from the features to V, K values.
        advantage: layers from the features to A, num_actions · K values.
        quantiles: K; each quantile has a separate V and A.
    """

    def __init__(self, value: list[nn.Module], advantage: list[nn.Module], quantiles: int) -> None:
        super().__init__()
        self.value = nn.Sequential(*value)
        self.advantage = nn.Sequential(*advantage)
        self.quantiles = quantiles

    def forward(self, features: Tensor) -> Tensor:
        """Return Q-values, [B, A · K], of features [B, F]."""
        value = self.value(features)[:, None]  # [B, 1, K]
        advantage = self.advantage(features).unflatten(1, (-1, self.quantiles))  # [B, A, K]
        q: Tensor = value + advantage - advantage.mean(dim=1, keepdim=True)
        return q.flatten(1)


class NoisyLinear(nn.Linear):
    """y = (μ_w + σ_w ⊙ ε_w) x + μ_b + σ_b ⊙ ε_b (Fortunato et al. 2018, equation 9).

    μ is the linear layer; σ is learnt with it. The noise is factorised, ε_w = f(ε_out) f(ε_in)ᵀ and
    ε_b = f(ε_out) with f(x) = sgn(x)√|x| of normal ε (equations 10, 11), so the noisy weights
    are never materialised. Without noise, as after ``draw_noise(False)``, it is the mean layer.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        sigma = NOISE / math.sqrt(in_features)
        self.sigma_weight = nn.Parameter(torch.full_like(self.weight, sigma))
        self.sigma_bias = nn.Parameter(torch.full((out_features,), sigma)) if bias else None
        self.noise: tuple[Tensor, Tensor] | None = None  # f(ε_in), f(ε_out)

    def draw_noise(self, noisy: bool) -> None:
        """Draw new noise, or none."""
        self.noise = (
            (self._draw(self.in_features), self._draw(self.out_features)) if noisy else None
        )

    def load_noise(self, noise: list[Tensor]) -> None:
        """Set the noise to (f(ε_in), f(ε_out)); an empty list sets none."""
        sizes = [(self.in_features,), (self.out_features,)]
        kinds = [(size, self.weight.dtype) for size in sizes]
        if noise and [(tuple(e.shape), e.dtype) for e in noise] != kinds:
            raise ValueError("noise of another layer")
        device = self.weight.device
        self.noise = (noise[0].to(device), noise[1].to(device)) if noise else None

    def _draw(self, n: int) -> Tensor:
        """Return f(ε), [n]."""
        e = torch.randn(n, device=self.weight.device)
        return e.sign() * e.abs().sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """Return y, [B, out], of x [B, in]."""
        y = super().forward(x)
        if self.noise is None:
            return y
        noise_in, noise_out = self.noise
        return y + linear(x * noise_in, self.sigma_weight, self.sigma_bias) * noise_out


def fan_in_uniform(module: nn.Module) -> None:
    """Draw weights and biases from U(±1/√fan_in), torch7's default and so DeepMind's."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        bound = 1 / math.sqrt(module.weight[0].numel())
        nn.init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            nn.init.uniform_(module.bias, -bound, bound)


def xavier_uniform(module: nn.Module) -> None:
    """Draw weights from U(±√(6/(fan_in+fan_out))), biases zero (Glorot and Bengio 2010)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


INITIALIZERS = {"fan_in": fan_in_uniform, "xavier": xavier_uniform}
