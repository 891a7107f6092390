"""Dataclass <-> command line. One schema a script, see `utils.schema`.

Groups are flattened (`--num_quantizers 6`). A schema may have a method `resolve` that returns what the command line
means (values that follow from others set): `parse` calls it. Every command takes its values from a file too, see
`options.config_file`.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

from options.config_file import PRESET, read_config
from utils.errors import UserError, readable
from utils.schema import Schema, build, checked, describe, field_types, optional_inner

NONE_WORD, CONFIG = "none", "config"


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flattened option. `path` is where it lives in the schema, e.g. ("model", "num_quantizers")."""

    path: tuple[str, ...]
    annotation: Any
    default: Any
    metadata: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def shown(self) -> str:
        """As one types it."""
        return self.name.upper() if self.metadata.get("positional") else f"--{self.name}"

    def read(self, text: str) -> Any:
        """A value from the command line's text. Raises ArgumentTypeError, from which argparse makes its message."""
        inner, optional = optional_inner(self.annotation)
        if optional and text.lower() == NONE_WORD:
            return None
        return _convert_item(typing.get_args(inner)[0] if typing.get_origin(inner) is tuple else inner, text)


def flags_of(schema: type) -> dict[str, Flag]:
    """Every flag of `schema` by name.

    Raises:
        TypeError: two groups use one name.
    """
    flags: dict[str, Flag] = {}

    def collect(kind: type, path: tuple[str, ...], defaults: Any) -> None:
        for field in dataclasses.fields(kind):
            annotation = field_types(kind)[field.name]
            default = field.default if defaults is None else getattr(defaults, field.name)
            here = (*path, field.name)
            if dataclasses.is_dataclass(annotation):
                collect(annotation, here, None if default is dataclasses.MISSING else default)
            elif field.name in flags:
                raise TypeError(f"two groups of {schema.__name__} have a flag --{field.name}")
            else:
                flags[field.name] = Flag(here, annotation, default, field.metadata)

    collect(schema, (), None)
    return flags


def program() -> str | None:
    """What a script is called that runs as a command of the package, `remomask demo`; None: it is itself."""
    return sys.argv[0] if sys.argv[0].startswith("remomask ") else None


def own_command() -> str:
    """The command line of this process, as configs and reports keep it: that of a share or a merge is the whole's."""
    words = ["python", *sys.orig_argv[1:]] if program() is None else [*program().split(), *sys.argv[1:]]
    shares = {place + step for place, word in enumerate(words) if word == "--shard" for step in (0, 1)}
    kept = [word for place, word in enumerate(words) if place not in shares and word != "--merge"]
    return shlex.join(word for word in kept if not word.startswith("--shard="))


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as one line instead of the whole usage text."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # -1.5,2@3 is a value too, which argparse has no public way to say: no flag begins with a digit.
        self._negative_number_matcher = re.compile(r"-[\d.]")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {readable(message)} (see --help)\n")


def _convert_item(kind: Any, text: str) -> Any:
    if typing.get_origin(kind) is Literal:
        for choice in typing.get_args(kind):
            if str(choice) == text:
                return choice
        raise argparse.ArgumentTypeError(f"must be {describe(kind)}, not {text!r}")
    try:
        return kind(text)
    except ValueError as error:  # also of a number with thousands of digits
        raise argparse.ArgumentTypeError(f"must be {describe(kind)}, not {text!r}") from error


def _add_argument(parser: argparse._ArgumentGroup, flag: Flag) -> None:
    inner, _ = optional_inner(flag.annotation)
    shown = flag.default
    if isinstance(shown, (list, tuple)):
        shown = " ".join(map(str, shown)) or "nothing"
    suffix = "required" if shown is dataclasses.MISSING else f"default: {NONE_WORD if shown is None else shown}"
    arguments: dict[str, Any] = {
        "dest": flag.name,
        "default": argparse.SUPPRESS,
        "help": f"{flag.metadata.get('help', '')} ({suffix})".strip().replace("%", "%%"),
    }
    item = inner
    if inner is bool:
        arguments["action"] = argparse.BooleanOptionalAction
    else:
        if typing.get_origin(inner) is tuple:
            kinds = typing.get_args(inner)
            item = kinds[0]
            arguments["nargs"] = "*" if kinds[-1] is Ellipsis else len(kinds)
        names = typing.get_args(item) if typing.get_origin(item) is Literal else None
        arguments["metavar"] = "{" + ",".join(map(str, names)) + "}" if names else item.__name__.upper()
        arguments["type"] = flag.read
    if flag.metadata.get("positional"):
        # Of a positional that is not given argparse reads the default as it reads a word.
        arguments["type"] = lambda text: text if text is argparse.SUPPRESS else flag.read(text)
        parser.add_argument(arguments.pop("dest"), **arguments | {"metavar": flag.shown, "nargs": "?"})
    else:
        parser.add_argument(f"--{flag.name}", **arguments)


