"""What excites each filter: its strongest state in a game, and the pixels responsible.

A unit is one filter at one position of its map. Activations here are those before the rectifier,
which passes positive ones on unchanged. A filter without any positive activation is dead.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from captum.attr import NeuronGradient, NeuronGuidedBackprop
from numpy.typing import NDArray
from torch import Tensor, nn

from simple_dqn.agent import Agent, Callback
from simple_dqn.errors import UsageError
from simple_dqn.networks.q_network import INITIALIZERS, QNetwork

BATCH = 64  # states per forward pass
CONTROL_SEED = 0  # for the random weights of the control network


@dataclass
class Strongest:
    """The state that excites each of the first F filters of a convolution most.

    Attributes:
        activations: float32 [F], -inf if there was no state.
        positions: int64 [F, 2], (row, column) of the unit in the filter's map.
        steps: int64 [F], steps of the game before the state.
        states: uint8 [F, H, h, w].
    """

    activations: NDArray[np.float32]
    positions: NDArray[np.int64]
    steps: NDArray[np.int64]
    states: NDArray[np.uint8]

    def update(self, maps: Tensor, states: NDArray[np.uint8], first_step: int) -> None:
        """Take over what is stronger in ``maps`` [B, F or more, ...], the activations of B states.

        Ties go to the earliest state and to the first position.
        """
        peaks = maps[:, : len(self.steps)].amax(dim=(2, 3)).cpu().numpy()  # [B, F]
        for k, b in enumerate(peaks.argmax(axis=0)):
            if peaks[b, k] > self.activations[k]:
                self.activations[k] = peaks[b, k]
                self.positions[k] = _peak(maps[b, k])
                self.steps[k] = first_step + b
                self.states[k] = states[b]


class StrongestStates(Callback):
    """Records the states that excite the filters most while the agent plays in lane 0.

    It holds only the strongest states so far, so memory does not grow with the game.

    Args:
        network: the network to examine.
        filters: how many filters of each convolution.

    Attributes:
        layers: one per convolution, in order.
        steps: steps of the game so far.

    Raises:
        UsageError: the network has no convolution.
    """

    def __init__(self, network: QNetwork, filters: int) -> None:
        self.network, self.filters = network, filters
        if not convolutions(network):
            raise UsageError(
                "the network has no convolutional layer to look into: its observations are vectors"
            )
        self.layers: list[Strongest] = []
        self.steps = 0
        self._waiting: list[NDArray[np.uint8]] = []  # states not yet passed through the network

    def on_phase_start(self, agent: Agent) -> None:
        """Discard the previous game."""
        counts = [min(self.filters, c.out_channels) for c in convolutions(self.network)]
        self.layers = [
            Strongest(
                activations=np.full(n, -np.inf, np.float32),
                positions=np.zeros((n, 2), np.int64),
                steps=np.zeros(n, np.int64),
                states=np.zeros((n, *agent.buffer.states.shape[1:]), np.uint8),
            )
            for n in counts
        ]
        self.steps = 0
        self._waiting = []

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """Record the state the agent acts on."""
        self._waiting.append(agent.buffer.states[0].copy())
        self.steps += 1
        if len(self._waiting) == BATCH:
            self._process()

    def on_phase_end(self, agent: Agent) -> None:
        """Process the remaining states."""
        if self._waiting:
            self._process()

    def _process(self) -> None:
        states = np.stack(self._waiting)
        maps = activation_maps(self.network, states)
        for layer, activations in zip(self.layers, maps, strict=True):
            layer.update(activations, states, self.steps - len(states))
        self._waiting = []


class Attribution(NamedTuple):
    """How much each pixel excites the units of F filters.

    Attributes:
        values: float32 [F, H, h, w], signed; 0 outside the receptive fields.
        fields: int64 [F, 4], the receptive fields, see ``receptive_field``.
    """

    values: NDArray[np.float32]
    fields: NDArray[np.int64]


class Layer(NamedTuple):
    """A convolution and three attributions of its filters' strongest states."""

    name: str
    strongest: Strongest
    guided: Attribution
    gradient: Attribution
    control: Attribution


