#!/usr/bin/env bash
# Kill, starve and damage runs for as long as asked: soak.sh [--minutes 1] [--seed N]
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup dev
cd "$root"
exec python -m tests.soak "$@"
