"""Building the objects of a run from its configuration: the only place that constructs them.

Each object takes explicit values instead of the whole configuration.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.callbacks.progress import Progress, log_row
from simple_dqn.callbacks.test_players import LoadPlayers, TestPlayer
from simple_dqn.commands.schedules import make_schedules
from simple_dqn.deep_q_network import DeepQNetwork
from simple_dqn.environment import Environment
from simple_dqn.environments.games import make_environment
from simple_dqn.environments.parallel import ParallelEnvironment
from simple_dqn.networks.acceleration import (
    LEAST_UPDATES,
    can_be_captured,
    choose_datatype,
    choose_device,
    keep_freed_memory,
    make_acting_stream,
)
from simple_dqn.networks.optimizers import make_optimizer
from simple_dqn.networks.q_network import QNetwork
from simple_dqn.options import custom_classes
from simple_dqn.options.definitions import Config
from simple_dqn.options.resources import require_memory, require_network_memory
from simple_dqn.replay.device import (
    DevicePrioritizedReplayMemory,
    DeviceReplayMemory,
    DeviceStateBuffer,
    Upload,
    fits_on_device,
)
from simple_dqn.replay.prioritized import PrioritizedReplayMemory
from simple_dqn.replay.state_buffer import StateBuffer
from simple_dqn.replay_memory import ReplayMemory
from simple_dqn.statistics import Statistics

# A short test has fewer lanes: with more, many games would end too late to count.
STEPS_PER_LANE = 2_000


@dataclass
class Run:
    """The objects of a run, wired together; leaving ``with`` closes what is open.

    Attributes:
        callback: the custom callback, if any.
        resources: closed in reverse order: environments, displays, recordings.
    """

    config: Config
    game: str
    agent: Agent
    statistics: Statistics
    callback: Callback | None = None
    resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def environment(self) -> Environment:
        """The games of training and playing; for those of tests, see the agent."""
        return self.agent.training_lanes[0]

    @property
    def network(self) -> DeepQNetwork:
        """The Q-network."""
        return self.agent.network

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.resources.close()


def build(
    config: Config,
    game: str,
    rom: Path | None,
    *,
    updates: int = 0,
    with_memory: bool = True,
    with_tests: bool = True,
    shown: bool = False,
) -> Run:
    """Build the objects of a run from its configuration, without writing any file.

    Args:
        config: of the run.
        game, rom: see ``find_game``.
        updates: expected in the run; with enough of them, slow-starting acceleration is used.
        with_memory: whether there is a replay memory.
        with_tests: whether test phases have separate games, ``--test_envs`` of them.
        shown: whether the frames and the sound of the first game are used.

    Raises:
        UsageError: memory, device, screen size or the game's switches do not allow it.
    """
    seeds = seed(config)
    device = choose_device(config.backend.backend, config.backend.device_id)
    set_threads(config, device)
    num_envs, workers = config.environment.num_envs, config.environment.workers
    environment = make_environment(config, game, rom, num_envs, seeds[1], shown, workers)
    if isinstance(environment, ParallelEnvironment):
        environment.together = device.type == "cuda"
    aside = config.agent.concurrent and config.backend.acceleration and not config.network.noisy
    stream = make_acting_stream(device) if aside else None
    upload = make_upload(config, environment, device, stream)
    playing = environment, make_buffer(config, environment, upload)
    memory = make_memory(config, environment, upload, seeds[2]) if with_memory else None
    network = make_network(config, environment, device, updates, stream)
    tests = with_tests and bool(config.run.test_steps or config.run.test_games)
    testing = make_test_games(config, game, rom, seeds[4], shown, device) if tests else None
    agent = make_agent(config, playing, memory, network, testing, seeds[3])
    statistics = Statistics(config.run.validation_size, on_row=(log_row,))
    callback = make_custom_callback(config)
    agent.callbacks = make_callbacks(config, agent, statistics, callback)
    run = Run(config, game, agent, statistics, callback)
    for games, _ in agent.all_lanes:
        run.resources.callback(games.close)
    return run


def seed(config: Config) -> list[np.random.SeedSequence]:
    """Seed torch; return the seeds of games, replay, exploration and tests at 1, 2, 3, 4."""
    # A resumed run draws other numbers than at its start, but the same each time.
    start = [config.run.start_epoch] if config.run.start_epoch else []
    seeds = np.random.SeedSequence([config.common.random_seed, *start]).spawn(5)
    torch.manual_seed(int(seeds[0].generate_state(1)[0]))
    return seeds


def set_threads(config: Config, device: torch.device) -> None:
    """Set the CPU threads of the network, and how its arithmetic and memory are handled."""
    # Beside a GPU, threads would only take the cores from the games.
    if threads := config.backend.threads or int(device.type == "cuda"):
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = True  # as convolutions do by default
    # The moments of dead units decay to denormals, which are slow on CPUs. Threads inherit this.
    torch.set_flush_denormal(True)
    keep_freed_memory()


def make_upload(
    config: Config, environment: Environment, device: torch.device, stream: Any = None
) -> Upload | None:
    """Return what copies screens to a GPU; None on the CPU, and for games without screens."""
    if device.type != "cuda" or environment.observation_dtype != np.uint8:
        return None
    return Upload(device, stream) if config.backend.acceleration else None


def make_memory(
    config: Config, environment: Environment, upload: Upload | None, seed: np.random.SeedSequence
) -> ReplayMemory:
    """Return the replay memory, on a GPU if it has enough memory."""
    size, shape = config.replay.replay_size, environment.observation_shape
    dtype = environment.observation_dtype
    kind: Any = PrioritizedReplayMemory if config.replay.prioritized else ReplayMemory
    if upload and fits_on_device(size, shape, upload.device):
        prioritized = config.replay.prioritized
        kind = DevicePrioritizedReplayMemory if prioritized else DeviceReplayMemory
        kind = partial(kind, upload=upload)
    else:
        require_memory(ReplayMemory.nbytes(size, shape, dtype), size)
    if config.replay.prioritized:
        kind = partial(kind, exponent=config.replay.priority_exponent)
    clipped = config.network.min_reward or config.network.max_reward
    memory: ReplayMemory = kind(
        size, config.environment.num_envs, config.replay.history_length, shape, dtype,
        discount_rate=config.network.discount_rate,
        n_step=config.replay.n_step,
        min_reward=config.network.min_reward if clipped else -np.inf,
        max_reward=config.network.max_reward if clipped else np.inf,
        history_padding=config.replay.history_padding,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return memory


def make_network(
    config: Config, environment: Environment, device: torch.device, updates: int,
    acting_stream: Any = None,
) -> DeepQNetwork:  # fmt: skip
    """Return the Q-network with its optimiser, accelerated if that pays off in ``updates``."""
    options = config.network
    network = make_q_network(config, environment).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    accelerate = config.backend.acceleration and updates > 0
    captured = (
        accelerate and device.type == "cuda" and can_be_captured(options.optimizer, options.noisy)
    )
    optimizer = make_optimizer(
        options.optimizer, list(network.parameters()),
        learning_rate=options.learning_rate,
        decay_rate=options.decay_rate,
        epsilon=options.optimizer_epsilon,
        centered=options.rmsprop_centered,
        compiled=accelerate and updates >= LEAST_UPDATES,
        captured=captured,
    )  # fmt: skip
    return DeepQNetwork(
        network, optimizer,
        datatype=choose_datatype(config.backend.datatype, device),
        loss_reduction=options.loss_reduction,
        clip_error=options.clip_error,
        has_target_network=config.agent.target_steps > 0,
        double_q=options.double_q,
        captured=captured,
        acting_stream=acting_stream,
    )  # fmt: skip


def make_q_network(config: Config, environment: Environment) -> QNetwork:
    """Return the module that maps states to Q-values, on the CPU."""
    options = config.network
    make = partial(
        QNetwork, len(environment.action_meanings), config.replay.history_length,
        environment.observation_shape,
        filters=options.filters,
        hidden_layers=options.hidden_layers,
        hidden_units=options.hidden_units,
        conv1_padding=options.conv1_padding,
        batch_norm=options.batch_norm,
        weight_init=options.weight_init,
        dueling=options.dueling,
        quantiles=options.quantiles,
        noisy=options.noisy,
    )  # fmt: skip
    with torch.device("meta"):  # where tensors have sizes but no storage
        require_network_memory(sum(param.nbytes for param in make().parameters()))
    return make()


def make_test_games(
    config: Config, game: str, rom: Path | None, seed: np.random.SeedSequence, shown: bool,
    device: torch.device,
) -> tuple[Environment, StateBuffer]:  # fmt: skip
    """Return the games of test phases and the buffer of their states."""
    lanes = count_test_lanes(config)
    workers = count_test_workers(config, rom, lanes, device)
    environment = make_environment(config, game, rom, lanes, seed, shown, workers)
    if isinstance(environment, ParallelEnvironment):
        on_gpu = environment.together = device.type == "cuda"
        environment.make_player = None if on_gpu else partial(make_player, config)
    return environment, make_buffer(config, environment, make_upload(config, environment, device))


def make_player(config: Config, environment: Environment, lanes: int) -> TestPlayer:
    """Return what chooses the actions in a process that plays test games, in one thread."""
    config = replace(config, backend=replace(config.backend, threads=1))
    device = torch.device("cpu")
    set_threads(config, device)
    network = make_network(config, environment, device, updates=0)
    shape, dtype = environment.observation_shape, environment.observation_dtype
    return TestPlayer(network, lanes, config.replay.history_length, shape, dtype)


def make_buffer(config: Config, environment: Environment, upload: Upload | None) -> StateBuffer:
    """Return the buffer of the current states of an environment's lanes, also on a GPU."""
    shape, dtype = environment.observation_shape, environment.observation_dtype
    num_envs, history_length = environment.num_envs, config.replay.history_length
    if upload:
        return DeviceStateBuffer(num_envs, history_length, shape, upload)
    return StateBuffer(num_envs, history_length, shape, dtype)


