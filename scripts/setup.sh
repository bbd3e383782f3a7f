# Sourced by the other scripts for its functions:
#
#   setup [extra]     create .venv on first use, from constraints.txt, and prepend it to the PATH;
#                     extra: one of the extras of pyproject.toml, such as dev
#     with_page args  print the extra that --page needs, if it is given
#
# A later start only compares file times. The variable PYTHON names another interpreter. Nothing else
# of the caller's shell, Python or pip matters, except how pip reaches its packages.

set -euo pipefail
unset CDPATH

# A closed stream becomes an empty one: the next file to be opened would take its number, as bash's
# own, the script, may have done.
[[ -e /dev/fd/2 && ! /dev/fd/2 -ef $0 ]] || exec 2>/dev/null
[[ -e /dev/fd/1 ]] || exec >/dev/null
[[ -e /dev/fd/0 ]] || exec </dev/null

root=$(builtin cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && builtin pwd)

setup() {
    local python=${PYTHON:-python3}
    unset PYTHONHOME  # as any activation of a virtual environment does
    if ! is_installed "${1:-}"; then
        if ! (forget_python; "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))') \
            &>/dev/null </dev/null; then
            refuse "'$python' is no Python 3.10 or newer: name one with PYTHON=..."
        fi
        [[ -w $root ]] || refuse "cannot write into '$root', where .venv is to be"
        (
            forget_python
            lock
            is_installed "${1:-}" || install "${1:-}"
        )
    fi
    PATH=$root/.venv/bin:$PATH
}

# with_page ARGUMENTS: the extra that --page needs, if it is among them.
with_page() {
    [[ " $* " != *" --page"[\ =]* ]] || echo page
}

refuse() {
    echo "simple-dqn: $1" >&2
    exit 2
}

# is_installed EXTRA: whether .venv has what is needed, and is where it was made.
is_installed() {
    local stamp=$root/.venv/installed${1:+-$1}
    [[ -e $stamp && -x $root/.venv/bin/python ]] && ! was_moved &&
        [[ ! $root/pyproject.toml -nt $stamp && ! $root/constraints.txt -nt $stamp ]]
}

# Programs in .venv begin with its path: it does not survive a move.
was_moved() {
    [[ -s $root/.venv/installed && $(< "$root/.venv/installed") != "$root" ]]
}

# Python's variables have their say in what is run, but not in how it is installed.
forget_python() {
    local name
    for name in ${!PYTHON*} __PYVENV_LAUNCHER__; do
        unset "$name"
    done
}

# Of pip's variables and pip.conf, only what says where packages come from is left.
forget_pip() {
    local settings section_key value name
    settings=$("$root/.venv/bin/python" -m pip config list) || settings=
    for name in ${!PIP*}; do
        unset "$name"
    done
    export PIP_CONFIG_FILE=/dev/null PIP_CONSTRAINT=constraints.txt
    while IFS='=' read -r section_key value; do  # of variables first: :env:.index-url='https://...'
        case ${section_key##*.} in
            *index* | *host | proxy | *cert | *cache* | *timeout | find-links | retries | keyring*)
                name=${section_key##*.}
                name=PIP_${name//-/_}
                value=${value:1:${#value}-2}
                [[ -n ${!name-} ]] || export "$name=${value//\\n/ }" ;;
        esac
    done <<< "$settings"
}

# Let one set-up at a time continue. The lock ends with the last process that has the file open, so
# that of a killed one blocks nobody.
lock() {
    exec 9>> "$root/.venv.lock"
    waiting="simple-dqn: another start is setting up $root/.venv: waiting for it" "$python" -c '
import fcntl, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print(os.environ["waiting"], file=sys.stderr, flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:  # a file system without locks
    pass
'
}

# install EXTRA. The lock file is not empty from beginning to end: if it is before, a set-up was
# killed, and where none had ended before, what it left may be anything.
install() {
    local venv=$root/.venv stamp file
    echo "simple-dqn: setting up $venv${1:+ for '$1'}, once (a few minutes)" >&2
    if was_moved || [[ -s $root/.venv.lock && ! -e $venv/installed ]] ||
        ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        echo unfinished >| "$root/.venv.lock"
        "$python" -m venv --clear "$venv" >&2 || failed
    fi
    echo unfinished >| "$root/.venv.lock"
    # PIP_CONSTRAINT, not the option --constraint: it also holds for what builds our own package.
    # A relative name, because pip would split a path at its spaces.
    (
        builtin cd -- "$root"
        forget_pip
        exec .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --editable ".${1:+[$1]}"
    ) >&2 || failed
    for stamp in "$venv/installed" "$venv/installed${1:+-$1}"; do  # an extra brings the package
        echo "$root" >| "$stamp"
        for file in "$root/pyproject.toml" "$root/constraints.txt"; do
            [[ ! $file -nt $stamp ]] || touch -r "$file" "$stamp"  # it is of tomorrow
        done
    done
    : >| "$root/.venv.lock"
}

failed() {
    : >| "$root/.venv.lock"
    refuse "the set-up of '$root/.venv' has failed, see above; the next start repeats it"
}
