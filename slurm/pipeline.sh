#!/usr/bin/env bash
# All stages as dependent jobs: bash slurm/pipeline.sh DATASET. Each starts when those that it needs have ended well.
set -euo pipefail
if [ "$#" -ne 1 ]; then
    echo "error: usage: bash slurm/pipeline.sh DATASET" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
mkdir -p logs

DATASET="$1"

job() { # DEPENDENCIES NAME OPTIONS OF SBATCH...: the job's number
    sbatch --parsable --kill-on-invalid-dep=yes ${1:+--dependency="afterok:$1"} --job-name="$2" "${@:3}"
}

stage() { # DEPENDENCIES NAME NODES SCRIPT OPTIONS...: the number of the job that trains it
    SCRIPT="$4" job "$1" "$2" --nodes="$3" slurm/train.sbatch "$2" "$DATASET" "${@:5}"
}

one_gpu() { # DEPENDENCIES NAME COMMAND: the number of a job with one GPU
    job "$1" "$2" --gpus=1 --output=logs/slurm-%j.out --wrap=".venv/bin/python $3"
}

vq="$(stage "" vq 1 train_vq.py)"
retriever="$(stage "" tmr 1 "-m Part_TMR.scripts.train")"
length="$(stage "" length 1 train_length_estimator.py)"
library="$(one_gpu "$vq:$retriever" library "build_rag_database.py --gpu_id 0 --dataset_name $DATASET --vq_name vq")"
mtrans="$(stage "$library" mtrans 4 train_mask_transformer.py --vq_name vq)"
rtrans="$(stage "$library" rtrans 4 train_res_transformer.py --vq_name vq)"
judged="$(one_gpu "$mtrans:$rtrans" evaluation "eval_res.py --gpu_id 0 --dataset_name $DATASET --mtrans_name mtrans\
 --rtrans_name rtrans --cond_scale 4 --time_steps 10 --ext eval")"
echo "jobs: vq $vq, tmr $retriever, length $length, library $library, mtrans $mtrans, rtrans $rtrans, evaluation $judged"
