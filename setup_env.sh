# shellcheck shell=bash
# Sourced by run_demo.sh, run_tests.sh and the training wrappers: `source setup_env.sh REQUIREMENTS...`.
# `python` is then that of .venv (made here when missing), or of the environment that is active already, with the given
# requirements installed from their lock files. Quick when run again. What is done, and refused: utils/environment.py.

remomask_python() { # prints a Python >= 3.10, if possible one that can make environments
    local candidate modules
    for modules in "ensurepip, venv" "sys"; do
        for candidate in python3 python python3.14 python3.13 python3.12 python3.11 python3.10 "$1/.venv/bin/python"; do
            if "$candidate" -I -c "import $modules, sys; sys.exit(sys.version_info < (3, 10))" 2>/dev/null; then
                echo "$candidate"
                return
            fi
        done
    done
    echo "error: Python 3.10 or newer is needed" >&2
    return 2
}

remomask_environment() {
    local root python
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)" || return
    python="$(remomask_python "$root")" || return
    VIRTUAL_ENV="$("$python" -I "$root/utils/environment.py" "$root" "$@")" || return
    export VIRTUAL_ENV PATH="$VIRTUAL_ENV/bin:$PATH"
    unset PYTHONHOME
    hash -r
}

remomask_environment "$@" || exit
