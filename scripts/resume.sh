#!/usr/bin/env bash
# Resume a training: resume.sh <name of the run, or snapshot> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/setup.sh"
setup "$(with_page "$@")"
exec simple-dqn resume "$@"
