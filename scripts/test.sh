#!/usr/bin/env bash
# Test a snapshot: test.sh <snapshot> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup
exec simple-dqn test "$@"
