"""Callbacks besides ``statistics``: schedules, progress, writers, the checkpointer.

Imports ``agent``, ``statistics`` and ``storage``; imported only by ``commands``.
"""
