#!/usr/bin/env bash
# Everything that is measured on a GPU, on a machine without a network: gpu.sh [options of gpu.py]
#
# Wheels that lie in benchmarks/wheels/ are installed into a temporary folder; whatever else is
# needed must be there. For Python 3.12 on Linux, on a machine with a network:
#
#   pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#       --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d benchmarks/wheels \
#       ale-py gymnasium farama-notifications stable-baselines3 captum
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname -- "$here")
python=${PYTHON:-python3}
if compgen -G "$here/wheels/*.whl" >/dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
        --target "$site" "$here"/wheels/*.whl
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$root/src${PYTHONPATH:+:$PYTHONPATH}
cd "$root"
"$python" "$here/gpu.py" "$@"
