"""Catch: a ball falls, a paddle catches it. A custom environment, in N lanes."""

import numpy as np

from simple_dqn.environment import Environment, Step

ROWS, COLUMNS = 10, 5


class Catch(Environment):
    action_meanings = ["LEFT", "NOOP", "RIGHT"]
    observation_shape, observation_dtype = (ROWS * COLUMNS,), np.dtype(np.float32)

    def __init__(self, game, num_envs, seed):
        self.num_envs = num_envs
        self.rng = np.random.default_rng(seed)
        self.ball = np.zeros((num_envs, 2), int)  # row, column
        self.paddle = np.zeros(num_envs, int)

    def restart(self, lanes=None):
        lanes = np.arange(self.num_envs) if lanes is None else lanes
        self.ball[lanes, 0] = 0
        self.ball[lanes, 1] = self.rng.integers(COLUMNS, size=len(lanes))
        self.paddle[lanes] = COLUMNS // 2
        return self.observe()[lanes]

    def act(self, actions):
        self.paddle = np.clip(self.paddle + actions - 1, 0, COLUMNS - 1)
        self.ball[:, 0] += 1  # beyond the last row in a lane that waits for its restart
        over = self.ball[:, 0] == ROWS - 1
        rewards = over * np.where(self.ball[:, 1] == self.paddle, 1, -1).astype(np.float32)
        return Step(self.observe(), rewards, over, np.zeros_like(over), over)

    def observe(self):
        board = np.zeros((self.num_envs, ROWS, COLUMNS), np.float32)
        for lane, (row, column) in enumerate(self.ball):
            board[lane, min(row, ROWS - 1), column] = board[lane, -1, self.paddle[lane]] = 1
        return board.reshape(self.num_envs, -1)
