"""From a checked request to files, one at a time. Needs no Gradio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.configs import SamplingSettings
from options.app import AppOptions
from Part_TMR.found import describe
from pipeline.app.requests import MotionRequest, check_request
from pipeline.app.results import ResultStore
from pipeline.app.visitors import Visitors
from pipeline.library import library_motion
from pipeline.text_to_motion import Motion, TextToMotion
from storage.arrays import write_array
from utils.device import describe_device
from utils.errors import UserError
from utils.representation import features_to_joints
from utils.spelling import slugify
from visualization.bvh import write_bvh
from visualization.captioned import CaptionedMotion
from visualization.gltf import write_glb
from visualization.html import write_html
from visualization.video import render_video

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Neighbour:
    """A motion of the library that is near the prompt.

    Attributes:
        motion_id, caption, score: as in `Motion.retrieved`.
        used: whether the generator saw it.
        joints: (T, J, 3) metres, or None where the library cannot show it.
    """

    motion_id: str
    caption: str
    score: float
    used: bool
    joints: np.ndarray | None


@dataclass(frozen=True)
class Result:
    """A generated motion whose files are there.

    Attributes:
        token: what `ResultStore.path` finds them by.
        name: a file name made from the prompt and the seed, for downloads.
        neighbours: retrieved motions, best first.
    """

    token: str
    name: str
    request: MotionRequest
    motion: Motion
    neighbours: tuple[Neighbour, ...]


class Line:
    """A bounded line before one counter: first come, first served, and at most `limit` wait."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tickets: list[object] = []  # the first is being served
        self._changed = threading.Condition()

    @property
    def running(self) -> int:
        """0 or 1."""
        return min(len(self._tickets), 1)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return max(len(self._tickets) - 1, 0)

    @contextmanager
    def turn(self, waiting: Callable[[int], None] = lambda before: None) -> Iterator[None]:
        """Waits until it is one's turn, which lasts as long as the block.

        Args:
            waiting: called with the number of those before, each time that it changes and every half second. What
                it raises ends the wait.

        Raises:
            UserError: the line is full.
        """
        ticket = object()
        with self._changed:
            if len(self._tickets) > self.limit:
                raise UserError(
                    f"too many prompts at once: one is at work and {self.waiting} wait. Try again in a minute"
                )
            self._tickets.append(ticket)
        try:
            while before := self._place(ticket):
                waiting(before)
                with self._changed:
                    self._changed.wait_for(lambda seen=before: self._tickets.index(ticket) < seen, timeout=0.5)
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def _place(self, ticket: object) -> int:
        with self._changed:
            return self._tickets.index(ticket)


class AppSession:
    """The models, the visitors, the line of those who wait, and the results that are kept."""

    def __init__(self, t2m: TextToMotion, options: AppOptions, store: ResultStore) -> None:
        self.t2m, self.options, self.store = t2m, options, store
        self.line, self.visitors = Line(options.server.queue_size), Visitors()

    def generate(self, progress: Progress = lambda share, what: None, **values: Any) -> Result:
        """Checks a visitor's values (see `check_request`), waits for its turn, generates, writes the files.

        Args:
            progress: called with the share that is done, 0 to 1, and what is being done. What it raises ends
                the request.

        Raises:
            UserError: a value is wrong, or too many are waiting.
        """
        request = check_request(self.options.limits, self.t2m.spec, values)
        with self.line.turn(lambda before: progress(0.0, f"waiting: {before} before this one")):
            progress(0.1, "generating")
            motion = self._motion(request)
            progress(0.4, "looking at the library")
            neighbours = self._neighbours(motion)
            with self.store.new() as (token, folder):
                result = Result(token, f"{slugify(motion.text, 40)}_{motion.seed}", request, motion, neighbours)
                form, joints, fps = self.t2m.spec.format, motion.joints, motion.fps
                write_array(folder / "joints.npy", joints)
                write_array(folder / "features.npy", motion.features)
                progress(0.5, "writing the animation files")
                write_bvh(folder / "motion.bvh", joints, fps, form=form)
                write_glb(folder / "motion.glb", joints, fps, form=form, name=result.name)
                write_html(folder / "viewer.html", self._panels(motion, neighbours), fps, form, lead=True)
                progress(0.6, "painting the video")
                render_video(folder / "motion.mp4", [joints], fps, motion.text, form)
        return result

    def health(self) -> dict[str, Any]:
        """Whether it works, with what, and how many wait."""
        names = self.options.models
        return {
            "status": "ok",
            "dataset": self.t2m.spec.name,
            "models": {
                "mtrans": names.mtrans_name,
                "rtrans": names.rtrans_name,
                "retriever": self.t2m.retriever.name if self.t2m.retriever else None,
                "length_estimator": self.t2m.length_estimator is not None,
            },
            "library": len(self.t2m.database) if self.t2m.database else 0,
            "device": str(self.t2m.device),
            "hardware": describe_device(self.t2m.device),
            "queue": {"running": self.line.running, "waiting": self.line.waiting, "limit": self.line.limit},
        }

    def _motion(self, request: MotionRequest) -> Motion:
        sampling = SamplingSettings(time_steps=request.time_steps, cond_scale=request.cond_scale)
        return self.t2m.generate(
            [request.prompt], request.motion_length, request.seed, sampling=sampling, retrieval=request.retrieval
        )[0]

    def _neighbours(self, motion: Motion) -> tuple[Neighbour, ...]:
        """What was retrieved, and the next best, so that a visitor sees what else the library knows."""
        t2m, wanted = self.t2m, self.options.limits.neighbours
        if not motion.retrieved or not wanted:
            return ()
        asked = t2m.retriever.queries([motion.text])
        found = t2m.database.search(asked, wanted)
        seen = {motion_id for motion_id, _, _ in motion.retrieved}
        neighbours = []
        described = describe(t2m.retriever, t2m.database, asked, found)[0]
        for number, each in zip(found.indices[0].tolist(), described, strict=True):
            neighbours.append(Neighbour(*each[:3], each.id in seen, self._library_joints(number)))
        return tuple(neighbours)

    def _library_joints(self, number: int) -> np.ndarray | None:
        t2m = self.t2m
        try:
            features = library_motion(t2m.database, number, t2m.spec, lambda name: t2m.vq)
        except UserError:
            return None  # no dataset here, and no base tokens of this RVQ-VAE: the caption has to do
        return features_to_joints(features, t2m.spec.format)

    def _panels(self, motion: Motion, neighbours: tuple[Neighbour, ...]) -> list[CaptionedMotion]:
        shown = [
            CaptionedMotion(each.joints, each.caption, "retrieved · used" if each.used else "retrieved")
            for each in neighbours
            if each.joints is not None
        ]
        return [CaptionedMotion(motion.joints, motion.text, "generated"), *shown]