def attribute(network: QNetwork, weight_init: str, found: Sequence[Strongest]) -> list[Layer]:
    """Return, for each convolution, which pixels excite the strongest units.

    Guided backpropagation (Springenberg et al. 2015) backpropagates from one unit and zeroes
    negative gradients at every rectifier; the plain gradient (Simonyan et al. 2014) does not. The
    control is guided backpropagation in a network with fresh random weights: what looks the same
    there is not a result of training (Adebayo et al. 2018). It takes the same filters and states,
    at the positions where the filters are strongest in that network.

    Args:
        network: it is not changed.
        weight_init: initialization of the control network, see ``q_network.INITIALIZERS``.
        found: one per convolution, from ``StrongestStates``.
    """
    control, layers = randomized(network, weight_init), []
    for i, (conv, best) in enumerate(zip(convolutions(network), found, strict=True)):
        (height, width), stride = conv.kernel_size, conv.stride[0]
        maps = activation_maps(control, best.states)[i]
        peaks = np.array([_peak(maps[k, k]) for k in range(len(best.steps))])
        layers.append(
            Layer(
                f"convolution {i + 1}, {width}x{height}/{stride}, {conv.out_channels} filters",
                best,
                _backpropagate(NeuronGuidedBackprop, network, i, best.states, best.positions),
                _backpropagate(NeuronGradient, network, i, best.states, best.positions),
                _backpropagate(NeuronGuidedBackprop, control, i, best.states, peaks),
            )
        )
    return layers


def _backpropagate(
    method: Any, network: QNetwork, layer: int, states: NDArray[np.uint8], units: NDArray[np.int64]
) -> Attribution:
    """Apply a captum method to filter k of the layer at units[k], for states[k]."""
    rectifiers = [module for module in trunk(network) if isinstance(module, nn.ReLU)]
    k, (rows, columns) = torch.arange(len(states)), torch.from_numpy(units).unbind(1)
    with warnings.catch_warnings():
        # captum warns that it sets hooks on the rectifiers; it also removes them
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
        values = method(trunk(network), rectifiers[layer]).attribute(
            network_input(network, states).requires_grad_(),
            lambda maps: maps[k, k, rows, columns],
            attribute_to_neuron_input=True,
        )
    path, screen = convolutions(network)[: layer + 1], states.shape[2:]
    fields = [receptive_field(path, unit, screen) for unit in units.tolist()]
    return Attribution(values.detach().cpu().contiguous().numpy(), np.array(fields))


def receptive_field(
    path: Sequence[nn.Conv2d], unit: Sequence[int], screen: Sequence[int]
) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of a unit's receptive field, the last two exclusive.

    Args:
        path: the convolutions from the screen up to that of the unit.
        unit: (row, column) in its map.
        screen: (height, width), without padding.
    """
    low, high = list(unit), [unit[0] + 1, unit[1] + 1]
    for conv in reversed(path):
        for axis in (0, 1):
            stride, padding = conv.stride[axis], int(conv.padding[axis])
            low[axis] = low[axis] * stride - padding
            high[axis] = (high[axis] - 1) * stride - padding + conv.kernel_size[axis]
    return max(low[0], 0), max(low[1], 0), min(high[0], screen[0]), min(high[1], screen[1])


def randomized(network: QNetwork, weight_init: str) -> QNetwork:
    """Return an untrained network of the same architecture.

    Its weights are drawn on the CPU. The state of torch's random generators is not changed.
    """
    fresh = copy.deepcopy(network).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(CONTROL_SEED)
        fresh.apply(INITIALIZERS[weight_init])
    for module in fresh.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
    return fresh.to(next(network.parameters()).device)


def trunk(network: QNetwork) -> nn.Sequential:
    """Return the layers before flattening; none if the observations are vectors."""
    return nn.Sequential(*takewhile(lambda m: not isinstance(m, nn.Flatten), network.layers))


def convolutions(network: QNetwork) -> list[nn.Conv2d]:
    """Return the convolutions in order."""
    return [module for module in trunk(network) if isinstance(module, nn.Conv2d)]


@torch.inference_mode()
def activation_maps(network: QNetwork, states: NDArray[np.uint8]) -> list[Tensor]:
    """Return the pre-rectifier activations of each convolution, float32 [B, F, rows, columns]."""
    x, maps = network_input(network, states), []
    for module in trunk(network):
        if isinstance(module, nn.ReLU):
            maps.append(x)
        x = module(x)
    return maps


def network_input(network: QNetwork, states: NDArray[np.uint8]) -> Tensor:
    """Return states as float32 divided by 255, as ``QNetwork.forward`` does."""
    device = next(network.parameters()).device
    return torch.from_numpy(states).to(device, torch.float32).div_(255)


def _peak(activations: Tensor) -> tuple[int, int]:
    """Return (row, column) of the first largest value of a map."""
    row, column = divmod(int(activations.argmax()), activations.shape[1])
    return row, column
