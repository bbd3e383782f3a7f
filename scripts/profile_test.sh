#!/usr/bin/env bash
# Where does the time of testing go: profile_test.sh <rom or game> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn profile_test "$@"
