"""What casts mean: every pair of types that is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tests.engines.meaning import (
    BOOL,
    BYTES,
    DATE,
    DAY,
    DEC,
    DEC1,
    DUR,
    F32,
    F64,
    I8,
    I32,
    I64,
    INF,
    MAX64,
    NAN,
    TEXT,
    TIME,
    TS,
    U8,
    U64,
    Case,
    Rejected,
    decimal,
    f32,
    fits,
    strict,
)


def casts() -> Iterator[Case]:
    for strictly in (True, False):
        for given in (I8, I64, U64):
            for to in (I8, I32, I64, U8, U64):
                yield cast(given, to, strictly, lambda x, to=to: fits(x, to))
            yield cast(given, F64, strictly, float)
            yield cast(given, DEC1, strictly, lambda x: decimal(Decimal(x), 1))
            yield cast(given, TEXT, strictly, str)
        for given in (F32, F64):
            yield cast(given, I64, strictly, whole)
            yield cast(given, I8, strictly, lambda x: fits(whole(x), I8))
            yield cast(given, TEXT, strictly, written_float)
        yield cast(F64, F32, strictly, f32)
        yield cast(F32, F64, strictly, float)
        yield cast(F64, DEC1, strictly, float_to_decimal, [None, 0.0, 0.25, -0.35, 2.5, 1e20, 1e40, NAN, INF])
        yield cast(BOOL, I64, strictly, int)
        yield cast(BOOL, F64, strictly, float)
        yield cast(BOOL, TEXT, strictly, lambda x: "true" if x else "false")
        yield cast(DEC, I64, strictly, lambda x: fits(int(x)))
        yield cast(DEC, F64, strictly, float)
        yield cast(DEC, DEC1, strictly, lambda x: decimal(x, 1))
        yield cast(DEC, TEXT, strictly, str)
        yield cast(TEXT, I64, strictly, integer_text, INTEGERS)
        yield cast(TEXT, I8, strictly, lambda x: fits(integer_text(x), I8), INTEGERS)
        yield cast(TEXT, F64, strictly, float_text, NUMBERS)
        yield cast(TEXT, DEC, strictly, decimal_text, [None, "1", "-2.5", "1.255", "1.245", "x", "", "nan", "9" * 40])
        yield cast(TEXT, BYTES, strictly, str.encode)
        yield cast(TS, DATE, strictly, lambda x: x // DAY)
        yield cast(DATE, TS, True, lambda x: fits(x * DAY))
        yield cast(TS, TIME, strictly, lambda x: x % DAY)
        yield cast(TS, I64, strictly, lambda x: x)
        yield cast(DUR, I64, strictly, lambda x: x)
        for given in (I64, U64):
            yield cast(given, TS, strictly, fits)
            yield cast(given, DUR, strictly, fits)
    yield cast(BYTES, TEXT, True, utf8)
    yield cast(TEXT, TEXT, True, lambda x: x)


INTEGERS = [None, "0", "-7", "+7", "007", "128", str(MAX64), str(MAX64 + 1), " 1", "1.0", "", "1e3", "0x1", "\u0661"]
NUMBERS = [
    None,
    "0",
    "1.5e3",
    "-.5",
    "5.",
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "1e400",
    "-1e400",
    "1e-400",
    "0x1",
    "",
    "1 ",
]


def cast(
    given: pa.DataType,
    to: pa.DataType,
    strictly: bool,
    meaning: Callable[[Any], Any],
    values: list[Any] | None = None,
) -> Case:
    def found(x: Any) -> Any:
        try:
            return meaning(x)
        except Rejected:
            if strictly:
                raise
            return None

    build = lambda x: x.cast(to, strict=strictly)  # noqa: E731  # one expression
    return Case("cast", build, (given,), strict(found), to, None if values is None else (values,))


def whole(x: float) -> int:
    if not math.isfinite(x):
        raise Rejected
    return fits(int(x))


def written_float(x: float) -> float | str:
    """A text is right if it reads back as the number; ``test_expressions`` reads it."""
    return x


def float_to_decimal(x: float) -> Decimal:
    if not math.isfinite(x):
        raise Rejected
    return decimal(Decimal(round(x * 10)) / 10, 1)


def integer_text(x: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", x):
        raise Rejected
    return fits(int(x))


def float_text(x: str) -> float:
    if re.fullmatch(r"[+-]?(?i:nan|inf|infinity)", x):
        return float(x)
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", x) or math.isinf(float(x)):
        raise Rejected
    return float(x)


def decimal_text(x: str) -> Decimal:
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", x):
        raise Rejected
    return decimal(Decimal(x), 2)


def utf8(x: bytes) -> str:
    try:
        return x.decode()
    except UnicodeDecodeError:
        raise Rejected from None
