"""The options of app.py."""

from __future__ import annotations

from dataclasses import dataclass

from options.groups import AS_SHIPPED, DatasetOptions, GeneratorRuns
from utils.errors import UserError
from utils.schema import option

MOST_MOTIONS = 4  # that stand side by side in the page


@dataclass(frozen=True)
class ServerOptions:
    """Where the page is served, and to how many at once."""

    host: str = option("127.0.0.1", "address that is listened on; 0.0.0.0: every one, so that others can use the page")
    port: int = option(7860, "port that is listened on; 0: a free one, which is printed", minimum=0, maximum=65535)
    queue_size: int = option(8, "prompts that may wait; more are turned away. One motion is made at a time", minimum=0)
    keep_minutes: float = option(60.0, "how long the files of a motion stay", minimum=1)
    keep_results: int = option(50, "results whose files stay at once; the oldest go first", minimum=1)
    linger: float = option(300.0, "seconds that a visitor's results and clips stay after the page is closed", minimum=1)

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise UserError("--host is empty: 127.0.0.1 serves this machine, 0.0.0.0 every other one too")


@dataclass(frozen=True)
class RequestLimits:
    """What a visitor may ask for, besides the dataset's range of lengths."""

    max_prompt_length: int = option(500, "characters of a prompt", minimum=1, maximum=2000)
    max_time_steps: int = option(50, "passes of the masked transformer", minimum=1)
    max_cond_scale: float = option(10.0, "guidance scale", minimum=0)
    neighbours: int = option(3, "retrieved motions shown beside the generated one", minimum=0, maximum=8)
    motions: int = option(4, "motions of one prompt, each with a seed of its own", minimum=1, maximum=MOST_MOTIONS)
    seconds: float = option(60.0, "length of a story, or of a motion that is changed", minimum=2, maximum=600)
    scenes: int = option(24, "scenes of a story", minimum=1, maximum=100)
    history: int = option(8, "earlier results of a visitor that can be shown again", minimum=1, maximum=50)


@dataclass(frozen=True)
class ClipLimits:
    """What a visitor may upload."""

    clip_megabytes: float = option(8.0, "size of an uploaded clip", minimum=0.1, maximum=64)
    clip_seconds: float = option(60.0, "length of an uploaded clip", minimum=1, maximum=600)
    clips: int = option(8, "clips that a visitor may add to the library of the session", minimum=0, maximum=100)
    found: int = option(5, "motions of the library that are shown for an uploaded clip", minimum=1, maximum=8)


@dataclass(frozen=True)
class AppOptions:
    """app.py"""

    server: ServerOptions = ServerOptions()
    limits: RequestLimits = RequestLimits()
    uploads: ClipLimits = ClipLimits()
    run: DatasetOptions = DatasetOptions(**AS_SHIPPED)
    models: GeneratorRuns = GeneratorRuns()
