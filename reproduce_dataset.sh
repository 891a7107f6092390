#!/usr/bin/env bash
# Trains every stage on a prepared dataset (see prepare_dataset.py), from nothing to a first motion:
# evaluator (it picks checkpoints) -> retriever -> RVQ-VAE -> database -> masked -> residual -> length -> demo.
#   bash reproduce_dataset.sh NAME [PRESET]     NAME: dataset/NAME, the path of a dataset folder, or mini, humanml3d, kit; several with commas,
#                                               as they are or with shares: mini:1,mine:3; PRESET: small (default), mini, base, tuned, paper
#   --init_from pretrained/open     every stage starts from the run of its name in that folder (preset finetune)
#   --minutes N     all stages together end within N minutes, each on a schedule that fits
#   --epochs N      epochs of every training, in place of the preset's; --seed N: of every training and of the motion
# Variables: LOGS (logs), DATABASE (database), OUTPUTS (outputs), GPU (auto), LIMIT (steps a stage, to try the path), BATCH (batch size),
# PROMPT (of the first motion; default: the first caption of the test split).
# A run that was interrupted goes on where it stopped when the command is given again.
set -euo pipefail
if [ $# -lt 1 ]; then
    echo "error: usage: bash reproduce_dataset.sh NAME [PRESET] [--init_from FOLDER] [--minutes N] [--epochs N] [--seed N]" >&2
    exit 2
fi
here=$PWD
cd "$(dirname "$0")"
source setup_env.sh requirements.txt
exec python -m pipeline.reproduce --given_in "$here" "$@"
