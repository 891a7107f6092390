#!/usr/bin/env bash
# Trains models like those in pretrained/open: on mini and on your copy of CMU's takes (docs/cmu.md).
# tokeniser -> evaluator (it picks checkpoints) -> retriever -> database -> masked -> residual -> length -> export.
#   bash reproduce_open.sh CMU INDEX TEXTS [SPLITS]   CMU: folder of its .amc and .asf files; INDEX: HumanML3D's index.csv; TEXTS: its texts folder;
#                                                     SPLITS: folder of its train.txt, val.txt and test.txt (else by a hash of the takes)
#   bash reproduce_open.sh --smoke [FOLDER]           the same path on a few made-up clips with a few steps a stage; writes into a temporary folder
# Variables: LOGS (logs), DATABASE (database), OUT (pretrained), GPU (auto). About six hours on one core of a processor with avx512_bf16.
# A run that was interrupted goes on where it stopped when the command is given again.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")"
limit=() thinned=(--most_motions 510) set=open
if [ "${1:-}" = "--smoke" ]; then
    source setup_env.sh requirements.txt
    scratch=${2:-$(mktemp -d)}
    for name in mini cmu; do
        [ -f "$scratch/$name/dataset.json" ] || python -m data.mini --out "$scratch/$name" --seed "${#name}" --n_clips 80
    done
    LOGS=$scratch/logs DATABASE=$scratch/database OUT=$scratch/pretrained set="$scratch/mini:2,$scratch/cmu:3"
    limit=(--max_steps 3 --batch_size 8) thinned=(--most_motions 40)
elif [ $# -lt 3 ] || [ $# -gt 4 ]; then
    echo "error: usage: bash reproduce_open.sh CMU INDEX TEXTS [SPLITS], or --smoke [FOLDER]" >&2
    exit 2
else
    source setup_env.sh requirements.txt
    absolute() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac }
    splits=(${4:+--split_dir "$(absolute "$4")"})
    code=0
    python prepare_dataset.py --humanml3d_index "$(absolute "$2")" --text_dir "$(absolute "$3")" --motion_dir "$(absolute "$1")" \
        --min_frames 32 --mirror --out dataset/cmu ${splits[@]+"${splits[@]}"} || code=$?
    [ $code -le 1 ] || exit $code # 1: some clips were refused, the report says which
fi
logs=${LOGS:-logs} database=${DATABASE:-database} out=${OUT:-pretrained}
runs=(--dataset_name "$set" --checkpoints_dir "$logs" --gpu_id "${GPU:-auto}")
training=(--preset open "${runs[@]}" ${limit[@]+"${limit[@]}"})
bf16=(--mixed_precision bf16)
grep -qw -e avx512_bf16 -e amx_bf16 /proc/cpuinfo 2>/dev/null || bf16=()
name=$(python -c "import sys; from data.specs import get_spec; print(get_spec(sys.argv[1]).name)" "$set")
stage() { echo "== $1"; }

stage "RVQ-VAE"
python train_vq.py --name vq "${training[@]}" ${bf16[@]+"${bf16[@]}"}
stage "evaluator"
python train_evaluator.py --name evaluator "${training[@]}"
stage "retriever"
python -m Part_TMR.scripts.train --name tmr "${training[@]}"
stage "database"
python build_rag_database.py --name tmr --vq_name vq --output "$database" "${runs[@]}"
stage "masked transformer"
python train_mask_transformer.py --name mtrans --vq_name vq --database "$database" "${training[@]}" ${bf16[@]+"${bf16[@]}"}
stage "residual transformer"
python train_res_transformer.py --name rtrans --vq_name vq --database "$database" "${training[@]}" ${bf16[@]+"${bf16[@]}"}
stage "length estimator"
python train_length_estimator.py --name length "${training[@]}"
stage "export"
for run in vq evaluator tmr mtrans rtrans length; do
    rm -rf "$out/$name/$run"
    which=()
    [[ $run != ?trans ]] || which=(--which_epoch net_best_loss) # on the validation split motions show more of what was said
    python export_run.py --run "$logs/$name/$run" --out "$out/$name/$run" ${which[@]+"${which[@]}"}
done
# What is shipped has fewer motions than what it was trained with, and the levels that are read.
python build_rag_database.py --name tmr --vq_name vq --token_levels 3 "${thinned[@]}" --output "$out/library" "${runs[@]}"
rm -rf "$out/$name/database"
mv "$out/library/$name" "$out/$name/database"
rmdir "$out/library"
stage "first motion"
python demo.py --text_prompt "a person waves" --checkpoints_dir "$out" --dataset_name "$set" --ext reproduce_open --output_dir "${scratch:-.}/outputs"
