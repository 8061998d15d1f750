"""What null, NaN, membership, choices and casts mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from tests.engines.meaning import (
    BOOL,
    BYTES,
    DATE,
    DEC,
    DEC1,
    DUR,
    EPOCH,
    F64,
    FLOATS,
    I8,
    I16,
    I64,
    INTS,
    NAN,
    POINT,
    TEXT,
    TEXTS,
    TS,
    U8,
    U64,
    Case,
    compare,
    conjunction,
    micros,
    order,
    strict,
)
from thalweg.plan.expr import Expr, coalesce, concat_str, lit, when


def nulls_and_choices() -> Iterator[Case]:
    for kind in (I64, F64, TEXT, TS, FLOATS, POINT):
        yield Case("is_null", lambda x: x.is_null(), (kind,), lambda x: x is None, BOOL)
        yield Case("is_not_null", lambda x: x.is_not_null(), (kind,), lambda x: x is not None, BOOL)
    for kind in (I8, F64, TEXT, BOOL, TS, DEC, BYTES, INTS):
        yield Case("fill_null", lambda x, y: x.fill_null(y), (kind, kind), lambda x, y: y if x is None else x, kind)
        yield Case("coalesce", lambda x, y: coalesce(x, y), (kind, kind), lambda x, y: y if x is None else x, kind)
    yield Case("fill_null", lambda x: x.fill_null(7), (I8,), lambda x: 7 if x is None else x, I8)
    yield Case("fill_null", lambda x: x.fill_null(0), (U64,), lambda x: 0 if x is None else x, U64)
    yield Case("fill_null", lambda x: x.fill_null(1000), (I8,), lambda x: 1000 if x is None else x, I64)
    yield Case("fill_null", lambda x: x.fill_null("-"), (TEXT,), lambda x: "-" if x is None else x, TEXT)
    yield Case("coalesce", lambda x, y: coalesce(x, y, 9), (I8, U8), lambda x, y: first((x, y, 9)), I16)
    yield Case("coalesce", lambda x, y: coalesce(x, y), (DATE, TS), date_or_time, TS)
    yield Case(
        "fill_nan", lambda x: x.fill_nan(0), (F64,), lambda x: 0.0 if x is not None and math.isnan(x) else x, F64
    )
    yield Case("fill_nan", lambda x: x.fill_nan(None), (F64,), lambda x: None if x is None or math.isnan(x) else x, F64)
    meaning = strict(lambda x: x)
    yield Case(
        "fill_nan", lambda x, y: x.fill_nan(y), (F64, F64), lambda x, y: y if x is not None and x != x else x, F64
    )
    for kind in (I64, F64, TS, DUR):
        yield Case("clip", lambda x, y, z: x.clip(y, z), (kind, kind, kind), clip, kind)
    yield Case("clip", lambda x: x.clip(0), (I8,), strict(lambda x: max(x, 0)), I8)
    yield Case("clip", lambda x: x.clip(upper_bound=2.5), (I64,), strict(lambda x: min(float(x), 2.5)), F64)
    yield Case("clip", lambda x: x.clip(Decimal("0.5")), (DEC1,), strict(lambda x: max(x, Decimal("0.5"))), DEC1)
    for kind, some in ((I8, [1, 127, 300]), (F64, [NAN, 0.0, None]), (TEXT, ["", "Straße"]), (BOOL, [True]), (I64, [])):
        keys = [order(part) for part in some if part is not None]
        yield Case("is_in", lambda x, some=some: x.is_in(some), (kind,), strict(lambda x, k=keys: order(x) in k), BOOL)
    yield Case("is_in", lambda x: x.is_in([-1, 3]), (U64,), strict(lambda x: x == 3), BOOL)
    yield Case("is_in", lambda x: x.is_in([EPOCH]), (TS,), strict(lambda x: x == 0), BOOL)
    yield Case("is_in", lambda x: x.is_in([b"a"]), (BYTES,), strict(lambda x: x == b"a"), BOOL)
    yield Case("is_in", lambda x: x.is_in([Decimal("1.25")]), (DEC,), strict(lambda x: x == Decimal("1.25")), BOOL)
    for a, b in ((I64, INTS), (I8, INTS), (U64, INTS), (F64, FLOATS), (TEXT, TEXTS)):
        meaning = strict(lambda x, y: order(x) in [order(part) for part in y if part is not None])
        yield Case("is_in", lambda x, y: x.is_in(y), (a, b), meaning, BOOL)
        yield Case("list.contains", lambda y, x: y.list.contains(x), (b, a), lambda y, x, m=meaning: m(x, y), BOOL)
    for closed in ("both", "left", "right", "none"):
        meaning = between(closed)
        build = lambda x, y, z, closed=closed: x.is_between(y, z, closed)  # noqa: E731  # built per kind of bound
        yield Case("is_between", build, (I8, I64, F64), meaning, BOOL)
        yield Case("is_between", build, (F64, F64, F64), meaning, BOOL)
    yield Case(
        "is_between", lambda x: x.is_between(lit("a"), lit("b")), (TEXT,), strict(lambda x: "a" <= x <= "b"), BOOL
    )
    chosen = lambda c, x, y: x if c else y  # noqa: E731  # used twice
    yield Case(
        "when",
        lambda c, x, y: when(c).then(x).otherwise(y),
        (BOOL, I8, F64),
        lambda c, x, y: floated(chosen(c, x, y)),
        F64,
    )
    yield Case("when", lambda c, x: when(c).then(x), (BOOL, TEXT), lambda c, x: x if c else None, TEXT)
    yield Case(
        "when", grade, (I64,), lambda x: None if x is None else "high" if x > 5 else "low" if x < 0 else "mid", TEXT
    )
    yield Case(
        "when", lambda c: when(c).then(lit("y")).otherwise(lit(None)), (BOOL,), lambda c: "y" if c else None, TEXT
    )
    joined = strict(lambda x, y: f"{x}-{y}")
    yield Case("concat_str", lambda x, y: concat_str(x, y, separator="-"), (TEXT, I64), joined, TEXT)
    skipping = lambda x, y: "-".join(str(part).lower() if y is part else part for part in (x, y) if part is not None)  # noqa: E731
    build = lambda x, y: concat_str(x, y, separator="-", ignore_nulls=True)  # noqa: E731
    yield Case("concat_str", build, (TEXT, BOOL), skipping, TEXT)


def grade(x: Expr) -> Expr:
    return when(x > 5).then(lit("high")).when(x < 0).then(lit("low")).when(x.is_not_null()).then(lit("mid"))


def first(values: tuple[Any, ...]) -> Any:
    return next((value for value in values if value is not None), None)


def floated(x: Any) -> float | None:
    return None if x is None else float(x)


def date_or_time(x: int | None, y: int | None) -> int | None:
    return y if x is None else micros(DATE)(x)


def clip(x: Any, low: Any, high: Any) -> Any:
    if x is None or x != x:
        return x
    if low is not None and x < low:
        return low
    return high if high is not None and x > high else x


def between(closed: str) -> Callable[[Any, Any, Any], bool | None]:
    above, below = ("ge" if closed in ("both", "left") else "gt"), ("le" if closed in ("both", "right") else "lt")
    over, under = strict(lambda x, y: compare(above, x, y)), strict(lambda x, y: compare(below, x, y))
    return lambda x, y, z: conjunction(over(x, y), under(x, z))
