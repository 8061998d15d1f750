"""Times in SQL: parts of them, intervals, and casts from and to everything else."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.types as t
from sqlglot import exp

from thalweg.core.errors import near
from thalweg.core.schema import TIMESTAMP
from thalweg.plan.expr import Expr, Literal, lit
from thalweg.sql.context import Context, Functions, Handler
from thalweg.sql.query import shown

_UNITS_US: Final = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 604_800_000_000,
}
_SHORT: Final = {"us": "microsecond", "ms": "millisecond", "s": "second", "m": "minute", "h": "hour", "d": "day"}
_AMOUNT: Final = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([a-zA-Z]+)")
_DAY: Final = dt.timedelta(days=1)

_PARTS: Final[Mapping[str, Callable[[Expr], Expr]]] = MappingProxyType(
    {
        "year": lambda a: a.dt.year(),
        "quarter": lambda a: (a.dt.month() + 2) // 3,
        "month": lambda a: a.dt.month(),
        "week": lambda a: a.dt.week(),
        "day": lambda a: a.dt.day(),
        "dow": lambda a: a.dt.weekday() % 7,
        "dayofweek": lambda a: a.dt.weekday() % 7,
        "isodow": lambda a: a.dt.weekday(),
        "doy": lambda a: a.dt.ordinal_day(),
        "dayofyear": lambda a: a.dt.ordinal_day(),
        "hour": lambda a: a.dt.hour(),
        "minute": lambda a: a.dt.minute(),
        "second": lambda a: a.dt.second(),
        "millisecond": lambda a: a.dt.second() * 1_000 + a.dt.millisecond(),
        "microsecond": lambda a: a.dt.second() * 1_000_000 + a.dt.microsecond(),
        "epoch": lambda a: a.dt.epoch("us") / 1_000_000,
    }
)


def interval_us(c: Context, node: exp.Expr) -> int:
    """Return a constant interval in microseconds.

    Raises:
        PlanError: It is no constant, or is counted in months or years.
    """
    node = node.unnest()
    if isinstance(node, exp.Neg):
        return -interval_us(c, node.this)
    given = node.this if isinstance(node, exp.Interval) else None
    if not isinstance(given, exp.Literal):
        raise c.query.unsupported(node, f"{shown(node)}: a constant interval is wanted, such as INTERVAL '5 minutes'")
    unit = node.args.get("unit")
    text = f"{given.this} {unit.name}" if unit is not None else str(given.this)
    total, position = 0.0, 0
    for found in _AMOUNT.finditer(text):
        if found.start() != position:
            break
        position = found.end()
        total += float(found[1]) * _unit_us(c, node, found[2])
    if position != len(text.rstrip()) or not text.strip():
        raise c.query.wrong(node, f"'{text}' is no interval; write it as INTERVAL '5 minutes'")
    return round(total)


def _unit_us(c: Context, node: exp.Expr, unit: str) -> int:
    name = _unit_name(unit)
    if name in ("month", "quarter", "year", "decade", "century"):
        raise c.query.unsupported(node, f"a {name} has no fixed length; use days")
    if name not in _UNITS_US:
        raise c.query.wrong(node, f'"{unit}" is no unit of time; {near(unit, _UNITS_US)}')
    return _UNITS_US[name]


def _unit_name(unit: str) -> str:
    lower = unit.lower()
    return _SHORT.get(lower) or lower.removesuffix("s")


def _interval(c: Context, node: exp.Expr) -> Expr:
    return lit(dt.timedelta(microseconds=interval_us(c, node)))


def _part(c: Context, node: exp.Expr, unit: str, value: exp.Expr) -> Expr:
    make = _PARTS.get(_unit_name(unit))
    if make is None:
        raise c.query.wrong(node, f'"{unit}" is no part of a time; {near(unit.lower(), _PARTS)}')
    return make(_time(c, value))


def _time(c: Context, node: exp.Expr) -> Expr:
    """Return a time; a constant text is read as one."""
    return c.as_time(node, c.value(node), TIMESTAMP)


def _named_part(name: str) -> Handler:
    def handle(c: Context, node: exp.Expr) -> Expr:
        return _part(c, node, name, node.this)

    return handle


def _extracted(c: Context, node: exp.Expr) -> Expr:
    return _part(c, node, node.this.name, node.expression)


def _truncated(c: Context, node: exp.Expr) -> Expr:
    unit = _unit_name(node.args["unit"].name)
    value = _time(c, node.this)
    if t.is_date32(c.type_of(value)):
        value = value.cast(dt.datetime)
    if unit == "month":
        return value.dt.truncate("1d") - (value.dt.day() - 1) * lit(_DAY)
    if unit == "year":
        return value.dt.truncate("1d") - (value.dt.ordinal_day() - 1) * lit(_DAY)
    return value.dt.truncate(dt.timedelta(microseconds=_unit_us(c, node, unit)))


def _bucketed(c: Context, node: exp.Expr) -> Expr:
    every = dt.timedelta(microseconds=interval_us(c, node.this))
    origin = dt.datetime(2000, 1, 3) - dt.datetime(1970, 1, 1)  # DuckDB's buckets begin at a Monday of 2000
    if every > dt.timedelta(0) and origin % every:
        raise c.query.unsupported(node, f"{shown(node)}: the width divides days or whole weeks")
    return c.value(node.expression).dt.truncate(every)


def _written(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).dt.strftime(c.text(node.args["format"], "the format"))


def _read(c: Context, node: exp.Expr) -> Expr:
    return c.value(node.this).str.to_datetime(c.text(node.args["format"], "the format"))


def _from_epoch(c: Context, node: exp.Expr) -> Expr:
    value = c.value(node.this)
    scale = node.args.get("scale")
    milliseconds = scale is not None and c.whole(scale, "the scale") == 3
    if t.is_timestamp(c.type_of(value)):
        return value.dt.epoch("ms" if milliseconds else "s")
    return (value * (1_000 if milliseconds else 1_000_000)).cast(dt.datetime)


def _clock(c: Context, node: exp.Expr) -> Expr:
    raise c.query.unsupported(
        node,
        f"{shown(node)} depends on when a row is looked at; compare event times with each other, or with a constant",
    )


_TYPES: Final[Mapping[str, pa.DataType]] = MappingProxyType(
    {
        "BOOLEAN": pa.bool_(),
        "TINYINT": pa.int8(),
        "SMALLINT": pa.int16(),
        "INT": pa.int32(),
        "BIGINT": pa.int64(),
        "UTINYINT": pa.uint8(),
        "USMALLINT": pa.uint16(),
        "UINT": pa.uint32(),
        "UBIGINT": pa.uint64(),
        "FLOAT": pa.float32(),
        "DOUBLE": pa.float64(),
        "VARCHAR": pa.string(),
        "TEXT": pa.string(),
        "CHAR": pa.string(),
        "VARBINARY": pa.binary(),
        "BLOB": pa.binary(),
        "DATE": pa.date32(),
        "TIME": pa.time64("us"),
        "TIMESTAMP": TIMESTAMP,
        "TIMESTAMPNTZ": TIMESTAMP,
        "TIMESTAMPTZ": TIMESTAMP,
        "INTERVAL": pa.duration("us"),
    }
)


def _cast(c: Context, node: exp.Expr) -> Expr:
    to = _target(c, node)
    strict = not isinstance(node, exp.TryCast)
    value = c.value(node.this)
    given = c.type_of(value)
    if isinstance(value, Literal) and isinstance(value.value, str) and (t.is_timestamp(to) or t.is_date32(to)):
        return c.as_time(node, value, to)
    if t.is_duration(to) and t.is_string(given):
        raise c.query.unsupported(node, f"{shown(node)}: an interval is written as INTERVAL '5 minutes'")
    if t.is_string(given) and t.is_timestamp(to):
        return value.str.to_datetime(strict=strict)
    if t.is_string(given) and t.is_date32(to):
        return value.str.to_date(strict=strict)
    if t.is_boolean(to) and (t.is_integer(given) or t.is_floating(given)):
        return value != 0
    if t.is_string(to) and (t.is_timestamp(given) or t.is_date32(given)):
        raise c.query.unsupported(node, f"{shown(node)}: a time becomes text with strftime(…, '%Y-%m-%d')")
    if t.is_integer(to) and (t.is_floating(given) or t.is_decimal(given)):
        value = value.round(0, mode="half_to_even" if t.is_floating(given) else "half_away_from_zero")
    return value if given == to else value.cast(to, strict=strict)


def _target(c: Context, node: exp.Expr) -> pa.DataType:
    to = node.args["to"]
    name = to.this.name if hasattr(to.this, "name") else str(to.this)
    if name == "DECIMAL":
        sizes = [int(part.this.this) for part in to.expressions] or [18, 3]
        return pa.decimal128(38, sizes[1] if len(sizes) > 1 else 0)
    found = _TYPES.get(name)
    if found is None:
        raise c.query.unsupported(
            node, f"{shown(node)}: no cast to {shown(to)}; allowed are {', '.join(_TYPES)}, DECIMAL"
        )
    return found


TIMES: Final[Mapping[type[exp.Expr], Handler]] = {
    exp.Interval: _interval,
    exp.Extract: _extracted,
    exp.Year: _named_part("year"),
    exp.Quarter: _named_part("quarter"),
    exp.Month: _named_part("month"),
    exp.Week: _named_part("week"),
    exp.Day: _named_part("day"),
    exp.DayOfWeek: _named_part("dow"),
    exp.DayOfWeekIso: _named_part("isodow"),
    exp.DayOfYear: _named_part("doy"),
    exp.Hour: _named_part("hour"),
    exp.Minute: _named_part("minute"),
    exp.Second: _named_part("second"),
    exp.TimeToUnix: _named_part("epoch"),
    exp.TimestampTrunc: _truncated,
    exp.DateTrunc: _truncated,
    exp.DateBin: _bucketed,
    exp.TimeToStr: _written,
    exp.StrToTime: _read,
    exp.UnixToTime: _from_epoch,
    exp.CurrentTimestamp: _clock,
    exp.CurrentDate: _clock,
    exp.CurrentTime: _clock,
    exp.Rand: _clock,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Date: lambda c, node: c.value(node.this).dt.date(),
}

TIME_FUNCTIONS: Final[Functions] = {
    "now": lambda c, node, args: _clock(c, node),
    "today": lambda c, node, args: _clock(c, node),
    "date_part": lambda c, node, args: _part(c, node, c.text(args[0], "the part"), args[1]),
    "millisecond": lambda c, node, args: _part(c, node, "millisecond", args[0]),
    "microsecond": lambda c, node, args: _part(c, node, "microsecond", args[0]),
    "isodow": lambda c, node, args: _part(c, node, "isodow", args[0]),
    "epoch_us": lambda c, node, args: c.value(args[0]).dt.epoch("us"),
}
