#!/usr/bin/env bash
# Run games, variants and seeds, or a search: sweep.sh <game> [more games] [--label L] [--seeds N] [--grid option=v1,v2] [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup sweep
exec simple-dqn sweep "$@"
