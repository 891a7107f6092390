#!/usr/bin/env bash
# Trains every stage on a prepared dataset (see prepare_dataset.py), from nothing to a first motion:
# evaluator (it picks checkpoints) -> retriever -> RVQ-VAE -> database -> masked -> residual -> length -> demo.
#   bash reproduce_dataset.sh NAME [PRESET]     NAME: dataset/NAME, or the path of a dataset folder; PRESET: small (default), mini, tuned, paper
# Variables: LOGS (logs), DATABASE (database), OUTPUTS (outputs), GPU (auto), LIMIT (steps a stage, to try the path), BATCH (batch size),
# PROMPT (of the first motion; default: the first caption of the test split).
# A run that was interrupted goes on where it stopped when the command is given again.
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "error: usage: bash reproduce_dataset.sh NAME [PRESET]" >&2
    exit 2
fi
name=$1 preset=${2:-small}
here=$PWD
cd "$(dirname "$0")"
# A path is meant from where the command was given, a name from dataset/.
if [ -f "$here/$name/dataset.json" ]; then
    data=$(cd "$here/$name" && pwd)
elif [ -f "dataset/$name/dataset.json" ]; then
    data=dataset/$name
elif [ -f "$name/dataset.json" ]; then
    data=$name
else
    echo "error: $name is no prepared dataset: neither $name nor dataset/$name holds a dataset.json; see prepare_dataset.py" >&2
    exit 2
fi
source setup_env.sh requirements.txt

logs=${LOGS:-logs} database=${DATABASE:-database}
limit=(${LIMIT:+--max_steps "$LIMIT"} ${BATCH:+--batch_size "$BATCH"})
runs=(--dataset_name "$data" --checkpoints_dir "$logs" --gpu_id "${GPU:-auto}")
training=(--preset "$preset" "${runs[@]}" ${limit[@]+"${limit[@]}"})
stage() { echo "== $1"; }

stage "evaluator"
python train_evaluator.py --name evaluator "${training[@]}"
stage "retriever"
python -m Part_TMR.scripts.train --name tmr "${training[@]}"
stage "RVQ-VAE"
python train_vq.py --name vq "${training[@]}"
stage "database"
python build_rag_database.py --name tmr --vq_name vq --output "$database" "${runs[@]}"
stage "masked transformer"
python train_mask_transformer.py --name mtrans --vq_name vq --database "$database" "${training[@]}"
stage "residual transformer"
python train_res_transformer.py --name rtrans --vq_name vq --database "$database" "${training[@]}"
stage "length estimator"
python train_length_estimator.py --name length "${training[@]}"
stage "first motion"
prompt=${PROMPT:-$(head -n 1 "$data/texts/$(head -n 1 "$data/test.txt").txt" | cut -d '#' -f 1)}
python demo.py --text_prompt "$prompt" "${runs[@]}" --ext "$(basename "$data")" --output_dir "${OUTPUTS:-outputs}"
