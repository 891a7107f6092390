#!/usr/bin/env bash
# Trains the 2D RVQ-VAE: bash run_rvq.sh NAME GPU DATASET [OPTIONS of train_vq.py]. GPU -1 is the CPU.
set -euo pipefail
if [ "$#" -lt 3 ]; then
    echo "error: usage: bash run_rvq.sh NAME GPU DATASET [OPTIONS of train_vq.py]" >&2
    exit 2
fi
cd "$(dirname "$0")"
source setup_env.sh requirements.txt
source launch.sh
launch train_vq.py 1 "$2" --name "$1" --dataset_name "$3" "${@:4}"
