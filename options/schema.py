"""Dataclass <-> command line <-> JSON. One schema a script; unknown names and wrong types are errors everywhere.

A schema is a frozen dataclass. Its fields are plain values or further frozen dataclasses ("groups"), e.g.
`VQOptions(run: RunOptions, model: RVQConfig, train: TrainSettings)`. On the command line the groups are flattened
(`--num_quantizers 6`), in JSON they are nested (`{"model": {"num_quantizers": 6}}`).

Value types: str, int, float, bool, Literal, Optional of these, and tuples (`tuple[int, ...]`, `tuple[float, float]`).
Field metadata: `help`, and optionally `minimum` and `maximum` (inclusive). A schema may check its values in
`__post_init__` (raising `UserError`), and may have a method `resolve` that returns what the command line means
(aliases replaced, values that follow from others set): `parse` calls it, `from_dict` does not.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeVar, Union

from utils.errors import UserError

Schema = TypeVar("Schema")
NONE_WORD = "none"


def option(
    default: Any = dataclasses.MISSING, help: str = "", minimum: float | None = None, maximum: float | None = None
) -> Any:
    """A dataclass field with help text and inclusive limits; without `default` the value must be given."""
    return dataclasses.field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum})


@functools.cache
def _field_types(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _optional_inner(annotation: Any) -> tuple[Any, bool]:
    """(`X`, True) for `Optional[X]`, else (`annotation`, False)."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        inner = [item for item in typing.get_args(annotation) if item is not type(None)]
        if len(inner) != 1 or len(inner) == len(typing.get_args(annotation)):
            raise TypeError(f"unsupported option type {annotation}")
        return inner[0], True
    return annotation, False


def _describe(annotation: Any) -> str:
    inner, optional = _optional_inner(annotation)
    if optional:
        return f"{_describe(inner)} or none"
    if typing.get_origin(inner) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(inner)))
    if typing.get_origin(inner) is tuple:
        items = typing.get_args(inner)
        count = "" if items[-1] is Ellipsis else f"{len(items)} "
        return f"a list of {count}{_describe(items[0])} values"
    return inner.__name__


def _check(annotation: Any, value: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    """Returns `value` in its declared type (whole numbers become floats where a float is meant, lists become tuples).

    Raises:
        UserError: another type, not finite, out of the field's limits.
    """
    inner, optional = _optional_inner(annotation)
    if value is None and optional:
        return None
    origin = typing.get_origin(inner)
    if origin is tuple:
        items = typing.get_args(inner)
        variable = items[-1] is Ellipsis
        if not isinstance(value, (list, tuple)) or not (variable or len(value) == len(items)):
            raise UserError(f"{where} must be {_describe(annotation)}, not {value!r}")
        kinds = [items[0]] * len(value) if variable else items
        return tuple(_check(kind, item, where, metadata) for kind, item in zip(kinds, value, strict=True))
    if origin is Literal:
        fits = any(type(value) is type(choice) and value == choice for choice in typing.get_args(inner))
    elif inner is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif inner is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif inner in (str, bool):
        fits = isinstance(value, inner)
    else:
        raise TypeError(f"unsupported option type {annotation} of {where}")
    if not fits:
        raise UserError(f"{where} must be {_describe(annotation)}, not {value!r}")
    if inner is float:
        value = float(value)
        if not math.isfinite(value):
            raise UserError(f"{where} must be a finite number, not {value}")
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    if minimum is not None and value < minimum:
        raise UserError(f"{where} must be at least {minimum}, not {value}")
    if maximum is not None and value > maximum:
        raise UserError(f"{where} must be at most {maximum}, not {value}")
    return value


def from_dict(schema: type[Schema], content: Any, source: str = "config") -> Schema:
    """Builds `schema` (nested) from plain JSON values, strictly.

    Args:
        schema: the dataclass.
        content: what `to_dict` gave, perhaps through a JSON file.
        source: how error messages call the whole, usually the file name.

    Raises:
        UserError: an unknown or missing key, a value of another type or outside its limits; the key is named.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{source} must be a set of named values, not {content!r:.80}")
    fields = {field.name: field for field in dataclasses.fields(schema)}
    unknown, missing = [key for key in content if key not in fields], [name for name in fields if name not in content]
    if unknown:
        raise UserError(f"{source} has unknown keys: {', '.join(map(str, unknown))}")
    if missing:
        raise UserError(f"{source} lacks the keys: {', '.join(missing)}")
    values = {}
    for name, field in fields.items():
        annotation = _field_types(schema)[name]
        if dataclasses.is_dataclass(annotation):
            values[name] = from_dict(annotation, content[name], f"{source}.{name}")
        else:
            values[name] = _check(annotation, content[name], f"{source}.{name}", field.metadata)
    return _build(schema, values, source)


def _build(schema: type[Schema], values: Mapping[str, Any], source: str) -> Schema:
    try:
        return schema(**values)
    except (ValueError, UserError) as error:
        raise UserError(f"{source}: {error}" if source else str(error)) from error


def to_dict(instance: Any) -> dict[str, Any]:
    """The values as plain JSON types: groups become dictionaries, tuples lists. `from_dict` is its inverse."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return plain(instance)


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


def flags_of(schema: type) -> dict[str, Flag]:
    """Every flag of `schema` by name.

    Raises:
        TypeError: two groups use one name.
    """
    flags: dict[str, Flag] = {}

    def collect(kind: type, path: tuple[str, ...], defaults: Any) -> None:
        for field in dataclasses.fields(kind):
            annotation = _field_types(kind)[field.name]
            default = field.default
            if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            if defaults is not None:
                default = getattr(defaults, field.name)
            here = (*path, field.name)
            if dataclasses.is_dataclass(annotation):
                collect(annotation, here, None if default is dataclasses.MISSING else default)
            elif field.name in flags:
                raise TypeError(f"two groups of {schema.__name__} have a flag --{field.name}")
            else:
                flags[field.name] = Flag(here, annotation, default, field.metadata)

    collect(schema, (), None)
    return flags


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as one line instead of the whole usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see --help)\n")


