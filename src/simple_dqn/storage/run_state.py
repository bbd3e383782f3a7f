"""The state of a whole run: what a checkpoint stores, and how the objects are restored."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback, Phase
from simple_dqn.environment import NotRepeatableError
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import (
    ASKED_AGAIN,
    KEPT_IN_CHECKPOINT,
    Config,
    without_places,
)
from simple_dqn.statistics import Statistics
from simple_dqn.storage.checkpoint import Checkpoint
from simple_dqn.storage.run_files import csv_of
from simple_dqn.storage.snapshot import fitting_training_state
from simple_dqn.storage.states import MISFITS, conform, typed

logger = logging.getLogger(__name__)


def run_state(
    config: Config, game: str, agent: Agent, statistics: Statistics, callback: Callback | None
) -> dict[str, Any]:
    """Return the state of all objects of a run, without the replay memory's slots.

    Args:
        config, game, agent, statistics: of the run.
        callback: the custom one, if there is one.
    """
    assert agent.memory is not None
    options, device = config.to_dict(), agent.network.device
    asked_for = {name: options[name] for name in ASKED_AGAIN}
    if options["csv_file"] == csv_of(options["save_weights_prefix"]):
        asked_for["csv_file"] = ""  # the default
    return dict(
        game=game,
        config=without_places(options),
        places={name: options[name] for name in KEPT_IN_CHECKPOINT},
        asked_for=asked_for,
        start_epoch=config.run.start_epoch,
        agent=agent.state_dict() | _games_state(agent),
        network=agent.network.state_dict(),
        memory=agent.memory.state_dict(),
        statistics=statistics.state_dict(),
        callback=callback.state_dict() if callback else None,
        torch_generator=torch.get_rng_state(),
        cuda_generator=torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    )


class SavedRun(NamedTuple):
    """What a checkpoint says about its run before the objects are built."""

    path: Path
    game: str  # ALE's name of the game or a Gymnasium id
    config: dict[str, Any]  # all options except places that checkpoints do not store
    asked_for: dict[str, str]  # places that must be given again, see ASKED_AGAIN
    start_epoch: int
    epoch: int  # the current one
    phase: str
    refill: bool  # whether the random phase refills the memory of a run resumed from a snapshot
    finished: bool  # whether nothing is left to do
    complete: bool  # whether the phase has had its steps; its row may be written or not
    state: dict[str, Any]  # the complete state

    @property
    def snapshot_epoch(self) -> int:
        """The epoch of the last snapshot."""
        return self.epoch - (self.phase == "train")


def read_saved_run(checkpoint: Checkpoint) -> SavedRun:
    """Read a checkpoint, without the replay memory's slots.

    Raises:
        UsageError: it is damaged.
    """
    state = checkpoint.load()
    try:
        phase = typed(state["agent"]["phase"], str)
        if phase not in ("random", "train", "test"):
            raise ValueError(f"no phase {phase!r:.20}")
        return SavedRun(
            path=checkpoint.path,
            game=typed(state["game"], str),
            config={
                **without_places(typed(state["config"], dict)),
                **{name: state["places"][name] for name in KEPT_IN_CHECKPOINT},
            },
            asked_for={name: typed(state["asked_for"][name], str) for name in ASKED_AGAIN},
            start_epoch=typed(state["start_epoch"], int),
            epoch=typed(state["statistics"]["epoch"], int),
            phase=phase,
            refill=typed(state["refill"], bool),
            finished=typed(state["finished"], bool),
            complete=typed(state.get("complete", state["finished"]), bool),  # not in older ones
            state=state,
        )
    except MISFITS as error:
        raise UsageError(f"'{checkpoint.path}' is damaged ({error!s:.200})") from None


def load_run_state(
    checkpoint: Checkpoint,
    state: dict[str, Any],
    agent: Agent,
    statistics: Statistics,
    callback: Callback | None,
) -> None:
    """Restore the objects of a run that was built with the same options.

    Raises:
        UsageError: the checkpoint is damaged, or was made with other options.
    """
    memory, network = agent.memory, agent.network
    assert memory is not None
    try:
        checkpoint.load_slots(memory, len(agent.environment.action_meanings))
        remembered = memory.state_dict()
        older = {name: remembered[name] for name in ("exponent",) if name in remembered}
        memory.load_state_dict(conform(older | state["memory"], remembered, "memory"))
        own = network.state_dict()
        learnt = conform(state["network"], own | {"training_state": None}, "network")
        learnt["training_state"] = fitting_training_state(
            learnt["training_state"], own["training_state"]
        )
        network.load_state_dict(learnt)
        games = {"environments": None, "states": [b.states for _, b in agent.all_lanes]}
        acted = conform(state["agent"], agent.state_dict() | games, "agent")
        agent.load_state_dict(acted)
        _load_games_state(agent, acted)
        counted = conform(state["statistics"], statistics.state_dict(), "statistics")
        statistics.load_state_dict(counted, agent)
        torch.set_rng_state(state["torch_generator"])
        drawn = state.get("cuda_generator")  # not in older ones
        if network.device.type == "cuda" and drawn is not None:
            torch.cuda.set_rng_state(drawn, network.device)
    except UsageError:  # already says what is wrong, such as which file is damaged
        raise
    except MISFITS as error:
        raise UsageError(
            f"'{checkpoint.path}' does not fit these options, or is damaged ({error!s:.200})"
        ) from None
    if callback and state["callback"] is not None:
        callback.load_state_dict(state["callback"], agent)


def _games_state(agent: Agent) -> dict[str, Any]:
    """Return the states of the environments, None if unsupported, and of their buffers."""
    return dict(
        environments=[environment.state_dict() for environment, _ in agent.all_lanes],
        states=[buffer.states.copy() for _, buffer in agent.all_lanes],
    )


def _load_games_state(agent: Agent, state: dict[str, Any]) -> None:
    """Restore what ``_games_state`` returned; if that fails, the phase starts new games."""
    for (environment, buffer), games, states in zip(
        agent.all_lanes, state["environments"], state["states"], strict=True
    ):
        buffer.load(states)
        is_current = environment is agent.environment
        try:
            if games is not None:
                environment.load_state_dict(games)
            elif is_current:
                raise NotRepeatableError("the environment does not return its state")
        except NotRepeatableError as error:
            logger.warning("%s: new games begin instead of the interrupted ones", error)
            if is_current:
                agent.phase.new_games = True
    if agent.phase.new_games and agent.phase == "test":
        agent.phase = Phase()  # repeat the test, so that its scores are of whole games
