"""The options of demo.py."""

from __future__ import annotations

from dataclasses import dataclass

from engine.settings import MAX_SEED
from models.configs import SamplingSettings
from options.export import COMPARE_HELP, Comparison, FileOptions, Written
from options.groups import AS_SHIPPED, FOLDER_NAME, DatasetOptions, GeneratorRuns
from utils.errors import UserError
from utils.schema import option


@dataclass(frozen=True)
class DemoOptions:
    """demo.py"""

    text_prompt: str | None = option(None, "what to generate")
    text_path: str | None = option(None, "file with one `prompt` or `prompt=frames` a line; # starts a comment")
    list_words: bool = option(False, "print the words that the library's captions hold, and make nothing")
    motion_length: int = option(0, "length in frames, made a multiple of 4; 0: estimated from the text", minimum=0)
    repeat_times: int = option(1, "motions a prompt", minimum=1)
    seed: int = option(
        0, "seed; a prompt with a seed gives the same motion in any company", minimum=0, maximum=MAX_SEED
    )
    ext: str = option("demo", "name of the folder in output_dir", pattern=FOLDER_NAME)
    output_dir: str = option("outputs", "folder of all results")
    formats: tuple[Written, ...] = option(
        ("mp4", "bvh", "glb", "html", "npy"),
        "files a motion: video, animated and still picture, skeleton, skinned figure, the same by Blender, page to"
        " play, arrays",
    )
    compare: tuple[Comparison, ...] = option(("html",), COMPARE_HELP)
    files: FileOptions = FileOptions()
    skip_existing: bool = option(
        True, "leave out motions that the folder holds already: whole, from the same models, settings and seed"
    )
    batch_size: int = option(32, "motions generated at once; what a stop costs", minimum=1)
    run: DatasetOptions = DatasetOptions(**AS_SHIPPED)
    models: GeneratorRuns = GeneratorRuns()
    no_retrieval: bool = option(False, "generate without retrieval")
    deterministic_length: bool = option(False, "take the likeliest length instead of drawing one")
    sampling: SamplingSettings = SamplingSettings()

    def __post_init__(self) -> None:
        if self.list_words:
            return
        if (self.text_prompt is None) == (self.text_path is None):
            raise UserError("give either --text_prompt or --text_path")
        if self.text_prompt is not None and not self.text_prompt.strip():
            raise UserError("--text_prompt is empty: describe a motion")
        if not self.formats:
            raise UserError("--formats is empty: there is nothing to write")
