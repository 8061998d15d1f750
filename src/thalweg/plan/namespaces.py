"""The functions of one type: ``.str``, ``.dt``, ``.list`` and ``.struct``."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from thalweg.core.duration import UNITS_US, duration_us
from thalweg.core.errors import PlanError
from thalweg.plan.time_formats import checked_format

if TYPE_CHECKING:
    from thalweg.plan.expr_nodes import Expr

_DAY_US = UNITS_US["d"]


@dataclass(frozen=True, slots=True, eq=False)
class StrNamespace:
    """Functions of text. Patterns are regular expressions without look-around and back-references."""

    expr: Expr

    def starts_with(self, prefix: object) -> Expr:
        """Tell whether the text begins with another."""
        return self.expr._call("str.starts_with", prefix)

    def ends_with(self, suffix: object) -> Expr:
        """Tell whether the text ends with another."""
        return self.expr._call("str.ends_with", suffix)

    def contains(self, pattern: str, *, literal: bool = False) -> Expr:
        """Tell whether a pattern matches a part of the text, or with ``literal`` whether a text is part of it."""
        return self.expr._call("str.contains", pattern=_text("contains", pattern), literal=bool(literal))

    def to_lowercase(self) -> Expr:
        """Give the text in lower case."""
        return self.expr._call("str.to_lowercase")

    def to_uppercase(self) -> Expr:
        """Give the text in upper case."""
        return self.expr._call("str.to_uppercase")

    def strip_chars(self, characters: str | None = None) -> Expr:
        """Take characters, white space by default, from both ends."""
        return self._strip("strip_chars", characters)

    def strip_chars_start(self, characters: str | None = None) -> Expr:
        """Take characters, white space by default, from the start."""
        return self._strip("strip_chars_start", characters)

    def strip_chars_end(self, characters: str | None = None) -> Expr:
        """Take characters, white space by default, from the end."""
        return self._strip("strip_chars_end", characters)

    def _strip(self, name: str, characters: str | None) -> Expr:
        if characters is None:
            return self.expr._call(f"str.{name}")
        return self.expr._call(f"str.{name}", characters=_text(name, characters))

    def strip_prefix(self, prefix: object) -> Expr:
        """Take a text from the start, once."""
        return self.expr._call("str.strip_prefix", prefix)

    def strip_suffix(self, suffix: object) -> Expr:
        """Take a text from the end, once."""
        return self.expr._call("str.strip_suffix", suffix)

    def replace(self, pattern: str, value: str, *, literal: bool = False) -> Expr:
        """Replace the first match."""
        return self._replace("replace", pattern, value, literal)

    def replace_all(self, pattern: str, value: str, *, literal: bool = False) -> Expr:
        """Replace every match."""
        return self._replace("replace_all", pattern, value, literal)

    def _replace(self, name: str, pattern: str, value: str, literal: bool) -> Expr:
        pattern, value = _text(name, pattern), _text(name, value)
        return self.expr._call(f"str.{name}", pattern=pattern, value=value, literal=bool(literal))

    def slice(self, offset: int, length: int | None = None) -> Expr:
        """Give a part, in characters; a negative offset counts from the end."""
        if length is None:
            return self.expr._call("str.slice", offset=_whole("slice", offset))
        if _whole("slice", length) < 0:
            raise PlanError(f".str.slice(…, {length}): the length is a whole number, 0 or more")
        return self.expr._call("str.slice", offset=_whole("slice", offset), length=length)

    def head(self, n: int) -> Expr:
        """Give the first n characters; with a negative n all but the last ones."""
        return self.expr._call("str.head", n=_whole("head", n))

    def tail(self, n: int) -> Expr:
        """Give the last n characters; with a negative n all but the first ones."""
        return self.expr._call("str.tail", n=_whole("tail", n))

    def len_chars(self) -> Expr:
        """Count the characters."""
        return self.expr._call("str.len_chars")

    def len_bytes(self) -> Expr:
        """Count the UTF-8 bytes."""
        return self.expr._call("str.len_bytes")

    def split(self, by: str) -> Expr:
        """Give the parts between separators as a list."""
        if not _text("split", by):
            raise PlanError('.str.split(""): the separator is a text that is not empty')
        return self.expr._call("str.split", by=by)

    def extract(self, pattern: str, group_index: int = 1) -> Expr:
        """Give a group of a pattern's first match (0 is the whole match); null if there is none."""
        if _whole("extract", group_index) < 0:
            raise PlanError(f".str.extract(…, {group_index}): the group is a whole number, 0 or more")
        return self.expr._call("str.extract", pattern=_text("extract", pattern), group_index=group_index)

    def to_datetime(self, format: str | None = None, *, strict: bool = True) -> Expr:
        """Read a time: ISO 8601 by default, else a format of ``%`` directives; what names no offset is UTC.

        A text that does not fit makes its row rejected, or becomes null with ``strict=False``.
        """
        fixed = None if format is None else checked_format("to_datetime", format, parse=True)
        return self.expr._call("str.to_datetime", format=fixed, strict=bool(strict))

    def to_date(self, format: str = "%Y-%m-%d", *, strict: bool = True) -> Expr:
        """Read a date, by a format of ``%`` directives."""
        return self.expr._call(
            "str.to_date", format=checked_format("to_date", format, parse=True, date=True), strict=bool(strict)
        )

    def to_integer(self, *, base: int = 10, strict: bool = True) -> Expr:
        """Read an integer, in a base from 2 to 36."""
        if not 2 <= _whole("to_integer", base) <= 36:
            raise PlanError(f".str.to_integer(base={base}): the base is a whole number from 2 to 36")
        return self.expr._call("str.to_integer", base=base, strict=bool(strict))

    def zfill(self, length: int) -> Expr:
        """Fill with zeros on the left, after a sign, to a length in characters."""
        if not 0 <= _whole("zfill", length) <= 10_000:
            raise PlanError(f".str.zfill({length}): the length is a whole number from 0 to 10,000")
        return self.expr._call("str.zfill", length=length)

    def json_path_match(self, json_path: str) -> Expr:
        """Give the first match of a JSON path, as text; null if there is none."""
        if not _text("json_path_match", json_path).startswith("$"):
            raise PlanError(f'.str.json_path_match({json_path!r}): a JSON path starts with $, such as "$.user.id"')
        return self.expr._call("str.json_path_match", json_path=json_path)


