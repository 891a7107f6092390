"""Motions as one HTML file that needs nothing else: figures to turn, a time line, the prompt, what was retrieved."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from storage.files import atomic_path
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat
from visualization.body import COLOURS, get_body
from visualization.camera import FOLLOW_SECONDS, choose_azimuth
from visualization.captioned import CaptionedMotion
from visualization.checks import check_fps, check_joints
from visualization.contacts import standing_floor

TEMPLATE = Path(__file__).with_name("viewer.html")
PLACE = "/*MOTIONS*/"


def write_html(
    path: Path | str,
    panels: Sequence[CaptionedMotion],
    fps: float,
    form: MotionFormat = HUMANML3D,
    title: str = "",
    lead: bool = False,
) -> Path:
    """Writes a self-contained page with one animated figure a panel, side by side and in step.

    The page loads nothing from anywhere and runs offline. Dragging turns the figures, the wheel zooms.

    Args:
        panels: at least one; shorter motions hold their last frame.
        fps: frames per second, the same for all.
        form: of the joints.
        title: heading of the page.
        lead: shows the first panel large and the others small beside it; else all alike.

    Raises:
        UserError: bad joints or fps, no panel, or the folder cannot be written.
    """
    if not panels:
        raise UserError("nothing to show: give at least one motion")
    fps = check_fps(fps)
    checked = [check_joints(panel.joints, form) for panel in panels]
    # All figures are seen from the same side, distance and height above their ground, so that they compare.
    body = get_body(form)
    azimuth = choose_azimuth(checked[0], body)
    tallest = max(float(np.ptp(body.display_points(joints)[..., 1])) for joints in checked)
    motions = [_motion(panel, joints, fps, form, tallest) for panel, joints in zip(panels, checked, strict=True)]
    reach = max(motion.pop("reach") for motion in motions)
    content = {
        "title": title,
        "lead": lead and len(panels) > 1,
        "fps": fps,
        "azimuth": round(azimuth, 5),
        "reach": round(reach, 4),
        "colours": COLOURS,
        "motions": motions,
    }
    # "<" never appears in the data, so no caption can end the script element.
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    template = TEMPLATE.read_text(encoding="utf-8")  # ours
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(template.replace(PLACE, text), encoding="utf-8")
    return path


def _motion(
    panel: CaptionedMotion, joints: np.ndarray, fps: float, form: MotionFormat, tallest: float
) -> dict[str, Any]:
    """What the page needs of one motion (T, J, 3); `tallest` is the height in metres that the view has room for."""
    body = get_body(form)
    scale = body.scale(joints)
    points = body.display_points(joints)
    flat = joints[..., [0, 2]]
    middle = (flat.min(axis=1) + flat.max(axis=1)) / 2
    path = np.empty((len(joints), 3))
    path[:, [0, 2]] = gaussian_filter1d(middle, FOLLOW_SECONDS * fps, axis=0, mode="nearest")
    low, high = points[..., 1].min(), points[..., 1].max()
    path[:, 1] = (low + max(high, low + 1.3 * scale, low + tallest)) / 2
    reach = np.linalg.norm(points - path[:, None], axis=-1).max() / 1.05
    return {
        "prompt": panel.prompt,
        "label": panel.label,
        "retrieved": [[str(name), str(text), f"{float(score):.3f}"] for name, text, score in panel.retrieved],
        "frames": len(joints),
        "points": _encode(points),
        "path": _encode(path),
        "floor": round(standing_floor(joints, form), 4),
        "scale": round(scale, 4),
        "reach": max(float(reach), 0.8 * scale),
        "limbs": [
            [
                capsule.start,
                capsule.end,
                round(capsule.start_radius * scale, 4),
                round(capsule.end_radius * scale, 4),
                capsule.group,
            ]
            for capsule in body.capsules
        ],
    }


def _encode(array: np.ndarray) -> str:
    """Little-endian float32 in base64."""
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")
