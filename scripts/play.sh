#!/usr/bin/env bash
# Watch a snapshot play, or take over: play.sh <snapshot, or a game to play yourself> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
file=${BASH_SOURCE[0]}
while [[ -L $file ]]; do
    link=$(readlink "$file")
    [[ $link == /* ]] && file=$link || file=$(dirname -- "$file")/$link
done
source "$(dirname -- "$file")/setup.sh"
setup watch
exec simple-dqn play "$@"