@dataclass(frozen=True, slots=True, eq=False)
class DtNamespace:
    """Functions of times, all in UTC."""

    expr: Expr

    def year(self) -> Expr:
        """Give the year."""
        return self.expr._call("dt.year")

    def month(self) -> Expr:
        """Give the month, from 1."""
        return self.expr._call("dt.month")

    def day(self) -> Expr:
        """Give the day of the month, from 1."""
        return self.expr._call("dt.day")

    def hour(self) -> Expr:
        """Give the hour of the day."""
        return self.expr._call("dt.hour")

    def minute(self) -> Expr:
        """Give the minute of the hour."""
        return self.expr._call("dt.minute")

    def second(self) -> Expr:
        """Give the second of the minute."""
        return self.expr._call("dt.second")

    def millisecond(self) -> Expr:
        """Give the milliseconds of the second."""
        return self.expr._call("dt.millisecond")

    def microsecond(self) -> Expr:
        """Give the microseconds of the second."""
        return self.expr._call("dt.microsecond")

    def weekday(self) -> Expr:
        """Give the day of the week, Monday 1 to Sunday 7."""
        return self.expr._call("dt.weekday")

    def ordinal_day(self) -> Expr:
        """Give the day of the year, from 1."""
        return self.expr._call("dt.ordinal_day")

    def week(self) -> Expr:
        """Give the ISO week."""
        return self.expr._call("dt.week")

    def date(self) -> Expr:
        """Give the date."""
        return self.expr._call("dt.date")

    def truncate(self, every: str | dt.timedelta) -> Expr:
        """Give the start of the interval that holds the time."""
        us = duration_us(every, ".dt.truncate")
        if us == 0:
            raise PlanError(".dt.truncate: the interval is longer than 0")
        return self.expr._call("dt.truncate", every_us=us)

    def offset_by(self, by: str | dt.timedelta) -> Expr:
        """Move by a duration, which may be negative."""
        return self.expr._call("dt.offset_by", by_us=duration_us(by, ".dt.offset_by", negative=True))

    def epoch(self, time_unit: Literal["us", "ms", "s"] = "us") -> Expr:
        """Count the units since 1970."""
        if time_unit not in ("us", "ms", "s"):
            raise PlanError(f'.dt.epoch({time_unit!r}): allowed are "us", "ms" and "s"')
        return self.expr._call("dt.epoch", time_unit=time_unit)

    def strftime(self, format: str) -> Expr:
        """Write as text, in a format of ``%`` directives."""
        return self.expr._call("dt.strftime", format=checked_format("strftime", format, parse=False))

    def total_days(self) -> Expr:
        """Give a duration's whole days."""
        return self.expr._call("dt.total_days")

    def total_hours(self) -> Expr:
        """Give a duration's whole hours."""
        return self.expr._call("dt.total_hours")

    def total_minutes(self) -> Expr:
        """Give a duration's whole minutes."""
        return self.expr._call("dt.total_minutes")

    def total_seconds(self) -> Expr:
        """Give a duration's whole seconds."""
        return self.expr._call("dt.total_seconds")

    def total_milliseconds(self) -> Expr:
        """Give a duration's whole milliseconds."""
        return self.expr._call("dt.total_milliseconds")

    def total_microseconds(self) -> Expr:
        """Give a duration's microseconds."""
        return self.expr._call("dt.total_microseconds")

    def convert_time_zone(self, time_zone: str) -> NoReturn:
        """Refuse: every time is in UTC."""
        raise PlanError(
            f".dt.convert_time_zone({time_zone!r}): every time in Thalweg is in UTC, so there is no other zone to "
            "convert to; use .dt.offset_by for a fixed shift, and convert where the result is shown"
        )

    def replace_time_zone(self, time_zone: str | None) -> NoReturn:
        """Refuse: every time is in UTC."""
        raise PlanError(
            f".dt.replace_time_zone({time_zone!r}): every time in Thalweg is in UTC; times of another zone are "
            "converted where they are read"
        )


