"""The commands of the command line, a module each, and ``build``, which makes a run's objects.

Imports every other package; imported only by ``main``.
"""
