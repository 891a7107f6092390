# shellcheck shell=bash
# Sourced by run_demo.sh, run_tests.sh and the training wrappers: `source setup_env.sh REQUIREMENTS...`.
# Activates .venv (made here when missing) unless a virtual environment is active already, and installs the given
# requirements files. Quick when run again: for each file a stamp holds the hash of what was installed.

remomask_python() { # prints a Python >= 3.10
    local candidate
    for candidate in python3 python python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: Python 3.10 or newer is needed" >&2
    return 1
}

remomask_virtual_environment() { # makes $1/.venv
    local python
    python="$(remomask_python)" || return
    echo "making $1/.venv"
    rm -rf "$1/.venv"
    if "$python" -m venv "$1/.venv" >/dev/null 2>&1; then return; fi
    # Debian and Ubuntu ship Python without venv and pip.
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: $python cannot make virtual environments: install its venv package (Debian: python3-venv)" >&2
        return 1
    fi
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null || return
    rm -rf "$1/.venv"
    "$python" -m venv "$1/.venv"
}

remomask_environment() {
    local root environment file stamp wanted
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)" || return
    # Conda activates its base environment by itself: that is nobody's choice.
    if [ -z "${VIRTUAL_ENV:-}" ] && { [ -z "${CONDA_PREFIX:-}" ] || [ "${CONDA_DEFAULT_ENV:-}" = base ]; }; then
        if ! "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1; then
            remomask_virtual_environment "$root" || return
        fi
        # shellcheck disable=SC1091
        source "$root/.venv/bin/activate" || return
    fi
    environment="$(python -c 'import sys; print(sys.prefix)')" || return
    if ! python -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "error: Python 3.10 or newer is needed, not that of $environment" >&2
        return 1
    fi
    for file in "$@"; do
        stamp="$environment/.installed-$file"
        wanted="$(sha256sum <"$root/$file")" || return
        if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then continue; fi
        echo "installing $file into $environment (once; this can take minutes)"
        python -m pip --version >/dev/null 2>&1 || python -m ensurepip >/dev/null || return
        python -m pip install --quiet --disable-pip-version-check --requirement "$root/$file" || return
        echo "$wanted" >"$stamp"
    done
}

remomask_environment "$@" || exit 1
