#!/usr/bin/env bash
# Checks what needs Blender, which the test suite leaves out: `bash tests/render_check.sh [OUT]`.
# Makes .venv-render with pip's bpy (once, about 400 MB; RENDER_VENV names another place), lets Blender open an exported
# BVH and glb and compares joints, up and facing, renders a 2-second preview and a sequence picture, prints how long each took.
set -euo pipefail
cd "$(dirname "$0")/.."
source setup_env.sh requirements.txt requirements-dev.txt

out="${1:-outputs/render_check}"
environment="${RENDER_VENV:-.venv-render}"
bash setup_render.sh
bpy_python="$(cd "$environment/bin" && pwd)/python"

timed() { # prints how long a command took, in seconds on the clock and of the processor
    local label="$1" TIMEFORMAT="%R s, %U s of the processor"
    shift
    echo "$label"
    time "$@"
}

mkdir -p "$out"
python - "$out" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np

from tests.visualization.motions import make_walk

np.save(Path(sys.argv[1]) / "walk.npy", make_walk(frames=60, turns=0.3))
PYTHON
preview=(--cfg=configs/render_mld.yaml --npy="$out/walk.npy" --out="$out" --width=320 --height=240 --samples=4 --device=cpu)
timed "2-second preview, 320 x 240, 10 frames a second" \
    "$bpy_python" render.py -- "${preview[@]}" --mode=video --frame_rate=10 --seconds=2
timed "sequence picture, 640 x 360" \
    "$bpy_python" render.py -- "${preview[@]}" --mode=sequence --width=640 --height=360 --poses=5
timed "Blender opens what we write, and renders joints and meshes" \
    env BPY_PYTHON="$bpy_python" python -m pytest -q -n0 tests/visualization/test_blender.py tests/test_render.py