def _convert_item(kind: Any, text: str) -> Any:
    """A value from the command line's text. Raises ValueError, from which argparse makes its message."""
    if typing.get_origin(kind) is Literal:
        for choice in typing.get_args(kind):
            if str(choice) == text:
                return choice
        raise argparse.ArgumentTypeError(f"must be {_describe(kind)}, not {text!r}")
    try:
        return kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {_describe(kind)}, not {text!r}") from error


def _add_argument(parser: argparse._ArgumentGroup, flag: Flag) -> None:
    inner, optional = _optional_inner(flag.annotation)
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

        def convert(text: str) -> Any:
            return None if optional and text.lower() == NONE_WORD else _convert_item(item, text)

        arguments["type"] = convert
    parser.add_argument(f"--{flag.name}", **arguments)


def parse(
    schema: type[Schema],
    argv: Sequence[str] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    description: str | None = None,
) -> Schema:
    """Reads the command line into `schema`. Later wins: field defaults, `--preset`, explicit flags.

    Args:
        schema: the dataclass of the script's options.
        argv: the arguments without the program's name; default `sys.argv[1:]`.
        presets: name -> {flag name: value}; adds `--preset`.
        description: what the script does, for --help.

    Exits:
        with code 2 and one line on stderr for unknown flags, bad values and values outside their limits.

    Raises:
        ValueError: a preset names a flag that the schema lacks (a mistake of the program).
    """
    parser = _Parser(description=description, allow_abbrev=False)
    flags = flags_of(schema)
    for name, overrides in (presets or {}).items():
        if unknown := [key for key in overrides if key not in flags]:
            raise ValueError(f"preset {name} of {schema.__name__} sets unknown flags: {', '.join(unknown)}")
    if presets:
        parser.add_argument(
            "--preset",
            choices=sorted(presets),
            help="a set of defaults; explicit flags win (default: the published settings)",
        )
    groups: dict[tuple[str, ...], argparse._ArgumentGroup] = {}
    for flag in flags.values():
        owner = flag.path[:-1]
        groups.setdefault(owner, parser.add_argument_group(".".join(owner) or "script"))
        _add_argument(groups[owner], flag)
    given = vars(parser.parse_args(sys.argv[1:] if argv is None else list(argv)))
    preset = given.pop("preset", None)
    chosen = {**(presets[preset] if presets and preset else {}), **given}

    def build(kind: type, path: tuple[str, ...]) -> Any:
        values = {}
        for field in dataclasses.fields(kind):
            annotation = _field_types(kind)[field.name]
            if dataclasses.is_dataclass(annotation):
                values[field.name] = build(annotation, (*path, field.name))
                continue
            value = chosen.get(field.name, flags[field.name].default)
            if value is dataclasses.MISSING:
                raise UserError(f"--{field.name} is required")
            values[field.name] = _check(annotation, value, f"--{field.name}", flags[field.name].metadata)
        return _build(kind, values, "")

    try:
        options = build(schema, ())
        return options.resolve() if hasattr(options, "resolve") else options
    except UserError as error:
        parser.error(str(error))
