#!/usr/bin/env bash
# Plot the statistics of runs: plot.sh <csv> [more csvs] [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup analysis
exec simple-dqn plot "$@"
