#!/usr/bin/env bash
# Trains the residual transformer: bash run_rtrans.sh NAME N_GPUS DATASET [OPTIONS of train_res_transformer.py].
# GPUs 0 .. N_GPUS - 1 are used; N_GPUS -1 is the CPU.
set -euo pipefail
if [ "$#" -lt 3 ]; then
    echo "error: usage: bash run_rtrans.sh NAME N_GPUS DATASET [OPTIONS of train_res_transformer.py]" >&2
    exit 2
fi
if ! [[ "$2" =~ ^(-1|[1-9][0-9]*)$ ]]; then
    echo "error: N_GPUS must be -1 (the CPU) or at least 1, not '$2'" >&2
    exit 2
fi
cd "$(dirname "$0")"
source setup_env.sh requirements.txt
source launch.sh
if [ "$2" -eq -1 ]; then ids=-1; else ids="$(seq -s, 0 "$(($2 - 1))")"; fi
launch train_res_transformer.py "$2" "$ids" --name "$1" --dataset_name "$3" "${@:4}"