def make_agent(
    config: Config,
    playing: tuple[Environment, StateBuffer],
    memory: ReplayMemory | None,
    network: DeepQNetwork,
    testing: tuple[Environment, StateBuffer] | None,
    seed: np.random.SeedSequence,
) -> Agent:
    """Return the agent, without callbacks."""
    return Agent(
        playing[0], memory, network, playing[1],
        testing=testing,
        exploration_rate_test=config.agent.exploration_rate_test,
        train_frequency=config.agent.train_frequency,
        train_repeat=config.agent.train_repeat,
        batch_size=config.network.batch_size,
        target_steps=config.agent.target_steps,
        concurrent=config.agent.concurrent,
        rng=np.random.default_rng(seed),
    )  # fmt: skip


def make_custom_callback(config: Config) -> Callback | None:
    """Return the callback that ``--callback`` names."""
    name = config.run.callback
    return custom_classes.make(name, Callback, "callback") if name else None


def make_callbacks(
    config: Config, agent: Agent, statistics: Statistics, custom: Callback | None
) -> list[Callback]:
    """Return the agent's callbacks in the order in which they are called."""
    return [
        *make_schedules(config, agent),
        *([LoadPlayers()] if agent.testing_lanes[0].chooses else []),
        Progress(statistics),  # the live line closes before a log line
        statistics,
        *([custom] if custom else []),
    ]


