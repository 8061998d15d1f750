"""What the functions of times, lists and structs mean."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.engines.meaning import (
    BOOL,
    DATE,
    DAY,
    DUR,
    EPOCH,
    F64,
    FLOATS,
    HOUR,
    I8,
    I32,
    I64,
    INTS,
    MINUTE,
    NAN,
    POINT,
    SECOND,
    SMALLS,
    TEXT,
    TEXTS,
    TIME,
    TS,
    U64,
    UINTS,
    Case,
    cut,
    fits,
    moment,
    order,
    strict,
)


def times() -> Iterator[Case]:
    def of_date(name: str, meaning: Callable[[dt.datetime], Any]) -> Iterator[Case]:
        for kind in (TS, DATE):
            build = lambda x, n=name: getattr(x.dt, n)()  # noqa: E731  # a column of cases
            in_calendar = lambda x, k=kind: meaning(moment(x * DAY if k == DATE else x))  # noqa: E731
            yield Case(f"dt.{name}", build, (kind,), strict(in_calendar), I64)

    yield from of_date("year", lambda t: t.year)
    yield from of_date("month", lambda t: t.month)
    yield from of_date("day", lambda t: t.day)
    yield from of_date("weekday", lambda t: t.isoweekday())
    yield from of_date("ordinal_day", lambda t: t.timetuple().tm_yday)
    yield from of_date("week", lambda t: t.isocalendar().week)
    clock = {"hour": (HOUR, DAY), "minute": (MINUTE, HOUR), "second": (SECOND, MINUTE), "millisecond": (1000, SECOND)}
    for name, (unit, within) in (clock | {"microsecond": (1, SECOND)}).items():
        for kind in (TS, TIME):
            build = lambda x, n=name: getattr(x.dt, n)()  # noqa: E731
            yield Case(f"dt.{name}", build, (kind,), strict(lambda x, u=unit, w=within: x % w // u), I64)
    yield Case("dt.date", lambda x: x.dt.date(), (TS,), strict(lambda x: x // DAY), DATE)
    yield Case("dt.date", lambda x: x.dt.date(), (DATE,), lambda x: x, DATE)
    for every, us in (("1h", HOUR), ("1h30m", 90 * MINUTE), ("1d", DAY), ("7us", 7), ("1w", 7 * DAY), ("2w", 14 * DAY)):
        offset = 4 * DAY if us % (7 * DAY) == 0 else 0
        start = strict(lambda x, us=us, o=offset: fits(x - (x - o) % us))
        yield Case("dt.truncate", lambda x, e=every: x.dt.truncate(e), (TS,), start, TS)
    for every, days, offset in (("1d", 1, 0), ("10d", 10, 0), ("1w", 7, 4)):
        start = strict(lambda x, d=days, o=offset: fits(x - (x - o) % d, I32))
        yield Case("dt.truncate", lambda x, e=every: x.dt.truncate(e), (DATE,), start, DATE)
    for by, us in (("1d", DAY), ("-90s", -90 * SECOND)):
        yield Case("dt.offset_by", lambda x, b=by: x.dt.offset_by(b), (TS,), strict(lambda x, u=us: fits(x + u)), TS)
    yield Case("dt.offset_by", lambda x: x.dt.offset_by("-1w"), (DATE,), strict(lambda x: fits(x - 7, I32)), DATE)
    for unit, size in (("us", 1), ("ms", 1000), ("s", SECOND)):
        build = lambda x, u=unit: x.dt.epoch(u)  # noqa: E731
        yield Case("dt.epoch", build, (TS,), strict(lambda x, s=size: x // s), I64)
        yield Case("dt.epoch", build, (DATE,), strict(lambda x, s=size: fits(x * DAY) // s), I64)
    sizes = {"days": DAY, "hours": HOUR, "minutes": MINUTE, "seconds": SECOND, "milliseconds": 1000, "microseconds": 1}
    for name, size in sizes.items():
        build = lambda x, n=name: getattr(x.dt, f"total_{n}")()  # noqa: E731
        yield Case(f"dt.total_{name}", build, (DUR,), strict(lambda x, s=size: cut(x, s)), I64)
    for format in FORMATS:
        build = lambda x, f=format: x.dt.strftime(f)  # noqa: E731
        yield Case("dt.strftime", build, (TS,), strict(lambda x, f=format: written(moment(x), f)), TEXT)
        yield Case("dt.strftime", build, (DATE,), strict(lambda x, f=format: written(moment(x * DAY), f)), TEXT)


FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.6fZ",
    "%j %y %b %B %a %A %u %V %G %%",
    "%F",
    "%F %T%.f",
    "%I:%M %p %3f %6f %.3f",
    "%s %z",
    "",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")  # noqa: E501  # fmt: skip


def written(t: dt.datetime, format: str) -> str:
    """Write a time by the words of ``time_formats.DIRECTIVES``."""
    year, week, weekday = t.isocalendar()
    us = t.microsecond
    fraction = "" if us == 0 else f".{us // 1000:03}" if us % 1000 == 0 else f".{us:06}"
    words = {
        "%Y": f"{t.year:04}", "%m": f"{t.month:02}", "%d": f"{t.day:02}", "%j": f"{t.timetuple().tm_yday:03}",
        "%y": f"{t.year % 100:02}", "%b": MONTHS[t.month - 1][:3], "%B": MONTHS[t.month - 1],
        "%a": DAYS[weekday - 1][:3], "%A": DAYS[weekday - 1], "%u": str(weekday), "%V": f"{week:02}",
        "%G": f"{year:04}", "%F": f"{t.year:04}-{t.month:02}-{t.day:02}", "%H": f"{t.hour:02}",
        "%I": f"{(t.hour + 11) % 12 + 1:02}", "%p": "AM" if t.hour < 12 else "PM", "%M": f"{t.minute:02}",
        "%S": f"{t.second:02}", "%T": f"{t.hour:02}:{t.minute:02}:{t.second:02}", "%.f": fraction,
        "%.3f": f".{us // 1000:03}", "%.6f": f".{us:06}", "%3f": f"{us // 1000:03}", "%6f": f"{us:06}", "%z": "+0000",
        "%s": str((t - EPOCH) // dt.timedelta(seconds=1)), "%%": "%",
    }  # fmt: skip
    return re.sub(r"%(?:\.?\d?f|.)", lambda match: words[match[0]], format)


def lists() -> Iterator[Case]:
    for kind in (INTS, TEXTS, FLOATS):
        item = kind.value_type
        yield Case("list.len", lambda x: x.list.len(), (kind,), strict(len), I64)
        yield Case("list.first", lambda x: x.list.first(), (kind,), lambda x: x[0] if x else None, item)
        yield Case("list.last", lambda x: x.list.last(), (kind,), lambda x: x[-1] if x else None, item)
        for index in (0, 1, -1, -3, 5):
            meaning = strict(lambda x, i=index: x[i] if -len(x) <= i < len(x) else None)
            yield Case("list.get", lambda x, i=index: x.list.get(i), (kind,), meaning, item)
        at = strict(lambda x, i: x[i] if -len(x) <= i < len(x) else None)
        yield Case("list.get", lambda x, i: x.list.get(i), (kind, I8), at, item)
        least = strict(lambda x: min((part for part in x if part is not None), key=order, default=None))
        yield Case("list.min", lambda x: x.list.min(), (kind,), least, item)
        greatest = strict(lambda x: max((part for part in x if part is not None), key=order, default=None))
        yield Case("list.max", lambda x: x.list.max(), (kind,), greatest, item)
    for kind, result in ((INTS, I64), (SMALLS, I64), (UINTS, U64)):
        total = strict(lambda x, r=result: fits(sum(part for part in x if part is not None), r))
        yield Case("list.sum", lambda x: x.list.sum(), (kind,), total, result)
    total = strict(lambda x: float(sum(part for part in x if part is not None)))
    yield Case("list.sum", lambda x: x.list.sum(), (FLOATS,), total, F64)
    yield Case(
        "list.contains",
        lambda x: x.list.contains(NAN),
        (FLOATS,),
        strict(lambda x: any(p != p for p in x if p is not None)),
        BOOL,
    )
    yield Case("list.contains", lambda x: x.list.contains("ß"), (TEXTS,), strict(lambda x: "ß" in x), BOOL)
    yield Case("list.contains", lambda x: x.list.contains(300), (SMALLS,), strict(lambda x: False), BOOL)
    joined = strict(lambda x: ", ".join(part for part in x if part is not None))
    yield Case("list.join", lambda x: x.list.join(", "), (TEXTS,), joined, TEXT)
    yield Case("struct.field", lambda x: x.struct.field("x"), (POINT,), strict(lambda x: x["x"]), I64)
    yield Case("struct.field", lambda x: x.struct.field("y"), (POINT,), strict(lambda x: x["y"]), TEXT)
