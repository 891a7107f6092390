"""From a checked request to files, one at a time. Needs no Gradio."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.configs import SamplingSettings
from options.app import AppOptions
from Part_TMR.found import describe
from pipeline.app.clips import Uploads, check_library, embed_clip, read_clip, read_source, shown_name, with_clips
from pipeline.app.line import Line
from pipeline.app.requests import MotionRequest, check_edit, check_request, check_story, check_text
from pipeline.app.results import ResultStore, numbered
from pipeline.app.rooms import Neighbour, OwnClip, Result, Rooms
from pipeline.app.visitors import Visitors
from pipeline.editing import Edit, EditPlan
from pipeline.library import library_motion
from pipeline.stories import tell
from pipeline.text_to_motion import Motion, TextToMotion
from storage.arrays import read_array, write_array
from utils.device import describe_device
from utils.errors import UserError
from utils.representation import features_to_joints
from utils.spelling import slugify
from visualization.bvh import write_bvh
from visualization.captioned import CaptionedMotion
from visualization.formats import ExportSettings, write_comparison
from visualization.gltf import write_glb
from visualization.html import write_html
from visualization.sequence import render_sequence
from visualization.video import render_video

Progress = Callable[[float, str], None]
SMALL = (300, 400)  # pixels of each of several motions in their video
PICTURE = (240, 160)  # pixels of a result's small picture
MOST_CAPTIONS = 3  # of a motion that was found for a clip
MOST_FOLLOWED = 8  # motions of the library that are named beside a story


def no_progress(share: float, what: str) -> None:
    """Tells nobody."""


class AppSession:
    """The models, the visitors, the line of those who wait, and what is kept for whom."""

    def __init__(self, t2m: TextToMotion, options: AppOptions, store: ResultStore) -> None:
        self.t2m, self.options, self.store = t2m, options, store
        self.line, self.visitors = Line(options.server.queue_size), Visitors()
        self.rooms = Rooms(store, self.visitors, options.server.linger, options.limits.history)
        self.uploads = Uploads(options.uploads)

    def generate(self, progress: Progress = no_progress, visitor: str = "", **values: Any) -> Result:
        """Checks a visitor's values (see `check_request`), waits for its turn, generates, writes the files.

        Args:
            progress: called with the share that is done, 0 to 1, and what is being done. What it raises ends
                the request.
            visitor: the name of the session, whose clips are in the library and which keeps the result.

        Raises:
            UserError: a value is wrong, or too many are waiting.
        """
        request = check_request(self.options.limits, self.t2m.spec, values)
        with self._turn(progress):
            progress(0.1, "generating")
            t2m = with_clips(self.t2m, self.rooms.clips(visitor))
            motions = self._motions(t2m, request)
            progress(0.4, "looking at the library")
            first = motions[0]
            neighbours, panels = self._neighbours(t2m, first)
            panels = [CaptionedMotion(first.joints, first.text, "generated"), *panels]
            if len(motions) > 1:
                panels = [CaptionedMotion(each.joints, each.text, f"seed {each.seed}") for each in motions]
            return self._kept(visitor, request, motions, neighbours, panels, progress)

    def tell(self, progress: Progress = no_progress, visitor: str = "", **values: Any) -> Result:
        """As `generate`, a story; see `check_story`."""
        request = check_story(self.options.limits, self.t2m.spec.format, values)
        with self._turn(progress):
            progress(0.05, "generating")
            t2m = with_clips(self.t2m, self.rooms.clips(visitor))
            how = (_sampling(request), request.retrieval)
            motion = tell(t2m, request.story, request.seed, *how, progress=_made(progress, 0.05))
            panels = [CaptionedMotion(motion.joints, request.title, "story")]
            return self._kept(visitor, request, [motion], _followed(motion), panels, progress)

    def edit(self, progress: Progress = no_progress, visitor: str = "", **values: Any) -> Result:
        """As `generate`, an earlier result of the visitor that is changed; see `check_edit`.

        Raises:
            UserError: the result is gone, or what is to be drawn lies apart from it or is too long.
        """
        request = check_edit(self.options.limits, self.t2m.spec.format, values)
        (token, number), (start, end) = request.source, request.section
        with self._turn(progress):
            progress(0.05, "reading the motion")
            changed = self.rooms.find(visitor, token)
            path = self.store.path(token, numbered("joints.npy", number))
            if path is None:
                raise UserError("this motion is gone: generate it again")
            source = read_array(path)
            seconds, most = max(len(source) / changed.fps, end) - min(start, 0), self.options.limits.seconds
            if seconds > most:
                raise UserError(f"it would have {seconds:g} s, at most {most:g} s are made")
            t2m = with_clips(self.t2m, self.rooms.clips(visitor))
            plan = EditPlan(t2m, source, Edit(request.prompt, (request.section,), request.parts, request.strength))
            progress(0.15, "generating")
            motion = plan.make(request.seed, _sampling(request), request.retrieval, _made(progress, 0.15))
            panels = [
                CaptionedMotion(motion.joints, request.prompt, "changed"),
                CaptionedMotion(plan.source, changed.title, "as it was"),
            ]
            self.rooms.touch(visitor, token)
            request = replace(request, source_title=changed.title, source_seconds=round(len(source) / changed.fps, 2))
            return self._kept(visitor, request, [motion], _followed(motion), panels, progress)

    def open_source(self, token: str, progress: Progress = no_progress, visitor: str = "") -> Result:
        """An upload as a result that can be changed.

        Raises:
            UserError: as `find_similar`.
        """
        upload = self.uploads.take(token)
        with self._turn(progress):
            progress(0.1, "reading the motion")
            joints, remarks = read_source(upload, self.t2m.spec, self.options.uploads, self.store.folder)
            progress(0.6, "writing the 3D view")
            title = shown_name(upload.name)
            panels = [CaptionedMotion(joints, title, "your motion")]
            return self._kept_upload(visitor, upload.name, title, panels, (), remarks)

    def find_similar(self, token: str, progress: Progress = no_progress, visitor: str = "") -> Result:
        """The motions of the library that are nearest to an upload.

        Raises:
            UserError: the upload is gone or no motion, there is no library, or too many are waiting.
        """
        check_library(self.t2m)
        upload, limits, t2m = self.uploads.take(token), self.options.uploads, self.t2m
        with self._turn(progress):
            progress(0.1, "reading the clip")
            features, remarks = read_clip(upload, t2m.spec, limits, self.store.folder)
            progress(0.4, "looking at the library")
            found = t2m.database.search(t2m.retriever.encode_motion([features]).motion, limits.found, by="motion")
            neighbours, panels = [], []
            for number, score in zip(found.indices[0].tolist(), found.scores[0].tolist(), strict=True):
                entry, joints = t2m.database.entries[number], self._library_joints(t2m, number)
                captions = tuple(dict.fromkeys(entry.captions))[:MOST_CAPTIONS]
                neighbours.append(Neighbour(entry.id, captions, score, False, joints is not None))
                if joints is not None and len(panels) < self.options.limits.neighbours:
                    panels.append(CaptionedMotion(joints, entry.captions[0], "found"))
            form, title = t2m.spec.format, f"like {shown_name(upload.name)}"
            own = CaptionedMotion(features_to_joints(features, form), shown_name(upload.name), "your clip")
            progress(0.7, "writing the 3D view")
            return self._kept_upload(visitor, upload.name, title, [own, *panels], tuple(neighbours), remarks)

    def add_clip(self, token: str, caption: Any, progress: Progress = no_progress, visitor: str = "") -> OwnClip:
        """Adds an upload to the library of a visitor's session; nobody else's changes.

        Raises:
            UserError: as `find_similar`, the caption is no text, or the visitor has clips enough.
        """
        check_library(self.t2m)
        upload = self.uploads.take(token)
        caption = check_text("the caption", caption, self.options.limits.max_prompt_length)
        most = self.options.uploads.clips
        with self._turn(progress):
            if len(self.rooms.clips(visitor)) >= most:
                raise UserError(f"{most} clips are as many as a session may add")
            progress(0.2, "reading the clip")
            stem = f"yours_{self.rooms.next_clip(visitor)}"
            clip = embed_clip(upload, caption, stem, self.t2m, self.options.uploads, self.store.folder)
            self.rooms.add_clip(visitor, clip)
        return clip

    def sweep(self) -> None:
        """Removes what nobody needs any more."""
        self.uploads.sweep()
        self.rooms.sweep()

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

    def _turn(self, progress: Progress) -> AbstractContextManager[None]:
        return self.line.turn(lambda before: progress(0.0, f"waiting: {before} before this one"))

    def _kept(
        self,
        visitor: str,
        request: MotionRequest,
        motions: list[Motion],
        neighbours: tuple[Neighbour, ...],
        panels: list[CaptionedMotion],
        progress: Progress,
    ) -> Result:
        """Writes all files of what was made, and keeps it for the visitor.

        Args:
            panels: what the 3D view shows.
        """
        first, form = motions[0], self.t2m.spec.format
        text, fps, several = request.title, first.fps, len(motions) > 1
        with self.store.new() as (token, folder):
            name = f"{slugify(text, 40)}_{first.seed}"
            progress(0.5, "writing the animation files")
            for number, motion in enumerate(motions):
                write_array(folder / numbered("joints.npy", number), motion.joints)
                write_array(folder / numbered("features.npy", number), motion.features)
                write_bvh(folder / numbered("motion.bvh", number), motion.joints, fps, form=form)
                write_glb(folder / numbered("motion.glb", number), motion.joints, fps, form=form, name=name)
            self._write_views(folder, panels, fps, compared=several)
            progress(0.6, "painting the video")
            joints = [motion.joints for motion in motions]
            labels = [f"seed {motion.seed}" for motion in motions] if several else []
            size = (SMALL[0] * len(motions), SMALL[1]) if several else None
            render_video(folder / "motion.mp4", joints, fps, text, form, size, labels)
        remarks = () if first.remark is None else (first.remark,)
        result = Result(token, name, text, tuple(map(len, joints)), fps, neighbours, request, remarks)
        self.rooms.keep(visitor, result)
        return result

    def _kept_upload(
        self,
        visitor: str,
        name: str,
        title: str,
        panels: list[CaptionedMotion],
        neighbours: tuple[Neighbour, ...],
        remarks: list[str],
    ) -> Result:
        """As `_kept`, what was sent, the first of the panels."""
        joints, fps = panels[0].joints, self.t2m.spec.format.fps
        with self.store.new() as (token, folder):
            write_array(folder / "joints.npy", joints)
            self._write_views(folder, panels, fps, compared=False)
        file_name = slugify(name, 40)
        result = Result(token, file_name, title, (len(joints),), fps, neighbours, None, tuple(remarks))
        self.rooms.keep(visitor, result)
        return result

    @staticmethod
    def _motions(t2m: TextToMotion, request: MotionRequest) -> list[Motion]:
        how = {"sampling": _sampling(request), "retrieval": request.retrieval}
        texts = [request.prompt] * request.motions
        return t2m.generate(texts, request.motion_length, request.seeds, **how)

    def _neighbours(self, t2m: TextToMotion, motion: Motion) -> tuple[tuple[Neighbour, ...], list[CaptionedMotion]]:
        """What was retrieved, and the next best, so that a visitor sees what else the library knows; and those of them
        that can be shown."""
        wanted = self.options.limits.neighbours
        if not motion.retrieved or not wanted:
            return (), []
        asked = t2m.retriever.queries([motion.text])
        found = t2m.database.search(asked, wanted)
        seen = {motion_id for motion_id, _, _ in motion.retrieved}
        neighbours, panels = [], []
        described = describe(t2m.retriever, t2m.database, asked, found)[0]
        for number, each in zip(found.indices[0].tolist(), described, strict=True):
            used, joints = each.id in seen, self._library_joints(t2m, number)
            neighbours.append(Neighbour(each.id, (each.caption,), each.score, used, joints is not None))
            if joints is not None:
                panels.append(CaptionedMotion(joints, each.caption, "retrieved · used" if used else "retrieved"))
        return tuple(neighbours), panels

    @staticmethod
    def _library_joints(t2m: TextToMotion, number: int) -> np.ndarray | None:
        try:
            features = library_motion(t2m.database, number, t2m.spec, lambda name: t2m.vq)
        except UserError:
            return None  # no dataset here, and no base tokens of this RVQ-VAE: the caption has to do
        return features_to_joints(features, t2m.spec.format)

    def _write_views(self, folder: Path, panels: list[CaptionedMotion], fps: float, compared: bool) -> None:
        """The 3D view, its first motion large or all side by side, and a small picture of the first."""
        form = self.t2m.spec.format
        if compared:
            write_comparison(folder / "viewer", panels, ["html"], ExportSettings(fps, form))
        else:
            write_html(folder / "viewer.html", panels, fps, form, lead=True)
        render_sequence(folder / "picture.png", panels[0].joints, fps, "", form, PICTURE, poses=3)


def _sampling(request: MotionRequest) -> SamplingSettings:
    return SamplingSettings(time_steps=request.time_steps, cond_scale=request.cond_scale)


def _made(progress: Progress, start: float) -> Callable[[int, int], None]:
    """Tells how much of a long motion is there, from a share on."""
    return lambda known, of: progress(start + (0.45 - start) * known / of, f"{100 * known // of} % is made")


def _followed(motion: Motion) -> tuple[Neighbour, ...]:
    """What helped with a motion of several prompts."""
    found = {each.id: Neighbour(each.id, (each.caption,), each.score, True, False) for each in motion.found}
    return tuple(found.values())[:MOST_FOLLOWED]
