#!/usr/bin/env bash
# Profile testing: profile_test.sh <rom or game> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn profile_test "$@"
