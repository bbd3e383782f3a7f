"""What listens to the loop beside ``statistics``: schedules, progress, writers, the checkpointer.

Imports ``agent``, ``statistics`` and ``storage``; imported only by ``commands``.
"""
