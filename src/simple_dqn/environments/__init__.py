"""Implementations of ``environment``: Atari, Gymnasium, and lanes in worker processes.

Imports ``environment``, ``storage`` and ``options``; never the agent, the memory or the network.
"""
