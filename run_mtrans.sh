#!/usr/bin/env bash
# Trains the masked transformer: bash run_mtrans.sh NAME N_GPUS GPU_IDS DATASET [OPTIONS of train_mask_transformer.py].
# GPU_IDS: 0 or 0,1,2,3; -1 is the CPU.
set -euo pipefail
if [ "$#" -lt 4 ]; then
    echo "error: usage: bash run_mtrans.sh NAME N_GPUS GPU_IDS DATASET [OPTIONS of train_mask_transformer.py]" >&2
    exit 2
fi
cd "$(dirname "$0")"
source setup_env.sh requirements.txt
source launch.sh
launch train_mask_transformer.py "$2" "$3" --name "$1" --dataset_name "$4" "${@:5}"
