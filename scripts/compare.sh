#!/usr/bin/env bash
# Compare runs by label over games and seeds: compare.sh <csv or folder> [more] [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup analysis
exec simple-dqn compare "$@"
