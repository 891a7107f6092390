#!/usr/bin/env bash
# Trains every stage on a prepared dataset (see prepare_dataset.py), from nothing to a first motion:
# evaluator (it picks checkpoints) -> retriever -> RVQ-VAE -> database -> masked -> residual -> length -> demo.
#   bash reproduce_dataset.sh NAME [PRESET]     NAME: dataset/NAME, the path of a dataset folder, or mini, humanml3d, kit; several with commas,
#                                               as they are or with shares: mini:1,mine:3; PRESET: small (default), mini, base, tuned, paper
#   bash reproduce_dataset.sh NAME --init_from pretrained/open      every stage starts from the run of its name in that folder (preset finetune)
# Variables: LOGS (logs), DATABASE (database), OUTPUTS (outputs), GPU (auto), LIMIT (steps a stage, to try the path), BATCH (batch size),
# PROMPT (of the first motion; default: the first caption of the test split).
# A run that was interrupted goes on where it stopped when the command is given again.
set -euo pipefail
words=() from="" wrong=""
while [ $# -gt 0 ]; do
    case $1 in
        --init_from) if [ -n "${2:-}" ]; then from=$2 && shift; else wrong=$1; fi ;;
        -*) wrong=$1 ;;
        *) words+=("$1") ;;
    esac
    shift
done
if [ ${#words[@]} -lt 1 ] || [ ${#words[@]} -gt 2 ] || [ -n "$wrong" ]; then
    echo "error: usage: bash reproduce_dataset.sh NAME [PRESET] [--init_from FOLDER]" >&2
    exit 2
fi
name=${words[0]} preset=${words[1]:-${from:+finetune}}
preset=${preset:-small}
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
parts=("$name")
find_one "$name" || IFS=, read -r -a parts <<<"$name"
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
if [ -n "$from" ] && [ "$here" != "$PWD" ] && [ -d "$here/$from" ]; then
    from=$(cd "$here/$from" && pwd)
fi
source setup_env.sh requirements.txt
[ -z "$from" ] || python -m pipeline.start "$from" --dataset_name "$all"

logs=${LOGS:-logs} database=${DATABASE:-database}
limit=(${LIMIT:+--max_steps "$LIMIT"} ${BATCH:+--batch_size "$BATCH"})
runs=(--dataset_name "$all" --checkpoints_dir "$logs" --gpu_id "${GPU:-auto}")
stage() { echo "== $1"; }
train() { # STAGE COMMAND...: trains it, from the run of its name if there is one to start from
    local kind=$1 start=() chosen=$preset
    shift
    if [ -n "$from" ]; then
        if [ -f "$from/$kind/config.json" ]; then start=(--init_from "$from/$kind"); else chosen=small; fi
    fi
    python "$@" --name "$kind" --preset "$chosen" ${start[@]+"${start[@]}"} "${runs[@]}" ${limit[@]+"${limit[@]}"}
}

stage "evaluator"
train evaluator train_evaluator.py
stage "retriever"
train tmr -m Part_TMR.scripts.train
stage "RVQ-VAE"
train vq train_vq.py
stage "database"
known=()
if [ -n "$from" ] && [ -f "$from/database/manifest.json" ]; then known=(--join "$from/database"); fi
python build_rag_database.py --name tmr --vq_name vq --output "$database" ${known[@]+"${known[@]}"} "${runs[@]}"
stage "masked transformer"
train mtrans train_mask_transformer.py --vq_name vq --database "$database"
stage "residual transformer"
train rtrans train_res_transformer.py --vq_name vq --database "$database"
stage "length estimator"
train length train_length_estimator.py
stage "first motion"
first_clip=$(awk 'NF {print; exit}' "$first/test.txt" "$first/val.txt" "$first/train.txt") # of few clips test has none
prompt=${PROMPT:-$(head -n 1 "$first/texts/$first_clip.txt" | cut -d '#' -f 1)}
python demo.py --text_prompt "$prompt" "${runs[@]}" --ext "$ext" --output_dir "${OUTPUTS:-outputs}"
