#!/usr/bin/env bash
# Lint, types, import layers and tests, which every change must pass. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup dev
cd "$root"
ruff check
ruff format --check
mypy
lint-imports --no-cache
exec pytest --numprocesses auto "$@"
