#!/usr/bin/env bash
# Profile training: profile_train.sh <rom or game> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup
exec simple-dqn profile_train "$@"
