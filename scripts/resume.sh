#!/usr/bin/env bash
# Resume a training: resume.sh <name of the run, or snapshot> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup
exec simple-dqn resume "$@"
