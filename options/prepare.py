"""The options of prepare_dataset.py."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from data.motions.settings import BODY_MODEL_HELP, ReadSettings
from data.prepare.settings import ClipSettings, SplitSettings
from data.specs import ALIASES, LONGEST_CLIP, SPECS, usual_frames
from options.groups import shard_option
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format, telling
from utils.motion_format import MotionFormat
from utils.schema import option, to_dict
from utils.shares import Share, own_share

# What may differ between a preparation and its continuation.
FREE = ("workers", "restart", "contact_sheet", "shard", "merge")
PATHS = ("motion_dir", "text_dir", "captions", "humanml3d_index", "out", "body_model", "split_dir")


@dataclass(frozen=True)
class PrepareOptions:
    """prepare_dataset.py"""

    motion_dir: str = option(help="folder of motions: .bvh, .amc, joints (T, J, 3) as .npy or .npz, SMPL/AMASS .npz")
    out: str = option(help="folder of the dataset, e.g. dataset/NAME, which --dataset_name NAME then finds")
    text_dir: str | None = option(
        None, "folder of NAME.txt with a caption a line, plain or caption#word/POS ...#start#end"
    )
    captions: str | None = option(
        None, "one .csv or .json of name,caption[,start,end] instead of, or besides, --text_dir"
    )
    humanml3d_index: str | None = option(
        None, "HumanML3D's index.csv: its clips of CMU's takes, cut from CMU's .amc or .bvh files in --motion_dir"
    )
    format: str = option(
        "humanml3d",
        "skeleton that motions are retargeted to: humanml3d, kit, or a JSON file of your own (utils/formats.py)",
    )
    fps: float | None = option(
        None,
        "frames a second of the dataset, which motions are resampled to; none: the format's",
        minimum=1,
        maximum=240,
    )
    reading: ReadSettings = ReadSettings()
    body_model: str | None = option(None, BODY_MODEL_HELP)
    mirror: bool = option(False, "also add every clip with left and right exchanged, in motion and words, as MNAME")
    min_frames: int | None = option(
        None,
        "shortest clip in frames of the dataset, shorter ones are refused; none: 2 seconds",
        minimum=4,
        maximum=LONGEST_CLIP,
    )
    max_frames: int | None = option(
        None,
        "longest motion that models see, a multiple of 4; longer clips stay whole: training crops them, validation and"
        " test leave them out (see --windows); none: 9.8 seconds",
        minimum=4,
        maximum=LONGEST_CLIP,
    )
    windows: bool = option(
        False, "give takes that are longer than --max_frames their captions once for each window of so many frames"
    )
    max_speed: float = option(15.0, "metres a second; a root that is faster teleports", minimum=0.1)
    max_stretch: float = option(0.1, "relative change of a bone's length that is still accepted", minimum=0)
    split: str = option("0.8,0.05,0.15", "shares of train, val and test, drawn by a hash of each take's name")
    take_pattern: str = option(
        SplitSettings.take_pattern, "regular expression; names that are equal without what it matches are one take"
    )
    split_dir: str | None = option(None, "folder of train.txt, val.txt and test.txt to use instead of --split")
    workers: int = option(0, "processes; 0: one a processor", minimum=0, maximum=1024)
    contact_sheet: int = option(12, "clips on the contact sheet; 0: none", minimum=0, maximum=100)
    restart: bool = option(False, "make all clips anew, even with other options than before")
    shard: str | None = shard_option("make only the clips of the i-th of n shares")
    merge: bool = option(False, "make the dataset of the clips that the shards have made, without making any")

    def __post_init__(self) -> None:
        if self.text_dir is None and self.captions is None:
            raise UserError("give the captions: --text_dir, --captions or both")
        shortest, longest = self.frames
        if longest % 4 or shortest > longest:
            raise UserError(
                f"--max_frames must be a multiple of 4 and at least --min_frames, not {longest} with {shortest}"
            )
        if Path(self.out).name.lower() in (*SPECS, *ALIASES):
            raise UserError(f"--out {self.out}: {Path(self.out).name} is the name of a dataset that the project knows")
        if self.merge and (self.shard is not None or self.restart):
            raise UserError("--merge takes what was made: give neither --shard nor --restart with it")
        if self.shard is not None:
            own_share(self.shard)
        _ = self.shares
        try:
            re.compile(self.take_pattern)
        except re.error as error:
            raise UserError(f"--take_pattern {self.take_pattern!r} is no regular expression: {error}") from error

    @cached_property
    def form(self) -> MotionFormat:
        """What the dataset's motions are.

        Raises:
            UserError: there is no such format, or it contradicts itself.
        """
        form = get_format(self.format)
        return form if self.fps is None else replace(form, fps=self.fps)

    @property
    def share(self) -> Share:
        """What this process makes."""
        return Share() if self.merge else own_share(self.shard)

    @property
    def frames(self) -> tuple[int, int]:
        """Shortest clip, and longest motion that models see."""
        shortest, longest = usual_frames(self.form)
        return self.min_frames or shortest, self.max_frames or longest

    @property
    def shares(self) -> tuple[float, float, float]:
        """`split` as numbers.

        Raises:
            UserError: they are not three numbers that add up to 1, or nothing is left for train.
        """
        try:
            train, val, test = (float(share) for share in self.split.split(","))
        except ValueError as error:
            raise UserError(f"--split must be three numbers such as 0.8,0.05,0.15, not {self.split!r}") from error
        if not (0 < train <= 1 and val >= 0 and test >= 0 and abs(train + val + test - 1) < 1e-6):
            raise UserError(f"--split must be three shares that add up to 1, not {self.split}")
        return train, val, test

    @property
    def clip_settings(self) -> ClipSettings:
        """What decides how a clip is made."""
        own = {each.name for each in fields(ClipSettings)} - {each.name for each in fields(ReadSettings)}
        same = {name: getattr(self, name) for name in own if hasattr(self, name)}
        shortest, longest = self.frames
        window = longest if self.windows else 0
        return ClipSettings(**vars(self.reading), **same | {"min_frames": shortest, "window_frames": window})

    @property
    def split_settings(self) -> SplitSettings:
        """What decides where a clip goes."""
        return SplitSettings(self.shares, self.take_pattern, self.split_dir)

    @property
    def identity(self) -> dict[str, Any]:
        """All that the dataset depends on, as plain values; paths are absolute."""
        values = {key: value for key, value in to_dict(self).items() if key not in FREE}
        values |= values.pop("reading")
        values |= {"format": telling(self.form), "fps": self.form.fps}
        values["min_frames"], values["max_frames"] = self.frames
        if values["format"] == HUMANML3D.name:  # datasets from before this option go on
            del values["format"]
        for name in ("windows", "humanml3d_index"):  # datasets from before these options go on
            if not values[name]:
                del values[name]
        return {
            key: str(Path(value).resolve()) if key in PATHS and value is not None else value
            for key, value in values.items()
        }
