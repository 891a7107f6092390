#!/usr/bin/env bash
# Trains the shipped mini models, on the tokeniser of pretrained/open:
# data -> evaluator (it picks checkpoints) -> retriever -> database -> masked -> residual -> length.
#   bash reproduce_mini.sh            the real thing: about three hours on two CPU cores; writes into pretrained/
#   bash reproduce_mini.sh --smoke    the same path on a few clips with a few steps a stage; writes into a temporary folder
# A run that was interrupted goes on where it stopped when the command is given again.
set -euo pipefail
cd "$(dirname "$0")"
source setup_env.sh requirements.txt

data=dataset/mini name=mini n_clips=2400 logs=logs out=pretrained database=database
limit=() thinned=(--most_motions 325)
if [ "${1:-}" = "--smoke" ]; then
    scratch=${2:-$(mktemp -d)}
    data=$scratch/dataset/mini name=$data n_clips=160
    logs=$scratch/logs out=$scratch/pretrained database=$scratch/database
    limit=(--max_steps 3 --batch_size 16) thinned=(--most_motions 50)
elif [ $# -gt 0 ]; then
    echo "error: unknown argument $1: use --smoke [FOLDER] or nothing" >&2
    exit 2
fi
runs=(--dataset_name "$name" --checkpoints_dir "$logs" --gpu_id auto)
training=(--preset open "${runs[@]}" ${limit[@]+"${limit[@]}"})
transformer=(--vq_name open/vq --database "$database" --latent_dim 128 --ff_size 256 --copy_from 0.8)
grep -qw -e avx512_bf16 -e amx_bf16 /proc/cpuinfo 2>/dev/null && transformer+=(--mixed_precision bf16)
stage() { echo "== $1"; }

stage "data"
[ -f "$data/dataset.json" ] || python -m data.mini --out "$data" --seed 0 --n_clips "$n_clips"
stage "evaluator"
python train_evaluator.py --name evaluator --latent_dim 96 "${training[@]}"
stage "retriever"
python -m Part_TMR.scripts.train --name tmr --part_dim 48 --motion_ff_size 96 --text_dim 96 "${training[@]}"
stage "database"
python build_rag_database.py --name tmr --vq_name open/vq --output "$database" "${runs[@]}"
stage "masked transformer"
python train_mask_transformer.py --name mtrans "${transformer[@]}" --max_epoch 220 "${training[@]}"
stage "residual transformer"
python train_res_transformer.py --name rtrans "${transformer[@]}" --dropout 0 --max_epoch 40 "${training[@]}"
stage "length estimator"
python train_length_estimator.py --name length --latent_dim 96 "${training[@]}"
stage "export"
for run in tmr mtrans rtrans length evaluator; do
    rm -rf "$out/mini/$run"
    which=()
    [ $run != mtrans ] || which=(--which_epoch net_best_loss) # on the validation split its motions show more of what was said
    python export_run.py --run "$logs/mini/$run" --out "$out/mini/$run" ${which[@]+"${which[@]}"}
done
# What is shipped has fewer motions than what it was trained with, and the levels that are read.
python build_rag_database.py --name tmr --vq_name open/vq --token_levels 3 "${thinned[@]}" --output "$out/library" "${runs[@]}"
rm -rf "$out/mini/database" "$out/mini/vq"
mv "$out/library/mini" "$out/mini/database"
rmdir "$out/library"
stage "first motion"
python demo.py --text_prompt "a person waves" --checkpoints_dir "$out" --dataset_name "$name" --ext reproduce_mini --output_dir "${scratch:-.}/outputs"
