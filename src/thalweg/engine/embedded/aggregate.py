"""An aggregate node made ready to run: what to take from rows, how to fold, what to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.types as t

from thalweg.columnar.expressions import compile_expr
from thalweg.columnar.frames import polars_type
from thalweg.core.errors import UnsupportedError
from thalweg.core.schema import Field, Schema
from thalweg.engine.embedded import partial as flat
from thalweg.engine.embedded import sides
from thalweg.engine.embedded.partial import Flat, Folding, Side
from thalweg.engine.embedded.rows import LENGTH, TIME
from thalweg.engine.embedded.user_state import ReducedRow, UserState
from thalweg.plan.expr import Aggregate as Call
from thalweg.plan.expr import Column, Expr, aggregates, infer, replace, show
from thalweg.plan.nodes import Aggregate, ReduceByKey

EVERYTHING = "__all"
"""The key column of an aggregate over the whole stream."""

_KEEPS_ORDER = frozenset({"first", "last", "arg_min", "arg_max", "collect", "mode", "user"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one aggregate node is computed.

    Attributes:
        prepare: What to take from input rows: keys, arguments, and what ties need.
        folding: How prepared rows become aggregates.
        labels: What makes the output columns that are keys.
        results: What makes the other output columns from finished aggregates.
        flags: The columns that say, where true, that a sum left its type.
        constant: Whether nothing that is taken depends on a column.
        plain: The columns that are taken, by their new names, where all are taken as they are.
    """

    prepare: tuple[pl.Expr, ...]
    folding: Folding
    labels: tuple[pl.Expr, ...]
    results: tuple[pl.Expr, ...]
    flags: tuple[str, ...]
    constant: bool
    plain: tuple[tuple[str, str], ...] | None

    @property
    def show(self) -> tuple[pl.Expr, ...]:
        """What makes the output columns (keys, then results) from finished aggregates."""
        return (*self.labels, *self.results)

    def prepared(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what is taken from rows, row by row."""
        if self.plain is not None:
            return pl.DataFrame([frame.get_column(name).alias(alias) for name, alias in self.plain])
        if self.constant:
            return frame.select(*self.prepare, pl.int_range(pl.len()).alias(LENGTH)).drop(LENGTH)
        return frame.select(*self.prepare)


def recipe(node: Aggregate | ReduceByKey, by: Sequence[str] = (), carried: Sequence[pl.Expr] = ()) -> Recipe:
    """Return how the node is computed.

    Args:
        node: The node.
        by: Columns that prepared rows are given later, and that are keys after the node's own.
        carried: What merged partials carry beside their parts.
    """
    return (
        _reduce_recipe(node, carried) if isinstance(node, ReduceByKey) else _aggregate_recipe(node, list(by), carried)
    )


def _aggregate_recipe(node: Aggregate, by: list[str], carried: Sequence[pl.Expr]) -> Recipe:
    schema = node.input.schema
    calls: dict[str, Call] = {}
    for _, expr in node.aggregates:
        calls |= {show(call): call for call in aggregates(expr)}
    keys = [f"__k{i}" for i in range(len(node.keys))] or [EVERYTHING]
    prepare = [_key(expr, schema).alias(name) for name, (_, expr) in zip(keys, node.keys, strict=False)]
    if not node.keys:
        prepare.append(pl.lit(0, pl.Int8).alias(EVERYTHING))
    own, keys = keys, [*keys, *by]
    ties = ([TIME] if node.input.timed else []) + list(schema.names)
    flats: list[Flat] = []
    others: list[Side] = []
    results: list[Field] = []
    swap: dict[str, Expr] = {}
    for number, (text, call) in enumerate(calls.items()):
        prepare += _arguments(number, call, schema)
        made = _evaluator(number, call, schema, keys, ties)
        (flats if isinstance(made, Flat) else others).append(made)  # type: ignore[arg-type]  # one or the other
        results.append(Field(made.result_name, infer(call, schema).type))
        swap[text] = Column(made.result_name)
    ordered = any(call.function in _KEEPS_ORDER for call in calls.values())
    prepare += [pl.col(name) for name in ties if ordered or name == TIME]
    finished = Schema(tuple(results))
    labels = [pl.col(key).alias(name) for key, (name, _) in zip(own, node.keys, strict=False)]
    shown = [
        compile_expr(replace(expr, swap), finished).cast(polars_type(node.schema[name].type)).alias(name)
        for name, expr in node.aggregates
    ]
    flags = tuple(f"__o{made.number}" for made in flats if isinstance(made, flat.IntegerSum) and not made.mean)
    constant = not any(expr.meta.root_names() for expr in prepare)
    folding = Folding(keys, flats, others, carried)
    return Recipe(tuple(prepare), folding, tuple(labels), tuple(shown), flags, constant, _plain(prepare))


def _plain(prepare: Sequence[pl.Expr]) -> tuple[tuple[str, str], ...] | None:
    if not all(expr.meta.undo_aliases().meta.is_column() for expr in prepare):
        return None
    return tuple((expr.meta.root_names()[0], expr.meta.output_name()) for expr in prepare)


def _reduce_recipe(node: ReduceByKey, carried: Sequence[pl.Expr]) -> Recipe:
    schema = node.input.schema
    ties = ([TIME] if node.input.timed else []) + list(schema.names)
    prepare = (_key(Column(node.key), schema).alias("__k0"), *(pl.col(name) for name in ties))
    side = ReducedRow(["__k0"], schema, ties, node.function)
    labels = (pl.col("__k0").alias(node.key),)
    results = tuple(
        pl.col(side.result_name).struct.field(name).alias(name) for name in schema.names if name != node.key
    )
    return Recipe(prepare, Folding(["__k0"], [], [side], carried), labels, results, (), False, _plain(prepare))


def _key(expr: Expr, schema: Schema) -> pl.Expr:
    compiled = compile_expr(expr, schema)
    # −0.0 and 0.0 are one key; which of them shows must not depend on which came first.
    return compiled + 0.0 if t.is_floating(infer(expr, schema).type) else compiled


def _arguments(number: int, call: Call, schema: Schema) -> list[pl.Expr]:
    compiled = []
    for position, argument in enumerate(call.args):
        value = compile_expr(argument, schema)
        kind = infer(argument, schema).type
        if call.function in ("sum", "mean"):
            # Polars' sums of small types wrap, so they are widened before.
            if t.is_boolean(kind) or (t.is_integer(kind) and not t.is_uint64(kind)):
                value = value.cast(pl.Int64)
            elif t.is_floating(kind) or (t.is_decimal(kind) and call.function == "mean"):
                value = value.cast(pl.Float64)
        elif call.function in ("quantile", "median", "approx_quantile") and t.is_boolean(kind):
            value = value.cast(pl.Int64)
        compiled.append(value.alias(f"__a{number}_{position}"))
    return compiled


def _evaluator(number: int, call: Call, schema: Schema, keys: Sequence[str], ties: Sequence[str]) -> Flat | Side:
    kinds = [infer(argument, schema).type for argument in call.args]
    function = call.function
    if function == "count":
        return flat.CountValues(number) if call.args else flat.CountRows(number)
    if function in ("sum", "mean"):
        return _sum(number, function, kinds[0])
    if function in ("var", "std"):
        return flat.Variance(number, int(call.option("ddof", 1)), root=function == "std")
    if function in ("min", "max", "any", "all"):
        return flat.Simple(number, _simple(function, kinds[0]))
    if function in ("first", "last"):
        return sides.EdgeRow(number, keys, ties, "first" if function == "first" else "last")
    if function in ("arg_min", "arg_max"):
        return sides.ExtremeRow(number, keys, ties, greatest=function == "arg_max")
    if function == "collect":
        return sides.Collect(number, keys, ties)
    if function == "mode":
        return sides.Mode(number, keys, ties)
    if function == "n_unique":
        return sides.Distinct(number, keys)
    if function == "approx_n_unique":
        return sides.HyperLogLog(number, keys)
    if function == "median":
        return sides.Quantile(number, keys, 0.5, "midpoint")
    if function == "quantile":
        return sides.Quantile(number, keys, call.option("q"), call.option("interpolation", "nearest"))
    if function == "approx_quantile":
        return sides.DDSketch(number, keys, call.option("q"), call.option("error", 0.01))
    if function == "user" and call.user is not None:
        fields = [Field(f"__a{number}_{i}", kind) for i, kind in enumerate(kinds)]
        return UserState(number, keys, fields, ties, call.user)
    raise UnsupportedError(f"{show(call)}: the embedded engine has no aggregate {function!r}")


def _sum(number: int, function: str, kind: pa.DataType) -> Flat:
    mean = function == "mean"
    if t.is_floating(kind) or (mean and t.is_decimal(kind)):
        return flat.FloatSum(number, mean=mean)
    if t.is_integer(kind) or t.is_boolean(kind):
        result = pl.UInt64() if t.is_uint64(kind) else pl.Int64()
        return flat.IntegerSum(number, result, mean=mean)
    return flat.PlainSum(number)


def _simple(function: str, kind: pa.DataType) -> flat.Function:
    if function == "max" and t.is_floating(kind):
        return pl.Expr.nan_max
    return {"min": pl.Expr.min, "max": pl.Expr.max, "any": pl.Expr.any, "all": pl.Expr.all}[function]
