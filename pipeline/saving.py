"""Motions of Python's users -> files, with the formats and options of the export."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from options.command_line import filled, flags_of
from options.export import MotionExportOptions
from pipeline.export_settings import export_settings
from pipeline.motion import Motion
from storage.arrays import write_array
from utils.errors import UserError
from visualization.captioned import CaptionedMotion
from visualization.formats import FORMATS, write_motion

ARRAYS = "npy"
# What the export's command line says of folders and of the files that it reads.
OF_FOLDERS = {"dir", "out", "reading", "body_model", "formats", "compare", "joint_type", "fps"}


def save_motion(motion: Motion, path: Path, options: Mapping[str, Any]) -> Path:
    """See `Motion.save`."""
    kind = path.suffix[1:].lower()
    if kind not in (*FORMATS, ARRAYS):
        raise UserError(f"{path} has no suffix that says a format: there are .{', .'.join((*FORMATS, ARRAYS))}")
    known = [name for name, flag in flags_of(MotionExportOptions).items() if flag.path[0] not in OF_FOLDERS]
    if unknown := [name for name in options if name not in known]:
        raise UserError(f"files have no option {unknown[0]}: there are {', '.join(known)}")
    chosen = filled(MotionExportOptions, {"dir": ".", "out": "."} | dict(options))
    if kind == ARRAYS:
        write_array(path, motion.joints)
        return path
    shown = CaptionedMotion(motion.joints, motion.text, f"seed {motion.seed}", motion.retrieved)
    size = (chosen.width, chosen.height) if chosen.width else None
    settings = export_settings(chosen.files, motion.form, [kind], motion.fps, size)
    return write_motion(path.with_suffix(""), shown, [kind], settings)[kind]


def page_within(motion: Motion) -> str:
    """The page of a motion as a part of another one."""
    with tempfile.TemporaryDirectory() as folder:
        page = save_motion(motion, Path(folder) / "motion.html", {}).read_text(encoding="utf-8")  # ours
    return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="480" style="border: 0"></iframe>'
