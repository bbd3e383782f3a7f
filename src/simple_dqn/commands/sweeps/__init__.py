"""Studies of many runs on Ray Tune. A run is a process of ``train`` or ``resume``, unchanged.

Imports the layers below ``commands``; only ``commands.sweep`` imports it.
"""
