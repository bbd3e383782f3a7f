#!/usr/bin/env bash
# Train on a game: train.sh <rom, game or Gymnasium id> [label] [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn train "$@"
