#!/usr/bin/env bash
# Makes the pictures of README and docs/, images/comparison.gif, sequence.png and story.png, with the shipped models:
# `bash docs/make_images.sh`. Arguments go to demo.py and edit.py, e.g. --seed 3. Each picture stays below 300 kB.
set -euo pipefail
cd "$(dirname "$0")/.."
source setup_env.sh requirements.txt

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python demo.py --text_path docs/prompts.txt --motion_length 60 --formats npy --compare --output_dir "$work" --ext made "$@"
show=(python -m visualization.export --dir "$work/made" --out "$work/shown")
"${show[@]}" --formats --compare gif --width 600 --height 220 --frame_rate 8
"${show[@]}" --formats png --width 800 --height 300
mkdir -p docs/images
cp "$work/shown/comparison.gif" docs/images/comparison.gif
cp "$work"/shown/01_*.png docs/images/sequence.png # the second prompt
python edit.py --story docs/story.txt --formats npy --output_dir "$work" --ext told "$@"
python -m visualization.export --dir "$work/told" --out "$work/story" --formats png --width 1000 --height 320
cp "$work"/story/00_*.png docs/images/story.png
find docs/images -size +300k -printf 'error: %p has %s bytes, more than 300 kB\n' | { ! grep . >&2; }