@dataclass(frozen=True, slots=True, eq=False)
class ListNamespace:
    """Functions of lists."""

    expr: Expr

    def len(self) -> Expr:
        """Count the elements."""
        return self.expr._call("list.len")

    def get(self, index: object) -> Expr:
        """Give an element, from 0, or from -1 at the end; null outside."""
        return self.expr._call("list.get", index, column=True)

    def first(self) -> Expr:
        """Give the first element."""
        return self.expr._call("list.first")

    def last(self) -> Expr:
        """Give the last element."""
        return self.expr._call("list.last")

    def contains(self, item: object) -> Expr:
        """Tell whether an element equals a value."""
        return self.expr._call("list.contains", item)

    def join(self, separator: str) -> Expr:
        """Join the texts."""
        return self.expr._call("list.join", separator=_text("join", separator))

    def sum(self) -> Expr:
        """Add up the elements."""
        return self.expr._call("list.sum")

    def min(self) -> Expr:
        """Give the least element."""
        return self.expr._call("list.min")

    def max(self) -> Expr:
        """Give the greatest element."""
        return self.expr._call("list.max")


@dataclass(frozen=True, slots=True, eq=False)
class StructNamespace:
    """Functions of structs."""

    expr: Expr

    def field(self, name: str) -> Expr:
        """Give a field's value."""
        return self.expr._call("struct.field", name=_text("field", name))


def _text(method: str, value: object) -> str:
    if not isinstance(value, str):
        raise PlanError(f".{method}({value!r}): this is a fixed text, not an expression or another type")
    return value


def _whole(method: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise PlanError(f".{method}({value!r}): this is a fixed whole number, not an expression or another type")
    return value