def filled(schema: type[Schema], chosen: Mapping[str, Any]) -> Schema:
    """The options that these values of flags make, all others at their defaults.

    Raises:
        UserError: a value of another type or outside its limits, or one that is required is not there.
    """
    flags = flags_of(schema)

    def group(kind: type) -> Any:
        values = {}
        for field in dataclasses.fields(kind):
            annotation = field_types(kind)[field.name]
            if dataclasses.is_dataclass(annotation):
                values[field.name] = group(annotation)
                continue
            value = chosen.get(field.name, flags[field.name].default)
            if value is dataclasses.MISSING:
                raise UserError(f"{flags[field.name].shown} is required")
            values[field.name] = checked(annotation, value, flags[field.name].shown, field.metadata)
            if (means := field.metadata.get("means")) is not None:
                values[field.name] = means(values[field.name])
        return build(kind, values, "")

    options = group(schema)
    return options.resolve() if hasattr(options, "resolve") else options


def parse(
    schema: type[Schema],
    argv: Sequence[str] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    description: str | None = None,
    underlying: Callable[[str | None, Mapping[str, Any]], Mapping[str, Any]] = lambda preset, given: {},
) -> Schema:
    """Reads the command line into `schema`. Later wins: defaults, `underlying`, `--preset`, `--config`, explicit flags.

    Args:
        schema: the dataclass of the script's options.
        argv: the arguments without the program's name; default `sys.argv[1:]`.
        presets: name -> {flag name: value}; adds `--preset`.
        description: what the script does, for --help.
        underlying: preset and what else is said -> {flag name: value}; may raise `UserError`.

    Exits:
        with code 2 and one line on stderr for unknown flags, bad values and values outside their limits, also in the
        file of `--config`.

    Raises:
        ValueError: a preset names a flag that the schema lacks (a mistake of the program).
    """
    parser = _Parser(prog=program(), description=description, allow_abbrev=False)
    flags = flags_of(schema)
    for name, overrides in (presets or {}).items():
        if unknown := [key for key in overrides if key not in flags]:
            raise ValueError(f"preset {name} of {schema.__name__} sets unknown flags: {', '.join(unknown)}")
    parser.add_argument(
        f"--{CONFIG}",
        metavar="FILE",
        help="values of flags by name in JSON or YAML, such as a run's config.json; explicit flags win (default: none)",
    )
    if presets:
        parser.add_argument(
            f"--{PRESET}",
            choices=sorted(presets),
            default=argparse.SUPPRESS,
            help="a set of defaults; explicit flags win (default: the published settings)",
        )
    groups: dict[tuple[str, ...], argparse._ArgumentGroup] = {}
    for flag in flags.values():
        owner = flag.path[:-1]
        groups.setdefault(owner, parser.add_argument_group(".".join(owner) or "script"))
        _add_argument(groups[owner], flag)
    given = vars(parser.parse_args(sys.argv[1:] if argv is None else list(argv)))
    file = given.pop(CONFIG, None)
    try:
        told = read_config(file, flags, presets or (), getattr(schema, "stage", None)) if file is not None else {}
        told |= given
        preset = told.pop(PRESET, None) if presets else None  # without presets it is a flag like others
        chosen = presets[preset] if preset else {}
        chosen = {name: value for name, value in chosen.items() if flags[name].metadata.get("unless") not in told}
        return filled(schema, {**underlying(preset, told), **chosen, **told})
    except UserError as error:
        parser.error(f"{error} (with --{CONFIG} {file})" if file is not None and file not in str(error) else str(error))
