"""Options of files -> how they are written: the same at every door that exports."""

from __future__ import annotations

from collections.abc import Collection

from data.motions.joint_maps import rig_names
from data.motions.settings import METRES
from options.export import FileOptions
from pipeline.characters import read_character
from utils.blender import require_blender
from utils.errors import UserError
from utils.motion_format import MotionFormat
from visualization.formats import ExportSettings

BLENDER_FPS = 24  # of a new scene


def export_settings(
    options: FileOptions,
    form: MotionFormat,
    formats: Collection[str],
    fps: float | None = None,
    size: tuple[int, int] | None = None,
) -> ExportSettings:
    """What is asked for, with everything it needs found to be there.

    Args:
        options: of the command line.
        form: of the motions.
        formats: that will be written.
        fps: of motions that tell no rate; None: the format's.
        size: see `ExportSettings`.

    Raises:
        UserError: no Blender for an .fbx, names that do not fit the format, or a character that cannot be used.
    """
    character = read_character(options.target, options.target_map, form) if options.target else None
    if character is not None and character.glb is None and (meshes := {"glb", "fbx"} & set(formats)):
        raise UserError(
            f"--target {options.target} has no mesh for {' and '.join(sorted(meshes))}: --formats bvh, or a .glb"
        )
    if "fbx" in formats:
        require_blender("--formats fbx")
    return ExportSettings(
        fps=fps or form.fps,
        form=form,
        frame_rate=options.frame_rate or None,
        foot_locking=options.foot_lock,
        in_place=options.in_place,
        trim="auto" if options.trim == "auto" else options.trim_seconds if options.trim else None,
        names=rig_names(options.rig, form) if options.rig else None,
        rig=options.rig,
        character=character,
        unit=options.bvh_units,
        size=size,
    )


def blender_hint(formats: Collection[str], settings: ExportSettings) -> str:
    """What to type into Blender's File > Import > BVH, in a line; "" where no .bvh is written or nothing is to type."""
    own, rate = settings.character, settings.written_fps
    scale = own.metres if own is not None else METRES[settings.unit]
    if "bvh" not in formats or (scale == 1 and rate == BLENDER_FPS):
        return ""
    asked = [f"Scale {scale:g}"] * (scale != 1) + ["tick Update Scene FPS"] * (rate != BLENDER_FPS)
    unit = next(name for name, metres in METRES.items() if metres == scale)
    right = f"--frame_rate {BLENDER_FPS}" if own is not None else f"--bvh_units m --frame_rate {BLENDER_FPS}"
    never = f" (nothing to set with {right})" if own is None or scale == 1 else ""
    return f"bvh: {unit}, {rate:g} frames a second; Blender's Import > BVH: {', '.join(asked)}{never}"
