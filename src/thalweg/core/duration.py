"""Durations as a program writes them: ``"1m"``, ``"1h30m"`` or a ``timedelta``."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

from thalweg.core.errors import PlanError

UNITS_US: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_PART: Final = re.compile(r"([0-9]+)\s*([^0-9\s]+)\s*")
_LARGEST_US: Final = 2**63 - 1
_CALENDAR: Final = (
    {"mo": "months", "mon": "months", "month": "months", "months": "months", "M": "months"}
    | {unit: "years" for unit in ("y", "yr", "year", "years")}
    | {unit: "quarters" for unit in ("q", "quarter", "quarters")}
)


def duration_us(value: str | dt.timedelta, what: str, *, negative: bool = False) -> int:
    """Return a duration in microseconds.

    Args:
        value: Whole numbers with units (``us ms s m h d w``), several in a row if need be, or a ``timedelta``.
        what: What the duration is of, for the message: ``lateness``.
        negative: Whether it may be below zero (``"-5m"``).

    Units:
        Microseconds; a day is 24 hours, a week 7 days.

    Raises:
        PlanError: It is not a duration, is below zero, or is counted in months or years.

    Example:
        >>> duration_us("1h30m", "lateness")
        5400000000
        >>> duration_us("-5m", "within", negative=True)
        -300000000
    """
    if isinstance(value, dt.timedelta):
        total = value // dt.timedelta(microseconds=1)
    elif isinstance(value, str):
        total = _parsed(value, what)
    else:
        raise PlanError(f'{what} is {value!r}; allowed: a text such as "90s" or "1h30m", or a timedelta')
    if total < 0 and not negative:
        raise PlanError(f"{what} is {value!r}; a duration here is zero or more")
    if abs(total) > _LARGEST_US:
        raise PlanError(f"{what} is {value!r}; the longest duration is 2**63 - 1 microseconds, some 292,000 years")
    return total


def duration_text(us: int) -> str:
    """Return the shortest text that ``duration_us`` reads back.

    Example:
        >>> duration_text(5_400_000_000), duration_text(-1_500), duration_text(0)
        ('1h30m', '-1ms500us', '0s')
    """
    if us == 0:
        return "0s"
    parts = []
    rest = abs(us)
    for unit, size in reversed(UNITS_US.items()):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if us < 0 else "") + "".join(parts)


def _parsed(text: str, what: str) -> int:
    stripped = text.strip()
    sign = -1 if stripped.startswith("-") else 1
    body = stripped[1:] if stripped[:1] in ("-", "+") else stripped
    allowed = 'allowed: whole numbers with the units us, ms, s, m, h, d, w, such as "90s" or "1h30m"'
    total = position = 0
    while position < len(body):
        match = _PART.match(body, position)
        if match is None:
            break
        number, unit = match.groups()
        if unit in _CALENDAR:
            raise PlanError(
                f'{what} is "{text}"; {_CALENDAR[unit]} are not of one length, so they cannot be a duration; '
                "write days (d) or weeks (w)"
            )
        if unit not in UNITS_US:
            raise PlanError(f'{what} is "{text}" and "{unit}" is not a unit; {allowed}')
        total += int(number) * UNITS_US[unit]
        position = match.end()
    if position < len(body) or not body:
        raise PlanError(f'{what} is "{text}", which is not a duration; {allowed}')
    return sign * total
