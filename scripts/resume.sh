#!/usr/bin/env bash
# Go on with a training: resume.sh <snapshot> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn resume "$@"
