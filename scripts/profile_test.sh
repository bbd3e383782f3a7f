#!/usr/bin/env bash
# Profile testing: profile_test.sh <rom or game> [options]
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
file=${BASH_SOURCE[0]}
while [[ -L $file ]]; do
    link=$(readlink "$file")
    [[ $link == /* ]] && file=$link || file=$(dirname -- "$file")/$link
done
source "$(dirname -- "$file")/setup.sh"
setup
exec simple-dqn profile_test "$@"
