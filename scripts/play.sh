#!/usr/bin/env bash
# Watch a snapshot play, or take over: play.sh <snapshot, or a game to play yourself> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup watch
exec simple-dqn play "$@"
