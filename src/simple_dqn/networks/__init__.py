"""The parts of ``deep_q_network``: trunks and heads, optimisers, acceleration.

Imports nothing of the package but ``errors``.
"""
