"""DeepQNetwork: predicts Q-values and learns them. The only module that optimises."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simple_dqn.networks.acceleration import ActingCopy, CudaGraph
from simple_dqn.networks.learnt_state import LearntState
from simple_dqn.networks.optimizers import set_learning_rate
from simple_dqn.networks.q_network import QNetwork

if TYPE_CHECKING:
    from simple_dqn.replay_memory import Batch

# Clipped TD errors bound the gradients, so a constant loss scale keeps float16 from underflowing.
FLOAT16_SCALE = 128.0


class DeepQNetwork(LearntState):
    """The action-value function Q(s, a; θ) and its target network θ⁻ (Mnih et al. 2015).

    Args:
        network: the module with the weights θ, on its device.
        optimizer: for its parameters, see ``optimizers.make_optimizer``.
        datatype: "float32", or "bfloat16" or "float16" for mixed precision: products are
            computed in it; weights and optimiser state stay float32.
        loss_reduction: "sum" or "mean" of the gradients over a batch.
        clip_error: bound of the TD error in an update; 0 for none.
        has_target_network: if False, the targets come from θ itself.
        double_q: Double Q-learning (van Hasselt et al. 2016).
        captured: whether a prediction and the updates of a round are one CUDA graph each.
        acting_stream: of ``act``, beside the updates; None: the same as theirs.

    Attributes:
        weight_updates: updates done so far.
    """

    def __init__(
        self,
        network: QNetwork,
        optimizer: torch.optim.Optimizer,
        *,
        datatype: str,
        loss_reduction: str,
        clip_error: float,
        has_target_network: bool,
        double_q: bool,
        captured: bool,
        acting_stream: Any = None,
    ) -> None:
        self.device = next(network.parameters()).device
        self.datatype = datatype
        self.loss_reduction, self.clip_error = loss_reduction, clip_error
        self.double_q = double_q
        self.network, self.optimizer = network.eval(), optimizer
        self.target_network = copy.deepcopy(network) if has_target_network else self.network
        self.target_network.requires_grad_(not has_target_network)
        self._updates = CudaGraph(self.updates) if captured else self.updates
        self._forward = CudaGraph(self.network) if captured else self.network
        self._copy = ActingCopy(network, acting_stream, captured) if acting_stream else None
        # θ⁻ is the same in all updates of a round: a GPU values all their poststates at once.
        on_gpu = self.device.type == "cuda"
        self.values_ahead = on_gpu and has_target_network and not network.noisy_layers
        self.weight_updates = 0
        self._cost = torch.zeros((), device=self.device)  # summed since the last mean_cost()
        self._cost_updates = 0

    def predict(self, states: NDArray[Any] | Tensor, hooks: bool = False) -> NDArray[np.float32]:
        """Return Q(s, a; θ), [N, A], of states [N, H, *shape].

        Hooks of the modules run for certain only if asked for: a CUDA graph does not call them.
        """
        if self._copy:
            self._copy.wait()  # the states may come from its stream
        forward = self.network if hooks else self._forward
        with torch.inference_mode(), self._precision():
            return np.asarray(forward(self._tensor(states)).cpu())

    def act(self, states: NDArray[Any] | Tensor) -> NDArray[np.float32]:
        """Return Q(s, a; θ) as ``predict``; with an acting stream, by θ before the last train."""
        if not self._copy:
            return self.predict(states)
        with torch.inference_mode(), self._precision(), self._copy.acting():
            return np.asarray(self._copy.forward(self._tensor(states)).cpu())

    def train(self, batch: Batch, updates: int = 1) -> Tensor:
        """Do updates of θ towards r + γ max_a' Q(s', a'; θ⁻) and return |δ|, [B].

        Of n updates each learns every n-th transition. The result stays on the device, so nothing
        waits for it; read it before the next update.
        """
        if self._copy:
            self._copy.refresh()
        tensors = map(self._tensor, (*batch[:5], batch.weights))
        parts = (t.reshape(-1, updates, *t.shape[1:]).transpose(0, 1) for t in tensors)
        errors = self._updates(*parts)
        self.weight_updates += updates
        self._cost_updates += updates
        return errors.T.flatten()

    def updates(self, *batches: Tensor) -> Tensor:
        """Do an update from each of n batches, tensors [n, B, ...]; return |δ|, [n, B]."""
        ahead: Any = [None] * len(batches[0])
        if self.values_ahead:
            with torch.no_grad(), self._precision():
                ahead = self.target_network.distributions(batches[4].flatten(0, 1))
            ahead = ahead.unflatten(0, batches[4].shape[:2])
        each = zip(*batches, ahead, strict=True)
        return torch.stack([self.update(*batch) for batch in each])

    def update(
        self, states: Tensor, actions: Tensor, returns: Tensor, discounts: Tensor,
        poststates: Tensor, weights: Tensor, postq: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Do one update from the tensors of a batch, see ``Batch``; return |δ|, [B].

        The return of an action has K quantiles. K = 1 is Q-learning; K > 1 is quantile regression
        (Dabney et al. 2018, algorithm 1), where the δ returned is the error of the mean. ``postq``
        has Q(s', a'; θ⁻), [B, A, K], if that was computed already.
        """
        # Noisy layers: one draw of the noise per update, an independent one for θ⁻
        self.network.draw_noise()
        self.target_network.draw_noise()

        # Q(s', a'; θ⁻) of the best action, chosen by θ⁻ itself or, in Double Q-learning, by θ
        with torch.no_grad(), self._precision():
            if postq is None:
                postq = self.target_network.distributions(poststates)  # [B, A, K]
            chooser = self.network.distributions(poststates) if self.double_q else postq
            best = chooser.mean(dim=2).argmax(dim=1)  # [B]
            maxpostq = _of_actions(postq, best)  # [B, K]

        # y = r + γ max_a' Q(s', a'; θ⁻); the discount is 0 after a terminal
        targets = returns[:, None] + discounts[:, None] * maxpostq  # [B, K]

        # Q(s, a; θ) of the actions taken
        if self.network.has_modes:
            self.network.train()
        with self._precision():
            preq = self.network.distributions(states)  # [B, A, K]
        if self.network.has_modes:
            self.network.eval()
        q = _of_actions(preq, actions)  # [B, K]

        # δ = y − Q(s, a; θ), each target against each quantile. No loss is computed: −δ, clipped,
        # is the gradient of ½δ² (inside the bound) and of |δ| (outside) with respect to Q.
        with torch.no_grad():
            deltas = targets[:, None, :] - q[:, :, None]  # [B, K, K]
            errors = deltas.clamp(-self.clip_error, self.clip_error) if self.clip_error else deltas
            if self.network.quantiles > 1:  # |τ − 1(δ < 0)|, their equation 10
                errors = errors * (self.network.midpoints - (deltas < 0).float()).abs()
            errors = weights[:, None] * errors.mean(dim=2)  # [B, K]
            if self.loss_reduction == "mean":
                errors /= len(errors)
            means: Tensor = (targets - q).mean(dim=1)  # [B]
            self._cost += (0.5 * weights * means.square()).mean()

        # θ ← optimiser(θ, −δ ∂Q(s, a; θ)/∂θ)
        self.optimizer.zero_grad(set_to_none=True)
        if self.datatype == "float16":
            torch.autograd.backward(q, -errors * FLOAT16_SCALE)
            grads: Any = [param.grad for param in self.network.parameters()]
            torch._foreach_div_(grads, FLOAT16_SCALE)
        else:
            torch.autograd.backward(q, -errors)
        self.optimizer.step()
        return means.abs()

    def update_target_network(self) -> None:
        """Copy θ to the target network, θ⁻ ← θ."""
        if self.target_network is not self.network:
            self.target_network.load_state_dict(self.network.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Set θ and the target network to what ``weights`` returned."""
        self.network.load_state_dict(weights)
        self.update_target_network()
        if self._copy:
            self._copy.refresh()

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the optimiser; called by a schedule."""
        set_learning_rate(self.optimizer, learning_rate)

    def mean_cost(self) -> float:
        """Return the mean of ½δ² over all samples since the last call; 0 without an update."""
        mean = self._cost.item() / max(self._cost_updates, 1)
        self._cost.zero_()
        self._cost_updates = 0
        return mean

    def require_finite(self) -> None:
        """Raise FloatingPointError if θ or the cost since the last ``mean_cost`` is not finite."""
        if not all(bool(t.isfinite().all()) for t in (*self.network.parameters(), self._cost)):
            raise FloatingPointError

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of mixed precision; for float32, an empty one."""
        if self.datatype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.datatype))

    def _tensor(self, array: NDArray[Any] | Tensor) -> Tensor:
        tensor = torch.as_tensor(array)
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()  # so that nothing waits for the copy
        return tensor.to(self.device, non_blocking=True)


def _of_actions(values: Tensor, actions: Tensor) -> Tensor:
    """Return the values of one action each, [B, K], from values [B, A, K]."""
    chosen = actions[:, None, None].expand(-1, 1, values.shape[2])
    return values.gather(1, chosen).squeeze(1)
