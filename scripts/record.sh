#!/usr/bin/env bash
# Film a game of a snapshot: record.sh <snapshot> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup watch
exec simple-dqn record "$@"
