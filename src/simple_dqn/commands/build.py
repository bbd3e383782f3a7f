"""Building the objects of a run from its configuration: the only place that constructs them.

Each object takes explicit values, not the whole configuration, and none knows where they came from.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simple_dqn.agent import Agent, Callback
from simple_dqn.callbacks.progress import Progress, log_row
from simple_dqn.callbacks.schedules import NoisyExploration, Schedule
from simple_dqn.callbacks.share_cores import ShareCores
from simple_dqn.deep_q_network import DeepQNetwork, choose_device
from simple_dqn.environment import Environment
from simple_dqn.environments.games import make_environment
from simple_dqn.errors import UsageError
from simple_dqn.networks.q_network import QNetwork
from simple_dqn.options import custom_classes as user_classes
from simple_dqn.options.definitions import Config
from simple_dqn.options.resources import require_memory, require_network_memory
from simple_dqn.replay.device import device_screens
from simple_dqn.replay.prioritized import PrioritizedReplayMemory
from simple_dqn.replay.state_buffer import StateBuffer
from simple_dqn.replay_memory import ReplayMemory
from simple_dqn.statistics import Statistics
from simple_dqn.storage.files import require_writable
from simple_dqn.storage.snapshot import Snapshot

logger = logging.getLogger(__name__)

# In a test of few steps more lanes than these make would play games that end too late to count.
STEPS_A_LANE = 2_000


@dataclass
class Run:
    """The objects of a run, wired together; leaving ``with`` closes what is open.

    Attributes:
        environment: the games of training and playing; those of tests are the agent's affair.
        callback: the user's own.
        resources: what is closed last to first: the environment, displays, recordings.
    """

    config: Config
    game: str
    environment: Environment
    network: DeepQNetwork
    agent: Agent
    statistics: Statistics
    callback: Callback | None = None
    resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.resources.close()


def build(
    config: Config,
    game: str,
    rom: Path | None,
    with_memory: bool = True,
    with_tests: bool = True,
    shown: bool = False,
) -> Run:
    """Build the objects of a run from its configuration; nothing is written yet.

    Args:
        config: of the run.
        game, rom: see ``find_game``.
        with_memory: whether there is a replay memory to learn from.
        with_tests: whether testing phases have games of their own, ``--test_envs`` of them.
        shown: whether somebody will listen to the frames and the sound of the first game.

    Raises:
        UsageError: memory, device, screen size or the game's switches do not allow it.
    """
    # A run that goes on draws other numbers than at its beginning, but the same each time.
    start = [config.run.start_epoch] if config.run.start_epoch else []
    seeds = np.random.SeedSequence([config.common.random_seed, *start]).spawn(5)
    torch.manual_seed(int(seeds[0].generate_state(1)[0]))
    if config.backend.threads:
        torch.set_num_threads(config.backend.threads)
    # A dead unit's moments decay to denormals, on which CPUs are slow. Other threads inherit this.
    torch.set_flush_denormal(True)

    num_envs, history_length = config.environment.num_envs, config.replay.history_length
    workers = config.environment.workers
    environment = make_environment(config, game, rom, num_envs, seeds[1], shown, workers)
    shape, dtype = environment.observation_shape, environment.observation_dtype
    device = choose_device(config.backend.backend, config.backend.device_id)
    memory = None
    if with_memory:
        size = config.replay.replay_size
        screens = None
        if config.backend.acceleration and dtype == np.uint8:
            screens = device_screens(num_envs, size // num_envs, shape, device)
        if screens is None:
            require_memory(ReplayMemory.nbytes(size, shape, dtype), size)
        clipped = config.network.min_reward or config.network.max_reward
        least = config.network.min_reward if clipped else -np.inf
        most = config.network.max_reward if clipped else np.inf
        kind: Any = ReplayMemory
        if config.replay.prioritized:
            kind = partial(PrioritizedReplayMemory, exponent=config.replay.priority_exponent)
        memory = kind(
            size, num_envs, history_length, shape, dtype,
            discount_rate=config.network.discount_rate,
            n_step=config.replay.n_step,
            min_reward=least,
            max_reward=most,
            history_padding=config.replay.history_padding,
            rng=np.random.default_rng(seeds[2]),
            screens=screens,
        )  # fmt: skip
    make_network = partial(
        QNetwork, len(environment.action_meanings), history_length, shape,
        filters=config.network.filters,
        hidden_layers=config.network.hidden_layers,
        hidden_units=config.network.hidden_units,
        conv1_padding=config.network.conv1_padding,
        batch_norm=config.network.batch_norm,
        weight_init=config.network.weight_init,
        dueling=config.network.dueling,
        quantiles=config.network.quantiles,
        noisy=config.network.noisy,
    )  # fmt: skip
    with torch.device("meta"):  # where tensors have sizes and take no room
        require_network_memory(sum(param.nbytes for param in make_network().parameters()))
    network = DeepQNetwork(
        make_network(),
        device,
        datatype=config.backend.datatype,
        optimizer=config.network.optimizer,
        learning_rate=config.network.learning_rate,
        decay_rate=config.network.decay_rate,
        epsilon=config.network.optimizer_epsilon,
        centered=config.network.rmsprop_centered,
        loss_reduction=config.network.loss_reduction,
        clip_error=config.network.clip_error,
        has_target_network=config.agent.target_steps > 0,
        double_q=config.network.double_q,
    )  # fmt: skip
    if memory is not None and memory.states_are_slots:
        network.lookup = memory.screens.lookup
    statistics = Statistics(config.run.validation_size, on_row=(log_row,))
    testing = None
    if with_tests and (config.run.test_steps or config.run.test_games):
        test_envs = count_test_lanes(config)
        workers = count_test_workers(config, rom, test_envs)
        testing = (
            make_environment(config, game, rom, test_envs, seeds[4], shown, workers),
            StateBuffer(test_envs, history_length, shape, dtype),
        )
    agent = Agent(
        environment, memory, network,
        StateBuffer(num_envs, history_length, shape, dtype),
        testing=testing,
        exploration_rate_test=config.agent.exploration_rate_test,
        train_frequency=config.agent.train_frequency,
        train_repeat=config.agent.train_repeat,
        batch_size=config.network.batch_size,
        target_steps=config.agent.target_steps,
        rng=np.random.default_rng(seeds[3]),
    )  # fmt: skip
    agent.callbacks = [
        *make_schedules(config, agent, network, memory),
        *([ShareCores(workers)] if testing and workers else []),
        Progress(statistics),  # the live line closes before a log line
        statistics,
    ]
    own = config.run.callback
    callback = user_classes.make(own, Callback, "callback") if own else None
    if callback is not None:
        agent.callbacks.append(callback)
    run = Run(config, game, environment, network, agent, statistics, callback)
    for games in agent.environments:
        run.resources.callback(games.close)
    return run


def count_test_lanes(config: Config) -> int:
    """Return how many games are tested at once: --test_envs, but no more than the test can use.

    One, if somebody looks on or records: all games are to be seen.
    """
    run, env = config.run, config.environment
    if env.display_screen or env.record_screen_path or env.record_sound_filename:
        return 1
    usable = run.test_games or max(run.test_steps // STEPS_A_LANE, 1)
    return min(config.environment.test_envs, usable)


def count_test_workers(config: Config, rom: Path | None, lanes: int) -> int:
    """Return how many processes test: --test_workers, or by default one for each CPU thread.

    That is no more than leave each two lanes, and none where it gains nothing or where nobody knows
    what a second process does to the game: with one thread, or in a game that is not Atari's.
    """
    if config.environment.test_workers >= 0:
        return config.environment.test_workers
    workers = min(torch.get_num_threads(), lanes // 2)
    return workers if workers > 1 and rom is not None else 0


def make_schedules(
    config: Config, agent: Agent, network: DeepQNetwork, memory: ReplayMemory | None
) -> list[Callback]:
    """Return what changes with the training steps: ε, the learning rate, β of the replay, noise."""

    def set_exploration_rate(rate: float) -> None:
        agent.exploration_rate_train = rate

    options = config.agent
    whole_run = config.run.epochs * config.run.train_steps
    schedules: list[Callback] = [
        Schedule(
            set_exploration_rate,
            options.exploration_rate_start,
            options.exploration_rate_end,
            options.exploration_decay_steps,
            options.exploration_schedule,
        )
    ]
    learning = config.network
    if learning.learning_rate_schedule != "constant":
        schedules.append(
            Schedule(
                network.set_learning_rate,
                learning.learning_rate,
                learning.learning_rate_end,
                learning.learning_rate_decay_steps or whole_run,
                learning.learning_rate_schedule,
            )
        )
    if isinstance(memory, PrioritizedReplayMemory):
        start = config.replay.importance_exponent_start
        schedules.append(Schedule(memory.set_importance_exponent, start, 1.0, whole_run, "linear"))
    if learning.noisy:
        schedules.append(NoisyExploration(network.draw_noise))
    return schedules


def go_on(run: Run, snapshot: Snapshot) -> None:
    """Set weights and counters to a snapshot's.

    Raises:
        UsageError: see ``load_weights``.
    """
    load_weights(run, snapshot)
    run.agent.total_train_steps = snapshot.total_train_steps
    run.network.weight_updates = snapshot.weight_updates
    run.statistics.epoch = snapshot.epoch


def show_and_record(run: Run) -> None:
    """Attach what ``--display_screen`` and ``--record_...`` ask for to the first game.

    Raises:
        UsageError: there is no screen, a package is missing, or a recording exists already.
    """
    env = run.config.environment
    for option, place in (
        ("record_screen_path", env.record_screen_path),
        ("record_sound_filename", env.record_sound_filename),
    ):
        if place and Path(place).exists():
            raise UsageError(f"--{option} '{place}' exists: give another name")
        if place:
            require_writable(Path(place).parent, option)
    if env.display_screen:
        from simple_dqn.watch.displays import open_display
        from simple_dqn.watch.player import Player

        display = open_display("window", title(run))
        assert display is not None
        player = Player(run.agent, display, None, has_network=True)
        run.resources.callback(player.close)
        run.agent.callbacks.append(player)
    if env.record_screen_path or env.record_sound_filename:
        from simple_dqn.watch.recorder import Pictures, Sound

        listeners: list[Callable[[Environment], None]] = []
        if env.record_screen_path:
            pictures = Pictures(Path(env.record_screen_path), run.environment.pixel_aspect)
            listeners.append(pictures)
        if env.record_sound_filename:
            sound = Sound(Path(env.record_sound_filename), run.environment.sound_rate)
            run.resources.callback(sound.close)
            listeners.append(sound)
        for environment in run.agent.environments:
            environment.on_frame += tuple(listeners)


def title(run: Run) -> str:
    """Return the title of a window on the run."""
    return f"{run.game} - Simple DQN"


def announce(run: Run) -> None:
    """Log what is about to run, once nothing can be refused any more."""
    options = run.config
    weights = f", from {options.run.load_weights}" if options.run.load_weights else ""
    logger.info(
        "%s: %d actions, network on %s in %s%s",
        run.game, len(run.environment.action_meanings), run.network.device,
        options.backend.datatype, weights,
    )  # fmt: skip


def load_weights(run: Run, snapshot: Snapshot) -> None:
    """Set the network's weights to a snapshot's.

    Raises:
        UsageError: the snapshot is for other actions or observations than the game's.
    """
    own, theirs = run.environment.action_meanings, snapshot.action_meanings
    if own != theirs:
        raise UsageError(
            f"'{snapshot.path}' was trained on {snapshot.game} with the actions "
            f"{' '.join(theirs)}, but {run.game} has {' '.join(own)} here"
        )
    seen = snapshot.observation_shape, snapshot.observation_dtype
    here = run.environment.observation_shape, run.environment.observation_dtype.name
    if seen != here:
        raise UsageError(
            f"'{snapshot.path}' sees observations {seen[0]} {seen[1]}, but {run.game} has "
            f"{here[0]} {here[1]} here"
        )
    try:
        run.network.load_weights(snapshot.weights)
    except UsageError as error:
        raise UsageError(f"'{snapshot.path}': {error}") from None
