"""DeepQNetwork against an independent implementation of DeepMind's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from simple_dqn.deep_q_network import DeepQNetwork
from simple_dqn.errors import UsageError
from simple_dqn.networks.acceleration import choose_device
from simple_dqn.networks.optimizers import make_optimizer
from simple_dqn.networks.q_network import QNetwork
from simple_dqn.replay_memory import Batch
from simple_dqn.storage.snapshot import fitting_training_state, fitting_weights

NATURE = {
    "datatype": "float32", "optimizer": "rmsprop", "learning_rate": 0.00025, "decay_rate": 0.95,
    "epsilon": 0.01, "centered": True, "loss_reduction": "sum", "clip_error": 1.0,
    "has_target_network": True, "double_q": False,
}  # fmt: skip
ORIGINAL = {**NATURE, "epsilon": 1e-6, "centered": False, "loss_reduction": "mean"}


def make_network(shape=(84, 84), actions=4, seed=0, **kwargs) -> QNetwork:
    torch.manual_seed(seed)
    options = {
        "filters": 32, "hidden_layers": 1, "hidden_units": 512, "conv1_padding": 1,
        "batch_norm": False, "weight_init": "fan_in", "dueling": False, "quantiles": 1,
        "noisy": False, **kwargs,
    }  # fmt: skip
    return QNetwork(actions, 4, shape, **options)


OPTIMIZER_OPTIONS = ("learning_rate", "decay_rate", "epsilon", "centered")


def make(device="cpu", network=None, compiled=False, captured=False, **kwargs) -> DeepQNetwork:
    options = {**NATURE, **kwargs}
    network = (network or make_network()).to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(
        options.pop("optimizer"), list(network.parameters()), compiled=compiled, captured=captured,
        **{name: options.pop(name) for name in OPTIMIZER_OPTIONS},
    )  # fmt: skip
    return DeepQNetwork(network, optimizer, captured=captured, **options)


def make_batch(seed, size=32, actions=4, shape=(84, 84), scale=1.0) -> Batch:
    rng = np.random.default_rng(seed)
    if len(shape) == 2:
        states = rng.integers(0, 256, (2, size, 4, *shape), dtype=np.uint8)
    else:
        states = rng.normal(0, 1, (2, size, 4, *shape)).astype(np.float32)
    return Batch(
        states=states[0],
        actions=rng.integers(actions, size=size),
        returns=(scale * rng.integers(-1, 2, size)).astype(np.float32),
        discounts=np.where(rng.random(size) < 0.1, 0, 0.99).astype(np.float32),
        poststates=states[1],
        indices=np.arange(size),
        weights=np.ones(size, np.float32),
    )


class Oracle:
    """DeepMind's NeuralQLearner, in float64: convolutions, a Huber loss, and RMSProp by hand."""

    def __init__(self, network: QNetwork, options: dict):
        self.options = options
        self.theta = [p.detach().double().clone() for p in network.parameters()]
        self.target = [p.clone() for p in self.theta]
        self.g = [np.zeros(p.shape) for p in self.theta]
        self.g2 = [np.zeros(p.shape) for p in self.theta]

    @staticmethod
    def q(theta, states):
        x = torch.from_numpy(states).double() / 255
        x = F.relu(F.conv2d(x, theta[0], theta[1], stride=4, padding=1))
        x = F.relu(F.conv2d(x, theta[2], theta[3], stride=2))
        x = F.relu(F.conv2d(x, theta[4], theta[5], stride=1))
        x = F.relu(x.flatten(1) @ theta[6].T + theta[7])
        return x @ theta[8].T + theta[9]

    def train(self, batch: Batch):
        o = self.options
        postq = self.q(self.target, batch.poststates).numpy()
        y = torch.from_numpy(batch.returns + batch.discounts * postq.max(axis=1))
        theta = [p.requires_grad_() for p in self.theta]
        q = self.q(theta, batch.states)[torch.arange(len(y)), torch.from_numpy(batch.actions)]
        # The clipped error is the gradient of the Huber loss.
        loss = F.huber_loss(q, y, reduction=o["loss_reduction"], delta=o["clip_error"])
        grads = [g.numpy() for g in torch.autograd.grad(loss, theta)]
        rho, eps, lr = o["decay_rate"], o["epsilon"], o["learning_rate"]
        for i, dw in enumerate(grads):
            self.g[i] = rho * self.g[i] + (1 - rho) * dw
            self.g2[i] = rho * self.g2[i] + (1 - rho) * dw**2
            if o["centered"]:
                step = lr * dw / np.sqrt(self.g2[i] - self.g[i] ** 2 + eps)
            else:
                step = lr * dw / (np.sqrt(self.g2[i] + eps) + eps)
            self.theta[i] = (theta[i].detach() - torch.from_numpy(step)).detach()
        return (y - q).detach().abs().numpy()


