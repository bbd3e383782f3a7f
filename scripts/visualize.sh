#!/usr/bin/env bash
# Visualize the filters of a network: visualize.sh <snapshot> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup analysis
exec simple-dqn visualize "$@"
