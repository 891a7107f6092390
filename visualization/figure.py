"""Draws the mannequin into a picture: shaded capsules with smooth edges and their shadow on the ground."""

from __future__ import annotations

import numpy as np
from PIL import Image

from visualization.body import COLOURS, Body
from visualization.camera import Camera

LIGHT = np.array([-0.42, 0.72, 0.55], dtype=np.float32) / np.float32(np.linalg.norm([-0.42, 0.72, 0.55]))
SOFT_DEPTH = 0.012  # metres over which a nearer limb takes over from a farther one
SHADOW_SCALE = 4  # shadows are blurred anyway: drawn at a quarter of the size


class FigurePainter:
    """Draws one clip's figure, frame by frame; holds what does not change between frames."""

    def __init__(self, body: Body, scale: float, floor: float) -> None:
        """`scale`: size relative to an adult. `floor`: height of the ground in metres."""
        self.starts = np.array([capsule.start for capsule in body.capsules])
        self.ends = np.array([capsule.end for capsule in body.capsules])
        radii = np.array([[capsule.start_radius, capsule.end_radius] for capsule in body.capsules])
        self.radii = radii * scale
        self.colours = np.array([COLOURS[capsule.group] for capsule in body.capsules], dtype=np.float32)
        self.floor, self.scale = floor, scale

    def draw(self, image: np.ndarray, points: np.ndarray, camera: Camera, frame: int, opacity: float = 1.0) -> None:
        """Paints the display points (P, 3) over `image` (H, W, 3) uint8, in place."""
        pixels, depth = camera.project(points, frame)
        start, end = pixels[self.starts], pixels[self.ends]
        start_depth, end_depth = depth[self.starts], depth[self.ends]
        start_radius = camera.focal * self.radii[:, 0] / start_depth
        end_radius = camera.focal * self.radii[:, 1] / end_depth
        reach = np.maximum(start_radius, end_radius)[:, None] + 2
        height, width = image.shape[:2]
        limit = np.array([width, height])
        low = np.clip(np.floor(np.minimum(start, end) - reach), 0, limit).astype(int)
        high = np.clip(np.ceil(np.maximum(start, end) + reach) + 1, 0, limit).astype(int)
        if (high <= low).any(axis=1).all():
            return
        x0, y0 = low.min(axis=0)
        x1, y1 = high.max(axis=0)
        canvas = image[y0:y1, x0:x1].astype(np.float32)
        nearest = np.full(canvas.shape[:2], np.inf, dtype=np.float32)
        for index in np.argsort(-(start_depth + end_depth)):
            (left, top), (right, bottom) = low[index], high[index]
            if right <= left or bottom <= top:
                continue
            patch = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
            _paint_capsule(
                canvas[patch],
                nearest[patch],
                np.arange(left, right, dtype=np.float32) + 0.5 - np.float32(start[index, 0]),
                np.arange(top, bottom, dtype=np.float32) + 0.5 - np.float32(start[index, 1]),
                (end[index] - start[index]).astype(np.float32),
                (np.float32(start_radius[index]), np.float32(end_radius[index])),
                (np.float32(start_depth[index]), np.float32(end_depth[index])),
                np.float32(self.radii[index].mean()),
                self.colours[index],
            )
        if opacity < 1:
            canvas = image[y0:y1, x0:x1] * np.float32(1 - opacity) + canvas * np.float32(opacity)
        image[y0:y1, x0:x1] = (canvas + np.float32(0.5)).astype(np.uint8)

    def shadow(self, image: np.ndarray, points: np.ndarray, camera: Camera, frame: int, strength: float = 0.42) -> None:
        """Darkens the ground in `image` (H, W, 3) uint8 below the display points (P, 3), in place."""
        right, up, forward = camera.basis
        light = LIGHT[0] * right + LIGHT[1] * np.array([0.0, 1.0, 0.0]) - LIGHT[2] * 0.7 * forward
        height_above = np.maximum(points[:, 1] - self.floor, 0)
        cast = points - (height_above / light[1])[:, None] * light
        cast[:, 1] = self.floor
        pixels, depth = camera.project(cast, frame)
        pixels = pixels / SHADOW_SCALE
        # A disc on the ground looks as flat as the view onto it is slanting.
        eye_height = camera.positions[frame, 1] - self.floor
        squeeze = float(np.clip((eye_height / depth).mean(), 0.08, 1.0))
        pixel_scale = camera.focal / depth / SHADOW_SCALE
        softness = (0.02 * self.scale + 0.07 * height_above) * pixel_scale
        radii = self.radii * 0.9
        start, end = pixels[self.starts], pixels[self.ends]
        r0, r1 = radii[:, 0] * pixel_scale[self.starts], radii[:, 1] * pixel_scale[self.ends]
        s0, s1 = softness[self.starts], softness[self.ends]
        fade = 1 / (1 + 0.45 * (height_above[self.starts] + height_above[self.ends]) / 2 / self.scale)
        height, width = image.shape[0] // SHADOW_SCALE, image.shape[1] // SHADOW_SCALE
        reach = np.maximum(r0 + s0, r1 + s1)[:, None] + 1
        low = np.clip(np.floor(np.minimum(start, end) - reach), 0, [width, height]).astype(int)
        high = np.clip(np.ceil(np.maximum(start, end) + reach), 0, [width, height]).astype(int)
        x0, y0 = low.min(axis=0)
        x1, y1 = high.max(axis=0)
        if x1 <= x0 or y1 <= y0:
            return
        light_left = np.ones((y1 - y0, x1 - x0), dtype=np.float32)
        for index in range(len(start)):
            (left, top), (right_, bottom) = low[index], high[index]
            if right_ <= left or bottom <= top:
                continue
            dx = np.arange(left, right_, dtype=np.float32) + 0.5 - np.float32(start[index, 0])
            dy = (np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5 - np.float32(start[index, 1])) / np.float32(squeeze)
            bx = np.float32(end[index, 0] - start[index, 0])
            by = np.float32((end[index, 1] - start[index, 1]) / squeeze)
            along = np.clip((dx * bx + dy * by) / max(bx * bx + by * by, np.float32(1e-6)), 0, 1)
            distance = np.sqrt((dx - along * bx) ** 2 + (dy - along * by) ** 2)
            radius = r0[index] + along * np.float32(r1[index] - r0[index])
            soft = np.float32(max((s0[index] + s1[index]) / 2, 0.6))
            cover = np.clip((radius + soft - distance) / (2 * soft), 0, 1)
            cover = cover * cover * (3 - 2 * cover)
            patch = light_left[top - y0 : bottom - y0, left - x0 : right_ - x0]
            np.minimum(patch, 1 - np.float32(strength * fade[index]) * cover, out=patch)
        region = (slice(y0 * SHADOW_SCALE, y1 * SHADOW_SCALE), slice(x0 * SHADOW_SCALE, x1 * SHADOW_SCALE))
        size = ((x1 - x0) * SHADOW_SCALE, (y1 - y0) * SHADOW_SCALE)
        factor = np.asarray(Image.fromarray(light_left).resize(size, Image.Resampling.BICUBIC))
        # Blue light from the sky reaches the shadow, so red fades most.
        tint = 1 - (1 - factor[..., None]) * np.array([1.0, 0.93, 0.82], dtype=np.float32)
        image[region] = np.clip(image[region] * tint, 0, 255).astype(np.uint8)


