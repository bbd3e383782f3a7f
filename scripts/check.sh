#!/usr/bin/env bash
# Lint, types, directions of imports and tests: all that a change must pass. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup dev
cd "$root"
ruff check
ruff format --check
mypy
lint-imports --no-cache
exec pytest --numprocesses auto "$@"
