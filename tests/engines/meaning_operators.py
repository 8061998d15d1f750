"""What the operators and the functions of numbers mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any

import pyarrow as pa

from tests.engines.meaning import (
    BOOL,
    BYTES,
    DATE,
    DEC,
    DEC1,
    DUR,
    F32,
    F64,
    I8,
    I32,
    I64,
    INF,
    NAN,
    TEXT,
    TIME,
    TS,
    U8,
    U32,
    U64,
    Case,
    ceil,
    compare,
    conjunction,
    decimal,
    f32,
    fits,
    floor,
    ieee,
    micros,
    rounded_to,
    strict,
)

ARITHMETIC = {"add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y}
SYMBOLS: dict[str, Callable[[Any, Any], Any]] = {
    **ARITHMETIC,
    "truediv": lambda x, y: x / y,
    "floordiv": lambda x, y: x // y,
    "mod": lambda x, y: x % y,
    "pow": lambda x, y: x**y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
}


def operators() -> Iterator[Case]:
    integers = [(I8, I8), (I8, I64), (I32, I32), (U32, U32), (I64, I64), (U8, U64), (U64, U64), (U64, I64)]
    for a, b in integers:
        wide = U64 if {a, b} <= {U8, U64} else I64
        for name, op in ARITHMETIC.items():
            kind = I64 if name == "sub" else wide
            yield Case(name, op, (a, b), strict(lambda x, y, op=op, kind=kind: fits(op(x, y), kind)), kind)
        divided = strict(lambda x, y, kind=wide: None if y == 0 else fits(x // y, kind))
        yield Case("floordiv", SYMBOLS["floordiv"], (a, b), divided, wide)
        left = strict(lambda x, y, kind=wide: None if y == 0 else fits(x % y, kind))
        yield Case("mod", SYMBOLS["mod"], (a, b), left, wide)
        yield Case("truediv", SYMBOLS["truediv"], (a, b), strict(ieee), F64)
    yield Case("floordiv", lambda x: x // 3, (I64,), strict(lambda x: x // 3), I64)
    yield Case("floordiv", lambda x: x // -1, (I64,), strict(lambda x: fits(-x)), I64)
    yield Case("mod", lambda x: x % 10, (U64,), strict(lambda x: x % 10), U64)
    yield Case("sub", lambda x: 5 - x, (U64,), strict(lambda x: fits(5 - x)), I64)
    for a, b in [(F64, F64), (F32, F32), (F64, I64), (F32, F64)]:
        kind = F32 if a == b == F32 else F64
        for name, op in ARITHMETIC.items():
            meaning = strict(lambda x, y, op=op, kind=kind: rounded_to(kind, op(float(x), float(y))))
            yield Case(name, op, (a, b), meaning, kind)
        yield Case("truediv", SYMBOLS["truediv"], (a, b), strict(lambda x, y, k=kind: rounded_to(k, ieee(x, y))), kind)
        if kind == F64:
            yield Case("floordiv", SYMBOLS["floordiv"], (a, b), strict(lambda x, y: floor(ieee(x, y))), F64)
            yield Case("mod", SYMBOLS["mod"], (a, b), strict(lambda x, y: x - y * floor(ieee(x, y))), F64)
    yield Case("add", lambda x: x + 0.1, (F32,), strict(lambda x: f32(x + f32(0.1))), F32)
    for a, b in [(F64, F64), (I8, I8), (F32, F32)]:
        kind = F32 if a == F32 else F64
        meaning = strict(lambda x, y, kind=kind: rounded_to(kind, power(float(x), float(y))))
        yield Case("pow", SYMBOLS["pow"], (a, b), meaning, kind, close=True)
    for a, b in [(DEC, DEC), (DEC, DEC1), (DEC, I8)]:
        with_scale = 3 if b == DEC1 else 4
        for name in ("add", "sub"):
            op = ARITHMETIC[name]
            yield Case(name, op, (a, b), strict(lambda x, y, op=op: exact(op, x, y, 2)), DEC)
        scale = 2 if b == I8 else with_scale
        meaning = product(scale)
        yield Case("mul", ARITHMETIC["mul"], (a, b), meaning, pa.decimal128(38, scale))
    yield Case(
        "truediv", SYMBOLS["truediv"], (DEC, DEC), strict(lambda x, y: ieee(float(x), float(y))), F64, close=True
    )
    yield Case("add", ARITHMETIC["add"], (TEXT, TEXT), strict(lambda x, y: x + y), TEXT)
    yield from time_operators()
    yield from comparisons()
    yield from unary()


def power(x: float, y: float) -> float:
    try:
        found = x**y
        return NAN if isinstance(found, complex) else found
    except ZeroDivisionError:
        odd = y == int(y) and int(y) % 2 == 1 if not math.isinf(y) else False
        return math.copysign(INF, x) if odd else INF
    except OverflowError:
        odd = y % 2 == 1
        return -INF if x < 0 and odd else INF


def exact(op: Callable[[Any, Any], Any], x: Decimal, y: Decimal | int, scale: int) -> Decimal:
    with localcontext(Context(prec=100)):
        return decimal(op(x, Decimal(y)), scale)


def product(scale: int) -> Callable[[Any, Any], Any]:
    """Both decimals are given the result's digits after the point."""

    def given(x: Decimal | int) -> Decimal:
        return decimal(Decimal(x), scale)

    return strict(lambda x, y: exact(lambda a, b: a * b, x, y, scale), given, given)


