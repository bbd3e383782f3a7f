"""The options of learning: replay memory, network, device and agent."""

from __future__ import annotations

from dataclasses import dataclass

from simple_dqn.options.option import IMPORT, ONLINE, TRAIN, option

RMSPROP = {"optimizer": ("rmsprop",)}
NOT_ADAM = {"optimizer": ("rmsprop", "adadelta")}
DECAYING = {"learning_rate_schedule": ("linear", "exponential")}
PRIORITIZED = {"prioritized": (True,)}


# fmt: off
@dataclass(frozen=True)
class ReplayOptions:
    """Replay memory."""

    replay_size: int = option(
        1_000_000, "capacity in screens, 7.1 kB each at 84x84: one for each transition and one "
        "more for each episode", unit="screens", low=2, commands=(*TRAIN, "play"),
        saved_play=True)
    history_length: int = option(
        4, "screens that form a state", unit="screens", low=1, high=64, commands=TRAIN)
    history_padding: str = option(
        "zero", "states that reach back past the start of their episode: set the missing screens "
        "to zero, or never sample such states", choices=("zero", "reject"), commands=TRAIN)
    n_step: int = option(
        1, "rewards summed before bootstrapping from the target network", unit="steps",
        low=1, high=100, commands=TRAIN)
    n_step_end: int | None = option(
        None, "n_step at the end of its decay, linear and rounded: long returns learn faster at "
        "first, short ones are less biased by old policies (default: constant)", unit="steps",
        low=1, high=100, commands=TRAIN)
    n_step_decay_steps: int = option(
        0, "training steps until n_step_end (0: the whole run)", unit="steps", low=0,
        commands=TRAIN)
    prioritized: bool = option(
        False, "sample transitions in proportion to |δ|^priority_exponent, and correct the bias "
        "with importance-sampling weights (Schaul et al. 2016)", commands=TRAIN)
    priority_exponent: float = option(
        0.6, "α; 0 samples uniformly", low=0, high=2, commands=TRAIN, only=PRIORITIZED)
    priority_exponent_end: float | None = option(
        None, "α after priority_decay_steps, reached linearly (default: constant)", low=0, high=2,
        commands=TRAIN, only=PRIORITIZED)
    priority_decay_steps: int = option(
        0, "training steps until priority_exponent_end (0: the whole run)", unit="steps", low=0,
        commands=TRAIN, only=PRIORITIZED)
    importance_exponent_start: float = option(
        0.4, "initial β; it rises to 1 over the whole run", low=0, high=1, commands=TRAIN,
        only=PRIORITIZED)


