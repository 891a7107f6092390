"""The backdrop: a soft studio whose floor carries a grid, the path of the pelvis and the marks of planted feet."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from visualization.camera import Camera

SKY_TOP = np.array([244, 246, 250], dtype=np.float32)
HORIZON = np.array([231, 235, 242], dtype=np.float32)
FLOOR = np.array([206, 213, 224], dtype=np.float32)
CHECKER = 5.0  # half the contrast between two tiles, in levels of 255
LINE = 9.0  # how much darker the seams are
PATH_COLOUR = (236, 118, 70)
AHEAD_COLOUR = (168, 178, 194)
MARK_COLOURS = {"left": (226, 108, 62), "right": (58, 118, 192)}
BAND = 24  # rows of floor painted at a time
DECAL_SCALE = 2  # decals are drawn at twice the size and averaged, for smooth edges


class Backdrop:
    """Sky and floor seen by one camera; only the phase of the grid changes as the camera moves."""

    def __init__(self, camera: Camera, size: tuple[int, int], floor: float, tile: float) -> None:
        """`size`: picture (width, height). `floor`: height of the ground. `tile`: side of a tile in metres."""
        width, height = size
        right, up, forward = camera.basis
        x = (np.arange(width) + 0.5 - camera.centre[0]) / camera.focal
        y = (camera.centre[1] - np.arange(height) - 0.5) / camera.focal
        # Camera positions share one height, so a pixel's ray meets the floor at a fixed offset from the eye.
        eye_height = float(camera.positions[:, 1].mean()) - floor
        slope = forward[1] + y * up[1]  # vertical part of the ray; `right` is level
        self.first_row = int(np.argmax(slope < -0.012)) if (slope < -0.012).any() else height
        rows = slice(self.first_row, height)
        reach = eye_height / np.maximum(-slope[rows], 1e-6)
        self._offsets = []
        self._footprints = []
        for axis in (0, 2):
            direction = forward[axis] + y[rows, None] * up[axis] + x[None] * right[axis]
            offset = (reach[:, None] * direction / tile).astype(np.float32)
            across = np.abs(np.gradient(offset, axis=1)) if width > 1 else np.ones_like(offset)
            down = np.abs(np.gradient(offset, axis=0)) if len(offset) > 1 else np.ones_like(offset)
            self._offsets.append(offset)
            self._footprints.append((1 / np.maximum(across + down, 1e-4)).astype(np.float32))
        self._tile = tile
        distance = reach / max(float(np.median(reach)), 1e-6) if len(reach) else reach
        fade = np.exp(-np.clip(distance - 0.4, 0, None) / 1.6).astype(np.float32)[:, None]
        finest = np.minimum(*self._footprints) if len(reach) else np.zeros((0, width), np.float32)
        # Tiles smaller than some pixels dissolve instead of shimmering.
        self._contrast = fade * np.clip(finest / 6, 0, 1)

        share = np.linspace(0, 1, max(self.first_row, 1), dtype=np.float32)[:, None]
        sky = SKY_TOP + (HORIZON - SKY_TOP) * share
        ground = HORIZON + (FLOOR - HORIZON) * (1 - np.exp(-2.2 * np.linspace(0, 1, height - self.first_row)))[:, None]
        column = np.concatenate([sky[: self.first_row], ground.astype(np.float32)])
        middle = (x * camera.focal / max(width, 1))[None] * 2
        vertical = np.linspace(-1, 1, height)[:, None]
        vignette = (1 - 0.035 * (middle**2 + 0.6 * vertical**2)).astype(np.float32)
        self._base = column[:, None] * vignette[..., None]
        self._sky = (self._base[: self.first_row] + 0.5).astype(np.uint8)
        self._last: tuple[tuple[float, float], np.ndarray] | None = None

    def draw(self, camera: Camera, frame: int) -> np.ndarray:
        """The empty stage of one frame: (H, W, 3) uint8, the caller's to paint on."""
        eye = camera.positions[frame]
        key = (float(eye[0]), float(eye[2]))
        if self._last is not None and self._last[0] == key:
            return self._last[1].copy()
        image = np.empty(self._base.shape, dtype=np.uint8)
        image[: self.first_row] = self._sky
        phases = [np.float32((position / self._tile) % 2) for position in (eye[0], eye[2])]
        for top in range(0, len(self._contrast), BAND):
            self._draw_band(image, slice(top, top + BAND), phases)
        self._last = (key, image.copy())
        return image

    def _draw_band(self, image: np.ndarray, rows: slice, phases: list[np.float32]) -> None:
        """Some rows of the floor. Bands that fit the processor's cache are several times quicker than all at once."""
        pattern, seams = np.float32(1), np.float32(0)
        for offset, footprint, phase in zip(self._offsets, self._footprints, phases, strict=True):
            cell = (offset[rows] + phase) * np.float32(0.5)
            cell -= np.floor(cell)
            edge = np.float32(0.5) - 2 * np.abs(cell - np.float32(0.5))  # signed distance to the next seam, in tiles
            edge *= footprint[rows]
            pattern = pattern * np.clip(edge, -1, 1)
            seams = np.maximum(seams, np.float32(1.3) - np.abs(edge))
        level = (np.float32(CHECKER) * pattern - np.float32(LINE) * np.minimum(seams, 1)) * self._contrast[rows]
        floor = slice(self.first_row + rows.start, self.first_row + rows.stop)
        # Base and level stay between 0 and 255, so nothing needs clipping.
        image[floor] = self._base[floor] + level[..., None]


