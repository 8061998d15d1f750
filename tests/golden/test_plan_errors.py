"""What is said of each mistake in a program, word for word, and of which line.

To write it anew: ``python -m tests.golden.test_plan_errors``.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest
from annotated_types import Ge, MinLen

import thalweg as tw
from thalweg import PlanError, Stream, col, count, lit, when
from thalweg.connect import call, files, memory, stdout, view

GOLDEN = Path(__file__).with_name("plan_errors.txt")
_MARK = "# wrong"

Mistake = Callable[[tw.App, Stream], object]
MISTAKES: list[Mistake] = []


class Click:
    user: str
    page: Annotated[str, MinLen(1)]
    price: Annotated[float, Ge(0)] | None
    tags: list[str]
    n: int
    ts: dt.datetime


def mistake(function: Mistake) -> Mistake:
    """Take a function that makes one mistake, in the line that is marked so."""
    MISTAKES.append(function)
    return function


def table(clicks: Stream) -> Stream:
    """A changing table: page and clicks."""
    return clicks.group_by("page").agg(clicks=count())


# ---------------------------------------------------------------------- columns and types


@mistake
def unknown_column_with_a_near_name(app: tw.App, clicks: Stream) -> None:
    (
        clicks.filter(col("prise") > 1).select("user")  # wrong
    )


@mistake
def unknown_column_without_a_near_name(app: tw.App, clicks: Stream) -> None:
    clicks.select("user", total=col("zzz") + 1)  # wrong


@mistake
def unknown_column_to_drop(app: tw.App, clicks: Stream) -> None:
    clicks.drop("pages")  # wrong


@mistake
def unknown_column_to_rename(app: tw.App, clicks: Stream) -> None:
    clicks.rename({"User": "who"})  # wrong


@mistake
def unknown_column_as_a_key(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("pge").agg(n=count())  # wrong


@mistake
def unknown_column_in_an_aggregate(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(revenue=col("pric").sum())  # wrong


@mistake
def constant_text_where_a_text_names_a_column(app: tw.App, clicks: Stream) -> None:
    clicks.select(size=when(col("n") > 9).then("large").otherwise("small"))  # wrong


@mistake
def wrong_type_in_arithmetic(app: tw.App, clicks: Stream) -> None:
    clicks.select(x=col("user") - col("n"))  # wrong


@mistake
def text_function_of_a_number(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("n").str.starts_with("/product"))  # wrong


@mistake
def comparison_of_text_and_number(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("user") > 3)  # wrong


@mistake
def sum_of_text(app: tw.App, clicks: Stream) -> None:
    clicks.agg(x=col("user").sum())  # wrong


@mistake
def condition_that_is_a_number(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("price"))  # wrong


@mistake
def filter_without_a_condition(app: tw.App, clicks: Stream) -> None:
    clicks.filter()  # wrong


@mistake
def python_and_between_conditions(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("price") > 1 and col("n") > 2)  # wrong


@mistake
def python_not_of_a_condition(app: tw.App, clicks: Stream) -> None:
    clicks.filter(not col("user").is_null())  # wrong


@mistake
def python_chain_of_comparisons(app: tw.App, clicks: Stream) -> None:
    clicks.filter(1 < col("n") < 9)  # wrong


@mistake
def python_in_of_an_expression(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("user") in ["ann", "bob"])  # wrong


@mistake
def null_without_a_type(app: tw.App, clicks: Stream) -> None:
    clicks.with_columns(discount=None)  # wrong


@mistake
def comparison_with_none(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("price") == None)  # wrong  # noqa: E711  # the mistake itself


@mistake
def explode_of_something_else(app: tw.App, clicks: Stream) -> None:
    clicks.explode("user")  # wrong


@mistake
def unnest_of_something_else(app: tw.App, clicks: Stream) -> None:
    clicks.unnest("tags")  # wrong


@mistake
def constant_without_a_name(app: tw.App, clicks: Stream) -> None:
    clicks.select("user", lit(3))  # wrong


@mistake
def value_that_no_column_can_have(app: tw.App, clicks: Stream) -> None:
    clicks.with_columns(x={"a": 1})  # wrong


@mistake
def all_columns_dropped(app: tw.App, clicks: Stream) -> None:
    clicks.select("user").drop("user")  # wrong


@mistake
def two_columns_of_one_name(app: tw.App, clicks: Stream) -> None:
    clicks.select("user", col("page").alias("user"))  # wrong


@mistake
def rename_to_a_name_that_is_there(app: tw.App, clicks: Stream) -> None:
    clicks.rename({"user": "page"})  # wrong


@mistake
def reserved_name(app: tw.App, clicks: Stream) -> None:
    clicks.with_columns(__time=col("ts"))  # wrong


@mistake
def reserved_name_of_the_weight(app: tw.App, clicks: Stream) -> None:
    clicks.select(_weight=col("n"))  # wrong


@mistake
def quantile_out_of_range(app: tw.App, clicks: Stream) -> None:
    clicks.agg(p99=col("price").quantile(99))  # wrong


# ---------------------------------------------------------------------- aggregates


@mistake
def aggregate_in_a_filter(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("price") > col("price").mean())  # wrong


@mistake
def aggregate_in_a_select(app: tw.App, clicks: Stream) -> None:
    clicks.select(total=col("price").sum())  # wrong


@mistake
def value_per_row_in_agg(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(price=col("price"))  # wrong


@mistake
def rows_and_groups_mixed(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(share=col("price") / col("price").sum())  # wrong


@mistake
def aggregate_of_an_aggregate(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(x=col("price").sum().max())  # wrong


@mistake
def nothing_to_aggregate(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg()  # wrong


@mistake
def result_named_as_a_key(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").agg(page=count())  # wrong


@mistake
def key_named_as_the_window(app: tw.App, clicks: Stream) -> None:
    clicks.group_by(window_start="ts").window("1m").agg(n=count())  # wrong


@mistake
def aggregate_without_a_result_type(app: tw.App, clicks: Stream) -> None:
    tw.aggregate(init=lambda: 0, step=max, merge=max)  # wrong


# ---------------------------------------------------------------------- time and windows


@mistake
def window_without_event_time(app: tw.App, clicks: Stream) -> None:
    untimed = app.read(memory([{"page": "/a"}]))
    untimed.group_by("page").window("1m").agg(n=count())  # wrong


@mistake
def window_on_a_changing_stream(app: tw.App, clicks: Stream) -> None:
    changes = clicks.group_by("page").window("1m", emit="on_change").agg(n=count())
    (
        changes.group_by("page")
        .window("1h", emit="on_close")  # wrong
        .agg(n=count())
    )


@mistake
def window_of_months(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").window("1mo")  # wrong


@mistake
def window_of_years(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").window(tw.tumbling("1 year"))  # wrong


@mistake
def window_of_a_number(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").window(60)  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def window_of_no_length(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").window("0s")  # wrong


@mistake
def unknown_unit(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").window("1min")  # wrong


@mistake
def step_that_does_not_divide_the_size(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").window(tw.cumulating("1h", every="25m"))  # wrong


@mistake
def unknown_emit(app: tw.App, clicks: Stream) -> None:
    clicks.group_by("page").window("1m", emit="on_update")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def late_of_a_stream_without_windows(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("n") > 1).late.write(view("late"))  # wrong


@mistake
def negative_lateness(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": dt.datetime(2026, 1, 1)}]), time="ts", lateness="-5s")  # wrong


@mistake
def lateness_that_is_no_duration(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": dt.datetime(2026, 1, 1)}]), time="ts", lateness="soon")  # wrong


@mistake
def unknown_time_column(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"at": dt.datetime(2026, 1, 1)}]), time="ts")  # wrong


@mistake
def integer_time_without_a_unit(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": 1767225600}]), time="ts")  # wrong


@mistake
def integer_time_with_an_unknown_unit(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": 1767225600}]), time="ts", time_unit="m")  # wrong  # type: ignore[arg-type]  # the mistake


@mistake
def time_that_has_its_unit_already(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": dt.datetime(2026, 1, 1)}]), time="ts", time_unit="s")  # wrong


@mistake
def time_as_text(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": "2026-01-01T00:00:00"}]), time="ts")  # wrong


@mistake
def time_as_a_float(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": 1.5}]), time="ts")  # wrong


@mistake
def time_that_is_an_aggregate(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": dt.datetime(2026, 1, 1)}]), time=col("ts").max())  # wrong


# ---------------------------------------------------------------------- reading


@mistake
def source_that_is_none(app: tw.App, clicks: Stream) -> None:
    app.read("clicks.ndjson")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def no_columns_known(app: tw.App, clicks: Stream) -> None:
    app.read(memory([[]]))  # wrong


@mistake
def schema_that_is_none(app: tw.App, clicks: Stream) -> None:
    app.read(memory([[]]), schema={"user": str})  # wrong


@mistake
def column_of_a_type_that_none_can_have(app: tw.App, clicks: Stream) -> None:
    class Row:
        user: complex

    app.read(memory([[]]), schema=Row)  # wrong


@mistake
def rule_that_does_not_fit_its_column(app: tw.App, clicks: Stream) -> None:
    class Row:
        n: Annotated[int, MinLen(1)]

    app.read(memory([[]]), schema=Row)  # wrong


@mistake
def column_with_a_reserved_name(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"__time": 1}]))  # wrong


@mistake
def rows_of_several_types(app: tw.App, clicks: Stream) -> None:
    app.read(memory([3, 4]))  # wrong


@mistake
def tables_of_two_schemas(app: tw.App, clicks: Stream) -> None:
    memory([[pa.table({"a": [1]}), pa.table({"a": ["x"]})]])  # wrong


@mistake
def unknown_file_format(app: tw.App, clicks: Stream) -> None:
    files("clicks.xml", format="xml")  # wrong


@mistake
def name_of_the_app(app: tw.App, clicks: Stream) -> None:
    tw.App("my clicks")  # wrong


# ---------------------------------------------------------------------- functions


@mistake
def map_without_a_schema(app: tw.App, clicks: Stream) -> None:
    clicks.map(lambda row: row)  # wrong


@mistake
def map_that_returns_a_plain_dict(app: tw.App, clicks: Stream) -> None:
    def cleaned(row: dict[str, Any]) -> dict[str, Any]:
        return row

    clicks.map(cleaned)  # wrong


@mistake
def flat_map_without_a_schema(app: tw.App, clicks: Stream) -> None:
    def words(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield row

    clicks.flat_map(words)  # wrong


@mistake
def map_of_no_function(app: tw.App, clicks: Stream) -> None:
    clicks.map("upper", schema=Click)  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def map_of_a_changing_stream(app: tw.App, clicks: Stream) -> None:
    table(clicks).map(lambda row: row, schema=Click)  # wrong


@mistake
def reduce_by_a_key_function_without_annotation(app: tw.App, clicks: Stream) -> None:
    clicks.reduce_by_key(lambda row: row["user"], lambda a, b: a)  # wrong


@mistake
def reduce_by_an_unknown_key(app: tw.App, clicks: Stream) -> None:
    clicks.reduce_by_key("usr", lambda a, b: a)  # wrong


@mistake
def reduce_without_a_function(app: tw.App, clicks: Stream) -> None:
    clicks.reduce_by_key("user", "sum")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def aggregate_of_a_changing_stream(app: tw.App, clicks: Stream) -> None:
    table(clicks).agg(n=count())  # wrong


# ---------------------------------------------------------------------- bringing together, writing, running


@mistake
def union_of_different_columns(app: tw.App, clicks: Stream) -> None:
    clicks.select("user").union(clicks.select("user", "page"))  # wrong


@mistake
def union_of_different_types(app: tw.App, clicks: Stream) -> None:
    clicks.select("n").union(clicks.select(n=col("price")))  # wrong


@mistake
def union_with_something_else(app: tw.App, clicks: Stream) -> None:
    clicks.union([clicks])  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def write_to_a_name(app: tw.App, clicks: Stream) -> None:
    clicks.write("views")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def name_of_a_view(app: tw.App, clicks: Stream) -> None:
    clicks.write(view("page views"))  # wrong


@mistake
def two_views_of_one_name(app: tw.App, clicks: Stream) -> None:
    clicks.write(view("clicks"))
    clicks.select("user").write(view("clicks"))  # wrong


@mistake
def key_of_a_view_that_is_no_column(app: tw.App, clicks: Stream) -> None:
    table(clicks).write(view("pages", key="pge"))  # wrong


@mistake
def key_of_a_view_that_is_another(app: tw.App, clicks: Stream) -> None:
    table(clicks).write(view("pages", key="clicks"))  # wrong


@mistake
def key_of_a_view_of_rows(app: tw.App, clicks: Stream) -> None:
    clicks.write(view("clicks", key="user"))  # wrong


@mistake
def two_streams_to_one_place(app: tw.App, clicks: Stream) -> None:
    clicks.write(files("out/", format="ndjson"))
    clicks.select("user").write(files("out/", format="ndjson"))  # wrong


@mistake
def sink_that_writes_into_its_own_source(app: tw.App, clicks: Stream) -> None:
    stream = app.read(files("data/", format="ndjson"), schema=Click)
    stream.select("user").write(files("data/", format="ndjson"))  # wrong


@mistake
def sink_that_writes_into_its_own_pattern(app: tw.App, clicks: Stream) -> None:
    stream = app.read(files("data/*.ndjson"), schema=Click)
    stream.select("user").write(files("data/new.ndjson"))  # wrong


@mistake
def sink_that_writes_into_its_own_source_by_another_path(app: tw.App, clicks: Stream) -> None:
    stream = app.read(files("data/", format="ndjson"), schema=Click)
    stream.select("user").write(files("other/../data/", format="ndjson"))  # wrong


@mistake
def sink_that_writes_over_its_own_source(app: tw.App, clicks: Stream) -> None:
    stream = app.read(files("clicks.ndjson"), schema=Click)
    stream.errors.write(files("clicks.ndjson"))  # wrong


@mistake
def function_to_call_that_is_none(app: tw.App, clicks: Stream) -> None:
    clicks.write(call("print"))  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def nothing_written(app: tw.App, clicks: Stream) -> None:
    clicks.filter(col("n") > 1)
    app.batch()  # wrong


@mistake
def unknown_until(app: tw.App, clicks: Stream) -> None:
    clicks.write(stdout())
    app.run(until="done")  # wrong  # type: ignore[arg-type]  # the mistake itself


@mistake
def steps_of_no_rows(app: tw.App, clicks: Stream) -> None:
    clicks.write(stdout())
    app.batch(max_step_rows=0)  # wrong


@mistake
def checkpoint_that_is_no_duration(app: tw.App, clicks: Stream) -> None:
    clicks.write(stdout())
    app.run(checkpoint="often")  # wrong


@mistake
def unknown_view_of_a_report(app: tw.App, clicks: Stream) -> None:
    clicks.write(view("clicks"))
    app.batch().view("click")  # wrong


def made(function: Mistake) -> PlanError:
    """Return the error of a mistake."""
    app = tw.App("clicks")
    clicks = app.read(memory([[]]), schema=Click, time="ts", lateness="5s")
    with pytest.raises(PlanError) as caught:
        function(app, clicks)
    return caught.value


def golden() -> dict[str, str]:
    """Return the messages as they were written down."""
    parts = (part.split("\n", 1) for part in GOLDEN.read_text().strip().split("\n\n"))
    return {name: message.strip() for name, message in parts}


@pytest.mark.parametrize("function", MISTAKES, ids=lambda function: function.__name__)
def test_a_mistake_is_told_in_these_words(function: Mistake) -> None:
    assert made(function).message == golden()[function.__name__]


@pytest.mark.parametrize("function", MISTAKES, ids=lambda function: function.__name__)
def test_a_mistake_is_found_in_its_line(function: Mistake) -> None:
    lines, first = inspect.getsourcelines(function)
    (wrong,) = [first + index for index, line in enumerate(lines) if _MARK in line]
    error = made(function)
    assert error.place is not None
    assert (error.place.file, error.place.line) == (__file__, wrong)
    assert str(error) == f"{error.message} ({__file__}:{wrong})"


@pytest.mark.parametrize("function", MISTAKES, ids=lambda function: function.__name__)
def test_a_message_is_one_line_and_shows_no_object_of_python(function: Mistake) -> None:
    message = made(function).message
    assert "\n" not in message
    assert " at 0x" not in message
    assert len(message) <= 300
    assert not message.endswith(".")


def test_every_message_that_is_written_down_is_still_made() -> None:
    assert sorted(golden()) == sorted(function.__name__ for function in MISTAKES)


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(f"{function.__name__}\n  {made(function).message}\n" for function in MISTAKES))
