"""What a motion has to keep to besides its prompts: poses at its ends, a way, a loop.

Letters: T frames, J joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from models.vq.rvq import RVQVAE
from models.vq.tokenise import tokenise
from pipeline.composition import Canvas
from utils.errors import UserError
from utils.motion_format import MotionFormat
from utils.representation import padded_features
from utils.splicing import Articulation, led_along, looped, splice

HELD_STEPS = 4  # a pose is held so long to be read; one of the middle is taken


@dataclass(frozen=True)
class Constraints:
    """What holds for a motion as a whole.

    Attributes:
        start_pose, end_pose: (J, 3) joints in metres of the first and the last frame; the way there is free.
        waypoints: (seconds, x, z) metres, in the order of their times, which the root passes over. Motions start at
            0, 0 and look along z.
        loop: the last frame leads to the first.
    """

    start_pose: np.ndarray | None = None
    end_pose: np.ndarray | None = None
    waypoints: tuple[tuple[float, float, float], ...] = ()
    loop: bool = False

    def check(self, frames: int, form: MotionFormat) -> None:
        """Before anything is made.

        Raises:
            UserError: a pose that is none, waypoints out of order or beyond the end.
        """
        for name, pose in (("start", self.start_pose), ("end", self.end_pose)):
            if pose is not None and (np.shape(pose) != (form.n_joints, 3) or not np.isfinite(pose).all()):
                raise UserError(f"the {name} pose must be finite joints ({form.n_joints}, 3), not {np.shape(pose)}")
        times = [time for time, *_ in self.waypoints]
        if not np.isfinite(np.array(self.waypoints, dtype=float)).all() or times != sorted(set(times)):
            raise UserError("waypoints must be finite and in the order of their times, each time once")
        if times and not 0 <= times[0] <= times[-1] <= frames / form.fps:
            time = times[0 if times[0] < 0 else -1]
            raise UserError(f"a waypoint at {time:g} s is beyond the motion, which has {frames / form.fps:g} s")

    def give(self, canvas: Canvas, vq: RVQVAE) -> None:
        """The cells of the poses are known."""
        for step, pose in ((0, self.start_pose), (-1, self.end_pose)):
            if pose is not None:
                held = np.repeat(np.asarray(pose, float)[None], HELD_STEPS * MotionFormat.unit_length, axis=0)
                canvas.codes[step] = tokenise(vq, [padded_features(held, vq.form)])[0][
                    HELD_STEPS // 2, :, : canvas.codes.shape[-1]
                ]
                canvas.known[step] = True

    def hold(
        self, joints: np.ndarray, form: MotionFormat, again: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> np.ndarray:
        """The motion (T, J, 3) brought to what it has to keep to.

        Args:
            again: draws a motion anew of which the path was bent, with the trunk as it is: steps that were drawn for
                another path slide along this one.
        """
        held = self._held(joints, form)
        return held if again is None or not self.waypoints else self._held(again(held), form)

    def _held(self, joints: np.ndarray, form: MotionFormat) -> np.ndarray:
        old, drawn = joints.copy(), np.ones(joints.shape[:2], bool)
        for frame, pose in ((0, self.start_pose), (-1, self.end_pose)):
            if pose is not None:
                drawn[frame], old[frame] = False, _placed(np.asarray(pose, float), joints[frame], form)
        if not drawn.all():
            joints = splice(old, joints, drawn, form)
        if self.waypoints:
            aims = [(min(round(time * form.fps), len(joints) - 1), x, z) for time, x, z in self.waypoints]
            joints = led_along(joints, aims, form)
        return looped(joints, form) if self.loop else joints


def keep_trunk(canvas: Canvas, codes: Tensor, form: MotionFormat) -> None:
    """The cells that hold the path of a motion, codes (N, J, Q), are known, so that what is drawn steps along it."""
    trunk = next(row for row, (_, members) in enumerate(form.parts) if 0 in members)
    canvas.codes[:, trunk], canvas.known[:, trunk] = codes[:, trunk, : canvas.codes.shape[-1]], True


def _placed(pose: np.ndarray, there: np.ndarray, form: MotionFormat) -> np.ndarray:
    """A pose (J, 3) where a body `there` (J, 3) stands and looks, at its own height."""
    one, other = Articulation.of(pose[None], form), Articulation.of(there[None], form)
    root = np.array([[other.root[0, 0], one.root[0, 1], other.root[0, 2]]])
    return Articulation(other.yaw, root, one.bones).joints(form)[0]
