"""Mistakes in time, windows, sources, functions and what is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Annotated, Any

import pyarrow as pa
from annotated_types import MinLen

import thalweg as tw
from tests.golden.mistakes import Click, mistake, table
from thalweg import Stream, col, count
from thalweg.connect import call, files, memory, stdout, view

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
def lateness_without_time(app: tw.App, clicks: Stream) -> None:
    app.read(memory([{"ts": dt.datetime(2026, 1, 1)}]), lateness="5s")  # wrong


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
def reduce_by_a_key_function_without_annotation(app: tw.App, clicks: Stream) -> None:
    clicks.reduce_by_key(lambda row: row["user"], lambda a, b: a)  # wrong


@mistake
def reduce_by_an_unknown_key(app: tw.App, clicks: Stream) -> None:
    clicks.reduce_by_key("usr", lambda a, b: a)  # wrong


@mistake
def reduce_without_a_function(app: tw.App, clicks: Stream) -> None:
    clicks.reduce_by_key("user", "sum")  # wrong  # type: ignore[arg-type]  # the mistake itself


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
