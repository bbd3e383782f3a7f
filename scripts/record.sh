#!/usr/bin/env bash
# Record a video of a snapshot's game: record.sh <snapshot> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup watch
exec simple-dqn record "$@"
