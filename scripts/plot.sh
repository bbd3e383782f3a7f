#!/usr/bin/env bash
# Plot the statistics of runs: plot.sh <csv> [more csvs] [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
file=${BASH_SOURCE[0]}
while [[ -L $file ]]; do
    link=$(readlink "$file")
    [[ $link == /* ]] && file=$link || file=$(dirname -- "$file")/$link
done
source "$(dirname -- "$file")/setup.sh"
setup analysis
exec simple-dqn plot "$@"
