#!/usr/bin/env bash
# Look into the filters: visualize.sh <snapshot> [options]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup analysis
exec simple-dqn visualize "$@"
