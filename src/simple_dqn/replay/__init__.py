"""Variants of the replay memory, and the current state of each lane.

Imports ``replay_memory``; never an environment or the network.
"""
