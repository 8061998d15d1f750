"""The ``%`` directives of time formats that every engine reads and writes alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from thalweg.core.errors import PlanError

DIRECTIVES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "%Y": "year, 4 digits",
        "%m": "month, 2 digits",
        "%d": "day of the month, 2 digits",
        "%j": "day of the year, 3 digits",
        "%y": "year, 2 digits, read as 1970 to 2069",
        "%b": "month, short English name",
        "%B": "month, English name",
        "%a": "weekday, short English name",
        "%A": "weekday, English name",
        "%u": "weekday, 1 is Monday",
        "%V": "ISO week, 2 digits",
        "%G": "ISO year",
        "%F": "the same as %Y-%m-%d",
        "%H": "hour, 00 to 23",
        "%I": "hour, 01 to 12",
        "%p": "AM or PM",
        "%M": "minute, 2 digits",
        "%S": "second, 2 digits",
        "%T": "the same as %H:%M:%S",
        "%.f": "a point and the fraction of the second, nothing if there is none",
        "%.3f": "a point and milliseconds",
        "%.6f": "a point and microseconds",
        "%3f": "milliseconds, 3 digits",
        "%6f": "microseconds, 6 digits",
        "%z": "offset from UTC, such as +0130",
        "%s": "seconds since 1970",
        "%%": "a percent sign",
    }
)
_DIRECTIVE: Final = re.compile(r"%(?:\.?[0-9]?f|.)", re.DOTALL)
CLOCK: Final = frozenset({"%H", "%I", "%p", "%M", "%S", "%T", "%.f", "%.3f", "%.6f", "%3f", "%6f", "%z", "%s"})


def directives(format: str) -> list[str]:
    """Return the directives of a format, in order.

    Example:
        >>> directives("%Y-%m-%d at %H%%")
        ['%Y', '%m', '%d', '%H', '%%']
    """
    return _DIRECTIVE.findall(format)


def checked_format(method: str, format: object, *, parse: bool, date: bool = False) -> str:
    """Return a format whose directives are all known.

    Raises:
        PlanError: It is no text, or has a directive that is unknown or cannot be read.
    """
    if not isinstance(format, str):
        raise PlanError(f'.{method}({format!r}): the format is a text, such as "%Y-%m-%d"')
    found = directives(format)
    unknown = [d for d in found if d not in DIRECTIVES]
    dangling = format.replace("%%", "").endswith("%")
    if unknown or dangling:
        wrong = unknown[0] if unknown else "%"
        allowed = ", ".join(f"{directive} ({meaning})" for directive, meaning in DIRECTIVES.items())
        raise PlanError(f'.{method}("{format}"): "{wrong}" is not a directive; allowed: {allowed}')
    if date and (clock := [d for d in found if d in CLOCK]):
        raise PlanError(f'.{method}("{format}"): "{clock[0]}" is of a time of day; read it with .str.to_datetime')
    some = set(found)
    if parse and some & {"%H", "%I"} and not some & {"%M", "%T"}:
        raise PlanError(f'.{method}("{format}"): an hour is read together with its minutes: %H:%M')
    if parse and "%I" in some and "%p" not in some:
        raise PlanError(f'.{method}("{format}"): an hour from 01 to 12 needs %p, AM or PM')
    if parse and not _names_a_day(some):
        raise PlanError(f'.{method}("{format}"): the format does not name a day: it needs year, month and day, or %s')
    return format


def _names_a_day(found: set[str]) -> bool:
    year = bool(found & {"%Y", "%y"})
    month = bool(found & {"%m", "%b", "%B"})
    iso = {"%G", "%V"} <= found and bool(found & {"%u", "%a", "%A"})
    return "%F" in found or "%s" in found or iso or (year and ("%j" in found or (month and "%d" in found)))
