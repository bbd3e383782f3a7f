#!/usr/bin/env bash
# Plot the statistics of runs: plot.sh <csv> [more csvs] [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup analysis
exec simple-dqn plot "$@"
