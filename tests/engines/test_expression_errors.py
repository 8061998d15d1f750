"""What the embedded engine says of a pattern that is wrong, and of a row that has no answer."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from thalweg.columnar.expressions import compile_expr, reason_of
from thalweg.core.errors import PlanError
from thalweg.core.schema import TIMESTAMP, Field, Schema
from thalweg.plan.expr import Expr, col, count, lit

SCHEMA = Schema(
    (
        Field("n", pa.int64()),
        Field("u", pa.uint64()),
        Field("t", pa.string()),
        Field("ts", TIMESTAMP),
        Field("f", pa.float64()),
    )
)


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        (col("t").str.contains("a("), r"col\(\"t\"\).str.contains\(\"a\(\"\).*unclosed group"),
        (col("t").str.replace_all("[", "x"), "regex"),
        (col("t").str.extract("(a", 1), "regex"),
        (col("t").str.extract("(a)", 2), "the pattern has 1 groups"),
        (col("t").str.json_path_match("$.["), "JSON path"),
        (col("t").str.contains(r"(a)\1"), "backreferences are not supported"),
        (col("n").sum() + 1, "a value per group, and here one per row is needed"),
        (count(), "a value per group"),
        (col("m"), 'no column "m"'),
    ],
)
def test_what_cannot_be_compiled_is_refused(expr: Expr, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        compile_expr(expr, SCHEMA)


@pytest.mark.parametrize(
    ("expr", "value", "reason"),
    [
        (col("n") + 1, {"n": 2**63 - 1}, "the result is outside the range of int64"),
        (col("u") * 2, {"u": 2**63}, "the result is outside the range of uint64"),
        (col("n").cast(pa.int8()), {"n": 300}, "300 (i64) is not an int8"),
        (col("t").cast(int), {"t": "x"}, 'the text "x" is not an int64'),
        (col("t").cast(float), {"t": "1e400"}, "the text is a number too large for a float"),
        (col("t").str.to_integer(), {"t": "x"}, 'the text "x" is not an integer'),
        (col("t").str.to_datetime(), {"t": "soon"}, 'the text "soon" is not an ISO 8601 time'),
        (col("t").str.to_datetime("%Y-%m-%d"), {"t": "soon"}, 'the text "soon" is not a time in this format'),
        (col("t").str.to_date(), {"t": "soon"}, 'the text "soon" is not a date in this format'),
        (col("f").cast(int), {"f": float("nan")}, "NaN (f64) is not an int64"),
        (col("ts").dt.year(), {"ts": 2**63 - 1}, "the time is outside the years 1 to 9999"),
    ],
)
def test_a_row_without_an_answer_has_a_reason(expr: Expr, value: dict[str, object], reason: str) -> None:
    row = {field.name: value.get(field.name) for field in SCHEMA}
    types = {"n": pl.Int64, "u": pl.UInt64, "t": pl.String, "ts": pl.Int64, "f": pl.Float64}
    frame = pl.DataFrame([row], schema=types).with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))
    with pytest.raises(Exception) as caught:  # engines raise errors of their own kinds
        frame.select(compile_expr(expr, SCHEMA))
    assert reason_of(caught.value) == reason


def test_constants_stand_beside_columns() -> None:
    frame = pl.DataFrame({"n": [1, 2]})
    found = frame.select("n", compile_expr(lit([]), SCHEMA), compile_expr(lit(None).alias("none"), SCHEMA))
    assert found.rows() == [(1, [], None), (2, [], None)]
    assert found.schema == {"n": pl.Int64, "literal": pl.List(pl.String), "none": pl.String}
