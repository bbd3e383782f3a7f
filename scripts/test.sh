#!/usr/bin/env bash
# Test a snapshot: test.sh <snapshot> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn test "$@"