@pytest.mark.parametrize("options", [NATURE, ORIGINAL], ids=["nature", "simple_dqn"])
def test_three_updates_match_the_formula(options):
    network = make_network()
    oracle, dqn = Oracle(network, options), make(network=network, **options)
    start = [p.clone() for p in oracle.theta]
    for update in range(3):
        batch = make_batch(update, scale=3.0)  # errors on both sides of the clipping bound
        expected = oracle.train(batch)
        errors = dqn.train(batch).numpy()
        assert (expected > 1).any()
        assert (expected < 1).any()
        np.testing.assert_allclose(errors, expected, rtol=1e-4, atol=1e-5)
        states = list(dqn.optimizer.state.values())
        for i, p in enumerate(dqn.network.parameters()):
            moved = (oracle.theta[i] - start[i]).numpy()
            got = p.detach().double().numpy() - start[i].numpy()
            np.testing.assert_allclose(got, moved, rtol=2e-3, atol=2e-7)
            for name, value in (("grad_avg", oracle.g[i]), ("square_avg", oracle.g2[i])):
                if name in states[i]:
                    scale = np.abs(value).max()
                    np.testing.assert_allclose(
                        states[i][name].numpy(), value, rtol=1e-3, atol=1e-4 * scale
                    )
    assert dqn.weight_updates == 3
    # The target network has not moved.
    for p, q in zip(dqn.target_network.parameters(), start, strict=True):
        assert (p.double() == q).all()
    dqn.update_target_network()
    for p, q in zip(dqn.target_network.parameters(), dqn.network.parameters(), strict=True):
        assert (p == q).all()


def test_terminals_do_not_bootstrap_and_cost_is_half_the_mean_square():
    dqn = make(network=make_network(shape=(3,)), clip_error=0.5)
    batch = make_batch(0, shape=(3,))._replace(discounts=np.zeros(32, np.float32))
    q = dqn.predict(batch.states)[np.arange(32), batch.actions]
    delta = batch.returns - q
    errors = dqn.train(batch).numpy()
    np.testing.assert_allclose(errors, np.abs(delta), rtol=1e-5, atol=1e-6)
    q2 = dqn.predict(batch.states)[np.arange(32), batch.actions]
    dqn.train(batch)
    # Two updates in the phase; the cost uses the unclipped errors.
    expected = (0.5 * delta**2).mean() / 2 + (0.5 * (batch.returns - q2) ** 2).mean() / 2
    assert dqn.mean_cost() == pytest.approx(expected, rel=1e-5)
    assert dqn.mean_cost() == 0  # a new phase


def test_error_is_clipped_rather_than_the_loss():
    """Clipping the input of the loss would give errors beyond the bound no gradient."""
    dqn = make(network=make_network(shape=(3,)))
    before = dqn.predict(make_batch(0, shape=(3,)).states)
    batch = make_batch(0, shape=(3,))._replace(returns=np.full(32, 1000, np.float32))
    dqn.train(batch)
    after = dqn.predict(batch.states)
    rows = np.arange(32)
    assert (after[rows, batch.actions] > before[rows, batch.actions]).all()


