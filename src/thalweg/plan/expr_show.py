"""The one text of an expression: what people read, and the key by which expressions are equal.

Two expressions have the same text if and only if they are the same tree. The text is Python where it can
be: operators bracketed only where needed, methods as they are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from thalweg.core.duration import duration_text
from thalweg.plan.expr_nodes import Aggregate, Alias, Call, Column, Expr, Literal
from thalweg.plan.functions import FUNCTIONS
from thalweg.plan.literals import literal_text

_ATOM: Final = 100
_COMPARISON: Final = 0
_UNARY: Final = 6
_POWER: Final = 7

# Options that are written without their name, in the order of the method's parameters.
_POSITIONAL: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "round": ("decimals",),
        "log": ("base",),
        "cast": ("to",),
        "str.contains": ("pattern",),
        "str.strip_chars": ("characters",),
        "str.strip_chars_start": ("characters",),
        "str.strip_chars_end": ("characters",),
        "str.replace": ("pattern", "value"),
        "str.replace_all": ("pattern", "value"),
        "str.slice": ("offset", "length"),
        "str.head": ("n",),
        "str.tail": ("n",),
        "str.split": ("by",),
        "str.extract": ("pattern", "group_index"),
        "str.to_datetime": ("format",),
        "str.to_date": ("format",),
        "str.zfill": ("length",),
        "str.json_path_match": ("json_path",),
        "dt.truncate": ("every_us",),
        "dt.offset_by": ("by_us",),
        "dt.epoch": ("time_unit",),
        "dt.strftime": ("format",),
        "list.join": ("separator",),
        "struct.field": ("name",),
        "quantile": ("q",),
        "approx_quantile": ("q",),
    }
)
_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "mode": "half_to_even",
        "closed": "both",
        "strict": True,
        "literal": False,
        "ddof": 1,
        "interpolation": "nearest",
        "error": 0.01,
        "ignore_nulls": False,
        "base": 10,
    }
)
# Where a text names a column, so that a constant text is written lit("…").
_TEXT_IS_COLUMN: Final = frozenset({"when", "coalesce", "concat_str", "is_between", "clip", "list.get"})


def show(expr: Expr) -> str:
    """Return the expression's one text.

    Example:
        >>> from thalweg.plan.expr import col
        >>> show((col("a") + 1) * 2), show(col("a") + col("b") * 2)
        ('(col("a") + 1) * 2', 'col("a") + col("b") * 2')
    """
    return _text(expr)[0]


def _text(expr: Expr) -> tuple[str, int]:
    """Return the text and how tightly its outermost operator binds."""
    match expr:
        case Column(name):
            return f"col({literal_text(name)})", _ATOM
        case Literal():
            return f"lit({literal_text(expr.value)})", _ATOM
        case Alias(inner, name):
            return f"{_operand(inner, _ATOM)}.alias({literal_text(name)})", _ATOM
        case Aggregate():
            return _aggregate(expr), _ATOM
        case Call():
            return _call(expr)
        case _:
            raise TypeError(f"{type(expr).__name__} is not a node of the expression tree")


def _operand(expr: Expr, least: int) -> str:
    """Return the text of what stands beside an operator or before a point."""
    text, binding = _text(expr)
    return text if binding >= least else f"({text})"


def _argument(expr: Expr, text_is_column: bool = False) -> str:
    if isinstance(expr, Literal) and not (text_is_column and isinstance(expr.value, str)):
        return literal_text(expr.value)
    return _text(expr)[0]


def _right(expr: Expr, least: int) -> str:
    return literal_text(expr.value) if isinstance(expr, Literal) else _operand(expr, least)


def _call(call: Call) -> tuple[str, int]:
    declared = FUNCTIONS[call.function]
    if declared.symbol is not None and len(call.args) == 1:
        return f"{declared.symbol}{_operand(call.args[0], _UNARY)}", _UNARY
    if declared.symbol is not None:
        binding = declared.binding
        # Python chains comparisons and groups powers from the right.
        left = binding + 1 if binding in (_COMPARISON, _POWER) else binding
        right = _UNARY if binding == _POWER else binding + 1
        text = f"{_operand(call.args[0], left)} {declared.symbol} {_right(call.args[1], right)}"
        return text, binding
    if call.function == "when":
        return _when(call.args), _ATOM
    options = _options(call.function, call.options)
    if call.function in ("coalesce", "concat_str"):
        parts = [_argument(arg, text_is_column=True) for arg in call.args]
        return f"{call.function}({', '.join(parts + options)})", _ATOM
    return _method(call.args, call.function, options), _ATOM


def _method(args: tuple[Expr, ...], name: str, options: list[str]) -> str:
    more = [_argument(arg, name in _TEXT_IS_COLUMN) for arg in args[1:]]
    return f"{_operand(args[0], _ATOM)}.{name}({', '.join(more + options)})"


def _when(args: tuple[Expr, ...]) -> str:
    text = ""
    for condition, value in zip(args[:-1:2], args[1::2], strict=True):
        text += f"{'.' if text else ''}when({_argument(condition, True)}).then({_argument(value, True)})"
    last = args[-1]
    if isinstance(last, Literal) and last.value is None:
        return text
    return f"{text}.otherwise({_argument(last, True)})"


def _aggregate(expr: Aggregate) -> str:
    if expr.user is not None:
        args = ", ".join(_argument(arg, text_is_column=True) for arg in expr.args)
        return f"aggregate({literal_text(expr.user.name)}, {literal_text(expr.user.fingerprint)})({args})"
    options = _options(expr.function, expr.options)
    if not expr.args:
        return f"{expr.function}({', '.join(options)})"
    if len(expr.args) == 2:
        options = [f"by={_argument(expr.args[1], text_is_column=True)}", *options]
    return _method(expr.args[:1], expr.function, options)


def _options(function: str, options: tuple[tuple[str, Any], ...]) -> list[str]:
    given = dict(options)
    texts = [_option(name, given.pop(name)) for name in _POSITIONAL.get(function, ()) if name in given]
    for name, value in given.items():
        if name not in _DEFAULTS or value != _DEFAULTS[name]:
            texts.append(f"{name}={_option(name, value)}")
    return texts


def _option(name: str, value: Any) -> str:
    if isinstance(value, pa.DataType):
        return str(value)
    return literal_text(duration_text(value) if name.endswith("_us") else value)
