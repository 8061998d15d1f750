"""What the functions of expressions are tried on, and the words in which ``meaning_…`` say what is right.

Times are whole numbers here, as in Arrow: microseconds or days since 1970. So nothing of what is tested is
used to say what is right.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any

import pyarrow as pa

from thalweg.core.schema import TIMESTAMP
from thalweg.plan.expr import Expr, col

I8, I16, I32, I64 = pa.int8(), pa.int16(), pa.int32(), pa.int64()
U8, U32, U64 = pa.uint8(), pa.uint32(), pa.uint64()
F32, F64 = pa.float32(), pa.float64()
BOOL, TEXT, BYTES, TS, DATE, TIME = pa.bool_(), pa.string(), pa.binary(), TIMESTAMP, pa.date32(), pa.time64("us")
DUR, DEC, DEC1 = pa.duration("us"), pa.decimal128(38, 2), pa.decimal128(38, 1)
INTS, UINTS, TEXTS = (pa.list_(pa.field("item", given)) for given in (I64, U64, TEXT))
SMALLS, FLOATS = (pa.list_(pa.field("item", given)) for given in (I8, F64))
POINT = pa.struct([pa.field("x", I64), pa.field("y", TEXT)])

NAN, INF = math.nan, math.inf
MIN64, MAX64, MAXU64 = -(2**63), 2**63 - 1, 2**64 - 1
SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
YEAR_1, YEAR_10000 = -719_162, 2_932_897  # in days
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
LEAP = 1_709_210_096_789_012  # 2024-02-29T12:34:56.789012Z

VALUES: dict[pa.DataType, list[Any]] = {
    I8: [None, 0, 1, -1, 3, 127, -128],
    I16: [None, 0, 300, -32768],
    I32: [None, 0, -7, 2**31 - 1, -(2**31)],
    I64: [None, 0, 1, -1, 7, -7, 2**53 + 1, MAX64, MIN64],
    U8: [None, 0, 2, 255],
    U32: [None, 0, 5, 2**32 - 1],
    U64: [None, 0, 3, 2**63, MAXU64],
    F32: [None, 0.0, -0.0, 1.5, -2.5, 0.10000000149011612, NAN, INF, -INF, 3.4028234663852886e38],
    F64: [None, 0.0, -0.0, 1.5, -2.5, 0.1, 1e17, NAN, INF, -INF, 1.7976931348623157e308, 5e-324, 2.0**53],
    BOOL: [None, True, False],
    TEXT: [None, "", "a", "abcabc", "Straße", "ΑΣ", "😀b\ufffd", " \t x\u00a0", "/p/1?q", "12", "-3", "+4", "a\nc"],
    BYTES: [None, b"", b"a", b"\xff\x00", b"b"],
    TS: [
        None,
        0,
        -1,
        1,
        LEAP,
        4 * DAY,
        4 * DAY - 1,
        YEAR_1 * DAY,
        YEAR_10000 * DAY - 1,
        YEAR_10000 * DAY,
        MAX64,
        MIN64,
    ],
    DATE: [None, 0, -1, 19_782, 18_630, YEAR_1, YEAR_10000 - 1, YEAR_10000, 2**31 - 1, -(2**31)],
    TIME: [None, 0, 1, 45_296_789_012, DAY - 1],
    DUR: [None, 0, 1, -1, 1_500_000, -1_500_000, DAY, -DAY - 1, MAX64, MIN64],
    DEC: [None, *map(Decimal, ("0.00", "1.25", "-1.25", "2.50", "999999999999999999999999999999999999.99"))],
    DEC1: [None, *map(Decimal, ("0.0", "0.5", "-3.1"))],
    INTS: [None, [], [1], [1, None, 2], [None], [MAX64, 1], [MIN64, 0]],
    UINTS: [None, [], [0, 3], [MAXU64, None]],
    SMALLS: [None, [], [127, 127, 1], [-128, None]],
    FLOATS: [None, [], [1.0, NAN, None], [NAN], [-0.0, 5.0], [INF, -INF], [None]],
    TEXTS: [None, [], ["a", None, "b"], ["", "ß"], [None]],
    POINT: [None, {"x": 1, "y": "a"}, {"x": None, "y": "b"}],
}


class Rejected(Exception):
    """The row has no right answer."""


@dataclass(frozen=True)
class Case:
    """One function on columns ``a``, ``b``, … of some types.

    Attributes:
        function: Its declared name.
        build: Builds the expression from the columns.
        types: The columns' types.
        meaning: The answer for one row; Rejected where there is none.
        result: The result's type.
        values: What to try, a list per column, where it is not all of the type's VALUES in all combinations.
        close: Whether the last digits of a float may differ, as between libraries for mathematics.
    """

    function: str
    build: Callable[..., Expr]
    types: tuple[pa.DataType, ...]
    meaning: Callable[..., Any]
    result: pa.DataType
    values: tuple[list[Any], ...] | None = None
    close: bool = False

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """Every combination of the columns' values."""
        return list(itertools.product(*(self.values or [VALUES[given] for given in self.types])))

    @property
    def name(self) -> str:
        return f"{self.build(*map(col, 'abcd'[: len(self.types)]))} of {', '.join(map(str, self.types))}"


