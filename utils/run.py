"""A training's folder as it lies on the disk: config.json, read once, and the checkpoints beside it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import read_json
from utils.formats import format_of, get_format
from utils.motion_format import MotionFormat
from utils.run_files import resolve_checkpoint
from utils.schema import Schema, from_dict


class Run:
    """A run that was trained.

    Args:
        folder: holds config.json and model/.
        stage: what it has to be a run of: vq, tmr, mtrans, rtrans, length, evaluator; None: of any.

    Raises:
        UserError: no config, a broken one, or one of another stage.
    """

    def __init__(self, folder: Path | str, stage: str | None = None) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "config.json"
        content = read_json(self.path)
        if not isinstance(content, dict):
            raise UserError(f"{self.path} must hold an object, not {type(content).__name__}")
        self.config = upgraded(content)
        if stage is not None and self.stage != stage:
            raise UserError(f"{self.folder} is a run of stage {self.stage!r}, not of {stage!r}")

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def stage(self) -> Any:
        """What was trained."""
        return self.config.get("stage")

    def section(self, name: str, schema: type[Schema]) -> Schema:
        """A part of the config, strictly.

        Raises:
            UserError: it is missing or does not fit; the key is named.
        """
        return from_dict(schema, self.config.get(name), f"{self.path}: {name}")

    @cached_property
    def format(self) -> MotionFormat:
        """What the run's motions are.

        Raises:
            UserError: the config does not say, or contradicts itself.
        """
        return format_of(self.config.get("format"), f"{self.path}: format")

    def checkpoint(self, which: str | None = None) -> Path:
        """The one checkpoint that `which` means, see `resolve_checkpoint`."""
        return resolve_checkpoint(self.folder, which)


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it would be written today: former ones named one of two layouts in place of the format."""
    model = config.get("model")
    if not isinstance(model, Mapping) or "layout" not in model:
        return dict(config)
    rest = {name: value for name, value in model.items() if name != "layout"}
    return {**config, "model": rest, "format": get_format(str(model["layout"])).to_json()}
