#!/usr/bin/env bash
# Stress test: kill, starve and damage runs for a given time: soak.sh [--minutes 1] [--seed N]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
file=${BASH_SOURCE[0]}
while [[ -L $file ]]; do
    link=$(readlink "$file")
    [[ $link == /* ]] && file=$link || file=$(dirname -- "$file")/$link
done
source "$(dirname -- "$file")/setup.sh"
setup dev
cd "$root"
exec python -m tests.soak "$@"
