"""The builder: what each method gives, and that a stream never changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import Stream, col, count
from thalweg.connect import memory, view
from thalweg.core.schema import TIMESTAMP
from thalweg.plan.nodes import key_of

SCHEMA = pa.schema(
    [
        pa.field("user", pa.string(), nullable=False),
        pa.field("price", pa.float64()),
        pa.field("tags", pa.list_(pa.field("item", pa.string()))),
        pa.field("place", pa.struct([("city", pa.string()), ("zip", pa.int32())])),
        pa.field("ts", TIMESTAMP),
    ]
)
DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass
class Word:
    text: str
    size: int


@pytest.fixture
def app() -> tw.App:
    return tw.App("built")


@pytest.fixture
def clicks(app: tw.App) -> Stream:
    return app.read(memory([[]]), schema=SCHEMA, time="ts", lateness="5s")


def columns(stream: Stream) -> list[tuple[str, str, bool]]:
    return [(field.name, str(field.type), field.nullable) for field in stream.schema]


BASE = ["user", "price", "tags", "place", "ts"]
CASES: list[tuple[str, Callable[[Stream], Stream], list[str], bool, bool]] = [
    # what, how, columns, changing, timed
    ("filter", lambda s: s.filter(col("price") > 1, col("user") == "ann"), BASE, False, True),
    ("select", lambda s: s.select("user", twice=col("price") * 2), ["user", "twice"], False, True),
    ("with_columns", lambda s: s.with_columns(price=col("price") * 2, n=1), [*BASE, "n"], False, True),
    ("drop", lambda s: s.drop("tags", "ts"), ["user", "price", "place"], False, True),
    ("rename", lambda s: s.rename({"user": "who"}), ["who", "price", "tags", "place", "ts"], False, True),
    ("explode", lambda s: s.explode("tags"), BASE, False, True),
    ("unnest", lambda s: s.unnest("place"), ["user", "price", "tags", "city", "zip", "ts"], False, True),
    ("union", lambda s: s.union(s), BASE, False, True),
    ("agg", lambda s: s.agg(n=count()), ["n"], True, False),
    ("group_by", lambda s: s.group_by("user").agg(n=count()), ["user", "n"], True, False),
    (
        "window",
        lambda s: s.group_by("user").window("1m").agg(n=count()),
        ["user", "window_start", "window_end", "n"],
        False,
        True,
    ),
    (
        "window on_change",
        lambda s: s.group_by("user").window("1m", emit="on_change").agg(n=count()),
        ["user", "window_start", "window_end", "n"],
        True,
        False,
    ),
    ("map", lambda s: s.map(lambda row: row, schema=Word), ["text", "size"], False, True),
    ("flat_map", lambda s: s.flat_map(lambda row: [row], schema=Word), ["text", "size"], False, True),
    ("map_batches", lambda s: s.map_batches(lambda table: table), BASE, False, True),
    ("reduce_by_key", lambda s: s.reduce_by_key("user", lambda a, b: a), BASE, True, False),
    (
        "errors",
        lambda s: s.errors,
        ["step", "place", "column", "reason", "traceback", "time", "row", "encoding"],
        False,
        False,
    ),
    (
        "late",
        lambda s: s.group_by("user").window("1m").agg(n=count()).late,
        [*BASE, "window_start", "window_end"],
        False,
        False,
    ),
]


@pytest.mark.parametrize(("what", "build", "names", "changing", "timed"), CASES, ids=[case[0] for case in CASES])
def test_each_step_knows_what_comes_out(
    clicks: Stream, what: str, build: Callable[[Stream], Stream], names: list[str], changing: bool, timed: bool
) -> None:
    before = columns(clicks)
    made = build(clicks)
    assert list(made.schema.names) == names
    assert (made.changing, made._node.timed) == (changing, timed)
    assert made is not clicks
    assert columns(clicks) == before


def test_a_stream_cannot_be_changed(clicks: Stream) -> None:
    with pytest.raises((FrozenInstanceError, AttributeError)):
        clicks._node = None  # type: ignore[misc]  # that it cannot be is the point
    with pytest.raises((AttributeError, TypeError)):
        clicks.note = "hello"  # type: ignore[attr-defined]  # as above


def test_each_step_remembers_its_line(clicks: Stream) -> None:
    made = clicks.filter(col("price") > 1)
    place = made._node.place
    assert place is not None
    assert place.file == __file__
    assert "clicks.filter" in Path(__file__).read_text().splitlines()[place.line - 1]


def test_types_and_nulls_follow_from_the_input(clicks: Stream) -> None:
    made = clicks.select("user", price=col("price").fill_null(0), city=col("place").struct.field("city"))
    assert columns(made) == [("user", "string", False), ("price", "double", False), ("city", "string", True)]
    exploded = clicks.explode("tags").schema["tags"]
    assert (exploded.type, exploded.nullable) == (pa.string(), True)


def test_the_time_goes_on_when_its_column_is_dropped(app: tw.App) -> None:
    source = memory([{"user": "ann", "ts": DAY}, {"user": "ann", "ts": DAY + dt.timedelta(minutes=1)}])
    stream = app.read(source, time="ts").drop("ts").with_columns(ts=1)
    stream.group_by("user").window("1m").agg(n=count()).write(view("v"))
    assert [row["window_start"] for row in app.batch().view("v").to_pylist()] == [DAY, DAY + dt.timedelta(minutes=1)]


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda s: s, None),
        (lambda s: s.group_by("user").agg(n=count()), ("user",)),
        (lambda s: s.group_by(who="user").agg(n=count()), ("who",)),
        (lambda s: s.group_by("user").window("1m").agg(n=count()), ("user", "window_start", "window_end")),
        (lambda s: s.agg(n=count()), ()),
        (lambda s: s.group_by("user").agg(n=count()).filter(col("n") > 1), ("user",)),
        (lambda s: s.group_by("user").agg(n=count()).select(who="user", n="n"), ("who",)),
        (lambda s: s.group_by("user").agg(n=count()).select("n"), None),
        (lambda s: s.group_by("user").agg(n=count()).with_columns(user=col("user").str.to_lowercase()), None),
        (lambda s: s.reduce_by_key("user", lambda a, b: a), ("user",)),
        (lambda s: s.group_by("user").agg(n=count()).union(s.group_by("user").agg(n=count())), None),
    ],
)
def test_the_plan_knows_what_names_a_row(
    clicks: Stream, build: Callable[[Stream], Stream], key: tuple[str, ...] | None
) -> None:
    assert key_of(build(clicks)._node) == key


def test_a_key_that_the_plan_knows_may_be_said(app: tw.App, clicks: Stream) -> None:
    counts = clicks.group_by("user").window("1m").agg(n=count())
    counts.write(view("v", key=["window_start", "user", "window_end"]))
    (write,) = app.plan.writes
    assert write.output.key == ("window_start", "user", "window_end")  # type: ignore[union-attr]  # a view


def test_functions_say_their_rows_in_an_annotation(app: tw.App) -> None:
    def as_word(row: dict[str, Any]) -> Word:
        return Word(row["user"], len(row["user"]))

    def letters(row: dict[str, Any]) -> Iterator[Word]:
        for letter in row["text"]:
            yield Word(letter, 1)

    words = app.read(memory([{"user": "ann"}])).map(as_word)
    assert words.schema.names == ("text", "size")
    words.flat_map(letters).write(view("v"))
    assert app.batch().view("v").to_pylist() == [
        {"text": "a", "size": 1},
        {"text": "n", "size": 1},
        {"text": "n", "size": 1},
    ]


def test_a_key_of_reduce_may_be_a_function(app: tw.App) -> None:
    def initial(row: dict[str, Any]) -> str:
        return str(row["user"])[0]

    stream = app.read(memory([{"user": u, "n": n} for n, u in enumerate(["ann", "bob", "amy"])]))
    stream.reduce_by_key(initial, lambda a, b: a | {"n": a["n"] + b["n"]}).write(view("v"))
    found = {row["key"]: row["n"] for row in app.batch().view("v").to_pylist()}
    assert found == {"a": 2, "b": 1}


def test_keys_may_be_expressions(app: tw.App) -> None:
    stream = app.read(memory([{"user": u} for u in ("ann", "bob", "amy")]))
    stream.group_by(size=col("user").str.len_chars()).agg(n=count()).write(view("v"))
    assert app.batch().view("v").to_pylist() == [{"size": 3, "n": 3}]


def test_lists_of_expressions_are_taken_apart(clicks: Stream) -> None:
    assert clicks.select(["user", "price"], "ts").schema.names == ("user", "price", "ts")
    assert clicks.group_by(["user", "price"]).agg([count()]).schema.names == ("user", "price", "count")


def test_writing_gives_the_stream_back(app: tw.App, clicks: Stream) -> None:
    assert clicks.write(view("a")).write(view("b")) is clicks
    assert len(app.plan.writes) == 2


def test_a_stream_read_twice_is_computed_once(app: tw.App) -> None:
    calls: list[int] = []

    def seen(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(row["n"])
        return row

    stream = app.read(memory([{"n": n} for n in range(5)])).map(seen, schema=pa.schema([("n", pa.int64())]))
    stream.filter(col("n") > 2).write(view("a"))
    stream.filter(col("n") <= 2).write(view("b"))
    report = app.batch()
    assert sorted(calls) == [0, 1, 2, 3, 4]
    assert report.view("a").num_rows + report.view("b").num_rows == 5


def test_a_stream_united_with_itself_has_its_rows_twice(app: tw.App) -> None:
    stream = app.read(memory([{"n": 1}, {"n": 2}]))
    stream.union(stream).write(view("v"))
    assert [row["n"] for row in app.batch().view("v").to_pylist()] == [1, 1, 2, 2]


def test_late_columns_do_not_hide_the_rows_own(clicks: Stream) -> None:
    per_minute = clicks.group_by("user").window("1m").agg(n=count())
    per_hour = per_minute.group_by("user").window("1h").agg(n=col("n").sum())
    assert per_hour.late.schema.names == (
        "user", "window_start", "window_end", "n", "missed_window_start", "missed_window_end"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda s: s.agg(n=count()), [{"n": 3}]),
        (lambda s: s.agg(n=count(), total=col("n").sum()), [{"n": 3, "total": 6}]),
        (lambda s: s.select(one=tw.lit(1)), [{"one": 1}] * 3),
        (lambda s: s.select(one=tw.lit(1)).agg(n=count()), [{"n": 3}]),
        (lambda s: s.group_by(k=tw.lit("all")).agg(n=count()), [{"k": "all", "n": 3}]),
        (lambda s: s.group_by(k=tw.lit("all")).agg(t=col("n").sum()), [{"k": "all", "t": 6}]),
        (lambda s: s.agg(t=tw.lit(2).sum()), [{"t": 6}]),
        (lambda s: s.filter(tw.lit(True)).agg(n=count()), [{"n": 3}]),
        (lambda s: s.filter(tw.lit(False)), []),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
@pytest.mark.parametrize("rows", [None, 1])
def test_a_constant_is_there_for_every_row(
    app: tw.App, build: Callable[[Stream], Stream], expected: list[dict[str, Any]], rows: int | None
) -> None:
    build(app.read(memory([{"n": 1}, {"n": 2}, {"n": 3}]))).write(view("v"))
    assert app.batch(max_step_rows=rows).view("v").to_pylist() == expected


def test_a_constant_column_of_no_rows_has_none(app: tw.App) -> None:
    app.read(memory([[]]), schema=pa.schema([("n", pa.int64())])).select(one=tw.lit(1)).write(view("v"))
    assert app.batch().view("v").num_rows == 0