def test_weights_scale_the_gradient_of_each_sample():
    """Two samples, one with weight 0: the update equals that of the other alone."""
    one, two = (make(network=make_network(shape=(3,))) for _ in range(2))
    batch = make_batch(1, size=2, shape=(3,))
    one.train(batch._replace(weights=np.array([1, 0], np.float32)))
    two.train(Batch(*(field[:1] for field in batch)))
    for p, q in zip(one.network.parameters(), two.network.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_without_a_target_network_targets_follow_the_weights():
    dqn = make(network=make_network(shape=(3,)), has_target_network=False)
    assert dqn.target_network is dqn.network
    batch = make_batch(0, shape=(3,))
    first = dqn.train(batch).numpy()
    q = dqn.predict(batch.states)[np.arange(32), batch.actions]
    target = batch.returns + batch.discounts * dqn.predict(batch.poststates).max(axis=1)
    assert (first != np.abs(target - q)).any()
    np.testing.assert_allclose(dqn.train(batch).numpy(), np.abs(target - q), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", lambda p: torch.optim.Adam(p, 0.001, eps=1e-8)),
        ("adadelta", lambda p: torch.optim.Adadelta(p, 1.0, rho=0.95, eps=1e-6)),
    ],
)
def test_other_optimisers_follow_the_same_gradient(name, reference):
    network = make_network(shape=(3,))
    twin = make_network(shape=(3,))
    epsilon = 1e-8 if name == "adam" else 1e-6
    dqn = make(network=network, optimizer=name, learning_rate=0.001, epsilon=epsilon)
    optimizer = reference(twin.parameters())
    target = make_network(shape=(3,))
    for update in range(3):
        batch = make_batch(update, shape=(3,))
        dqn.train(batch)
        with torch.no_grad():
            y = torch.from_numpy(batch.returns) + torch.from_numpy(batch.discounts) * target(
                torch.from_numpy(batch.poststates)
            ).amax(1)
        q = twin(torch.from_numpy(batch.states))[torch.arange(32), torch.from_numpy(batch.actions)]
        optimizer.zero_grad()
        F.huber_loss(q, y, reduction="sum").backward()
        optimizer.step()
    for p, q in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("datatype", ["bfloat16", "float16"])
def test_mixed_precision_is_close_to_float32(datatype):
    exact, mixed = make(), make(datatype=datatype)
    batch = make_batch(0)
    np.testing.assert_allclose(mixed.predict(batch.states), exact.predict(batch.states), atol=0.01)
    before = [p.detach().clone() for p in exact.network.parameters()]
    exact.train(batch)
    mixed.train(batch)
    for old, p, q in zip(
        before, exact.network.parameters(), mixed.network.parameters(), strict=True
    ):
        assert q.dtype == torch.float32
        moved, other = (p - old).flatten(), (q - old).flatten()
        assert torch.cosine_similarity(moved, other, dim=0) > 0.98


def test_batch_norm_uses_batch_statistics_in_training_only():
    dqn = make(network=make_network(batch_norm=True))
    batch = make_batch(0)
    alone = dqn.predict(batch.states[:1])
    np.testing.assert_allclose(alone, dqn.predict(batch.states)[:1], rtol=1e-4, atol=1e-5)
    before = dqn.network.layers[1].running_mean.clone()
    dqn.train(batch)
    assert (dqn.network.layers[1].running_mean != before).any()
    target = dqn.target_network.layers[1].running_mean
    assert (target == before).all()
    dqn.update_target_network()
    assert (dqn.target_network.layers[1].running_mean != before).any()


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adadelta"])
def test_training_resumes_exactly_from_a_saved_state(optimizer):
    whole = make(network=make_network(shape=(3,)), optimizer=optimizer)
    for update in range(3):
        whole.train(make_batch(update, shape=(3,)))
    weights = {n: t.clone() for n, t in whole.weights().items()}
    state = {n: t.clone() for n, t in sorted(whole.training_state().items())}  # as from a file
    resumed = make(network=make_network(shape=(3,), seed=9), optimizer=optimizer)
    resumed.load_weights(weights)
    resumed.load_training_state(state)
    for update in range(3, 6):
        batch = make_batch(update, shape=(3,))
        assert (whole.train(batch) == resumed.train(batch)).all()
    for p, q in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert (p == q).all()


