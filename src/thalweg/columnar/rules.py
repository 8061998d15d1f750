"""Rules of a schema, compiled once to Polars expressions and checked a batch at a time.

A null passes every rule: whether it is allowed is a matter of the column, not of its rules. NaN
compares as the greatest float, here as everywhere.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from thalweg.core.errors import PlanError
from thalweg.core.schema import Field, Rule, Schema

_SHOWN = 80  # characters of a value that a message repeats
_ROUND_OFF = 1e-9  # how far a float may be from a multiple, relative to its size
_ALLOWED = {
    "min_length": "text, bytes and lists",
    "max_length": "text, bytes and lists",
    "pattern": "text",
    "multiple_of": "numbers",
}


class BadValue(NamedTuple):
    """A value that breaks the schema.

    Attributes:
        row: The row's index in the batch.
        column: The column's name.
        rule: The rule that is broken; None: the value is null where none is allowed.
        value: The value.
    """

    row: int
    column: str
    rule: Rule | None
    value: Any  # as Python sees it: of any column type

    @property
    def reason(self) -> str:
        """What is wrong and what was allowed."""
        if self.rule is None:
            return "null, but the column must have a value"
        return f"{shown(self.value)} breaks the rule: {self.rule}"


@dataclass(frozen=True, slots=True)
class _Check:
    field: Field
    rule: Rule
    broken: pl.Expr


class RuleSet:
    """The rules of a schema, ready to be checked.

    Raises:
        PlanError: A rule does not fit its column's type, or a pattern cannot be compiled.

    Example:
        >>> schema = Schema((Field("price", pa.float64(), False, (Rule("ge", 0),)),))
        >>> rules = RuleSet(schema)
        >>> batch = pa.record_batch({"price": [1.5, -2.0, None]})
        >>> [(bad.row, bad.reason) for bad in rules.check(batch)]
        [(1, '-2.0 breaks the rule: ≥ 0'), (2, 'null, but the column must have a value')]
    """

    def __init__(self, schema: Schema) -> None:
        self._required = tuple(field.name for field in schema if not field.nullable)
        self._order = {field.name: place for place, field in enumerate(schema)}
        self._checks = tuple(_Check(field, rule, _broken(field, rule)) for field in schema for rule in field.rules)
        self._ruled = tuple(dict.fromkeys(check.field.name for check in self._checks))
        self._any = tuple(check.broken.any().alias(str(i)) for i, check in enumerate(self._checks))

    def check(self, batch: pa.RecordBatch) -> tuple[BadValue, ...]:
        """Return the values that break the schema, in row order, one for each row: that of the first column.

        Args:
            batch: Rows with exactly the schema's types; columns without rules that may be null need not be there.
        """
        found = [
            BadValue(row, name, None, None)
            for name in self._required
            if (column := batch.column(name)).null_count
            for row in pl.Series(pl.from_arrow(column.is_null())).arg_true()
        ]
        if self._checks and batch.num_rows:
            found += self._broken_rules(batch)
        if not found:
            return ()
        first: dict[int, BadValue] = {}
        for bad in sorted(found, key=lambda bad: (bad.row, self._order[bad.column])):
            first.setdefault(bad.row, bad)
        return tuple(first.values())

    def _broken_rules(self, batch: pa.RecordBatch) -> list[BadValue]:
        frame = pl.DataFrame(pl.from_arrow(batch.select(self._ruled)))
        # One pass says which rules are broken at all; most often none is.
        broken = frame.select(self._any).row(0)
        found = []
        for check, is_broken in zip(self._checks, broken, strict=True):
            if is_broken:
                name = check.field.name
                rows = frame.select(check.broken.arg_true()).to_series()
                values = frame.get_column(name).gather(rows).to_list()
                found += [BadValue(row, name, check.rule, value) for row, value in zip(rows, values, strict=True)]
        return found


def shown(value: object) -> str:
    """Return a value as messages show it: cut where it is long."""
    text = value.isoformat() if isinstance(value, dt.date | dt.time) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _broken(field: Field, rule: Rule) -> pl.Expr:
    """Return the expression that is true where the rule is broken (null or false where it is kept)."""
    column, given = pl.col(field.name), field.type
    match rule.kind:
        case "ge" | "gt" | "le" | "lt":
            return _beyond(column, field, rule)
        case "multiple_of" if _is_number(given):
            return _no_multiple(column, given, rule.value)
        case "min_length" | "max_length" if (length := _length(column, given)) is not None:
            bound = pl.lit(int(rule.value))
            return length < bound if rule.kind == "min_length" else length > bound
        case "pattern" if pa.types.is_string(given):
            return column.str.contains(_pattern(field, rule)).not_()
        case "one_of":
            choices = [_fitting(field, rule, choice) for choice in rule.value if choice is not None]
            try:
                values = pl.from_arrow(pa.array(choices, given))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise _misfit(field, rule, str(error)) from error
            return column.is_in(values.implode()).not_()  # type: ignore[union-attr]  # an array gives a Series
    raise _misfit(field, rule, f"it is for {_ALLOWED[rule.kind]}")


def _beyond(column: pl.Expr, field: Field, rule: Rule) -> pl.Expr:
    bound = _fitting(field, rule, rule.value)
    if pa.types.is_integer(field.type):
        return _beyond_integer(column, rule.kind, bound)
    if pa.types.is_floating(field.type):
        literal = pl.lit(float(bound), dtype=pl.Float32 if field.type == pa.float32() else pl.Float64)
    else:
        try:
            literal = pl.lit(bound)
            pl.DataFrame(pl.from_arrow(pa.record_batch({"v": pa.array([], field.type)}))).select(pl.col("v") >= literal)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise _misfit(field, rule, "its bound does not compare with the column's values") from error
    return _compare(column, rule.kind, literal)


def _compare(column: pl.Expr, kind: str, bound: pl.Expr) -> pl.Expr:
    match kind:
        case "ge":
            return column < bound
        case "gt":
            return column <= bound
        case "le":
            return column > bound
    return column >= bound


def _beyond_integer(column: pl.Expr, kind: str, bound: Any) -> pl.Expr:
    """Compare integers with the nearest integer bound: a float would round large ones."""
    if isinstance(bound, float) and not math.isfinite(bound):
        kept = not math.isnan(bound) and (bound < 0) == (kind in ("ge", "gt"))
        return pl.lit(not kept) & column.is_not_null()
    whole = math.ceil(bound) if kind in ("ge", "lt") else math.floor(bound)
    return _compare(column, kind, pl.lit(whole, dtype=pl.Int128))


def _no_multiple(column: pl.Expr, given: pa.DataType, value: Any) -> pl.Expr:
    if pa.types.is_integer(given) and int(value) == value:
        return column % int(value) != 0
    if pa.types.is_decimal(given):
        return column % decimal.Decimal(str(value)) != 0
    size = column.cast(pl.Float64)
    ratio = size / float(value)
    return (ratio - ratio.round()).abs() > _ROUND_OFF * pl.max_horizontal(ratio.abs(), pl.lit(1.0))


def _length(column: pl.Expr, given: pa.DataType) -> pl.Expr | None:
    if pa.types.is_string(given):
        return column.str.len_chars()
    if pa.types.is_binary(given):
        return column.bin.size()
    return column.list.len() if pa.types.is_list(given) else None


def _pattern(field: Field, rule: Rule) -> str:
    pattern = getattr(rule.value, "pattern", rule.value)  # a compiled one, or its text
    try:
        pl.select(pl.lit("").str.contains(pattern))
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise _misfit(field, rule, "it does not compile; look-around and back references are not known") from error
    return str(pattern)


def _fitting(field: Field, rule: Rule, bound: Any) -> Any:
    """Return a bound in the form that compares with the column's values."""
    given = field.type
    if isinstance(bound, dt.datetime) and pa.types.is_timestamp(given):
        return (bound if bound.tzinfo else bound.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    if isinstance(bound, uuid.UUID):
        return str(bound)
    number = isinstance(bound, (int, float, decimal.Decimal)) and not isinstance(bound, bool)
    if rule.kind != "one_of" and _is_number(given) != number:
        raise _misfit(field, rule, "its bound does not compare with the column's values")
    return decimal.Decimal(str(bound)) if number and pa.types.is_decimal(given) else bound


def _is_number(given: pa.DataType) -> bool:
    return bool(pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_decimal(given))


def _misfit(field: Field, rule: Rule, why: str) -> PlanError:
    return PlanError(f'the rule "{rule}" does not fit the column "{field.name}" of type {field.type}: {why}')
