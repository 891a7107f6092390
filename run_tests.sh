#!/usr/bin/env bash
# Makes the environment, then checks style and runs the tests. Arguments go to pytest, e.g. `bash run_tests.sh -m "not slow"`.
set -euo pipefail
cd "$(dirname "$0")"
source setup_env.sh requirements.txt requirements-dev.txt
python -m ruff check .
python -m ruff format --check .
# Two processes with one thread each: tiny models gain nothing from more threads.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" TOKENIZERS_PARALLELISM=false
exec python -m pytest -n 2 "$@"
