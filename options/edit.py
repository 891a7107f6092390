"""The options of edit.py."""

from __future__ import annotations

from dataclasses import dataclass

from data.motions.settings import BODY_MODEL_HELP, ReadSettings
from engine.settings import MAX_SEED
from models.configs import SamplingSettings
from options.export import COMPARE_HELP, Comparison, FileOptions, Written
from options.groups import AS_SHIPPED, FOLDER_NAME, DatasetOptions, GeneratorRuns
from utils.errors import UserError
from utils.schema import Pattern, option

NUMBER = r"-?\d{1,6}(\.\d{0,6})?"
SECTION = Pattern(rf"{NUMBER},{NUMBER}|{NUMBER}s,{NUMBER}s", "look like 0.3,0.6 (shares) or 2s,4.5s (seconds)")
WAYPOINT = Pattern(rf"{NUMBER},{NUMBER}@{NUMBER}", "look like 1.5,2@3: x and z in metres, and the second")


@dataclass(frozen=True)
class EditOptions:
    """edit.py"""

    source_motion: str | None = option(
        None, "motion to change: .bvh, .amc, joints as .npy or .npz, SMPL/AMASS .npz; its skeleton and rate become ours"
    )
    text_prompt: str | None = option(None, "what is to be seen")
    story: str | None = option(
        None, "instead of a prompt a file of lines `START-END [parts] prompt`, seconds; a motion of any length"
    )
    mask_edit_section: tuple[str, ...] = option(
        (),
        "what is drawn anew, as START,END: shares such as 0.3,0.6 or seconds such as 2s,4s; none: all",
        pattern=SECTION,
    )
    extend: float = option(
        0.0, "seconds that the source goes on; below 0: that it begins earlier", minimum=-3600, maximum=3600
    )
    parts: str = option("", "body parts that are drawn anew, such as arms or left_leg,spine; nothing: all")
    strength: float = option(
        1.0, "share of what could be drawn that is: 0.3 is a variation, 1 all new", minimum=0, maximum=1
    )
    motion_length: int = option(
        0, "frames of a motion without a source, exactly; 0: estimated from the text", minimum=0, maximum=72_000
    )
    start_pose: str | None = option(None, "motion file whose last pose the motion starts with")
    end_pose: str | None = option(None, "motion file whose first pose the motion ends with")
    path: tuple[str, ...] = option(
        (),
        "points that the body passes over, x,z@second, metres from where it starts, looking along z",
        pattern=WAYPOINT,
    )
    loop: bool = option(False, "the end leads to the start")
    reading: ReadSettings = ReadSettings()
    body_model: str | None = option(None, BODY_MODEL_HELP)
    repeat_times: int = option(1, "motions, with seeds from --seed on", minimum=1, maximum=1000)
    seed: int = option(0, "the same seed gives the same motion", minimum=0, maximum=MAX_SEED)
    ext: str = option("edit", "name of the folder in output_dir", pattern=FOLDER_NAME)
    output_dir: str = option("outputs", "folder of all results")
    formats: tuple[Written, ...] = option(
        ("mp4", "bvh", "glb", "html", "npy"), "files a motion, as demo.py writes them"
    )
    compare: tuple[Comparison, ...] = option(("html",), COMPARE_HELP)
    files: FileOptions = FileOptions()
    skip_existing: bool = option(True, "leave out motions that the folder holds already")
    run: DatasetOptions = DatasetOptions(**AS_SHIPPED)
    models: GeneratorRuns = GeneratorRuns()
    no_retrieval: bool = option(False, "generate without retrieval")
    sampling: SamplingSettings = SamplingSettings()

    def __post_init__(self) -> None:
        if (self.text_prompt is None) == (self.story is None):
            raise UserError("give either --text_prompt or --story")
        if self.story is not None and self.source_motion is not None:
            raise UserError("--story makes a motion of its own: it takes no --source_motion (but a --start_pose)")
        if self.source_motion is None:
            for name in ("mask_edit_section", "extend", "parts"):
                if getattr(self, name):
                    raise UserError(f"--{name} changes a motion: name it with --source_motion")
            if self.strength != 1:
                raise UserError("--strength changes a motion: name it with --source_motion")
        elif self.motion_length:
            raise UserError("--motion_length is of a motion without --source_motion; --extend makes one longer")
        elif self.start_pose or self.end_pose:
            raise UserError("--start_pose and --end_pose are of a motion without --source_motion, which has its own")
        if self.story is not None and self.motion_length:
            raise UserError("--motion_length: a story is as long as its lines say")
        if not self.formats:
            raise UserError("--formats is empty: there is nothing to write")

    @property
    def waypoints(self) -> tuple[tuple[float, float, float], ...]:
        """`path` as (seconds, x, z)."""
        told = (each.replace("@", ",").split(",") for each in self.path)
        return tuple((float(time), float(x), float(z)) for x, z, time in told)

    def sections(self, seconds: float) -> tuple[tuple[float, float], ...]:
        """What is drawn of a source of so many seconds, in seconds; nothing: all."""
        found = []
        for told in self.mask_edit_section:
            start, end = (float(each.rstrip("s")) for each in told.split(","))
            found.append((start, end) if told.endswith("s") else (start * seconds, end * seconds))
        if self.extend:
            found.append((seconds, seconds + self.extend) if self.extend > 0 else (self.extend, 0.0))
        return tuple(found)
