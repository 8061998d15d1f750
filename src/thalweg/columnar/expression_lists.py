"""Functions of lists and structs, as Polars computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.expression_numbers import listed
from thalweg.columnar.expression_values import WIDE, Arg, Compile
from thalweg.columnar.frames import polars_type

Args = Sequence[Arg]
Options = Mapping[str, Any]


def _length(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
    return args[0].expr.list.len().cast(pl.Int64)


def _get(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
    items, index = args
    return items.expr.list.get(index.to(pa.int64()), null_on_oob=True)


def _first(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
    return args[0].expr.list.first()


def _last(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
    return args[0].expr.list.last()


def _contains(args: Args, _options: Options, _result: pa.DataType) -> pl.Expr:
    items, item = args
    return listed(item, items, lambda value, values: values.list.contains(value, nulls_equal=False))


def _join(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    return args[0].expr.list.join(options["separator"], ignore_nulls=True)


def _sum(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    items = args[0].expr
    if t.is_floating(result):
        return items.cast(pl.List(pl.Float64)).list.sum()
    return items.cast(pl.List(WIDE)).list.sum().cast(polars_type(result))


def _least(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    items = args[0].expr
    # Polars skips NaN, but sorts it as the greatest.
    return items.list.drop_nulls().list.sort().list.first() if t.is_floating(result) else items.list.min()


def _greatest(args: Args, _options: Options, result: pa.DataType) -> pl.Expr:
    items = args[0].expr
    return items.list.drop_nulls().list.sort().list.last() if t.is_floating(result) else items.list.max()


def _field(args: Args, options: Options, _result: pa.DataType) -> pl.Expr:
    return args[0].expr.struct.field(options["name"])


COMPILED: Final[Mapping[str, Compile]] = MappingProxyType(
    {
        "list.len": _length,
        "list.get": _get,
        "list.first": _first,
        "list.last": _last,
        "list.contains": _contains,
        "list.join": _join,
        "list.sum": _sum,
        "list.min": _least,
        "list.max": _greatest,
        "struct.field": _field,
    }
)