class Decals:
    """What lies flat on the floor: the pelvis' path up to now and ahead, and the footprints of planted feet."""

    def __init__(
        self, path: np.ndarray, marks: list[tuple[int, int, str, np.ndarray]], floor: float, scale: float
    ) -> None:
        """`path`: (T, 3) of the pelvis. `marks`: (first frame, last frame, side, centre (3,)). `scale`: adult = 1."""
        self._path = path.copy()
        self._path[:, 1] = floor
        self._marks = marks
        self._scale = scale
        travelled = np.linalg.norm(np.diff(self._path, axis=0), axis=-1).sum()
        self._show_path = travelled > 0.35 * scale
        angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        self._ring = np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], axis=-1)

    def draw(self, image: np.ndarray, camera: Camera, frame: int, fps: float) -> None:
        """Paints the decals of one frame on `image` (H, W, 3) uint8, in place."""
        shapes: list[tuple[str, np.ndarray, tuple[int, int, int], float]] = []
        if self._show_path:
            if frame + 1 < len(self._path):
                shapes.append(("line", self._path[frame:], AHEAD_COLOUR, 0.5))
            if frame > 0:
                shapes.append(("line", self._path[: frame + 1], PATH_COLOUR, 0.75))
        for first, last, side, centre in self._marks:
            if frame < first:
                continue
            age = max(0, frame - last) / fps
            strength = 0.55 if frame <= last else 0.38 * np.exp(-age / 1.2)
            if strength > 0.03:
                radius = 0.085 * self._scale * (1.0 if frame <= last else 0.85)
                shapes.append(("disc", centre + radius * self._ring, MARK_COLOURS[side], float(strength)))
        if not shapes:
            return
        picture = Image.fromarray(image)
        for kind, points, colour, strength in shapes:
            self._paste(picture, kind, points, colour, strength, camera, frame)
        image[...] = np.asarray(picture)

    def _paste(
        self,
        picture: Image.Image,
        kind: str,
        points: np.ndarray,
        colour: tuple[int, int, int],
        strength: float,
        camera: Camera,
        frame: int,
    ) -> None:
        """One translucent shape, smooth at the edges, painted only where it lies."""
        pixels, depth = camera.project(points, frame)
        visible = depth > 0.05
        if not visible.all() and kind == "disc" or visible.sum() < 2:
            return
        pixels = pixels[visible]
        width = float(np.clip(0.016 * self._scale * camera.focal / np.median(depth[visible]), 1.2, 6.0))
        low = np.clip(np.floor(pixels.min(axis=0) - width - 1), 0, picture.size).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0) + width + 1), 0, picture.size).astype(int)
        if (high <= low).any():
            return
        mask = Image.new("L", tuple(((high - low) * DECAL_SCALE).tolist()))
        corners = [tuple(point) for point in ((pixels - low) * DECAL_SCALE).tolist()]
        drawing, fill = ImageDraw.Draw(mask), round(255 * strength)
        if kind == "line":
            drawing.line(corners, fill=fill, width=max(1, round(width * DECAL_SCALE)), joint="curve")
        else:
            drawing.polygon(corners, fill=fill)
        picture.paste(colour, tuple(low.tolist()), mask.reduce(DECAL_SCALE))
