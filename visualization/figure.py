"""Draws the mannequin into a picture: shaded capsules with smooth edges and their shadow on the ground."""

from __future__ import annotations

import numpy as np
from PIL import Image

from visualization.body import COLOURS, Body
from visualization.camera import Camera

LIGHT = np.array([-0.42, 0.72, 0.55], dtype=np.float32) / np.float32(np.linalg.norm([-0.42, 0.72, 0.55]))
SOFT_DEPTH = 0.008  # metres over which a nearer limb takes over from a farther one
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
        region = image[y0:y1, x0:x1]
        canvas = region.reshape(-1, 3).astype(np.float32)
        nearest = np.full(len(canvas), np.inf, dtype=np.float32)
        places = np.arange(len(canvas)).reshape(region.shape[:2])
        for index in np.argsort(-(start_depth + end_depth)):
            (left, top), (right, bottom) = low[index], high[index]
            if right <= left or bottom <= top:
                continue
            _paint_capsule(
                canvas,
                nearest,
                places[top - y0 : bottom - y0, left - x0 : right - x0],
                np.arange(left, right, dtype=np.float32) + 0.5 - np.float32(start[index, 0]),
                np.arange(top, bottom, dtype=np.float32) + 0.5 - np.float32(start[index, 1]),
                (end[index] - start[index]).astype(np.float32),
                (np.float32(start_radius[index]), np.float32(end_radius[index])),
                (np.float32(start_depth[index]), np.float32(end_depth[index])),
                (np.float32(self.radii[index, 0]), np.float32(self.radii[index, 1])),
                self.colours[index],
            )
        canvas = canvas.reshape(region.shape)
        if opacity < 1:
            canvas = region * np.float32(1 - opacity) + canvas * np.float32(opacity)
        region[...] = canvas + np.float32(0.5)

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
        start, end = pixels[self.starts], pixels[self.ends]
        r0, r1 = (0.9 * self.radii[:, side] * pixel_scale[ends] for side, ends in ((0, self.starts), (1, self.ends)))
        soft = np.maximum((softness[self.starts] + softness[self.ends]) / 2, 0.6)
        reach = (np.maximum(r0, r1) + soft)[:, None] + 1
        size = np.array([image.shape[1], image.shape[0]]) // SHADOW_SCALE
        x0, y0 = np.clip(np.floor(np.minimum(start, end) - reach).min(axis=0), 0, size).astype(int)
        x1, y1 = np.clip(np.ceil(np.maximum(start, end) + reach).max(axis=0), 0, size).astype(int)
        if x1 <= x0 or y1 <= y0:
            return
        # All limbs at once: (limbs, rows, columns) of a small picture.
        stretch = np.array([1.0, 1 / squeeze])
        axis = ((end - start) * stretch).astype(np.float32)[:, None, None]
        from_start = (start * stretch).astype(np.float32)
        dx = np.arange(x0, x1, dtype=np.float32)[None, None] + 0.5 - from_start[:, 0, None, None]
        dy = (np.arange(y0, y1, dtype=np.float32)[None, :, None] + 0.5) / np.float32(squeeze) - from_start[
            :, 1, None, None
        ]
        along = np.clip((dx * axis[..., 0] + dy * axis[..., 1]) / np.maximum((axis**2).sum(-1), 1e-6), 0, 1)
        distance = np.sqrt((dx - along * axis[..., 0]) ** 2 + (dy - along * axis[..., 1]) ** 2)
        r0, r1, soft = (value.astype(np.float32)[:, None, None] for value in (r0, r1, soft))
        cover = np.clip((r0 + along * (r1 - r0) + soft - distance) / (2 * soft), 0, 1)
        cover *= cover * (3 - 2 * cover)
        mean_height = (height_above[self.starts] + height_above[self.ends]) / 2 / self.scale
        dark = (strength / (1 + 0.45 * mean_height)).astype(np.float32)
        light_left = 1 - (dark[:, None, None] * cover).max(axis=0)
        region = (slice(y0 * SHADOW_SCALE, y1 * SHADOW_SCALE), slice(x0 * SHADOW_SCALE, x1 * SHADOW_SCALE))
        size = ((x1 - x0) * SHADOW_SCALE, (y1 - y0) * SHADOW_SCALE)
        factor = np.asarray(Image.fromarray(light_left).resize(size, Image.Resampling.BICUBIC))
        # Blue light from the sky reaches the shadow, so red fades most.
        tint = 1 - (1 - factor[..., None]) * np.array([1.0, 0.93, 0.82], dtype=np.float32)
        image[region] = np.clip(image[region] * tint, 0, 255).astype(np.uint8)


def _paint_capsule(
    canvas: np.ndarray,
    nearest: np.ndarray,
    places: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    axis: np.ndarray,
    radius: tuple[np.float32, np.float32],
    depth: tuple[np.float32, np.float32],
    thickness: tuple[np.float32, np.float32],
    colour: np.ndarray,
) -> None:
    """One tapered limb into `canvas` (pixels, 3) and the depth buffer `nearest` (pixels), both in place.

    `places` (h, w): where the limb's box lies in these lists. `x`, `y`: pixel centres relative to the limb's
    start; `axis`: its end there; `radius`: pixels, `depth`: metres at both ends; `thickness`: radii in metres.
    """
    y = y[:, None]
    length = max(axis @ axis, np.float32(1e-6))
    along = np.clip((x * axis[0] + y * axis[1]) / length, 0, 1)
    dx, dy = x - along * axis[0], y - along * axis[1]
    local_radius = radius[0] + along * (radius[1] - radius[0])
    distance = np.sqrt(dx * dx + dy * dy)
    edge = local_radius - distance + np.float32(0.5)
    inside = edge > 0
    places = places[inside]
    # From here on only pixels of the limb, as flat lists: a slanting limb fills little of its box.
    dx, dy, along, local_radius, distance = (field[inside] for field in (dx, dy, along, local_radius, distance))
    cover = np.minimum(edge[inside], 1)
    inverse = 1 / np.maximum(local_radius, np.float32(0.5))
    height = np.sqrt(np.maximum(1 - (distance * inverse) ** 2, 0))  # of the surface towards the eye, in radii
    surface = depth[0] + along * (depth[1] - depth[0]) - height * (thickness[0] + along * (thickness[1] - thickness[0]))
    behind = nearest[places]
    solid = cover > 0.5
    cover *= np.clip((behind - surface) / np.float32(SOFT_DEPTH) + np.float32(0.5), 0, 1)
    lit = (dx * LIGHT[0] - dy * LIGHT[1]) * inverse + height * LIGHT[2]
    # Half-Lambert light, darker towards the outline so that crossing limbs stay apart.
    wrapped = np.float32(0.5) * lit + np.float32(0.5)
    shade = np.float32(0.46) + np.float32(0.62) * wrapped * wrapped
    shade *= np.float32(0.80) + np.float32(0.24) * np.sqrt(height)
    shine = np.maximum(lit - np.float32(0.82), 0) * np.float32(150)
    painted = np.minimum(shade[:, None] * colour + shine[:, None], 255)
    before = canvas[places]
    canvas[places] = before + cover[:, None] * (painted - before)
    nearest[places] = np.where(solid, np.minimum(behind, surface), behind)
