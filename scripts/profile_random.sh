#!/usr/bin/env bash
# Profile random play: profile_random.sh <rom or game> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn profile_random "$@"
