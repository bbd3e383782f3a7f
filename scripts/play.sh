#!/usr/bin/env bash
# Watch a snapshot play, or take over: play.sh <snapshot, or a game to play yourself> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup watch
exec simple-dqn play "$@"
