"""Frames to a video file through the ffmpeg that `imageio-ffmpeg` carries."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import atomic_path

SUFFIXES = (".mp4", ".gif")


def check_suffix(path: Path) -> None:
    """Raises `UserError` when `path` does not end in .mp4 or .gif."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: a video must end in {' or '.join(SUFFIXES)}")


def write_video(path: Path | str, frames: Iterable[np.ndarray], size: tuple[int, int], fps: float) -> Path:
    """Writes frames (H, W, 3) uint8 as H.264 in 4:2:0 (plays everywhere) or as a GIF, by the suffix of `path`.

    Args:
        size: (width, height); both even.

    Raises:
        UserError: unknown suffix, unwritable folder, or ffmpeg failed.
    """
    import imageio_ffmpeg  # noqa: PLC0415 - looks for its binary on import

    path = Path(path)
    check_suffix(path)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"]
    command += [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{size[0]}x{size[1]}",
        "-framerate",
        f"{fps:g}",
        "-i",
        "-",
    ]
    if path.suffix.lower() == ".mp4":
        command += ["-c:v", "libx264", "-preset", "superfast", "-crf", "20", "-pix_fmt", "yuv420p"]
        command += ["-movflags", "+faststart"]
    else:
        dither = "dither=bayer:bayer_scale=4:diff_mode=rectangle"
        palette = f"split[a][b];[a]palettegen=max_colors=128:stats_mode=full[p];[b][p]paletteuse={dither}"
        command += ["-vf", palette, "-loop", "0"]
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
    return path
