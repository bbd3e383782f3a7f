#!/usr/bin/env bash
# Make a snapshot of another package's network: import.sh <file> --game G [label] [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup
exec simple-dqn import "$@"
