"""Expressions: their names, their types, and what is refused with which words."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from thalweg.core.errors import PlanError
from thalweg.core.schema import TIMESTAMP, Field, Schema, schema_of
from thalweg.plan.aggregates import AGGREGATES
from thalweg.plan.expr import (
    Expr,
    Literal,
    aggregate,
    aggregates,
    as_expr,
    coalesce,
    col,
    columns,
    concat_str,
    count,
    infer,
    is_aggregate,
    lit,
    output_name,
    replace,
    show,
    when,
)

I64, F64, TEXT = pa.int64(), pa.float64(), pa.string()
SCHEMA = Schema(
    (
        Field("user", TEXT, False),
        Field("page", TEXT),
        Field("price", F64),
        Field("amount", pa.int32(), False),
        Field("small", pa.int8()),
        Field("huge", pa.uint64()),
        Field("ratio", pa.float32()),
        Field("paid", pa.bool_()),
        Field("ts", TIMESTAMP, False),
        Field("day", pa.date32()),
        Field("took", pa.duration("us")),
        Field("cost", pa.decimal128(38, 2)),
        Field("raw", pa.binary()),
        Field("tags", pa.list_(pa.field("item", TEXT))),
        Field("place", pa.struct([pa.field("lat", F64)])),
    )
)
a, b = col("a"), col("b")


@pytest.mark.parametrize(
    ("expr", "name"),
    [
        (a, "a"),
        (a + b, "a"),
        (1 + b, "b"),
        ((a + b).alias("c"), "c"),
        (a.alias("c") + 1, "c"),
        (count(), "count"),
        (a.count(), "a"),
        (count() / a.sum(), "count"),
        (a.arg_max(by="b"), "a"),
        (when(a > 1).then(b), "b"),
        (when(a > 1).then(lit("x")), "a"),
        (when(a > 1).then(1).otherwise(b), "b"),
    ],
)
def test_the_leftmost_column_names_the_result(expr: Expr, name: str) -> None:
    assert output_name(expr) == name


def test_a_constant_has_no_name() -> None:
    with pytest.raises(PlanError, match=r"lit\(1\) \+ 2 has no name; give it one with a keyword or .alias"):
        output_name(lit(1) + 2)


def test_columns_aggregates_and_replacement() -> None:
    expr = (col("x").sum() + col("y").sum()) / (col("x").sum() + count())
    assert columns(expr) == {"x", "y"}
    assert [show(found) for found in aggregates(expr)] == ['col("x").sum()', 'col("y").sum()', "count()"]
    assert is_aggregate(expr) and not is_aggregate(col("x") + 1)
    by = {'col("x").sum()': col("0"), "count()": col("1")}
    assert show(replace(expr, by)) == '(col("0") + col("y").sum()) / (col("0") + col("1"))'
    assert show(replace(when("x").then("y").alias("z"), {'col("y")': lit("n")})) == (
        'when(col("x")).then(lit("n")).alias("z")'
    )


def test_strings_are_columns_or_constants_by_place() -> None:
    assert show(as_expr("x", column=True)) == 'col("x")'
    assert show(as_expr("x", column=False)) == 'lit("x")'
    assert as_expr(a, column=True) is a


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "held", "kind"),
    [
        (True, True, pa.bool_()),
        (2**63 - 1, 2**63 - 1, I64),
        (2**63, 2**63, pa.uint64()),
        (1.5, 1.5, F64),
        ("x", "x", TEXT),
        (b"x", b"x", pa.binary()),
        (dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), TIMESTAMP),
        (
            dt.datetime(2024, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
            TIMESTAMP,
        ),
        (dt.date(2024, 1, 1), dt.date(2024, 1, 1), pa.date32()),
        (dt.time(1), dt.time(1), pa.time64("us")),
        (dt.timedelta(1), dt.timedelta(1), pa.duration("us")),
        (Decimal("1.50"), Decimal("1.50"), pa.decimal128(38, 2)),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", TEXT),
        (Colour.RED, "red", TEXT),
        ([1, 2], (1, 2), pa.list_(pa.field("item", I64))),
        (range(2), (0, 1), pa.list_(pa.field("item", I64))),
    ],
)
def test_constants_have_one_form_and_a_type(value: object, held: object, kind: pa.DataType) -> None:
    found = lit(value)
    assert isinstance(found, Literal)
    assert (found.value, found.type) == (held, kind)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, {"a": 1}, object(), [1, "x"], Decimal("nan"), "\ud800", int])
def test_values_that_no_column_can_hold_are_refused(value: object) -> None:
    with pytest.raises(PlanError):
        lit(value)


@pytest.mark.parametrize(
    ("expr", "kind", "nullable"),
    [
        (col("amount") + 1, I64, False),
        (col("small") + col("small"), I64, True),
        (col("small").fill_null(0), pa.int8(), False),
        (col("small").fill_null(1000), I64, False),
        (col("huge") + 1, pa.uint64(), True),
        (col("huge") - 1, I64, True),
        (col("huge") + col("amount"), I64, True),
        (col("ratio") * 2.5, pa.float32(), True),
        (col("ratio") * col("price"), F64, True),
        (col("amount") / 2, F64, False),
        (col("amount") // 2, I64, True),
        (col("amount") ** 2, F64, False),
        (col("cost") + 1, pa.decimal128(38, 2), True),
        (col("cost") * Decimal("0.075"), pa.decimal128(38, 5), True),
        (col("cost") * 1.5, F64, True),
        (col("ts") - col("ts"), pa.duration("us"), False),
        (col("ts") + dt.timedelta(1), TIMESTAMP, False),
        (col("day") + dt.timedelta(1), TIMESTAMP, True),
        (col("ts") > dt.datetime(2024, 1, 1), pa.bool_(), False),
        (col("user") + "x", TEXT, False),
        (col("paid").is_null() | True, pa.bool_(), False),
        (col("price").is_nan(), pa.bool_(), True),
        (col("page").fill_null(col("user")), TEXT, False),
        (col("price").fill_nan(0), F64, True),
        (coalesce("page", "user"), TEXT, False),
        (coalesce("page", None), TEXT, True),
        (coalesce("small", "amount"), pa.int32(), False),
        (when("paid").then("user"), TEXT, True),
        (when("paid").then("user").otherwise(lit("x")), TEXT, False),
        (when("paid").then(1).otherwise(2.5), F64, False),
        (when("paid").then("small").otherwise(None), pa.int8(), True),
        (concat_str("page", "amount"), TEXT, True),
        (concat_str("page", "amount", ignore_nulls=True), TEXT, False),
        (col("user").str.to_integer(), I64, False),
        (col("user").str.to_integer(strict=False), I64, True),
        (col("user").cast(float), F64, False),
        (col("user").str.split(","), pa.list_(pa.field("item", TEXT)), False),
        (col("tags").list.get(0), TEXT, True),
        (col("tags").list.len(), I64, True),
        (col("place").struct.field("lat"), F64, True),
        (col("amount").clip(None, 5), pa.int32(), False),
        (col("ts").dt.truncate("1h"), TIMESTAMP, False),
        (col("ts").dt.date(), pa.date32(), False),
        (lit(None), TEXT, True),
        (lit(None).cast(int), I64, True),
        (lit(1) + 1, I64, False),
        (count(), I64, False),
        (col("price").count(), I64, False),
        (col("price").sum(), F64, False),
        (col("amount").sum(), I64, True),
        (col("huge").sum(), pa.uint64(), True),
        (col("paid").sum(), I64, True),
        (col("took").sum(), pa.duration("us"), True),
        (col("cost").sum(), pa.decimal128(38, 2), True),
        (col("amount").mean(), F64, True),
        (col("user").max(), TEXT, True),
        (col("user").first(), TEXT, True),
        (col("tags").last(), pa.list_(pa.field("item", TEXT)), True),
        (col("user").arg_max(by="ts"), TEXT, True),
        (col("paid").any(), pa.bool_(), False),
        (col("user").n_unique(), I64, False),
        (col("user").collect(), pa.list_(pa.field("item", TEXT)), False),
        (col("amount").quantile(0.5), F64, True),
        (col("amount").sum() / count(), F64, True),
        ((col("price") * col("amount")).max() - 1, F64, True),
    ],
    ids=lambda value: show(value) if isinstance(value, Expr) else "",
)
def test_the_type_is_known_before_any_data(expr: Expr, kind: pa.DataType, nullable: bool) -> None:
    found = infer(expr, SCHEMA)
    assert (found.type, found.nullable) == (kind, nullable)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: col("prise") > 1, 'there is no column "prise"; did you mean "price"?'),
        (lambda: col("price").sum() + col("usr").count(), 'there is no column "usr"; did you mean "user"?'),
        (
            lambda: coalesce("page", "none"),
            'coalesce(col("page"), col("none")): there is no column "none"; there are: user, page, price, '
            "amount, small, "
            "huge, ratio, paid, ts, day, took, cost, raw, tags, place; a text in this place names a column; the "
            "constant "
            'is lit("none")',
        ),
        (
            lambda: col("page") + 1,
            'col("page") + 1: + takes two numbers, two texts, two durations, or a timestamp or date and a '
            "duration; read "
            'a text as a number with .str.to_integer() or .cast(float); col("page") is string, lit(1) is int64',
        ),
        (
            lambda: col("ts") > "2024-01-01",
            'col("ts") > "2024-01-01": > takes two numbers, texts, bytes, bools, timestamps or dates, times, or '
            'durations; write a time as datetime(…), or read the text with .str.to_datetime(); col("ts") is '
            'timestamp[us, tz=UTC], lit("2024-01-01") is string',
        ),
        (
            lambda: col("price") == None,  # noqa: E711  # what a user may write
            'col("price") == None: None has no type for ==; test for it with .is_null(), or give it a type with '
            "lit(None).cast(…)",
        ),
        (
            lambda: col("paid") + 1,
            'col("paid") + 1: + takes two numbers, two texts, two durations, or a timestamp or date and a duration; a '
            'bool is counted with .cast(int); col("paid") is bool, lit(1) is int64',
        ),
        (
            lambda: col("price").str.len_chars(),
            'col("price").str.len_chars(): .str.len_chars takes text; col("price") is double',
        ),
        (
            lambda: col("price") & col("paid"),
            'col("price") & col("paid"): & takes two bools, or two integers; col("price") is double, col("paid") '
            "is bool",
        ),
        (
            lambda: when("amount").then(1),
            'when(col("amount")).then(1): .when takes conditions of type bool, and one is int32; col("amount") '
            "is int32, "
            "lit(1) is int32, lit(None) is null",
        ),
        (
            lambda: when("paid").then(1).otherwise("page"),
            'when(col("paid")).then(1).otherwise(col("page")): .when takes values of one type, or of numbers; '
            'col("paid") is bool, lit(1) is int64, col("page") is string',
        ),
        (
            lambda: col("page").cast(dt.datetime),
            'col("page").cast(timestamp[us, tz=UTC]): text is read as a time with .str.to_datetime(…), not with '
            "a cast; "
            'col("page") is string',
        ),
        (
            lambda: col("place").struct.field("lon"),
            'col("place").struct.field("lon"): .struct.field takes a field of the struct; "lon" is none; there '
            "are: lat; "
            'col("place") is struct<lat: double>',
        ),
        (
            lambda: col("day").dt.truncate("1h"),
            'col("day").dt.truncate("1h"): a date moves by whole days only; make it a timestamp with .cast(datetime); '
            'col("day") is date32[day]',
        ),
        (
            lambda: col("price") + col("amount").sum(),
            'col("price") + col("amount").sum(): col("price") has a value per row and col("amount").sum() one '
            "per group; "
            "aggregate the first too, or name it in group_by",
        ),
        (
            lambda: col("price").sum().max(),
            'col("price").sum().max(): an aggregate of an aggregate; aggregate in one step and again in the next, with '
            ".agg(…) after .agg(…)",
        ),
        (lambda: col("user").sum(), 'col("user").sum(): .sum takes numbers, bool and durations; col("user") is string'),
        (
            lambda: col("tags").max(),
            'col("tags").max(): .max takes any type but lists and structs; col("tags") is list<item: string>',
        ),
        (lambda: lit(None).max(), "lit(None).max(): None has no type to aggregate; give it one with lit(None).cast(…)"),
    ],
    ids=lambda value: "" if callable(value) else str(value)[:40],
)
def test_mistakes_are_found_over_the_schema(build: Callable[[], Expr], message: str) -> None:
    with pytest.raises(PlanError) as caught:
        infer(build(), SCHEMA)
    assert caught.value.message == message


def test_a_mistake_names_the_users_file_and_line() -> None:
    with pytest.raises(PlanError) as caught:
        infer(col("prise"), SCHEMA)
    assert caught.value.place is not None
    assert caught.value.place.file == __file__
    assert str(caught.value).endswith(f"({__file__}:{caught.value.place.line})")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: bool(a > 1), "use & for and, | for or, ~ for not"),
        (lambda: 1 < a < 3, "use & for and"),
        (lambda: list(a), "cannot be iterated over"),
        (lambda: col(""), "a column's name is a text that is not empty"),
        (lambda: col(3), "a column's name is a text"),  # type: ignore[arg-type]  # what a user may write
        (lambda: a.alias(""), "a name is a text that is not empty"),
        (lambda: a.is_in("abc"), "give a list"),
        (lambda: a.is_between(1, 2, closed="up"), 'allowed are "both", "left", "right", "none"'),  # type: ignore[arg-type]
        (lambda: a.round(-1), "from 0 to 15"),
        (lambda: a.round(mode="up"), "half_to_even"),  # type: ignore[arg-type]
        (lambda: a.log(1), "a number above 0 that is not 1"),
        (lambda: a.clip(), "a lower bound, an upper bound"),
        (lambda: a.cast(dict), "allowed are int, float"),
        (lambda: a.str.contains(b), "a fixed text"),  # type: ignore[arg-type]
        (lambda: a.str.split(""), "not empty"),
        (lambda: a.str.slice(1, -1), "0 or more"),
        (lambda: a.str.slice(True), "a fixed whole number"),
        (lambda: a.str.to_integer(base=1), "from 2 to 36"),
        (lambda: a.str.zfill(10**6), "from 0 to 10,000"),
        (lambda: a.str.json_path_match("a.b"), r"starts with \$"),
        (lambda: a.str.to_datetime("%Q"), '"%Q" is not a directive; allowed: %Y'),
        (lambda: a.str.to_datetime("%Y-%m"), "does not name a day"),
        (lambda: a.str.to_datetime("%Y-%m-%d %H"), "together with its minutes"),
        (lambda: a.str.to_datetime("%Y-%m-%d %I:%M"), "needs %p"),
        (lambda: a.str.to_date("%Y-%m-%d %H:%M"), "of a time of day"),
        (lambda: a.dt.strftime("100%"), '"%" is not a directive'),
        (lambda: a.dt.truncate("1mo"), "months are not of one length"),
        (lambda: a.dt.truncate("0s"), "longer than 0"),
        (lambda: a.dt.epoch("ns"), 'allowed are "us", "ms" and "s"'),  # type: ignore[arg-type]
        (lambda: a.dt.convert_time_zone("Europe/Rome"), "every time in Thalweg is in UTC"),
        (lambda: a.dt.replace_time_zone(None), "every time in Thalweg is in UTC"),
        (lambda: a.quantile(1.5), "from 0 to 1"),
        (lambda: a.quantile(0.5, "middle"), "nearest, lower, higher"),  # type: ignore[arg-type]
        (lambda: a.approx_quantile(0.5, error=0.9), "from 0.0001 to 0.5"),
        (lambda: a.var(ddof=-1), "0 or more"),
        (lambda: when(a), None),
        (lambda: coalesce(when(a)), r"needs \.then"),
        (lambda: concat_str("a", separator=1), "the separator is a text"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_found_where_the_expression_is_built(build: Callable[[], object], words: str | None) -> None:
    if words is None:
        build()
        return
    with pytest.raises(PlanError, match=words):
        build()


def test_an_expression_that_is_too_deep_is_refused_in_words() -> None:
    expr = col("amount") + 0
    for _ in range(5000):
        expr = expr + 1
    with pytest.raises(PlanError, match="nested too deep"):
        infer(expr, SCHEMA)


def test_every_aggregate_has_a_method_of_its_name() -> None:
    assert all(callable(getattr(a, name)) for name in AGGREGATES)


class Result:
    total: int
    mean: float


def finished(state: float) -> float:
    return state / 2


@pytest.mark.parametrize(
    ("finish", "returns", "kind"),
    [
        (finished, None, F64),
        (lambda s: s, int, I64),
        (float, None, F64),
        (None, str, TEXT),
        (None, list[int], pa.list_(pa.field("item", I64))),
        (None, Result, pa.struct([pa.field("total", I64), pa.field("mean", F64)])),
        (None, pa.int8(), pa.int8()),
    ],
)
def test_a_users_aggregate_has_the_type_that_it_says(finish: Any, returns: Any, kind: pa.DataType) -> None:
    made = aggregate(init=int, step=lambda s, x: s + x, merge=lambda x, y: x + y, finish=finish, returns=returns)
    found = infer(made("amount"), SCHEMA)
    assert (found.name, found.type, found.nullable) == ("amount", kind, True)


def test_a_users_aggregate_without_a_type_is_refused() -> None:
    with pytest.raises(PlanError, match=r"say returns=float, or annotate what finish returns"):
        aggregate(init=int, step=lambda s, x: s + x, merge=max, finish=lambda s: s)
    with pytest.raises(PlanError, match="step is a function"):
        aggregate(init=int, step=3, merge=max, returns=int)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="returns <class 'dict'>"):
        aggregate(init=int, step=max, merge=max, returns=dict)


def test_a_users_aggregate_takes_several_arguments_and_shows_who_it_is() -> None:
    def weighted(state: float, value: float, weight: float) -> float:
        return state + value * weight

    made = aggregate(init=float, step=weighted, merge=lambda x, y: x + y, returns=float)
    again = aggregate(init=float, step=weighted, merge=lambda x, y: x + y, returns=float)
    other = aggregate(init=float, step=weighted, merge=lambda x, y: x - y, returns=float)
    assert show(made(a, "b")) == show(again(a, "b")) != show(other(a, "b"))
    assert show(made(a, "b")).startswith('aggregate("test_a_users_aggregate')
    assert infer(made("price", "amount") / count(), SCHEMA).type == F64


def test_schema_classes_work_with_expressions() -> None:
    class Click:
        user: str
        price: float | None

    assert infer(col("price").fill_null(0), schema_of(Click)).nullable is False