@dataclass(frozen=True)
class NetworkOptions:
    """Deep Q-network."""

    learning_rate: float = option(
        0.00025, "step size of the optimiser", low=0, high=10, commands=TRAIN)
    learning_rate_end: float = option(
        0.0, "step size at the end of its decay", low=0, high=10, commands=TRAIN, only=DECAYING)
    learning_rate_decay_steps: int = option(
        0, "training steps over which the step size decays (0: the whole run)", unit="steps",
        low=0, commands=TRAIN, only=DECAYING)
    learning_rate_schedule: str = option(
        "constant", "how the step size decays", choices=("constant", "linear", "exponential"),
        commands=TRAIN)
    discount_rate: float = option(
        0.99, "γ, the value of a reward one step later", low=0, high=1, commands=TRAIN)
    batch_size: int = option(
        32, "transitions per update", unit="transitions", low=1, high=65_536, commands=TRAIN)
    optimizer: str = option(
        "rmsprop", "optimiser", choices=("rmsprop", "adam", "adadelta", "sgd"), commands=TRAIN)
    decay_rate: float = option(
        0.95, "decay per update of the running means of rmsprop and adadelta", low=0, high=1,
        commands=TRAIN, only=NOT_ADAM)
    rmsprop_centered: bool = option(
        True, "DeepMind's rmsprop, lr·g/√(E[g²]−E[g]²+ε); false: the original simple_dqn's, "
        "lr·g/(√(E[g²]+ε)+ε)", commands=TRAIN, only=RMSPROP)
    optimizer_epsilon: float = option(
        0.0, "ε of the optimiser (0: its usual value: rmsprop 0.01 if centred, else 1e-6; adam "
        "1e-8; adadelta 1e-6)", low=0, high=1, commands=TRAIN,
        only={"optimizer": ("rmsprop", "adam", "adadelta")})
    loss_reduction: str = option(
        "sum", "how the gradients of a batch are combined", choices=("sum", "mean"),
        commands=TRAIN)
    clip_error: float = option(
        1.0, "clip TD errors to ± this value (0: no clipping)", low=0, commands=TRAIN)
    min_reward: float = option(
        -1.0, "lower bound of the rewards used for learning; scores are not clipped (both bounds "
        "0: no clipping)", commands=TRAIN)
    max_reward: float = option(
        1.0, "upper bound of the rewards used for learning; scores are not clipped (both bounds "
        "0: no clipping)", commands=TRAIN)
    batch_norm: bool = option(
        False, "batch normalisation after each hidden layer", commands=TRAIN)
    weight_init: str = option(
        "fan_in", "initial weights: U(±1/√fan_in), biases too, as in torch7; or Xavier (Glorot) "
        "with zero biases", choices=("fan_in", "xavier"), commands=TRAIN)
    conv1_padding: int = option(
        1, "zero padding around the input of the first convolution", unit="pixels", low=0, high=7,
        commands=(*TRAIN, *IMPORT))
    filters: int = option(
        32, "filters of the first convolution; the second and third have twice as many",
        unit="filters", low=1, high=1024, commands=TRAIN)
    hidden_layers: int = option(
        1, "fully connected hidden layers, after any convolutions (0: Q is linear in its input; "
        "for one-hot observations, a table)", unit="layers", low=0, high=16, commands=TRAIN)
    hidden_units: int = option(
        512, "rectifier units per hidden layer", unit="units", low=1, high=65_536, commands=TRAIN)
    double_q: bool = option(
        False, "Double Q-learning: θ selects the best action of the next state, θ⁻ evaluates it "
        "(van Hasselt et al. 2016)", commands=TRAIN)
    dueling: bool = option(
        False, "dueling network: separate streams for state value and advantages (Wang et al. "
        "2016)", commands=TRAIN)
    quantiles: int = option(
        1, "quantiles of the return learnt for each action (Dabney et al. 2018); 1: only its mean",
        unit="quantiles", low=1, high=1000, commands=TRAIN)
    noisy: bool = option(
        False, "noisy network: noise in the fully connected layers explores, so ε may be 0 "
        "(Fortunato et al. 2018)", commands=TRAIN)


@dataclass(frozen=True)
class BackendOptions:
    """Backend."""

    backend: str = option(
        "auto", "where the network runs; auto: on a CUDA GPU if there is one",
        choices=("cpu", "gpu", "auto"))
    device_id: int = option(0, "index of the GPU", low=0, high=1023)
    datatype: str = option(
        "float32", "precision of the forward and backward pass; weights stay in float32; auto: "
        "bfloat16 on a CPU that computes in it (avx512_bf16 or amx_bf16), else float32",
        choices=("float32", "bfloat16", "float16", "auto"))
    acceleration: bool = option(
        True, "compile the optimiser if the run is long enough to repay it; on a GPU, keep the "
        "replay memory on the device and train with a CUDA graph",
        commands=("train", "resume", "profile_train"))
    threads: int = option(
        0, "CPU threads of the network (0: one per core; beside a GPU a single one)",
        unit="threads", low=0, high=1024)


@dataclass(frozen=True)
class AgentOptions:
    """Agent."""

    exploration_rate_start: float = option(
        1.0, "ε at the start of its decay", low=0, high=1, commands=TRAIN, only=ONLINE)
    exploration_rate_end: float = option(
        0.1, "ε at the end of its decay", low=0, high=1, commands=TRAIN, only=ONLINE)
    exploration_decay_steps: int = option(
        1_000_000, "training steps over which ε decays", unit="steps", low=0, commands=TRAIN,
        only=ONLINE)
    exploration_schedule: str = option(
        "linear", "how ε decays", choices=("linear", "exponential"), commands=TRAIN, only=ONLINE)
    exploration_rate_test: float = option(0.05, "ε in tests and while playing", low=0, high=1)
    train_frequency: int = option(
        4, "make one update per this many steps", unit="steps", low=1, commands=TRAIN)
    train_repeat: int = option(
        1, "batches sampled and learnt from in each update", unit="batches", low=1, commands=TRAIN)
    target_steps: int = option(
        10_000, "training steps between copies to the target network (0: no target network)",
        unit="steps", low=0, commands=TRAIN)
    concurrent: bool = option(
        False, "learn while the games play, with --workers in other processes, instead of after "
        "them; the transitions of a round can be learnt from the next one on, and a GPU acts by "
        "the weights of before the last updates (Daley and Amato 2021)",
        commands=TRAIN, only=ONLINE)
# fmt: on
