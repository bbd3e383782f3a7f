# Sourced by the other scripts for its function:
#
#   setup [extra]     create .venv on first use, from constraints.txt, and prepend it to the PATH;
#                     extra: one of the extras of pyproject.toml, such as dev
#
# Later calls only compare file times. The variable PYTHON selects another interpreter.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

setup() {
    local extra=${1:-}
    local stamp=$root/.venv/installed${extra:+-$extra}

    if [[ ! -e $stamp || $root/pyproject.toml -nt $stamp || $root/constraints.txt -nt $stamp ]]; then
        local python=${PYTHON:-python3}
        if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "simple-dqn: '$python' is not Python 3.10 or newer: set PYTHON=..." >&2
            exit 2
        fi
        echo "simple-dqn: setting up $root/.venv${extra:+ for '$extra'}, once (a few minutes)" >&2
        "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1 ||
            "$python" -m venv --clear "$root/.venv"
        # The variable instead of the option --constraint, so that it also applies to build dependencies.
        # A relative path, because pip would split an absolute one at its spaces.
        (cd "$root" && PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install \
            --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}") >&2
        touch "$root/.venv/installed" "$stamp"  # an extra brings the package with it
    fi
    PATH=$root/.venv/bin:$PATH
}
