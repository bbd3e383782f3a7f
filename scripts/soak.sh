#!/usr/bin/env bash
# Stress test: kill, starve and damage runs for a given time: soak.sh [--minutes 1] [--seed N]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup dev
cd "$root"
exec python -m tests.soak "$@"
