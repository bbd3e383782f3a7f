"""The commands of the command line, a module each, and ``build``, which makes a run's objects.

Imports every other room; is imported only by ``main``.
"""
