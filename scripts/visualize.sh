#!/usr/bin/env bash
# Visualize the filters of a network: visualize.sh <snapshot> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup analysis
exec simple-dqn visualize "$@"
