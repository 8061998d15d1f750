"""The type of an expression over a schema, and every mistake that can be found without data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal as OneOf
from typing import TypeAlias

import pyarrow as pa
import pyarrow.types as t

from thalweg.core.errors import PlanError
from thalweg.core.schema import Schema
from thalweg.plan.aggregates import AGGREGATES
from thalweg.plan.expr_nodes import Aggregate, Alias, Call, Column, Expr, Literal
from thalweg.plan.expr_show import show
from thalweg.plan.functions import FUNCTIONS, Function
from thalweg.plan.type_rules import Kind, Refused, Unsuitable, common_type

_Level: TypeAlias = OneOf["constant", "row", "group"]


@dataclass(frozen=True, slots=True)
class Typed:
    """The type of a value and whether it can be null."""

    type: pa.DataType
    nullable: bool


def infer_type(expr: Expr, schema: Schema) -> Typed:
    """Return an expression's type over the columns of a schema.

    A constant None that nothing gives a type is ``null`` here.

    Raises:
        PlanError: A column is unknown, an argument has a wrong type, or rows and groups are mixed.
    """
    try:
        _level(expr)
        return _typed(expr, schema)
    except RecursionError:
        raise PlanError("the expression is nested too deep; split it with .with_columns(…), or use .is_in(…)") from None


@dataclass(frozen=True, slots=True)
class Resolved:
    """The types of a call: constants have taken the type of what stands beside them."""

    args: tuple[pa.DataType, ...]
    result: pa.DataType


def resolve(call: Call, given: tuple[pa.DataType, ...]) -> Resolved:
    """Return the types in which a function takes arguments of the given types, and its result's.

    Raises:
        PlanError: It does not take them.
    """
    declared = FUNCTIONS[call.function]
    types = _adapted(call.args, given, searched=call.function in ("is_in", "list.contains"))
    called = declared.symbol or f".{call.function}"
    if not declared.null_literals and any(t.is_null(given) for given in types):
        raise PlanError(
            f"{show(call)}: None has no type for {called}; test for it with .is_null(), or give it a type with "
            "lit(None).cast(…)"
        )
    _check_kinds(call, called, declared.takes, types)
    try:
        return Resolved(types, declared.result(types, dict(call.options)))
    except Unsuitable as error:
        raise PlanError(f"{show(call)}: {error}; {_got(call, types)}") from None
    except Refused as error:
        raise _wrong_types(call, called, str(error), types) from None


def _typed(expr: Expr, schema: Schema) -> Typed:
    match expr:
        case Column(name):
            field = schema[name]
            return Typed(field.type, field.nullable)
        case Literal():
            return Typed(expr.type, expr.value is None)
        case Alias(inner, _):
            return _typed(inner, schema)
        case Aggregate():
            return _aggregate(expr, schema)
        case Call():
            return _call(expr, schema)
        case _:
            raise TypeError(f"{type(expr).__name__} is not a node of the expression tree")


def _call(call: Call, schema: Schema) -> Typed:
    declared = FUNCTIONS[call.function]
    if call.function in ("when", "coalesce", "concat_str", "is_between"):
        _check_columns(call, schema)
    args = [_typed(arg, schema) for arg in call.args]
    result = resolve(call, tuple(arg.type for arg in args)).result
    return Typed(result, _nullable(declared, call, args))


def _aggregate(expr: Aggregate, schema: Schema) -> Typed:
    args = [_typed(arg, schema) for arg in expr.args]
    types = tuple(arg.type for arg in args)
    if any(t.is_null(given) for given in types):
        raise PlanError(f"{show(expr)}: None has no type to aggregate; give it one with lit(None).cast(…)")
    if expr.user is not None:
        return Typed(expr.user.type, True)
    declared = AGGREGATES[expr.function]
    called = f".{expr.function}"
    if types:
        _check_kinds(expr, called, declared.takes, types)
    result = declared.result(types, dict(expr.options))
    return Typed(result, declared.nullable(result))


def _nullable(declared: Function, call: Call, args: Sequence[Typed]) -> bool:
    some = [arg.nullable for arg in args]
    match declared.nulls:
        case "never":
            return False
        case "possible":
            return True
        case "first":
            return some[0]
        case "filled" | "if all":
            return all(some)
        case "branches":
            return any(some[1::2]) or some[-1]
        case "if not strict":
            return some[0] or not call.option("strict")
        case "propagate":
            return any(some) and not call.option("ignore_nulls", False)


def _adapted(args: Sequence[Expr], types: tuple[pa.DataType, ...], searched: bool) -> tuple[pa.DataType, ...]:
    """Give whole-number constants the integer type, and numbers the float32, of what stands beside them.

    Where a list is ``searched`` for a constant, its elements stand beside it.
    """
    beside = [
        given.value_type if t.is_list(given) and searched else given
        for arg, given in zip(args, types, strict=True)
        if not isinstance(arg, Literal)
    ]
    numbers = [given for given in beside if t.is_integer(given) or t.is_floating(given)]
    target = common_type(numbers) if numbers and len(types) > 1 else None
    if target is None:
        return types
    return tuple(
        _constant_type(arg.value, given, target) if isinstance(arg, Literal) else given
        for arg, given in zip(args, types, strict=True)
    )


def _constant_type(value: object, given: pa.DataType, target: pa.DataType) -> pa.DataType:
    if isinstance(value, tuple):
        inner = given.value_type
        fits = value and all(part is None or _constant_type(part, inner, target) == target for part in value)
        return pa.list_(pa.field("item", target)) if fits and not t.is_null(inner) else given
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return given
    if t.is_floating(target):
        return target
    if t.is_integer(target) and isinstance(value, int) and _fits(value, target):
        return target
    return given


def _fits(value: int, target: pa.DataType) -> bool:
    bits: int = target.bit_width
    if t.is_unsigned_integer(target):
        return value >= 0 and value.bit_length() <= bits
    return -(1 << (bits - 1)) <= value < 1 << (bits - 1)


def _check_kinds(expr: Call | Aggregate, called: str, takes: tuple[Kind, ...], types: tuple[pa.DataType, ...]) -> None:
    for position, given in enumerate(types):
        kind = takes[min(position, len(takes) - 1)]
        if not t.is_null(given) and not kind.holds(given):
            raise _wrong_types(expr, called, kind.name, types)


def _wrong_types(expr: Call | Aggregate, called: str, allowed: str, types: Sequence[pa.DataType]) -> PlanError:
    return PlanError(f"{show(expr)}: {called} takes {allowed}; {_got(expr, types)}")


def _got(expr: Call | Aggregate, types: Sequence[pa.DataType]) -> str:
    return ", ".join(f"{show(arg)} is {given}" for arg, given in zip(expr.args, types, strict=True))


def _check_columns(call: Call, schema: Schema) -> None:
    """Say how to write a constant text where a text names a column."""
    for arg in call.args:
        if isinstance(arg, Column) and arg.name not in schema:
            try:
                schema[arg.name]
            except PlanError as error:
                hint = f'a text in this place names a column; the constant is lit("{arg.name}")'
                raise PlanError(f"{show(call)}: {error.message}; {hint}") from None


def _level(expr: Expr) -> _Level:
    """Return whether an expression is one value, one per row or one per group, and refuse mixtures."""
    match expr:
        case Column():
            return "row"
        case Alias(inner, _):
            return _level(inner)
        case Aggregate():
            for arg in expr.args:
                if _level(arg) == "group":
                    raise PlanError(
                        f"{show(expr)}: an aggregate of an aggregate; aggregate in one step and again in the next, "
                        "with .agg(…) after .agg(…)"
                    )
            return "group"
        case Call():
            levels = {_level(arg): arg for arg in expr.args}
            if "row" in levels and "group" in levels:
                raise PlanError(
                    f"{show(expr)}: {show(levels['row'])} has a value per row and {show(levels['group'])} one per "
                    "group; aggregate the first too, or name it in group_by"
                )
            return "group" if "group" in levels else "row" if "row" in levels else "constant"
        case _:
            return "constant"
