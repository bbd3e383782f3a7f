#!/usr/bin/env bash
# Lint, types, import layers and tests, which every change must pass. Arguments go to pytest.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup dev
cd "$root"
ruff check
ruff format --check
mypy
lint-imports --no-cache
exec pytest --numprocesses auto "$@"
