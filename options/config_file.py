"""`--config FILE`: values of flags by name, as JSON or YAML, flat or in their sections. A run's config.json is one."""

from __future__ import annotations

import argparse
import difflib
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.files import read_json
from storage.yaml_files import read_yaml
from utils.errors import UserError
from utils.run import FORMER, upgraded
from utils.schema import checked, describe, optional_inner

if TYPE_CHECKING:
    from options.command_line import Flag

Names = tuple[str, ...]
Taker = Callable[["Flag", Any, str], Any]
PRESET = "preset"
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NOTHING = ("", "null", "~")  # YAML's words for no value, besides the command line's


def read_config(path: str, flags: Mapping[str, Flag], presets: Collection[str], stage: str | None) -> dict[str, Any]:
    """What a file says, flag name -> value in its type; the name of a preset may be among it.

    Args:
        path: `.json`, `.yaml` or `.yml`. Of a run's config.json everything is left out that is no flag here.
        flags: of the command, by name.
        presets: their names.
        stage: that the command trains; None: it trains nothing.

    Raises:
        UserError: no such file, a name that is unknown or there twice, a value of another type or outside its limits,
            or the config of another stage's run. Names the file and what it is about.
    """
    take: Taker
    if (kind := Path(path).suffix.lower()) == ".json":
        content, take = read_json(path), _from_json
    elif kind in (".yaml", ".yml"):
        content, take = read_yaml(path), _from_text
        content = {} if content is None or content in NOTHING else content
    else:
        raise UserError(f"--config {path} must be a .json, .yaml or .yml file")
    if not isinstance(content, Mapping):
        raise UserError(f"{path} must be a set of named values, not {content!r:.80}")
    is_run = {"stage", "command", "run"} <= content.keys()
    if is_run and stage not in (None, content["stage"]):
        raise UserError(f"{path} is the config of stage {content['stage']!r}, not of {stage!r}")
    content = _of_today(content) if is_run else dict(content)
    found: dict[str, Any] = {}
    if presets and PRESET in content and not is_run:
        found[PRESET] = content.pop(PRESET)
        if found[PRESET] not in list(presets):
            raise UserError(f"{path}: {PRESET} must be one of {', '.join(sorted(presets))}, not {found[PRESET]!r:.80}")
    places: dict[str, str] = {}
    for names, flag, value in _named(path, content, flags, (), is_run):
        place = ".".join(names)
        if flag.name in places:
            raise UserError(f"{path}: {flag.name} has several values, as {places[flag.name]} and as {place}")
        places[flag.name] = place
        found[flag.name] = take(flag, value, f"{path}: {place}")
    return found


def _of_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config, with what a former one did not tell."""
    config = upgraded(config)
    told = {group: values for group, values in FORMER.items() if isinstance(config.get(group, {}), Mapping)}
    return config | {group: values | config.get(group, {}) for group, values in told.items()}


def _named(
    path: str, content: Mapping[str, Any], flags: Mapping[str, Flag], section: Names, is_run: bool
) -> Iterator[tuple[Names, Flag, Any]]:
    """Every value below a section: where it stands, which flag it is of, and what it is."""
    sections = {flag.path[:depth] for flag in flags.values() for depth in range(1, len(flag.path))}
    for name, value in content.items():
        here, flag = (*section, name), flags.get(name)
        meant = flag is not None and (here == flag.path or not (section or is_run))
        if meant and not (isinstance(value, Mapping) and here in sections):
            yield here, flag, value
        elif here in sections and isinstance(value, Mapping):
            yield from _named(path, value, flags, here, is_run)
        elif here in sections:
            raise UserError(f"{path}: {'.'.join(here)} must be a set of named values, not {value!r:.80}")
        elif not is_run:
            raise UserError(f"{path}: {'.'.join(map(str, here))} is unknown{_nearest(str(name), flags, sections)}")


def _nearest(name: str, flags: Mapping[str, Flag], sections: Collection[Names]) -> str:
    """Words for what may be meant: it is told with its section if the name is right."""
    if name in flags:
        return f": it is called {'.'.join(flags[name].path)}"
    known = [*flags, *(".".join(names) for names in sections), PRESET]
    near = difflib.get_close_matches(name, known, 1)
    return f": the nearest name is {near[0]}" if near else ", and no name is like it (see --help)"


def _from_json(flag: Flag, value: Any, where: str) -> Any:
    return checked(flag.annotation, value, where, flag.metadata)


def _from_text(flag: Flag, value: Any, where: str) -> Any:
    """A flag's value from YAML's texts, which mean what they mean on the command line."""
    inner, optional = optional_inner(flag.annotation)
    several = typing.get_origin(inner) is tuple
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts) or (isinstance(value, list) and not several):
        raise UserError(f"{where} must be {describe(flag.annotation)}, not {value!r:.80}")
    if optional and not isinstance(value, list) and value.lower() in NOTHING:
        return None
    try:
        values = [TRUTH[text.lower()] if inner is bool else flag.read(text) for text in texts]
    except KeyError as error:
        raise UserError(f"{where} must be true or false, not {value!r:.80}") from error
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{where} {error}") from error
    return _from_json(flag, values if several else values[0], where)