def count_test_lanes(config: Config) -> int:
    """Return the number of test lanes: ``--test_envs``, but no more than the test can use.

    One lane if the test is shown or recorded, so that all games are seen.
    """
    run, env = config.run, config.environment
    if env.display_screen or env.record_screen_path or env.record_sound_filename:
        return 1
    usable = run.test_games or max(run.test_steps // STEPS_PER_LANE, 1)
    return min(config.environment.test_envs, usable)


def count_test_workers(config: Config, rom: Path | None, lanes: int, device: torch.device) -> int:
    """Return the number of test processes: ``--test_workers``, by default one per CPU thread.

    Beside a GPU, one per core. By default, at most one for two lanes; none with a single thread or
    core, where it gains nothing, and none for games that may not support several processes.
    """
    if config.environment.test_workers >= 0:
        return config.environment.test_workers
    on_gpu = device.type == "cuda"
    cores = len(psutil.Process().cpu_affinity()) if on_gpu else torch.get_num_threads()
    workers = min(config.backend.threads or cores, lanes // 2)
    return workers if workers > 1 and rom is not None else 0


def count_updates(config: Config) -> int:
    """Return the updates of a whole run, the same number wherever it is resumed."""
    steps = config.run.epochs * config.run.train_steps
    return steps // config.agent.train_frequency * config.agent.train_repeat
