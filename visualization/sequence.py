"""A motion as one picture: ghosted poses along the way, as figures in papers show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from storage.files import atomic_path
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat
from visualization.body import get_body
from visualization.camera import PITCH, choose_azimuth, plan_camera
from visualization.checks import check_fps, check_joints
from visualization.contacts import standing_floor
from visualization.figure import FigurePainter
from visualization.ground import Backdrop, Decals
from visualization.lettering import Caption
from visualization.shot import basis_of, sequence_times

FAINTEST = 0.38  # opacity of the first pose; the last one is solid


def render_sequence(
    path: Path | str,
    joints: np.ndarray,
    fps: float,
    title: str = "",
    form: MotionFormat = HUMANML3D,
    size: tuple[int, int] | None = None,
    poses: int = 7,
) -> Path:
    """Writes a .png with `poses` moments of one motion, the later ones more solid.

    A figure that travels stands where it was; one that stays in place is spread from left to right like a film strip.

    Args:
        joints: (T, J, 3) metres, y up.
        fps: frames per second.
        title: caption, wrapped to three lines.
        form: of the joints.
        size: (width, height) in pixels; None: 1600 x 600.
        poses: how many moments, at least one.

    Raises:
        UserError: bad joints, fps, size or number of poses, wrong suffix, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: a sequence picture must end in .png")
    if poses < 1:
        raise UserError(f"poses is {poses}: show at least one")
    size = size or (1600, 600)
    if min(size) < 64 or max(size) > 8192:
        raise UserError(f"size {size[0]}x{size[1]}: use 64 to 8192 pixels a side")
    joints, fps = check_joints(joints, form), check_fps(fps)
    body = get_body(form)
    scale = body.scale(joints)
    floor = standing_floor(joints, form)
    frames = sequence_times(len(joints), poses)
    moments = joints[frames]
    azimuth = choose_azimuth(joints, body)
    right = basis_of(azimuth, PITCH)[0]
    spread = _spread(moments, right, 0.62 * scale)
    moments = moments + spread[:, None]

    text_size = max(9, round(size[1] / 24))
    heading = Caption(title, size[0], text_size) if title.strip() else None
    top = (heading.height + text_size if heading else 0) + 0.5 * text_size
    safe = (0.03 * size[0], top, 0.97 * size[0], size[1] - text_size)
    points = body.display_points(moments)
    camera = plan_camera(points, body, size, safe, fps, azimuth, follow=False)
    image = Backdrop(camera, size, floor, 0.5 * scale).draw(camera, 0)
    if not spread.any():
        Decals(joints[:, 0], [], floor, scale).draw(image, camera, len(joints) - 1, fps)
    painter = FigurePainter(body, scale, floor)
    opacities = np.linspace(FAINTEST, 1, len(frames)) if len(frames) > 1 else np.ones(1)
    for moment, opacity in enumerate(opacities):
        painter.shadow(image, points[moment], camera, moment, 0.42 * opacity)
    # Farther figures first; of two at one place the later one is on top.
    for moment in np.argsort(-(points[:, 0] @ camera.basis[2]), kind="stable"):
        painter.draw(image, points[moment], camera, moment, float(opacities[moment]))
    if heading:
        heading.draw(image, round(0.6 * text_size))
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
    return path


def _spread(moments: np.ndarray, right: np.ndarray, gap: float) -> np.ndarray:
    """How to move each pose (T, J, 3) so that the figures stand apart: (T, 3), zeros where they do already."""
    along = moments[:, 0] @ right
    steps = np.abs(np.diff(along))
    if len(moments) < 2 or np.median(steps) > 0.5 * gap:
        return np.zeros((len(moments), 3))
    extent = (moments @ right).max(axis=1) - (moments @ right).min(axis=1)
    gap = max(gap, 0.75 * float(extent.max()))
    wanted = np.arange(len(moments)) * gap
    return (wanted - (along - along[0]))[:, None] * right
