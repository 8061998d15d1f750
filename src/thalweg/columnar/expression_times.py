"""Functions of times, dates and durations, as Polars computes them: in whole microseconds, in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.expression_values import DAY_US, MICROSECONDS, WIDE, Arg, Compile, in_calendar, narrowed
from thalweg.columnar.frames import polars_type
from thalweg.columnar.integer_bounds import Range, always
from thalweg.core.duration import UNITS_US
from thalweg.plan.time_formats import CLOCK, directives

Args = Sequence[Arg]
Options = Mapping[str, Any]

_MONDAY_US: Final = 4 * DAY_US  # 1970-01-05, the first Monday after the epoch


def _calendar(method: str) -> Compile:
    """Return the compilation of a part of the date."""

    def compiled(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
        found: pl.Expr = getattr(in_calendar(args[0]).dt, method)()
        return found.cast(pl.Int64)

    return compiled


def _clock(unit_us: int, within_us: int) -> Compile:
    """Return the compilation of a part of the time of day: by arithmetic, so that it holds for every time."""

    def compiled(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
        (arg,) = args
        # A time of day is in nanoseconds in Polars.
        micros = arg.micros // 1_000 if t.is_time64(arg.type) else arg.micros
        return micros % within_us // unit_us

    return compiled


def _date(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
    return args[0].expr.cast(pl.Date, strict=False)


def _truncate(args: Args, options: Options, result: pa.DataType) -> pl.Expr:
    (arg,) = args
    every = options["every_us"]
    offset = _MONDAY_US if every % UNITS_US["w"] == 0 else 0
    if t.is_date32(arg.type):
        days = arg.expr.to_physical().cast(pl.Int64)
        return _days(days - (days - offset // DAY_US) % (every // DAY_US))
    # The remainder first, so that only the last step can leave 64 bits.
    within = (arg.micros % every - offset % every) % every
    return narrowed(arg.micros.cast(WIDE) - within.cast(WIDE), result)


def _offset(args: Args, options: Options, result: pa.DataType) -> pl.Expr:
    (arg,) = args
    by = options["by_us"]
    if t.is_date32(arg.type):
        return _days(arg.expr.to_physical().cast(pl.Int64) + by // DAY_US)
    return narrowed(arg.wide + pl.lit(by, dtype=WIDE), result)


def _days(days: pl.Expr) -> pl.Expr:
    return days.cast(pl.Int32).cast(pl.Date)


def _epoch(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    (arg,) = args
    unit = UNITS_US[options["time_unit"]]
    return arg.micros if unit == 1 else arg.micros // unit


def _strftime(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    (arg,) = args
    time = in_calendar(arg)
    if t.is_date32(arg.type) and CLOCK.intersection(directives(options["format"])):
        time = time.cast(MICROSECONDS)
    return time.dt.strftime(options["format"])


def _total(unit_us: int) -> Compile:
    def compiled(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
        micros = args[0].micros
        if unit_us == 1:
            return micros
        # // rounds down; towards zero it is one more below zero, unless it came out even.
        down = micros // unit_us
        return (down + ((micros < 0) & (micros % unit_us != 0)).cast(pl.Int64)).cast(polars_type(result))

    return compiled


COMPILED: Final[Mapping[str, Compile]] = MappingProxyType(
    {
        "dt.year": _calendar("year"),
        "dt.month": _calendar("month"),
        "dt.day": _calendar("day"),
        "dt.hour": _clock(UNITS_US["h"], UNITS_US["d"]),
        "dt.minute": _clock(UNITS_US["m"], UNITS_US["h"]),
        "dt.second": _clock(UNITS_US["s"], UNITS_US["m"]),
        "dt.millisecond": _clock(UNITS_US["ms"], UNITS_US["s"]),
        "dt.microsecond": _clock(UNITS_US["us"], UNITS_US["s"]),
        "dt.weekday": _calendar("weekday"),
        "dt.ordinal_day": _calendar("ordinal_day"),
        "dt.week": _calendar("week"),
        "dt.date": _date,
        "dt.truncate": _truncate,
        "dt.offset_by": _offset,
        "dt.epoch": _epoch,
        "dt.strftime": _strftime,
        "dt.total_days": _total(UNITS_US["d"]),
        "dt.total_hours": _total(UNITS_US["h"]),
        "dt.total_minutes": _total(UNITS_US["m"]),
        "dt.total_seconds": _total(UNITS_US["s"]),
        "dt.total_milliseconds": _total(UNITS_US["ms"]),
        "dt.total_microseconds": _total(UNITS_US["us"]),
    }
)

RANGES: Final[Mapping[str, Range]] = MappingProxyType(
    {
        "dt.year": always(1, 9_999),
        "dt.month": always(1, 12),
        "dt.day": always(1, 31),
        "dt.hour": always(0, 23),
        "dt.minute": always(0, 59),
        "dt.second": always(0, 59),
        "dt.millisecond": always(0, 999),
        "dt.microsecond": always(0, 999_999),
        "dt.weekday": always(1, 7),
        "dt.ordinal_day": always(1, 366),
        "dt.week": always(1, 53),
    }
)
"""Where the parts of a date and a time lie."""
