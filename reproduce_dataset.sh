#!/usr/bin/env bash
# Trains every stage on a prepared dataset (see prepare_dataset.py), from nothing to a first motion:
# evaluator (it picks checkpoints) -> retriever -> RVQ-VAE -> database -> masked -> residual -> length -> demo.
#   bash reproduce_dataset.sh NAME [PRESET]     NAME: dataset/NAME, the path of a dataset folder, or mini, humanml3d, kit; several with commas,
#                                               as they are or with shares: mini:1,mine:3; PRESET: small (default), mini, base, tuned, paper
# Variables: LOGS (logs), DATABASE (database), OUTPUTS (outputs), GPU (auto), LIMIT (steps a stage, to try the path), BATCH (batch size),
# PROMPT (of the first motion; default: the first caption of the test split).
# A run that was interrupted goes on where it stopped when the command is given again.
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "error: usage: bash reproduce_dataset.sh NAME [PRESET]" >&2
    exit 2
fi
preset=${2:-small}
here=$PWD
cd "$(dirname "$0")"
# What --dataset_name takes, and the folder. A path is meant from where the command was given, a name from dataset/.
find_one() {
    case $1 in
        mini) data=mini folder=dataset/mini ;;
        humanml3d | t2m) data=humanml3d folder=dataset/HumanML3D ;;
        kit) data=kit folder=dataset/KIT-ML ;;
        *)
            if [ -f "$here/$1/dataset.json" ]; then
                data=$(cd "$here/$1" && pwd)
            elif [ -f "dataset/$1/dataset.json" ]; then
                data=dataset/$1
            elif [ -f "$1/dataset.json" ]; then
                data=$1
            else
                return 1
            fi
            folder=$data
            ;;
    esac
}
parts=("$1")
find_one "$1" || IFS=, read -r -a parts <<<"$1"
all="" first="" ext=""
for part in "${parts[@]}"; do
    share=""
    if ! find_one "$part" && [[ $part =~ ^(.+)(:[0-9.]+)$ ]]; then
        part=${BASH_REMATCH[1]} share=${BASH_REMATCH[2]}
    fi
    if ! find_one "$part"; then
        echo "error: $part is no prepared dataset: neither $part nor dataset/$part holds a dataset.json; see prepare_dataset.py" >&2
        exit 2
    fi
    all=${all:+$all,}$data$share first=${first:-$folder} ext=${ext:+$ext-}$(basename "$data")
done
source setup_env.sh requirements.txt

logs=${LOGS:-logs} database=${DATABASE:-database}
limit=(${LIMIT:+--max_steps "$LIMIT"} ${BATCH:+--batch_size "$BATCH"})
runs=(--dataset_name "$all" --checkpoints_dir "$logs" --gpu_id "${GPU:-auto}")
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
prompt=${PROMPT:-$(head -n 1 "$first/texts/$(head -n 1 "$first/test.txt").txt" | cut -d '#' -f 1)}
python demo.py --text_prompt "$prompt" "${runs[@]}" --ext "$ext" --output_dir "${OUTPUTS:-outputs}"
