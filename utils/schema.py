"""Dataclass <-> JSON. Unknown names and wrong types are errors everywhere.

A schema is a frozen dataclass. Its fields are plain values or further frozen dataclasses ("groups"), e.g.
`VQOptions(run: RunOptions, model: RVQConfig, train: TrainSettings)`, which JSON nests: `{"model": {"width": 6}}`.

Value types: str, int, float, bool, Literal, Optional of these, and tuples (`tuple[int, ...]`, `tuple[float, float]`).
What a field takes besides is told by `option`. A schema may check its values in `__post_init__`, raising `UserError`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, Union

from storage.files import is_text
from storage.limits import LARGEST_REAL, LARGEST_WHOLE, LONGEST_LINE, MOST_VALUES
from utils.errors import UserError

Schema = TypeVar("Schema")


class Pattern(NamedTuple):
    """What a text has to look like: the whole of it matches `expression`; `words` say so, e.g. "look like 0,1,2"."""

    expression: str
    words: str


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    zero_or: float | None = None,
    pattern: Pattern | None = None,
    means: Callable[[Any], Any] | None = None,
    positional: bool = False,
    unless: str | None = None,
) -> Any:
    """A dataclass field; without `default` the value must be given.

    Args:
        help: for --help.
        minimum, maximum: inclusive limits; else those of `storage.limits`.
        zero_or: what values other than zero, which stands for something, are at least.
        pattern: of a text.
        means: what the command line replaces the value by, e.g. an alias by the name.
        positional: given without its name on the command line.
        unless: the flag that a preset's value gives way to, where that one is given.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "zero_or": zero_or}
    metadata |= {"pattern": pattern, "means": means, "positional": positional, "unless": unless}
    return dataclasses.field(default=default, metadata=metadata)


@functools.cache
def field_types(schema: type) -> dict[str, Any]:
    """The types of a schema's fields, by name."""
    return typing.get_type_hints(schema)


def optional_inner(annotation: Any) -> tuple[Any, bool]:
    """(`X`, True) for `Optional[X]`, else (`annotation`, False)."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        inner = [item for item in typing.get_args(annotation) if item is not type(None)]
        if len(inner) != 1 or len(inner) == len(typing.get_args(annotation)):
            raise TypeError(f"unsupported option type {annotation}")
        return inner[0], True
    return annotation, False


def describe(annotation: Any) -> str:
    """What values of a type are, in words."""
    inner, optional = optional_inner(annotation)
    if optional:
        return f"{describe(inner)} or none"
    if typing.get_origin(inner) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(inner)))
    if typing.get_origin(inner) is tuple:
        items = typing.get_args(inner)
        count = "" if items[-1] is Ellipsis else f"{len(items)} "
        return f"a list of {count}{describe(items[0])} values"
    return inner.__name__


def checked(annotation: Any, value: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    """Returns `value` in its declared type (whole numbers become floats where a float is meant, lists become tuples).

    Raises:
        UserError: another type, not finite, out of the field's limits, or another text than its pattern says.
    """
    inner, optional = optional_inner(annotation)
    if value is None and optional:
        return None
    origin = typing.get_origin(inner)
    if origin is tuple:
        items = typing.get_args(inner)
        variable = items[-1] is Ellipsis
        if not isinstance(value, (list, tuple)) or not (variable or len(value) == len(items)):
            raise UserError(f"{where} must be {describe(annotation)}, not {value!r}")
        if len(value) > MOST_VALUES:
            raise UserError(f"{where} has {len(value)} values, at most {MOST_VALUES} are read")
        kinds = [items[0]] * len(value) if variable else items
        return tuple(checked(kind, item, where, metadata) for kind, item in zip(kinds, value, strict=True))
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
        raise UserError(f"{where} must be {describe(annotation)}, not {value!r}")
    if inner is str and not (is_text(value) and len(value) <= LONGEST_LINE):
        raise UserError(f"{where} is not UTF-8 text of at most {LONGEST_LINE} characters: {value!r}")
    if inner in (int, float):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where} must be a finite number, not {value}")
        largest = LARGEST_WHOLE if inner is int else LARGEST_REAL
        minimum, maximum = (metadata.get(key) for key in ("minimum", "maximum"))
        if value < (least := -largest if minimum is None else minimum):
            raise UserError(f"{where} must be at least {least}, not {value}")
        if value > (most := largest if maximum is None else maximum):
            raise UserError(f"{where} must be at most {most}, not {value}")
        value = inner(value)
    least = metadata.get("zero_or")
    if least is not None and value != 0 and value < least:
        raise UserError(f"{where} must be 0 or at least {least}, not {value}")
    pattern = metadata.get("pattern")
    if pattern is not None and not re.fullmatch(pattern.expression, value):
        raise UserError(f"{where} must {pattern.words}, not {value!r}")
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
        annotation = field_types(schema)[name]
        if dataclasses.is_dataclass(annotation):
            values[name] = from_dict(annotation, content[name], f"{source}.{name}")
        else:
            values[name] = checked(annotation, content[name], f"{source}.{name}", field.metadata)
    return build(schema, values, source)


def build(schema: type[Schema], values: Mapping[str, Any], source: str) -> Schema:
    """The schema of checked values; errors of its own checks name the source."""
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
