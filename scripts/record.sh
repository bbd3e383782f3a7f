#!/usr/bin/env bash
# Record a video of a snapshot's game: record.sh <snapshot> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup watch
exec simple-dqn record "$@"
