"""Analysis of results: learning curves of statistics files, and what excites a network's filters.

Imports only lower layers: storage, statistics, the agent and its parts, never ``commands``.
"""