def time_operators() -> Iterator[Case]:
    for a in (TS, DATE):
        for name in ("add", "sub"):
            op = ARITHMETIC[name]
            meaning = strict(lambda x, y, op=op: fits(op(x, y)), micros(a), micros(DUR))
            yield Case(name, op, (a, DUR), meaning, TS)
        for b in (TS, DATE):
            meaning = strict(lambda x, y: fits(x - y), micros(a), micros(b))
            yield Case("sub", ARITHMETIC["sub"], (a, b), meaning, DUR)
    yield Case("add", ARITHMETIC["add"], (DUR, TS), strict(lambda x, y: fits(x + y)), TS)
    yield Case("add", ARITHMETIC["add"], (DUR, DUR), strict(lambda x, y: fits(x + y)), DUR)
    yield Case("sub", ARITHMETIC["sub"], (DUR, DUR), strict(lambda x, y: fits(x - y)), DUR)
    yield Case("mul", ARITHMETIC["mul"], (DUR, I64), strict(lambda x, y: fits(x * y)), DUR)
    yield Case("mul", ARITHMETIC["mul"], (I8, DUR), strict(lambda x, y: fits(x * y)), DUR)
    yield Case("truediv", SYMBOLS["truediv"], (DUR, DUR), strict(ieee), F64)
    yield Case("floordiv", SYMBOLS["floordiv"], (DUR, DUR), strict(lambda x, y: None if y == 0 else fits(x // y)), I64)
    yield Case("floordiv", SYMBOLS["floordiv"], (DUR, I8), strict(lambda x, y: None if y == 0 else fits(x // y)), DUR)
    yield Case("mod", SYMBOLS["mod"], (DUR, DUR), strict(lambda x, y: None if y == 0 else x % y), DUR)


def comparisons() -> Iterator[Case]:
    pairs = [
        (F64, F64),
        (F32, F64),
        (I64, F64),
        (I8, I64),
        (U64, I64),
        (U8, I8),
        (TEXT, TEXT),
        (BYTES, BYTES),
        (BOOL, BOOL),
    ]
    pairs += [(TS, TS), (DUR, DUR), (TIME, TIME), (DATE, DATE), (DEC, DEC1), (DEC, I8)]
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        for a, b in pairs:
            yield Case(name, SYMBOLS[name], (a, b), strict(lambda x, y, name=name: compare(name, x, y)), BOOL)
        meaning = strict(lambda x, y, name=name: compare(name, x, y), micros(DATE), micros(TS))
        yield Case(name, SYMBOLS[name], (DATE, TS), meaning, BOOL)
    yield Case("eq", lambda x: x == 0.1, (F32,), strict(lambda x: x == f32(0.1)), BOOL)
    yield Case("lt", lambda x: x < 300, (I8,), strict(lambda x: x < 300), BOOL)
    yield Case("gt", lambda x: x > -1, (U64,), strict(lambda x: True), BOOL)
    for name, op in (("and", conjunction), ("or", lambda x, y: no(conjunction(no(x), no(y))))):
        yield Case(name, SYMBOLS[name], (BOOL, BOOL), op, BOOL)
    yield Case("xor", SYMBOLS["xor"], (BOOL, BOOL), strict(lambda x, y: x != y), BOOL)
    for name in ("and", "or", "xor"):
        yield Case(name, SYMBOLS[name], (I8, I64), strict(SYMBOLS[name]), I64)
        yield Case(name, SYMBOLS[name], (U64, U8), strict(SYMBOLS[name]), U64)
    yield Case("not", lambda x: ~x, (BOOL,), no, BOOL)


def no(x: bool | None) -> bool | None:
    return None if x is None else not x


def unary() -> Iterator[Case]:
    for kind in (I8, I64, U8, U64):
        yield Case("neg", lambda x: -x, (kind,), strict(lambda x: fits(-x)), I64)
        wide = U64 if kind == U64 else I64
        yield Case("abs", lambda x: x.abs(), (kind,), strict(lambda x, wide=wide: fits(abs(x), wide)), wide)
        yield Case("sign", lambda x: x.sign(), (kind,), strict(lambda x: (x > 0) - (x < 0)), I64)
        for name in ("round", "floor", "ceil"):
            yield Case(name, lambda x, name=name: getattr(x, name)(), (kind,), lambda x: x, kind)
        yield Case("is_nan", lambda x: x.is_nan(), (kind,), strict(lambda x: False), BOOL)
        yield Case("is_finite", lambda x: x.is_finite(), (kind,), strict(lambda x: True), BOOL)
    yield Case("neg", lambda x: -x, (DUR,), strict(lambda x: fits(-x)), DUR)
    yield Case("abs", lambda x: abs(x), (DUR,), strict(lambda x: fits(abs(x))), DUR)
    for kind in (F32, F64):
        yield Case("neg", lambda x: -x, (kind,), strict(lambda x: -x), kind)
        yield Case("abs", lambda x: x.abs(), (kind,), strict(abs), kind)
        yield Case(
            "sign", lambda x: x.sign(), (kind,), strict(lambda x: x if math.isnan(x) else (x > 0) - (x < 0)), kind
        )
        yield Case("floor", lambda x: x.floor(), (kind,), strict(floor), kind)
        yield Case("ceil", lambda x: x.ceil(), (kind,), strict(ceil), kind)
        yield Case("is_nan", lambda x: x.is_nan(), (kind,), strict(math.isnan), BOOL)
        yield Case("is_finite", lambda x: x.is_finite(), (kind,), strict(math.isfinite), BOOL)
        yield Case(
            "round", lambda x: x.round(), (kind,), strict(lambda x: float(round(x)) if math.isfinite(x) else x), kind
        )
        meaning = strict(lambda x, k=kind: rounded_to(k, math.sqrt(x) if x >= 0 else NAN))
        yield Case("sqrt", lambda x: x.sqrt(), (kind,), meaning, kind)
        yield Case("exp", lambda x: x.exp(), (kind,), strict(lambda x, k=kind: rounded_to(k, exp(x))), kind, close=True)
        yield Case("log", lambda x: x.log(), (kind,), strict(lambda x, k=kind: rounded_to(k, log(x))), kind, close=True)
    yield Case("round", lambda x: x.round(2), (F64,), strict(round_2), F64)
    away = strict(lambda x: math.copysign(math.floor(abs(x) + 0.5), x) if math.isfinite(x) and abs(x) < 1e15 else x)
    yield Case("round", lambda x: x.round(mode="half_away_from_zero"), (F64,), away, F64)
    yield Case("log", lambda x: x.log(10), (F64,), strict(lambda x: log(x) / math.log(10)), F64, close=True)
    yield Case("sqrt", lambda x: x.sqrt(), (I8,), strict(lambda x: math.sqrt(x) if x >= 0 else NAN), F64)
    yield Case("neg", lambda x: -x, (DEC,), strict(lambda x: exact(lambda a, b: b - a, x, 0, 2)), DEC)
    yield Case("abs", lambda x: x.abs(), (DEC,), strict(lambda x: x.copy_abs()), DEC)
    yield Case("sign", lambda x: x.sign(), (DEC1,), strict(lambda x: Decimal((x > 0) - (x < 0))), DEC1)
    yield Case("round", lambda x: x.round(1), (DEC,), strict(lambda x: decimal(decimal(x, 1), 2)), DEC)
    up = strict(lambda x: decimal(decimal(x, 1, ROUND_HALF_UP), 2))
    yield Case("round", lambda x: x.round(1, "half_away_from_zero"), (DEC,), up, DEC)
    yield Case("floor", lambda x: x.floor(), (DEC1,), strict(lambda x: Decimal(math.floor(x))), DEC1)
    yield Case("ceil", lambda x: x.ceil(), (DEC1,), strict(lambda x: Decimal(math.ceil(x))), DEC1)
    yield Case("is_nan", lambda x: x.is_nan(), (DEC,), strict(lambda x: False), BOOL)
    yield Case("is_finite", lambda x: x.is_finite(), (DEC,), strict(lambda x: True), BOOL)


def round_2(x: float) -> float:
    return float(round(x * 100)) / 100 if math.isfinite(x * 100) and abs(x) < 2**52 else x


def exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return INF


def log(x: float) -> float:
    if x == 0:
        return -INF
    return math.log(x) if x > 0 else NAN
