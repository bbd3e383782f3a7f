"""The games behind the interface of ``environment``: Atari, Gymnasium, and lanes in processes.

Imports ``environment``, ``storage`` and ``options``; never the agent, the memory or the network.
"""
