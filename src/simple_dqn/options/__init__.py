"""The options: what there is, the presets, the command line, and the checks of what was given.

Imports nothing of the package but ``errors``.
"""
