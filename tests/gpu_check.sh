#!/usr/bin/env bash
# What only a GPU can show, in half an hour: bash tests/gpu_check.sh [--tiny] [--out DIR] [--gpu_id N].
# Parity with the CPU, every stage at the paper's sizes, latency, kill and resume, two processes if there are two GPUs.
# --tiny runs the same at small sizes, also on a CPU. Writes DIR/gpu_check.md and .json; exit code 0: all passed, 1: something failed.
set -euo pipefail
cd "$(dirname "$0")/.."
source setup_env.sh requirements.txt
# Tiny models gain nothing from more threads.
case " $* " in *" --tiny "*) export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" ;; esac
exec python -m benchmarks.gpu "$@"
