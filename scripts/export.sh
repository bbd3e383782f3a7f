#!/usr/bin/env bash
# Write a snapshot for other programs: export.sh <snapshot> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup export
exec simple-dqn export "$@"
