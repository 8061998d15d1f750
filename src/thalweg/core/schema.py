"""Schemas: names, Arrow types, whether a null is allowed, and the rules that values keep.

A schema is written as a dataclass, TypedDict, pydantic model, msgspec Struct, plain annotated class
or Arrow schema. Types are held in one form each (see ``normal_type``), so that every room and every
engine speaks of the same ones.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import sys
import types
import typing
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from thalweg.core.errors import PlanError, near

TIMESTAMP = pa.timestamp("us", tz="UTC")

RuleKind = Literal["ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern", "one_of"]
_RULE_KINDS: tuple[RuleKind, ...] = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")

_SCALARS: dict[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    dt.datetime: TIMESTAMP,
    dt.date: pa.date32(),
    dt.time: pa.time64("us"),
    dt.timedelta: pa.duration("us"),
    decimal.Decimal: pa.decimal128(38, 9),
    uuid.UUID: pa.string(),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a column's values keep: one constraint of annotated-types, by name and bound."""

    kind: RuleKind
    value: Any  # a bound may be of any type that compares with the column's

    def __str__(self) -> str:
        words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "a multiple of"}
        words |= {"min_length": "a length ≥", "max_length": "a length ≤"}
        words |= {"pattern": "text that matches", "one_of": "one of"}
        return f"{words[self.kind]} {self.value}"


