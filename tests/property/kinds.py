"""Column types and the values worth trying in them."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import pyarrow as pa
from hypothesis import strategies as st

from tests.oracle.aggregates import Kind
from tests.oracle.values import Value

TIMESTAMP = pa.timestamp("us", tz="UTC")
LARGEST32 = 3.4028234663852886e38


@dataclass(frozen=True, slots=True)
class ColumnKind:
    """A column type.

    Attributes:
        type: Its Arrow type.
        special: Values that go wrong first; simple ones come first.
        general: Any other values.
        literals: Whether a Python value is a literal of just this type.
    """

    type: pa.DataType
    special: tuple[Value, ...]
    general: st.SearchStrategy[Value]
    literals: bool = False

    @property
    def number(self) -> bool:
        """Whether means and quantiles can be taken."""
        return bool(pa.types.is_integer(self.type) or pa.types.is_floating(self.type))


def _integers(arrow: pa.DataType, *, signed: bool) -> ColumnKind:
    bits = arrow.bit_width - signed
    low, high = (-(2**bits) if signed else 0), 2**bits - 1
    special = (0, 1, 2, 3, high, low, high - 1, *((-1, -2, low + 1) if signed else ()))
    return ColumnKind(arrow, special, st.integers(low, high), literals=arrow == pa.int64())


def _floats(arrow: pa.DataType, largest: float, least: float) -> ColumnKind:
    special = (0.0, 1.0, 0.5, -0.0, math.nan, math.inf, -math.inf, -2.25, largest, -largest, largest / 2, least)
    width = 64 if arrow == pa.float64() else 32
    general = st.floats(width=64) if width == 64 else st.floats(width=32)
    return ColumnKind(arrow, special, general, literals=width == 64)


_TEXT: tuple[Value, ...] = ("", "a", "b", "A", "aa", "ä", "a\u0308", "好", "\U0001f600", "\uffff", "null", " ", "a\x00")
_DATES: tuple[Value, ...] = (dt.date(1970, 1, 1), dt.date(2024, 2, 29), dt.date(1, 1, 1), dt.date(9999, 12, 31))
_YEAR_US = 366 * 86_400_000_000

KINDS: dict[str, ColumnKind] = {
    "int64": _integers(pa.int64(), signed=True),
    "float64": _floats(pa.float64(), 1.7976931348623157e308, 5e-324),
    "string": ColumnKind(pa.string(), _TEXT, st.text(max_size=4), literals=True),
    "bool": ColumnKind(pa.bool_(), (False, True), st.booleans(), literals=True),
    "date": ColumnKind(pa.date32(), _DATES, st.dates(), literals=True),
    "timestamp": ColumnKind(
        TIMESTAMP, (0, -1, 1_700_000_000_000_000), st.integers(-300 * _YEAR_US, 300 * _YEAR_US), literals=True
    ),
    "int8": _integers(pa.int8(), signed=True),
    "int16": _integers(pa.int16(), signed=True),
    "int32": _integers(pa.int32(), signed=True),
    "uint8": _integers(pa.uint8(), signed=False),
    "uint16": _integers(pa.uint16(), signed=False),
    "uint32": _integers(pa.uint32(), signed=False),
    "uint64": _integers(pa.uint64(), signed=False),
    "float32": _floats(pa.float32(), LARGEST32, 1.401298464324817e-45),
}

_ANY: tuple[Kind, ...] = (
    "count",
    "min",
    "max",
    "first",
    "last",
    "arg_min",
    "arg_max",
    "n_unique",
    "approx_n_unique",
    "mode",
    "collect",
)
# Sums twice: they are asked for most, and can overflow.
_NUMBER: tuple[Kind, ...] = ("sum", "sum", "mean", "var", "std", "quantile", "approx_quantile", "median")
_INTEGER: tuple[Kind, ...] = ("sum_per_row", "user_sum", "user_nulls")
LIKELY = (*KINDS, "int64", "int64", "float64", "float64", "string", "uint64")
"""Names of the types to draw from; some more often than others."""

EXACT: frozenset[Kind] = frozenset({"rows", "count", "sum", "min", "max", "n_unique", "any", "all"})
"""Aggregates whose result is one value and does not depend on an order: a later stage can build on it."""


def aggregates_of(kind: ColumnKind) -> tuple[Kind, ...]:
    """Return the aggregates that a column of this type has."""
    if pa.types.is_boolean(kind.type):
        return (*_ANY, "any", "all", "sum")
    if pa.types.is_integer(kind.type):
        return _ANY + _NUMBER + _INTEGER
    return _ANY + _NUMBER if kind.number else _ANY
