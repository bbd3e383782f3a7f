"""The options: their declarations, the presets, the command line, and the checks of values.

Imports nothing of the package but ``errors``.
"""
