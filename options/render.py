"""The options of render.py: defaults, then the lines of its --cfg file, then flags.

Needs nothing but the standard library, since it also runs in Blender's Python, which may lack PyYAML.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.motions.settings import BODY_MODEL_HELP, JOINT_TYPE_HELP, ReadSettings
from options.command_line import flags_of, parse
from options.groups import rate_option
from storage.files import read_text
from storage.shipped import locate
from utils.errors import UserError
from utils.schema import option

_LINE = re.compile(r"""(?P<name>\w+)\s*:(?:\s+(?P<value>"[^"]*"|'[^']*'|[^#]*?))?\s*(?:\s#.*)?""")
_PREVIEW = ("--width=480", "--height=270", "--samples=4", "--frame_rate=10")  # below 5 s a frame on two cores
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class RenderOptions:
    """render.py"""

    cfg: str | None = option(None, "file of `name: value` lines that replace the defaults below")
    dir: str | None = option(
        None, "folder of motions: .bvh, .amc, joints (T, J, 3) as .npy or .npz, or the NAME_mesh.npy that fit.py writes"
    )
    npy: str | None = option(None, "one such file instead of a folder")
    reading: ReadSettings = ReadSettings()
    body_model: str | None = option(None, BODY_MODEL_HELP)
    mode: Literal["video", "sequence"] = option("video", "an mp4 of each motion, or one picture of ghosted poses")
    joint_type: str | None = option(None, JOINT_TYPE_HELP)
    out: str | None = option(None, "folder of the results; none: beside each motion")
    width: int = option(960, "pixels", minimum=64, maximum=8192)
    height: int = option(540, "pixels", minimum=64, maximum=8192)
    fps: float = rate_option()
    frame_rate: float = rate_option("frames a second of the video; 0: as the motion")
    seconds: float = option(0.0, "render only so much of each motion; 0: all of it", minimum=0)
    preview: bool = option(
        False, "quick and rough: 480 x 270 pixels, 4 light paths a pixel, 10 frames a second, unless said otherwise"
    )
    samples: int = option(32, "light paths a pixel", minimum=1, maximum=65536)
    denoise: bool = option(True, "remove the grain that few samples leave")
    device: Literal["auto", "cpu", "gpu"] = option("auto", "where Cycles renders; auto: a GPU if there is one")
    poses: int = option(7, "poses of a sequence", minimum=1, maximum=100)

    def __post_init__(self) -> None:
        if (self.dir is None) == (self.npy is None):
            raise UserError("give either --dir (a folder of motions) or --npy (one file)")
        if self.mode == "video" and (self.width % 2 or self.height % 2):
            raise UserError(f"--width and --height of a video must be even, not {self.width}x{self.height}")


def script_arguments(argv: Sequence[str]) -> list[str]:
    """What is meant for the script: all after the first bare `--` (Blender keeps what is before), else all."""
    arguments = list(argv[1:])
    return arguments[arguments.index("--") + 1 :] if "--" in arguments else arguments


def parse_render_options(arguments: Sequence[str], description: str | None = None) -> RenderOptions:
    """Defaults, then the file of `--cfg`, then what `--preview` stands for, then the other `arguments`.

    Raises:
        UserError: the file is missing or has a line that is not understood.
    """
    cfg = None
    for number, argument in enumerate(arguments):
        if argument == "--cfg" and number + 1 < len(arguments):
            cfg = arguments[number + 1]
        elif argument.startswith("--cfg="):
            cfg = argument.removeprefix("--cfg=")
    inputs = [argument for argument in arguments if argument.split("=")[0] in ("--dir", "--npy")]
    from_file = read_cfg(cfg) if cfg is not None else []
    if inputs:  # an input on the command line replaces the one in the file, whichever of the two it is
        from_file = [argument for argument in from_file if argument.split("=")[0] not in ("--dir", "--npy")]
    wished = [each for each in (*from_file, *arguments) if each in ("--preview", "--no-preview")]
    preview = _PREVIEW if wished[-1:] == ["--preview"] else ()
    return parse(RenderOptions, [*from_file, *preview, *arguments], description=description)


def read_cfg(path: Path | str) -> list[str]:
    """The lines of a configuration file as command-line arguments; `null` leaves the default.

    Raises:
        UserError: missing file, unknown name, or a line that is not `name: value`.
    """
    try:
        lines = read_text(locate(path)).split("\n")
    except UserError as error:
        raise UserError(f"--cfg {error}") from error
    flags, arguments = flags_of(RenderOptions), []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.strip() == "---" or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise UserError(f"{path}, line {number}: {line.strip()!r} is not `name: value`")
        name, value = match["name"], (match["value"] or "").strip()
        if name not in flags or name == "cfg":
            raise UserError(f"{path}, line {number}: render.py has no setting {name!r}")
        if value[:1] in ("'", '"'):
            value = value[1:-1]
        elif value.lower() in ("", "null", "none", "~"):
            continue
        if isinstance(flags[name].default, bool):
            if value.lower() not in _TRUTH:
                raise UserError(f"{path}, line {number}: {name} must be true or false, not {value!r}")
            arguments.append(f"--{name}" if _TRUTH[value.lower()] else f"--no-{name}")
        else:
            arguments.append(f"--{name}={value}")
    return arguments
