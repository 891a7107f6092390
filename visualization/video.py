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
    """Everything that one panel of a video shows: camera, floor, figure. `picture(t)` paints a frame."""

    def __init__(
        self,
        joints: np.ndarray,
        fps: float,
        form: MotionFormat,
        size: tuple[int, int],
        safe: tuple[float, float, float, float],
        azimuth: float | None = None,
        trail: bool = True,
        follow: bool = True,
        tallest: float = 0.0,
    ) -> None:
        """`joints`: (T, J, 3). `size`: (width, height) in pixels. The rest: see `plan_camera`."""
        body = get_body(form)
        self.size, self.fps, self.frames = size, fps, len(joints)
        self.scale = body.scale(joints)
        self.floor = standing_floor(joints, form)
        self.points = body.display_points(joints)
        self.camera = plan_camera(self.points, body, size, safe, fps, azimuth, follow, tallest)
        marks = []
        if trail:
            contacts = detect_contacts(joints, fps, form)
            for side, columns in (("left", (0, 1)), ("right", (2, 3))):
                foot = body.form.left_foot if side == "left" else body.form.right_foot
                for first, last in contact_segments(contacts[:, columns[1]]):
                    centre = joints[first : last + 1][:, list(foot)].mean(axis=(0, 1))
                    centre[1] = self.floor
                    marks.append((first, last, side, centre))
        path = joints[:, 0] if trail else joints[:1, 0]
        self._decals = Decals(path, marks, self.floor, self.scale)
        self._painter = FigurePainter(body, self.scale, self.floor)
        self.use_camera(self.camera)

    def use_camera(self, camera: Camera) -> None:
        """Replaces the camera (panels of one comparison share their distance)."""
        self.camera = camera
        self._backdrop = Backdrop(camera, self.size, self.floor, 0.5 * self.scale)

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
    joints: np.ndarray,
    fps: float,
    title: str = "",
    form: MotionFormat = HUMANML3D,
    size: tuple[int, int] | None = None,
    trail: bool = True,
    follow: bool | None = None,
) -> Path:
    """Writes one motion as an .mp4 (H.264) or .gif.

    Args:
        joints: (T, J, 3) in metres, y up.
        fps: frames per second of the motion and of the video.
        title: caption above the figure, wrapped to three lines.
        form: of the joints.
        size: (width, height) in pixels; odd numbers are rounded down to even ones. None: 854 x 480, a .gif 426 x 240.
        trail: draws the pelvis' path and the footprints.
        follow: whether the camera goes along with a figure that goes far. None: in an .mp4, not in a .gif, which a
            moving background makes several times bigger.

    Raises:
        UserError: bad joints, fps, size or suffix, or the folder cannot be written.
    """
    return render_comparison(path, [joints], fps, (), title, form, size, trail, follow)


def render_comparison(
    path: Path | str,
    motions: Sequence[np.ndarray],
    fps: float,
    labels: Sequence[str] = (),
    title: str = "",
    form: MotionFormat = HUMANML3D,
    size: tuple[int, int] | None = None,
    trail: bool = True,
    follow: bool | None = None,
) -> Path:
    """Writes several motions side by side (rows of four), seen from the same side and distance.

    Args:
        motions: each (T, J, 3); shorter ones hold their last frame.
        labels: one a motion, or none.
        size: of the whole picture in pixels; by default 854 x 480 for one motion and 480 x 480 for each of several,
            half of it in a .gif.
        trail, follow: see `render_video`.

    Raises:
        UserError: as `render_video`, no motion, or not as many labels as motions.
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
    azimuth = choose_azimuth(motions[0], body) if len(motions) > 1 else None
    tallest = max(float(np.ptp(body.display_points(joints)[..., 1])) for joints in motions)
    label_height = max((caption.height for caption in captions if caption), default=0)
    going = not still if follow is None else follow
    stages = []
    for index, joints in enumerate(motions):
        safe = (0.04 * panel[0], tops[index] + label_height, 0.96 * panel[0], panel[1] - 1.6 * text_size)
        stages.append(Stage(joints, fps, form, panel, safe, azimuth, trail, going, tallest))
    if len(stages) > 1:
        for stage, camera in zip(stages, share_camera([stage.camera for stage in stages]), strict=True):
            stage.use_camera(camera)
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