def test_weights_and_states_of_other_networks_are_refused():
    dqn, other = make(), make(network=make_network(actions=6))
    own = dqn.training_state()
    with pytest.raises(UsageError, match="weights are of another network"):
        fitting_weights(other.weights(), dqn.weights())
    with pytest.raises(UsageError, match="target network is another network's"):
        fitting_training_state(other.training_state(), own)
    other.train(make_batch(0))
    mixed = {n: t for n, t in own.items() if n.startswith("target.")}
    mixed |= {n: t for n, t in other.training_state().items() if n.startswith("optimizer.")}
    foreign = [make(optimizer=name).training_state() for name in ("adam", "adadelta")]
    foreign.append(make(optimizer="rmsprop", centered=False).training_state())
    for ours, theirs in [(own, mixed), *((own, f) for f in foreign), *((f, own) for f in foreign)]:
        with pytest.raises(UsageError, match="optimiser"):
            fitting_training_state(theirs, ours)
    for part in ("target.", "optimizer.", ""):  # a part, or all of it
        some = {n: t for n, t in own.items() if n.startswith(part)}
        assert fitting_training_state(some, own) == some


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adadelta"])
def test_optimiser_state_exists_before_the_first_update(name):
    """It has the shapes and types of later states, in the memory layout of the parameters."""
    dqn = make(optimizer=name)
    fresh = {n: (t.shape, t.dtype) for n, t in dqn.training_state().items()}
    before = [{slot: t.clone() for slot, t in s.items()} for s in dqn.optimizer.state.values()]
    assert all(not t.any() for slots in before for t in slots.values())
    dqn.train(make_batch(0))
    assert {n: (t.shape, t.dtype) for n, t in dqn.training_state().items()} == fresh
    for param, slots in dqn.optimizer.state.items():
        assert all(t.stride() == param.stride() for t in slots.values() if t.dim())


def test_stale_target_network_never_becomes_the_network():
    """A network without a target network ignores the saved one."""
    whole = make(network=make_network(shape=(3,)))
    whole.train(make_batch(0, shape=(3,)))
    alone = make(network=make_network(shape=(3,), seed=5), has_target_network=False)
    alone.load_weights(whole.weights())
    alone.load_training_state(
        fitting_training_state(whole.training_state(), alone.training_state())
    )
    for p, q in zip(alone.network.parameters(), whole.network.parameters(), strict=True):
        assert (p == q).all()
    assert not any(name.startswith("target.") for name in alone.training_state())


def test_choose_device():
    assert choose_device("cpu", 0) == torch.device("cpu")
    if not torch.cuda.is_available():
        assert choose_device("auto", 0) == torch.device("cpu")
        with pytest.raises(UsageError, match="no CUDA GPU; try --backend cpu"):
            choose_device("gpu", 0)


@pytest.mark.gpu
def test_gpu_matches_cpu():
    cpu, gpu = make(), make("cuda")
    for update in range(3):
        batch = make_batch(update)
        torch.testing.assert_close(gpu.train(batch).cpu(), cpu.train(batch), rtol=1e-2, atol=1e-3)


def q_of(theta, states):
    """A network on vectors with one hidden ReLU layer, in float64 with numpy."""
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in theta)
    hidden = np.maximum(states.reshape(len(states), -1).astype(float) @ w1.T + b1, 0)
    return hidden @ w2.T + b2


