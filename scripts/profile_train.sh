#!/usr/bin/env bash
# Profile training: profile_train.sh <rom or game> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn profile_train "$@"
