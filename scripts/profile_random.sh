#!/usr/bin/env bash
# Where does the time of random play go: profile_random.sh <rom or game> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn profile_random "$@"
