# Sourced by the other scripts for its function:
#
#   setup [extra]     make .venv on first use, from constraints.txt, and put it first on the PATH;
#                     extra: one of pyproject.toml's, such as dev
#
# A later start only compares file times. The variable PYTHON names another interpreter.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

setup() {
    local extra=${1:-}
    local stamp=$root/.venv/installed${extra:+-$extra}

    if [[ ! -e $stamp || $root/pyproject.toml -nt $stamp || $root/constraints.txt -nt $stamp ]]; then
        local python=${PYTHON:-python3}
        if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "simple-dqn: '$python' is no Python 3.10 or newer: name one with PYTHON=..." >&2
            exit 2
        fi
        echo "simple-dqn: setting up $root/.venv${extra:+ for '$extra'}, once (a few minutes)" >&2
        "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1 ||
            "$python" -m venv --clear "$root/.venv"
        # The variable, not the option --constraint: it also holds for what builds our own package.
        # A relative name, because pip would split a path at its spaces.
        (cd "$root" && PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install \
            --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}") >&2
        touch "$root/.venv/installed" "$stamp"  # an extra brings the package with it
    fi
    PATH=$root/.venv/bin:$PATH
}
