#!/usr/bin/env bash
# What needs Blender (`--formats fbx`, render.py) gets pip's bpy in an environment of its own, .venv-render, since it
# wants another NumPy than the rest: `bash setup_render.sh` (once, about 400 MB; RENDER_VENV names another place).
# Those commands find it there by themselves.
set -euo pipefail
cd "$(dirname "$0")"

environment="${RENDER_VENV:-.venv-render}"
if ! "$environment/bin/python" -c "import bpy, imageio_ffmpeg" >/dev/null 2>&1; then
    python311="$(command -v python3.11)" ||
        { echo "error: requirements-render.txt needs Python 3.11; Blender itself on PATH does as well" >&2; exit 2; }
    "$python311" -m venv "$environment"
    "$environment/bin/python" -m pip install --disable-pip-version-check --requirement requirements-render.txt
fi
echo "$environment: Blender is there"
