"""What edit.py is asked for -> the work: a source that is changed, a story, a prompt that has to keep to something."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.motions.reader import MotionReader
from options.edit import EditOptions
from pipeline.constraints import Constraints
from pipeline.demo_output import DemoRun
from pipeline.editing import Edit, EditPlan
from pipeline.motion import Motion
from pipeline.motions import read_all, read_bodies
from pipeline.stories import Story, make_story, read_story, tell
from pipeline.text_to_motion import TextToMotion
from storage.files import read_text
from storage.row_store import digest
from utils.errors import UserError


@dataclass(frozen=True)
class Work:
    """A motion to be made.

    Attributes:
        text: what it is called.
        frames: how long it is, as far as that is known.
        key: tells it from others of other files.
        make: seed -> the motion.
    """

    text: str
    frames: int | None
    key: str
    make: Callable[[int], Motion]


def work_of(options: EditOptions, t2m: TextToMotion) -> Work:
    """Everything is read and checked before anything is made.

    Raises:
        UserError: a file that cannot be read, a story that cannot be told, or what `edit` and `Constraints` refuse.
    """
    form, how = t2m.spec.format, {"sampling": options.sampling, "retrieval": not options.no_retrieval}
    named = {"source": options.source_motion, "start": options.start_pose, "end": options.end_pose}
    paths = {name: Path(path) for name, path in named.items() if path is not None}
    reader = MotionReader(options.reading, form.fps, form, read_bodies(options.body_model))
    motions = {name: motion.joints.astype(np.float32) for name, motion in read_all(reader, paths).items()}
    start, end = motions.get("start"), motions.get("end")
    constraints = Constraints(
        None if start is None else start[-1], None if end is None else end[0], options.waypoints, options.loop
    )
    key = digest(*(motions[name].tobytes() for name in sorted(motions))).hex()
    if (source := motions.get("source")) is not None:
        wanted = Edit(options.text_prompt, options.sections(len(source) / form.fps), options.parts, options.strength)
        plan = EditPlan(t2m, source, wanted, constraints)
        return Work(plan.text, len(plan.source), key, lambda seed: plan.make(seed, **how))
    if options.story is None and not options.motion_length:

        def make(seed: int) -> Motion:
            return tell(t2m, _estimated(t2m, options, seed), seed, constraints=constraints, **how)

        return Work(options.text_prompt, None, key, make)
    story = _story(options, t2m)
    constraints.check(story.frames, form)
    return Work(story.text, story.frames, key, lambda seed: tell(t2m, story, seed, constraints=constraints, **how))


def _story(options: EditOptions, t2m: TextToMotion) -> Story:
    form = t2m.spec.format
    if options.story is None:
        return make_story([(0, options.motion_length / form.fps, options.text_prompt)], form, ["--text_prompt"])
    try:
        return read_story(read_text(options.story), form)
    except UserError as error:
        raise UserError(f"--story {options.story}: {str(error).removeprefix(options.story + ': ')}") from error


def _estimated(t2m: TextToMotion, options: EditOptions, seed: int) -> Story:
    """A prompt of the length that it would have in the demo."""
    steps = t2m.steps([options.text_prompt], [None], [seed], False, options.sampling, not options.no_retrieval, None)
    form = t2m.spec.format
    return make_story([(0, int(steps[0]) * form.unit_length / form.fps, options.text_prompt)], form)


class EditRun(DemoRun):
    """The work's motions of seeds from `options.seed` on -> files, as the demo's."""

    decisive = ("no_retrieval", "sampling", "files", "mask_edit_section", "extend", "parts", "strength", "path", "loop")

    def __init__(self, folder: Path, t2m: TextToMotion, work: Work, options: EditOptions) -> None:
        self.work = work
        seeds = range(options.seed, options.seed + options.repeat_times)
        super().__init__(folder, t2m, [(work.text, work.frames, seed) for seed in seeds], options)

    def _keys(self, settings: dict[str, Any]) -> list[str]:
        return super()._keys(settings | {"read": self.work.key})

    def _motions(self, skip: Collection[int]) -> Iterator[tuple[int, Motion]]:
        for number, (_, _, seed) in enumerate(self.requests):
            if number not in skip:
                yield number, self.work.make(seed)
