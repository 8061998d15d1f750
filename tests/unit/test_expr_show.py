"""The one text of an expression: what Python would write, and one per tree."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.plan.expr import (
    Aggregate,
    Alias,
    Call,
    Column,
    Expr,
    Literal,
    coalesce,
    col,
    concat_str,
    count,
    lit,
    show,
    when,
)

a, b = col("a"), col("b")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (a + 1, 'col("a") + 1'),
        (1 + a, 'lit(1) + col("a")'),
        ((a + b) * 2, '(col("a") + col("b")) * 2'),
        (a + b * 2, 'col("a") + col("b") * 2'),
        (a - (b - 1), 'col("a") - (col("b") - 1)'),
        (a - b - 1, 'col("a") - col("b") - 1'),
        (-(a**2), '-col("a") ** 2'),
        ((-a) ** 2, '(-col("a")) ** 2'),
        (a ** (b**2), 'col("a") ** col("b") ** 2'),
        ((a**b) ** 2, '(col("a") ** col("b")) ** 2'),
        (a ** (-b), 'col("a") ** -col("b")'),
        (-(a + b), '-(col("a") + col("b"))'),
        (-a + b, '-col("a") + col("b")'),
        ((a > 1) & (b > 1), '(col("a") > 1) & (col("b") > 1)'),
        ((a & b) | a, 'col("a") & col("b") | col("a")'),
        (a & (b | a), 'col("a") & (col("b") | col("a"))'),
        ((a ^ b) & a, '(col("a") ^ col("b")) & col("a")'),
        (~(a == 1), '~(col("a") == 1)'),
        ((a == b) == (b == a), '(col("a") == col("b")) == (col("b") == col("a"))'),
        (a + 1 < b, 'col("a") + 1 < col("b")'),
        (lit(1) < a, 'lit(1) < col("a")'),
        ((a + 1).abs(), '(col("a") + 1).abs()'),
        (abs(-a), '(-col("a")).abs()'),
        (a % 2 // 3 / 4, 'col("a") % 2 // 3 / 4'),
        (a.alias("x") + 1, 'col("a").alias("x") + 1'),
        ((a + 1).alias("x"), '(col("a") + 1).alias("x")'),
        (lit("x") + a, 'lit("x") + col("a")'),
        (a.str.starts_with("/p"), 'col("a").str.starts_with("/p")'),
        (a.str.starts_with(b), 'col("a").str.starts_with(col("b"))'),
        (a.str.contains("x", literal=True), 'col("a").str.contains("x", literal=True)'),
        (a.str.replace("x", "y"), 'col("a").str.replace("x", "y")'),
        (a.str.strip_chars(), 'col("a").str.strip_chars()'),
        (a.str.slice(1, 2), 'col("a").str.slice(1, 2)'),
        (a.str.to_datetime(strict=False), 'col("a").str.to_datetime(None, strict=False)'),
        (a.dt.truncate("90m"), 'col("a").dt.truncate("1h30m")'),
        (a.dt.offset_by("-1d"), 'col("a").dt.offset_by("-1d")'),
        (a.is_in([1, None, 2.5]), 'col("a").is_in([1, None, 2.5])'),
        (a.is_in({"b", "a"}), 'col("a").is_in(["a", "b"])'),
        (a.is_between(1, "b", closed="left"), 'col("a").is_between(1, col("b"), closed="left")'),
        (a.is_between(lit("x"), 2), 'col("a").is_between(lit("x"), 2)'),
        (a.cast(int), 'col("a").cast(int64)'),
        (a.cast(pa.int8(), strict=False), 'col("a").cast(int8, strict=False)'),
        (a.round(2), 'col("a").round(2)'),
        (a.clip(0), 'col("a").clip(0, None)'),
        (a.log(), 'col("a").log()'),
        (a.log(10), 'col("a").log(10.0)'),
        (coalesce("a", lit("x"), 1), 'coalesce(col("a"), lit("x"), 1)'),
        (concat_str("a", b, separator="-"), 'concat_str(col("a"), col("b"), separator="-")'),
        (when(a > 1).then(lit("x")).when("b").then(2), 'when(col("a") > 1).then(lit("x")).when(col("b")).then(2)'),
        (when(a).then("b").otherwise(None), 'when(col("a")).then(col("b"))'),
        (when(a).then(1).otherwise(lit("x")) + 1, 'when(col("a")).then(1).otherwise(lit("x")) + 1'),
        (count(), "count()"),
        (a.count(), 'col("a").count()'),
        (a.sum() / count(), 'col("a").sum() / count()'),
        (a.var(), 'col("a").var()'),
        (a.std(ddof=0), 'col("a").std(ddof=0)'),
        (a.arg_max(by="b"), 'col("a").arg_max(by=col("b"))'),
        (a.quantile(0.9), 'col("a").quantile(0.9)'),
        (a.quantile(0.9, "linear"), 'col("a").quantile(0.9, interpolation="linear")'),
        (a.approx_quantile(1), 'col("a").approx_quantile(1.0)'),
        (col('q"\n').list.get(0), 'col("q\\"\\n").list.get(0)'),
        (a.struct.field("x"), 'col("a").struct.field("x")'),
        (lit(dt.datetime(2024, 1, 2, 3)), 'lit(datetime("2024-01-02T03:00:00Z"))'),
        (lit(dt.timedelta(seconds=1)), "lit(timedelta(microseconds=1000000))"),
        (lit(Decimal("1.50")), 'lit(Decimal("1.50"))'),
        (lit(float("nan")), 'lit(float("nan"))'),
        (lit(None), "lit(None)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_text_is_what_python_would_write(expr: Expr, text: str) -> None:
    assert show(expr) == text
    assert repr(expr) == text


def trees() -> st.SearchStrategy[Expr]:
    literals = st.sampled_from([1, -1, 1.0, -0.0, 0.0, "a", "col", True, None, b"a", dt.date(2024, 1, 1)])
    leaves = st.sampled_from([a, b]) | literals.map(lit)

    def extend(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        pairs = st.tuples(inner, inner)
        operators: list[Callable[[Any, Any], Any]] = [
            lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x**y, lambda x, y: x == y,
            lambda x, y: x < y, lambda x, y: x & y, lambda x, y: x | y, lambda x, y: x.str.starts_with(y),
            lambda x, y: coalesce(x, y), lambda x, y: when(x).then(y), lambda x, y: x.arg_min(by=y),
        ]  # fmt: skip
        unary: list[Callable[[Any], Any]] = [
            lambda x: -x, lambda x: ~x, lambda x: x.abs(), lambda x: x.alias("a"), lambda x: x.sum(),
            lambda x: x.round(1), lambda x: x.cast(int), lambda x: when(x).then(x).otherwise(x),
        ]  # fmt: skip
        return st.one_of(
            *(pairs.map(lambda pair, op=op: op(*pair)) for op in operators),
            *(inner.map(op) for op in unary),
        )

    return st.recursive(leaves, extend, max_leaves=6)


def structure(expr: Expr) -> Any:
    """The tree as nested tuples, to compare with."""
    match expr:
        case Column(name):
            return ("column", name)
        case Literal():
            return ("literal", repr(expr.value), str(expr.type))
        case Alias(inner, name):
            return ("alias", structure(inner), name)
        case Call() | Aggregate():
            args = tuple(structure(arg) for arg in expr.args)
            return (type(expr) is Aggregate, expr.function, args, repr(expr.options))
        case _:
            raise AssertionError(expr)


@given(trees(), trees())
def test_two_expressions_have_one_text_only_if_they_are_the_same_tree(first: Expr, second: Expr) -> None:
    assert (show(first) == show(second)) == (structure(first) == structure(second))
