"""Pictures to a video file through ffmpeg. Needs NumPy alone, since it also runs in Blender's Python."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from storage.files import atomic_path
from utils.errors import UserError

SUFFIXES = (".mp4", ".gif")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart")  # 4:2:0 plays everywhere
DITHER = "dither=bayer:bayer_scale=4:diff_mode=rectangle"
PALETTE = f"split[a][b];[a]palettegen=max_colors=128:stats_mode=full[p];[b][p]paletteuse={DITHER}"


def check_suffix(path: Path) -> None:
    """Raises `UserError` when `path` does not end in .mp4 or .gif."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: a video must end in {' or '.join(SUFFIXES)}")


def write_video(path: Path | str, frames: Iterable[np.ndarray], size: tuple[int, int], fps: float) -> Path:
    """Writes frames (H, W, 3) uint8 as H.264 in 4:2:0 or as a GIF, by the suffix of `path`.

    Args:
        size: (width, height); both even.

    Raises:
        UserError: unknown suffix, unwritable folder, or ffmpeg failed.
    """
    import imageio_ffmpeg  # noqa: PLC0415 - looks for its binary on import

    path = Path(path)
    check_suffix(path)
    source = f"-f rawvideo -pix_fmt rgb24 -s {size[0]}x{size[1]} -framerate {fps:g} -i -".split()
    mp4 = path.suffix.lower() == ".mp4"
    coding = (*H264, "-preset", "superfast", "-crf", "20") if mp4 else ("-vf", PALETTE, "-loop", "0")
    run_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe(), [*source, *coding], path, frames)
    return path


def run_ffmpeg(program: str, arguments: Sequence[str], path: Path, frames: Iterable[np.ndarray] = ()) -> None:
    """Has ffmpeg write `path`, which appears whole or not at all; `frames` go to its standard input.

    Raises:
        UserError: unwritable folder, or ffmpeg failed.
    """
    command = [program, "-hide_banner", "-loglevel", "error", "-y", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with atomic_path(path) as temporary, subprocess.Popen([*command, str(temporary)], **pipes) as process:
        assert process.stdin is not None and process.stderr is not None
        try:
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame).data)
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg has given up; its own message follows below
        except BaseException:
            process.kill()
            raise
        message = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            last = message.splitlines()[-1] if message else f"exit code {process.returncode}"
            raise UserError(f"cannot write {path}: ffmpeg says: {last}")
