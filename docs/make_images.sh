#!/usr/bin/env bash
# Makes the README's pictures, docs/images, with the shipped models: `bash docs/make_images.sh`. Arguments go to demo.py,
# e.g. --seed 3. Each picture stays below 300 kB.
set -euo pipefail
cd "$(dirname "$0")/.."
source setup_env.sh requirements.txt

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python demo.py --text_path docs/prompts.txt --motion_length 80 --formats npy --compare --output_dir "$work" --ext made "$@"
show=(python -m visualization.export --dir "$work/made" --out docs/images)
"${show[@]}" --formats gif --width 320 --height 240 --frame_rate 10
"${show[@]}" --formats png --width 1000 --height 375
"${show[@]}" --formats --compare gif --width 600 --height 200 --frame_rate 10
find docs/images -size +300k -printf 'error: %p has %s bytes, more than 300 kB\n' | { ! grep . >&2; }