def strict(meaning: Callable[..., Any], *given: Callable[[Any], Any]) -> Callable[..., Any]:
    """Null for a null argument.

    What is ``given`` for the arguments is done to each first: a value that cannot be converted is rejected even
    beside a null.
    """

    def of(*args: Any) -> Any:
        done = [None if arg is None else change(arg) for arg, change in zip(args, given or [_itself] * 9, strict=False)]
        return None if any(part is None for part in done) else meaning(*done)

    return of


def _itself(value: Any) -> Any:
    return value


def fits(value: int, kind: pa.DataType = I64) -> int:
    bits = kind.bit_width
    low, high = (0, 2**bits - 1) if pa.types.is_unsigned_integer(kind) else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not low <= value <= high:
        raise Rejected
    return value


def f32(value: float) -> float:
    """Round to the nearest float32."""
    try:
        found: float = struct.unpack("f", struct.pack("f", value))[0]
        return found
    except OverflowError:
        return math.copysign(INF, value)


def rounded_to(kind: pa.DataType, value: float) -> float:
    return f32(value) if kind == F32 else value


def ieee(x: float, y: float) -> float:
    """Divide as IEEE 754 says."""
    x, y = float(x), float(y)
    if y == 0:
        return NAN if x == 0 or math.isnan(x) else math.copysign(INF, math.copysign(1, x) * math.copysign(1, y))
    return x / y


def floor(x: float) -> float:
    return x if math.isinf(x) or math.isnan(x) or abs(x) > 2**53 else math.copysign(float(math.floor(x)), x)


def ceil(x: float) -> float:
    return -floor(-x)


def order(x: Any) -> Any:
    """A key by which values compare: NaN is the greatest float, text goes by its bytes."""
    if isinstance(x, float):
        return (1, 0.0) if math.isnan(x) else (0, x)
    return x.encode() if isinstance(x, str) else x


def compare(op: str, x: Any, y: Any) -> bool:
    if isinstance(x, float) != isinstance(y, float):
        x, y = float(x), float(y)
    a, b = order(x), order(y)
    return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op]


def conjunction(x: bool | None, y: bool | None) -> bool | None:
    if x is False or y is False:
        return False
    return None if x is None or y is None else True


def decimal(value: Decimal, scale: int, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """A decimal of 38 digits; more are rejected."""
    with localcontext(Context(prec=100)):
        found = value.quantize(Decimal(1).scaleb(-scale), rounding=rounding)
    if len(found.as_tuple().digits) > 38:
        raise Rejected
    return found


def moment(us: int) -> dt.datetime:
    """The calendar's name of a time; outside the years 1 to 9999 there is none."""
    try:
        return EPOCH + dt.timedelta(microseconds=us)
    except OverflowError:
        raise Rejected from None


def micros(kind: pa.DataType) -> Callable[[int], int]:
    """How a time or date becomes microseconds."""
    return (lambda value: fits(value * DAY)) if kind == DATE else (lambda value: value)


def cut(x: int, y: int) -> int:
    """Divide towards zero."""
    return abs(x) // y * (1 if x >= 0 else -1)
