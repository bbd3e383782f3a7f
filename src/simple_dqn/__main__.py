"""``python -m simple_dqn`` is the same as the ``simple-dqn`` command."""

from simple_dqn.main import main

if __name__ == "__main__":
    raise SystemExit(main())
