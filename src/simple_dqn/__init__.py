"""Simple DQN: a small, fast, faithful Deep-Q-Network research toolkit."""

__version__ = "0.1.0"
