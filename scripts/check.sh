#!/usr/bin/env bash
# Lint, types, import layers and tests, which every change must pass. Arguments go to pytest.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
file=${BASH_SOURCE[0]}
while [[ -L $file ]]; do
    link=$(readlink "$file")
    [[ $link == /* ]] && file=$link || file=$(dirname -- "$file")/$link
done
source "$(dirname -- "$file")/setup.sh"
setup dev
cd "$root"
ruff check
ruff format --check
mypy
lint-imports --no-cache
exec pytest --numprocesses auto "$@"