@dataclass(frozen=True, slots=True)
class Field:
    """A column: its name, type, whether nulls are allowed, and rules."""

    name: str
    type: pa.DataType
    nullable: bool = True
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """An ordered set of columns.

    Example:
        >>> class Click:
        ...     user: str
        ...     price: float | None
        >>> print(schema_of(Click))
        user: string not null, price: double
    """

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for field in self.fields:
            if field.name in seen:
                raise PlanError(f'two columns have the name "{field.name}"; rename one')
            seen.add(field.name)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: object) -> bool:
        return any(field.name == name for field in self.fields)

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise PlanError(f'there is no column "{name}"; {near(name, self.names)}')

    def __str__(self) -> str:
        return ", ".join(f"{f.name}: {f.type}{'' if f.nullable else ' not null'}" for f in self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def arrow(self) -> pa.Schema:
        """The same as an Arrow schema (without the rules)."""
        return pa.schema([pa.field(f.name, f.type, f.nullable) for f in self.fields])


def schema_of(source: object) -> Schema:
    """Return the schema that a class or an Arrow schema describes.

    Raises:
        PlanError: It describes none, or has a type that no column can have.
    """
    if isinstance(source, Schema):
        return source
    if isinstance(source, pa.Schema):
        return Schema(tuple(Field(f.name, normal_type(f.type, f.name), f.nullable) for f in source))
    if isinstance(source, type) and (fields := _class_fields(source)):
        return Schema(fields)
    raise PlanError(
        f"{source!r} is not a schema; allowed: a dataclass, TypedDict, pydantic model, msgspec Struct, "
        "class with annotations, or Arrow schema"
    )


def normal_type(given: pa.DataType, column: str = "") -> pa.DataType:
    """Return the one form in which Thalweg holds a type.

    Timestamps are microseconds in UTC (naive ones are UTC, nanoseconds are truncated), text is
    ``string``, dictionaries are their values, every list is ``list``.

    Raises:
        PlanError: No column can have the type.
    """
    t = pa.types
    if t.is_timestamp(given):
        return TIMESTAMP
    if t.is_large_string(given) or t.is_string_view(given) or t.is_null(given):
        return pa.string()
    if t.is_large_binary(given) or t.is_binary_view(given) or t.is_fixed_size_binary(given):
        return pa.binary()
    if t.is_dictionary(given):
        return normal_type(given.value_type, column)
    if t.is_float16(given):
        return pa.float32()
    if t.is_date64(given):
        return pa.date32()
    if t.is_time(given):
        return pa.time64("us")
    if t.is_duration(given):
        return pa.duration("us")
    if t.is_list(given) or t.is_large_list(given) or t.is_fixed_size_list(given):
        return pa.list_(pa.field("item", normal_type(given.value_type, column)))
    if t.is_struct(given):
        return pa.struct([pa.field(f.name, normal_type(f.type, f"{column}.{f.name}")) for f in given])
    plain = t.is_integer(given) or t.is_floating(given) or t.is_boolean(given) or t.is_decimal128(given)
    if plain or t.is_string(given) or t.is_binary(given) or t.is_date32(given):
        return given
    raise PlanError(
        f'column "{column}" has the type {given}; allowed: numbers, text, bytes, booleans, dates, times, '
        "decimals of up to 38 digits, and lists and structs of them"
    )


def _class_fields(cls: type) -> tuple[Field, ...]:
    hints = hints_of(cls)
    extra: Mapping[str, Any] = getattr(cls, "model_fields", {})  # pydantic keeps Field(ge=…) apart
    fields = []
    for name, hint in hints.items():
        if name.startswith("_") or get_origin(hint) is typing.ClassVar or name == "model_config":
            continue
        metadata = getattr(extra.get(name), "metadata", ())
        fields.append(_field(cls, name, hint, tuple(metadata)))
    return tuple(fields)


def hints_of(cls: type, *, extras: bool = True) -> dict[str, Any]:
    """Return a class's annotations, read where it stands or, for a class within a function, where it is used.

    Args:
        cls: The class.
        extras: Whether ``Annotated`` and the like stay around the types.

    Raises:
        PlanError: They name something unknown.
    """
    try:
        return get_type_hints(cls, include_extras=extras)
    except NameError as error:
        frame = sys._getframe(1)
        while frame is not None:
            try:
                return get_type_hints(cls, frame.f_globals, frame.f_locals, include_extras=extras)
            except NameError:
                frame = frame.f_back  # type: ignore[assignment]  # the last frame's f_back is None
        raise PlanError(f"the annotations of {cls.__name__} name something unknown: {error}") from error


def _field(cls: type, name: str, hint: Any, metadata: tuple[Any, ...]) -> Field:
    rules: list[Rule] = []
    nullable = False
    pending = [hint]
    inner: Any = hint
    while pending:
        inner = pending.pop()
        origin = get_origin(inner)
        if origin in (typing.Required, typing.NotRequired, typing.Final):
            nullable = nullable or origin is typing.NotRequired
            pending.append(get_args(inner)[0])
        elif origin is Annotated:
            base, *marks = get_args(inner)
            for mark in marks:
                rules += _rules(mark)
            pending.append(base)
        elif origin in (Union, types.UnionType):
            some = [a for a in get_args(inner) if a is not type(None)]
            nullable = nullable or len(some) < len(get_args(inner))
            if len(some) != 1:
                raise PlanError(f"{cls.__name__}.{name} is {hint}; a column has one type, or one type and None")
            pending.append(some[0])
    for mark in metadata:
        rules += [rule for rule in _rules(mark) if rule not in rules]
    if get_origin(inner) is Literal:
        choices = get_args(inner)
        rules.append(Rule("one_of", choices))
        inner = type(choices[0])
    elif isinstance(inner, type) and issubclass(inner, enum.Enum):
        values = tuple(member.value for member in inner)
        rules.append(Rule("one_of", values))
        inner = type(values[0])
    return Field(name, _type(cls, name, inner), nullable, tuple(rules))


def _type(cls: type, name: str, hint: Any) -> pa.DataType:
    if isinstance(hint, pa.DataType):
        return normal_type(hint, name)
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin = get_origin(hint)
    if origin in (list, tuple, set, frozenset):
        return pa.list_(pa.field("item", _field(cls, name, get_args(hint)[0], ()).type))
    if isinstance(hint, type) and (fields := _class_fields(hint)):
        return pa.struct([pa.field(f.name, f.type) for f in fields])
    raise PlanError(
        f"{cls.__name__}.{name} has the type {hint}; allowed: str, int, float, bool, bytes, datetime, date, time, "
        "timedelta, Decimal, UUID, Literal, Enum, list[…], a class of these, each also with | None"
    )


def _rules(mark: Any) -> list[Rule]:
    """Return the rules of an annotated-types constraint, or of an object with the same attributes."""
    if hasattr(mark, "__iter__") and not isinstance(mark, (str, bytes)):
        return [rule for part in mark for rule in _rules(part)]  # GroupedMetadata: Interval, Len
    found = []
    for kind in _RULE_KINDS:
        value = getattr(mark, kind, None)
        if value is not None and not callable(value):
            found.append(Rule(kind, value))
    return found
