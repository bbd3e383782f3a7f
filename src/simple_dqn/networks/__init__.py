"""What ``deep_q_network`` is made of: trunks and heads, optimisers, acceleration.

Imports nothing of the package but ``errors``.
"""
