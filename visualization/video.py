"""Skeleton motions as videos: one figure with its caption, or several side by side."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat
from visualization.body import get_body
from visualization.camera import Camera, choose_azimuth, plan_camera, share_camera
from visualization.checks import check_fps, check_joints
from visualization.contacts import contact_segments, detect_contacts, standing_floor
from visualization.encode import check_suffix, write_video
from visualization.figure import FigurePainter
from visualization.ground import Backdrop, Decals
from visualization.lettering import FAINT_INK, Caption, draw_note

PROGRESS = np.array([236, 118, 70], dtype=np.uint8)


class Stage:
    """Everything that one panel of a video shows: floor, decals, figure. `picture(t)` paints a frame."""

    def __init__(
        self, joints: np.ndarray, fps: float, form: MotionFormat, size: tuple[int, int], camera: Camera
    ) -> None:
        """`joints`: (T, J, 3). `size`: (width, height) in pixels."""
        body = get_body(form)
        self.fps, self.camera, self.frames = fps, camera, len(joints)
        self.scale = body.scale(joints)
        self.floor = standing_floor(joints, form)
        self.points = body.display_points(joints)
        marks = []
        contacts = detect_contacts(joints, fps, form)
        for side, foot, toe in (("left", form.left_foot, 1), ("right", form.right_foot, 3)):
            for first, last in contact_segments(contacts[:, toe]):
                centre = joints[first : last + 1][:, list(foot)].mean(axis=(0, 1))
                centre[1] = self.floor
                marks.append((first, last, side, centre))
        self._decals = Decals(joints[:, 0], marks, self.floor, self.scale)
        self._painter = FigurePainter(body, self.scale, self.floor)
        self._backdrop = Backdrop(camera, size, self.floor, 0.5 * self.scale)

    def picture(self, frame: int) -> np.ndarray:
        """(H, W, 3) uint8 of one frame; past the end the last frame stays."""
        frame = min(frame, self.frames - 1)
        image = self._backdrop.draw(self.camera, frame)
        self._decals.draw(image, self.camera, frame, self.fps)
        self._painter.shadow(image, self.points[frame], self.camera, frame)
        self._painter.draw(image, self.points[frame], self.camera, frame)
        return image


def render_video(
    path: Path | str,
    motions: Sequence[np.ndarray],
    fps: float,
    title: str = "",
    form: MotionFormat = HUMANML3D,
    size: tuple[int, int] | None = None,
    labels: Sequence[str] = (),
) -> Path:
    """Writes one motion, or several side by side (rows of four), as an .mp4 (H.264) or .gif.

    Several are seen from the same side and distance. In an .mp4 the camera goes along with a figure that goes far, not
    in a .gif, which a moving background makes several times bigger.

    Args:
        motions: each (T, J, 3) in metres, y up; shorter ones hold their last frame.
        fps: frames per second of the motions and of the video.
        title: caption above the figures, wrapped to three lines.
        form: of the joints.
        size: (width, height) of the whole picture in pixels; odd numbers are rounded down to even ones. None: 854 x 480
            for one motion and 480 x 480 for each of several, half of it in a .gif.
        labels: one a motion, or none.

    Raises:
        UserError: bad joints, fps, size or suffix, no motion, not as many labels as motions, or the folder cannot be
            written.
    """
    path = Path(path)
    check_suffix(path)
    fps = check_fps(fps)
    if not motions:
        raise UserError("nothing to render: give at least one motion")
    if labels and len(labels) != len(motions):
        raise UserError(f"{len(labels)} labels for {len(motions)} motions: give one for each, or none")
    motions = [check_joints(joints, form) for joints in motions]
    still = path.suffix.lower() == ".gif"
    columns, rows, panel = arrange(len(motions), size, still)
    size = (panel[0] * columns, panel[1] * rows)
    text_size = max(9, round(panel[1] / 22))
    heading = Caption(title, size[0], text_size) if title.strip() else None
    label_size = max(8, round(panel[1] / 26))
    captions = [Caption(label, panel[0], label_size, 2, FAINT_INK) if label.strip() else None for label in labels]
    pad = round(0.6 * text_size)

    tops = [(heading.height + pad if heading and index < columns else 0) + pad for index in range(len(motions))]
    body = get_body(form)
    azimuth = choose_azimuth(motions[0], body)
    shown = [body.display_points(joints) for joints in motions]
    tallest = max(float(np.ptp(points[..., 1])) for points in shown)
    label_height = max((caption.height for caption in captions if caption), default=0)
    cameras = []
    for points, top in zip(shown, tops, strict=True):
        safe = (0.04 * panel[0], top + label_height, 0.96 * panel[0], panel[1] - 1.6 * text_size)
        cameras.append(plan_camera(points, body, panel, safe, fps, azimuth, not still, tallest))
    cameras = share_camera(cameras)
    stages = [Stage(joints, fps, form, panel, camera) for joints, camera in zip(motions, cameras, strict=True)]
    total = max(len(joints) for joints in motions)

    def picture(frame: int) -> np.ndarray:
        image = np.full((size[1], size[0], 3), 236, dtype=np.uint8)
        for index, stage in enumerate(stages):
            row, column = divmod(index, columns)
            region = image[row * panel[1] : (row + 1) * panel[1], column * panel[0] : (column + 1) * panel[0]]
            region[...] = stage.picture(frame)
            if captions and captions[index]:
                captions[index].draw(region, tops[index])
            if column:
                region[:, 0] = region[:, 0] - 18
        if heading:
            heading.draw(image, pad)
        bar = max(2, round(size[1] / 160))
        image[-bar:, : max(1, round(size[0] * (frame + 1) / total))] = PROGRESS
        note = f"{frame + 1}/{total}   {frame / fps:.1f} s"
        draw_note(image, note, max(8, round(0.7 * text_size)), size[0] - pad, size[1] - bar - round(0.3 * text_size))
        return image

    return write_video(path, _in_order(picture, total), size, fps)


def arrange(count: int, size: tuple[int, int] | None, still: bool) -> tuple[int, int, tuple[int, int]]:
    """Columns, rows, and (width, height) in pixels of each of so many panels; `size` and `still` (a .gif) as above.

    Raises:
        UserError: the panels are too small or too large.
    """
    columns = min(count, 4)
    rows = -(-count // columns)
    width, height = size or ((854, 480) if count == 1 else (480 * columns, 480 * rows))
    if still and size is None:
        width, height = width // 2, height // 2
    panel = (width // columns // 2 * 2, height // rows // 2 * 2)
    if panel[0] < 64 or panel[1] < 64 or max(panel) > 8192:
        raise UserError(f"size {width}x{height} leaves {panel[0]}x{panel[1]} pixels a motion: use 64 to 8192 a side")
    return columns, rows, panel


def _in_order(picture: Callable[[int], np.ndarray], total: int) -> Iterator[np.ndarray]:
    """Pictures 0..total-1 in order, painted by as many threads as there are cores (NumPy lets them run at once)."""
    workers = max(1, min(4, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for frame in range(total):
            waiting.append(pool.submit(picture, frame))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
