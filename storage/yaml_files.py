"""YAML files as texts, lists and named values: what a text means is for the reader to say, not for YAML's guesses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.files import read_text
from utils.errors import UserError

LARGEST_YAML = 1 << 20  # characters: it is read slowly


def read_yaml(path: Path | str) -> Any:
    """The content of a YAML file, all plain values as the texts that stand there (`on`, `1e-3`, `null`).

    Raises:
        UserError: it is missing or no YAML, names something twice, or refers from one place to another.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise UserError(f"{path} needs PyYAML (pip install pyyaml), or write it as JSON") from error

    class Loader(yaml.BaseLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError(f"*{self.peek_event().anchor} refers to another place, which is not read")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value]
            if twice := [name for number, name in enumerate(names) if name in names[:number]]:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"{twice[0]!r:.40} stands twice in the values from line {line} on")
            return super().construct_mapping(node, deep=True)

    text = read_text(path)
    if len(text) > LARGEST_YAML:
        raise UserError(f"{path} has {len(text):,} characters, at most {LARGEST_YAML:,} are read")
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