def test_double_q_selects_online_and_evaluates_with_the_target():
    network = make_network(shape=(3,), hidden_units=16)
    dqn = make(network=network, clip_error=0, double_q=True)
    with torch.no_grad():
        for p in dqn.network.parameters():
            p.add_(torch.randn_like(p))  # the two disagree now
    batch = make_batch(1, shape=(3,))
    theta, target = list(dqn.network.parameters()), list(dqn.target_network.parameters())
    best = q_of(theta, batch.poststates).argmax(axis=1)
    evaluated = q_of(target, batch.poststates)
    assert (best != evaluated.argmax(axis=1)).any()
    y = batch.returns + batch.discounts * evaluated[np.arange(32), best]
    expected = np.abs(y - q_of(theta, batch.states)[np.arange(32), batch.actions])
    np.testing.assert_allclose(dqn.train(batch).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("clip", "reduction"), [(1.0, "sum"), (0.3, "mean")])
def test_quantile_loss_matches_the_paper(clip, reduction):
    """Dabney et al. 2018, equations 8 to 10, one pair of quantiles at a time."""
    quantiles = 5
    network = make_network(shape=(3,), hidden_units=8, quantiles=quantiles)
    dqn = make(network=network, clip_error=clip, loss_reduction=reduction, optimizer="adam")
    with torch.no_grad():
        for p in dqn.network.parameters():
            p.add_(torch.randn_like(p))
    batch = make_batch(2, size=6, shape=(3,))._replace(
        weights=np.linspace(0.2, 1, 6, dtype=np.float32)
    )
    theta, target = list(dqn.network.parameters()), list(dqn.target_network.parameters())
    post = q_of(target, batch.poststates).reshape(6, 4, quantiles)

    w1, b1, w2, b2 = leaves = [p.detach().double().requires_grad_() for p in theta]
    inputs = torch.from_numpy(batch.states.reshape(6, -1)).double()
    values = (F.relu(inputs @ w1.T + b1) @ w2.T + b2).reshape(6, 4, quantiles)
    loss, errors = torch.zeros((), dtype=torch.float64), []
    for b in range(6):
        best = post[b].mean(axis=1).argmax()
        y = batch.returns[b] + batch.discounts[b] * post[b, best]
        z = values[b, batch.actions[b]]
        errors.append(abs(y.mean() - z.mean().item()))
        for i in range(quantiles):
            tau = (2 * i + 1) / (2 * quantiles)
            for j in range(quantiles):
                u = y[j] - z[i]
                huber = 0.5 * u**2 if abs(u) <= clip else clip * (abs(u) - 0.5 * clip)
                asymmetry = abs(tau - float(u < 0))
                loss = loss + float(batch.weights[b]) * asymmetry * huber / quantiles
    if reduction == "mean":
        loss = loss / 6
    expected = torch.autograd.grad(loss, leaves)

    np.testing.assert_allclose(dqn.train(batch).numpy(), errors, rtol=1e-4, atol=1e-5)
    for p, gradient in zip(dqn.network.parameters(), expected, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), gradient.numpy(), rtol=2e-3, atol=1e-5)


def test_quantiles_learn_the_return_distribution():
    """One return in four is 10, the others 0: the quantiles show it, and their mean is 2.5."""
    network = make_network(shape=(1,), actions=1, hidden_units=4, quantiles=8)
    dqn = make(network=network, optimizer="adam", learning_rate=0.01, clip_error=1.0)
    rng = np.random.default_rng(0)
    states = np.ones((64, 4, 1), np.float32)
    for _ in range(1500):
        returns = np.where(rng.random(64) < 0.25, 10, 0).astype(np.float32)
        zeros = np.zeros(64, np.int64)
        ones = np.ones(64, np.float32)
        dqn.train(Batch(states, zeros, returns, 0 * ones, states, zeros, ones))
    z = np.sort(dqn.network.distributions(torch.from_numpy(states[:1])).detach().numpy()[0, 0])
    assert z[:6] == pytest.approx([0] * 6, abs=1.0)
    assert z[6:] == pytest.approx([10] * 2, abs=1.0)
    assert dqn.predict(states[:1])[0, 0] == pytest.approx(2.5, abs=0.5)
