#!/usr/bin/env bash
# Train on a game: train.sh <rom, game or Gymnasium id> [label] [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup "$(with_page "$@")"
exec simple-dqn train "$@"