def _paint_capsule(
    canvas: np.ndarray,
    nearest: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    axis: np.ndarray,
    radius: tuple[np.float32, np.float32],
    depth: tuple[np.float32, np.float32],
    thickness: np.float32,
    colour: np.ndarray,
) -> None:
    """One tapered limb into `canvas` (h, w, 3) and the depth buffer `nearest` (h, w), both in place.

    `x`, `y`: pixel centres relative to the limb's start; `axis`: its end there; `thickness`: mean radius in metres.
    """
    y = y[:, None]
    length = max(axis @ axis, np.float32(1e-6))
    along = np.clip((x * axis[0] + y * axis[1]) / length, 0, 1)
    dx, dy = x - along * axis[0], y - along * axis[1]
    local_radius = radius[0] + along * (radius[1] - radius[0])
    distance = np.sqrt(dx * dx + dy * dy)
    cover = np.clip(local_radius - distance + np.float32(0.5), 0, 1)
    inverse = 1 / np.maximum(local_radius, np.float32(0.5))
    height = np.sqrt(np.clip(1 - (distance * inverse) ** 2, 0, 1))  # of the surface towards the eye, in radii
    surface = depth[0] + along * (depth[1] - depth[0]) - height * thickness
    cover *= np.clip((nearest - surface) / np.float32(SOFT_DEPTH) + np.float32(0.5), 0, 1)
    lit = (dx * LIGHT[0] - dy * LIGHT[1]) * inverse + height * LIGHT[2]
    # Half-Lambert light, darker towards the outline so that crossing limbs stay apart.
    wrapped = np.float32(0.5) * lit + np.float32(0.5)
    shade = np.float32(0.46) + np.float32(0.62) * wrapped * wrapped
    shade *= np.float32(0.80) + np.float32(0.24) * np.sqrt(height)
    shine = np.clip(lit - np.float32(0.82), 0, 1) * np.float32(150)
    painted = np.minimum(shade[..., None] * colour + shine[..., None], 255)
    canvas += cover[..., None] * (painted - canvas)
    np.copyto(nearest, np.minimum(nearest, surface), where=cover > 0.5)
