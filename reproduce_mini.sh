#!/usr/bin/env bash
# Trains the shipped mini models from nothing:
# data -> evaluator (it picks checkpoints) -> retriever -> RVQ-VAE -> database -> masked -> residual -> length.
#   bash reproduce_mini.sh            the real thing: about an hour and a half on two CPU cores; writes into pretrained/
#   bash reproduce_mini.sh --smoke    the same path on a few clips with a few steps a stage; writes into a temporary folder
# A run that was interrupted goes on where it stopped when the command is given again.
set -euo pipefail
cd "$(dirname "$0")"
source setup_env.sh requirements.txt

data=dataset/mini name=mini n_clips=2400 logs=logs out=pretrained database=database
limit=()
if [ "${1:-}" = "--smoke" ]; then
    scratch=${2:-$(mktemp -d)}
    data=$scratch/dataset/mini name=$data n_clips=160
    logs=$scratch/logs out=$scratch/pretrained database=$scratch/database
    limit=(--max_steps 3 --batch_size 16)
elif [ $# -gt 0 ]; then
    echo "error: unknown argument $1: use --smoke [FOLDER] or nothing" >&2
    exit 2
fi
runs=(--dataset_name "$name" --checkpoints_dir "$logs" --gpu_id auto)
stage() { echo "== $1"; }

stage "data"
[ -f "$data/dataset.json" ] || python -m data.mini --out "$data" --seed 0 --n_clips "$n_clips"
stage "evaluator"
python train_evaluator.py --name evaluator --preset mini "${runs[@]}" ${limit[@]+"${limit[@]}"}
stage "retriever"
python -m Part_TMR.scripts.train --name tmr --preset mini "${runs[@]}" ${limit[@]+"${limit[@]}"}
stage "RVQ-VAE"
python train_vq.py --name vq --preset mini "${runs[@]}" ${limit[@]+"${limit[@]}"}
stage "database"
python build_rag_database.py --name tmr --vq_name vq --output "$database" "${runs[@]}"
stage "masked transformer"
python train_mask_transformer.py --name mtrans --vq_name vq --database "$database" --preset mini "${runs[@]}" ${limit[@]+"${limit[@]}"}
stage "residual transformer"
python train_res_transformer.py --name rtrans --vq_name vq --database "$database" --preset mini "${runs[@]}" ${limit[@]+"${limit[@]}"}
stage "length estimator"
python train_length_estimator.py --name length --preset mini "${runs[@]}" ${limit[@]+"${limit[@]}"}
stage "export"
for run in tmr vq mtrans rtrans length evaluator; do
    rm -rf "$out/mini/$run"
    python export_run.py --run "$logs/mini/$run" --out "$out/mini/$run"
done
rm -rf "$out/mini/database"
cp -r "$database/mini" "$out/mini/database"
stage "first motion"
python demo.py --text_prompt "a person waves" --checkpoints_dir "$out" --dataset_name "$name" --ext reproduce_mini --output_dir "${scratch:-.}/outputs"
