"""Every function of expressions, declared once: arguments, result type, meaning.

``infer``, the engines and the reference page read this table; a test holds every engine to the
meanings. Common to all: a null argument gives null unless the meaning says otherwise; every integer that
is computed is 64 bits wide; and what has no right answer makes its row *rejected*: an integer or time outside
64 bits, a decimal of more than 38 digits, a calendar part of a time outside the years 1 to 9999.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import pyarrow as pa

from thalweg.core.schema import TIMESTAMP
from thalweg.plan import type_rules as r
from thalweg.plan.type_arithmetic import added, divided, floor_divided, multiplied, remained, subtracted
from thalweg.plan.type_cast import cast_to

Nulls: TypeAlias = Literal["propagate", "never", "possible", "first", "filled", "if all", "branches", "if not strict"]
"""When a result is null: with any argument; never; also of values that are not; with the first argument; if the
first and the fill both are; if all arguments are; as its branches; as the argument, and where bad and not strict."""


@dataclass(frozen=True, slots=True)
class Function:
    """The declaration of a function.

    Attributes:
        name: Its name, with the namespace: ``str.starts_with``.
        takes: The kinds of its arguments; the last one stands for all that follow where ``variadic``.
        result: The rule for the result's type.
        meaning: One line: what it gives, and for null, NaN, zones and extremes where they matter.
        nulls: When the result can be null.
        variadic: Whether the last kind repeats.
        symbol: The operator it is written as, if it is one.
        binding: How tightly the operator binds; higher binds first.
        null_literals: Whether ``None`` may be an argument.
    """

    name: str
    takes: tuple[r.Kind, ...]
    result: r.TypeRule
    meaning: str
    nulls: Nulls = "propagate"
    variadic: bool = False
    symbol: str | None = None
    binding: int = 100
    null_literals: bool = False


def _operator(name: str, symbol: str, binding: int, rule: r.TypeRule, meaning: str) -> Function:
    nulls: Nulls = "possible" if name in ("floordiv", "mod") else "propagate"
    return Function(name, (r.ANY, r.ANY), rule, meaning, nulls, symbol=symbol, binding=binding)


_OPERATORS: Final = (
    _operator("or", "|", 1, r.bitwise, "true if one is; true | null is true, false | null is null; bits of integers"),
    _operator("xor", "^", 2, r.bitwise, "true if just one is true; bits of integers"),
    _operator("and", "&", 3, r.bitwise, "true if both are; false & null is false, true & null null; bits of integers"),
    _operator("eq", "==", 0, r.compared, "equal; NaN equals NaN, -0.0 equals 0.0; an integer and a float as float64"),
    _operator("ne", "!=", 0, r.compared, "not equal; NaN equals NaN, -0.0 equals 0.0"),
    _operator("lt", "<", 0, r.compared, "less; NaN is the greatest float, false < true, text by its UTF-8 bytes"),
    _operator("le", "<=", 0, r.compared, "less or equal; NaN is the greatest float"),
    _operator("gt", ">", 0, r.compared, "greater; NaN is the greatest float"),
    _operator("ge", ">=", 0, r.compared, "greater or equal; NaN is the greatest float"),
    _operator("add", "+", 4, added, "the sum, or text after text; integers outside 64 bits: the row is rejected"),
    _operator("sub", "-", 4, subtracted, "the difference; integers outside int64: the row is rejected"),
    _operator("mul", "*", 5, multiplied, "the product; integers outside 64 bits: the row is rejected"),
    _operator("truediv", "/", 5, divided, "the quotient as a float; x / 0 is inf, -inf or NaN"),
    _operator("floordiv", "//", 5, floor_divided, "the quotient, rounded down; by integer 0: null; floats as x / y"),
    _operator("mod", "%", 5, remained, "the remainder, with the divisor's sign; by integer 0: null; by 0.0: NaN"),
    Function("pow", (r.NUMBER, r.NUMBER), r.floated, "the power, as a float", symbol="**", binding=7),
    Function("neg", (r.NUMBER_OR_DURATION,), r.signed, "the negative; outside int64: rejected", symbol="-", binding=6),
    Function("not", (r.BOOLEAN,), r.gives(r.BOOL_TYPE), "true if false", symbol="~", binding=6),
)  # fmt: skip

_PLAIN: Final = (
    Function("abs", (r.NUMBER_OR_DURATION,), r.widened, "without its sign; outside int64: the row is rejected"),
    Function("round", (r.NUMBER,), r.same, "x·10ⁿ rounded, over 10ⁿ; halves to the even neighbour, or away from zero"),
    Function("floor", (r.NUMBER,), r.same, "the greatest whole number not above; NaN and ±inf stay"),
    Function("ceil", (r.NUMBER,), r.same, "the least whole number not below; NaN and ±inf stay"),
    Function("sqrt", (r.NUMBER,), r.floated, "the square root; NaN below 0"),
    Function("exp", (r.NUMBER,), r.floated, "e to the power; inf where it is too large"),
    Function("log", (r.NUMBER,), r.floated, "the logarithm; -inf of 0, NaN below 0"),
    Function("sign", (r.NUMBER,), r.signed, "-1, 0 or 1; NaN of NaN"),
    Function(
        "clip", (r.ANY, r.ANY, r.ANY), r.clipped, "a bound if beyond it, lower first; a null one is none; NaN stays",
        nulls="first", null_literals=True,
    ),
    Function("is_null", (r.ANY,), r.gives(r.BOOL_TYPE), "whether it is null; NaN is not", "never", null_literals=True),
    Function("is_not_null", (r.ANY,), r.gives(r.BOOL_TYPE), "whether it is not null", "never", null_literals=True),
    Function("is_nan", (r.NUMBER,), r.gives(r.BOOL_TYPE), "whether it is NaN"),
    Function("is_finite", (r.NUMBER,), r.gives(r.BOOL_TYPE), "whether it is neither NaN nor infinite"),
    Function("fill_null", (r.ANY, r.ANY), r.common("values"), "the second where the first is null", "filled"),
    Function(
        "fill_nan", (r.FLOAT, r.NUMBER), r.common("values"), "the second where the first is NaN; null stays",
        nulls="possible", null_literals=True,
    ),
    Function("is_in", (r.ANY, r.ANY), r.in_list, "whether it equals an element; null elements never do; null of null"),
    Function("is_between", (r.ANY, r.ANY, r.ANY), r.compared, "whether it is within bounds; false if one refutes it"),
    Function(
        "cast", (r.ANY,), cast_to, "another type; what it cannot hold: rejected, or null where not strict",
        nulls="if not strict", null_literals=True,
    ),
    Function(
        "when", (r.ANY,), r.conditional, "the value after the first true condition, else the last; all are computed",
        nulls="branches", variadic=True, null_literals=True,
    ),
    Function(
        "coalesce", (r.ANY,), r.common("values"), "the first that is not null",
        nulls="if all", variadic=True, null_literals=True,
    ),
    Function(
        "concat_str", (r.TEXTUAL,), r.gives(r.TEXT_TYPE), "texts joined; null with a null, or without it",
        nulls="propagate", variadic=True,
    ),
)  # fmt: skip


def _text(name: str, result: pa.DataType, meaning: str, *more: r.Kind, nulls: Nulls = "propagate") -> Function:
    return Function(f"str.{name}", (r.TEXT, *more), r.gives(result), meaning, nulls)


_TEXT: Final = (
    _text("starts_with", r.BOOL_TYPE, "whether it begins with a text", r.TEXT),
    _text("ends_with", r.BOOL_TYPE, "whether it ends with a text", r.TEXT),
    _text("contains", r.BOOL_TYPE, "whether a pattern matches a part, or a text is a part with literal=True"),
    _text("to_lowercase", r.TEXT_TYPE, "in lower case, by Unicode"),
    _text("to_uppercase", r.TEXT_TYPE, "in upper case, by Unicode"),
    _text("strip_chars", r.TEXT_TYPE, "without some characters, or white space, at both ends"),
    _text("strip_chars_start", r.TEXT_TYPE, "without some characters, or white space, at the start"),
    _text("strip_chars_end", r.TEXT_TYPE, "without some characters, or white space, at the end"),
    _text("strip_prefix", r.TEXT_TYPE, "without a text at the start, once", r.TEXT),
    _text("strip_suffix", r.TEXT_TYPE, "without a text at the end, once", r.TEXT),
    _text("replace", r.TEXT_TYPE, "the first match replaced; $1 and ${name} are groups unless literal=True"),
    _text("replace_all", r.TEXT_TYPE, "every match replaced; $1 and ${name} are groups unless literal=True"),
    _text("slice", r.TEXT_TYPE, "a part, counted in characters; a negative offset counts from the end"),
    _text("head", r.TEXT_TYPE, "the first n characters; all but the last -n where n is negative"),
    _text("tail", r.TEXT_TYPE, "the last n characters; all but the first -n where n is negative"),
    _text("len_chars", r.INT64, "the number of characters (code points)"),
    _text("len_bytes", r.INT64, "the number of UTF-8 bytes"),
    _text("split", pa.list_(pa.field("item", pa.string())), "the parts; an empty text is one empty part"),
    _text("extract", r.TEXT_TYPE, "a group of the first match; null if there is none", nulls="possible"),
    _text("to_datetime", TIMESTAMP, "the time it says; without an offset it is UTC", nulls="if not strict"),
    _text("to_date", pa.date32(), "the date it says", nulls="if not strict"),
    _text("to_integer", r.INT64, "the integer it says, in a base", nulls="if not strict"),
    _text("zfill", r.TEXT_TYPE, "filled with zeros on the left, after a sign, to a length in characters"),
    _text("json_path_match", r.TEXT_TYPE, "the first match of a JSON path as text; null if none", nulls="possible"),
)  # fmt: skip


def _part(name: str, kind: r.Kind, meaning: str) -> Function:
    return Function(f"dt.{name}", (kind,), r.gives(r.INT64), meaning)


_TIME: Final = (
    _part("year", r.DATED, "the year, in UTC"),
    _part("month", r.DATED, "the month, 1 to 12, in UTC"),
    _part("day", r.DATED, "the day of the month, in UTC"),
    _part("hour", r.CLOCKED, "the hour, 0 to 23, in UTC"),
    _part("minute", r.CLOCKED, "the minute, 0 to 59"),
    _part("second", r.CLOCKED, "the second, 0 to 59"),
    _part("millisecond", r.CLOCKED, "the milliseconds of the second, 0 to 999"),
    _part("microsecond", r.CLOCKED, "the microseconds of the second, 0 to 999,999"),
    _part("weekday", r.DATED, "the day of the week, Monday 1 to Sunday 7, in UTC"),
    _part("ordinal_day", r.DATED, "the day of the year, from 1, in UTC"),
    _part("week", r.DATED, "the ISO week, 1 to 53, in UTC"),
    Function("dt.date", (r.DATED,), r.gives(pa.date32()), "the date, in UTC"),
    Function("dt.truncate", (r.DATED,), r.whole_days, "the start of its interval since 1970; weeks start on Monday"),
    Function("dt.offset_by", (r.DATED,), r.whole_days, "moved by a duration; outside int64: the row is rejected"),
    _part("epoch", r.DATED, "the units since 1970, rounded down"),
    Function("dt.strftime", (r.DATED,), r.gives(r.TEXT_TYPE), "as text in a format, in UTC"),
    *(
        _part(f"total_{unit}", r.DURATION, f"the whole {unit}, cut towards zero")
        for unit in ("days", "hours", "minutes", "seconds", "milliseconds", "microseconds")
    ),
)  # fmt: skip

_LIST: Final = (
    Function("list.len", (r.LIST,), r.gives(r.INT64), "the number of elements, nulls too"),
    Function("list.get", (r.LIST, r.INTEGER), r.element, "an element, from 0, or -1 at the end; else null", "possible"),
    Function("list.first", (r.LIST,), r.element, "the first element; null of an empty list", "possible"),
    Function("list.last", (r.LIST,), r.element, "the last element; null of an empty list", "possible"),
    Function("list.contains", (r.ORDERED_LIST, r.ANY), r.list_holds, "whether an element equals a value"),
    Function("list.join", (r.TEXT_LIST,), r.gives(r.TEXT_TYPE), "the elements joined; nulls are left out"),
    Function("list.sum", (r.NUMBER_LIST,), r.summed_element, "the sum without nulls, 0 of none; too large: rejected"),
    Function("list.min", (r.ORDERED_LIST,), r.element, "the least that is not null; NaN is the greatest", "possible"),
    Function("list.max", (r.ORDERED_LIST,), r.element, "the greatest not null; NaN is the greatest", "possible"),
)  # fmt: skip

_STRUCT: Final = (Function("struct.field", (r.STRUCT,), r.member, "a field; null of a null struct", "possible"),)

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {function.name: function for function in (*_OPERATORS, *_PLAIN, *_TEXT, *_TIME, *_LIST, *_STRUCT)}
)
