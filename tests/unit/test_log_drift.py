"""Rows that are not of their topic's columns: refused, rejected or let in by its policy; and topics that evolve."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from thalweg.connect import memory, topic, view
from thalweg.core.envelope import ERROR_SCHEMA
from thalweg.core.errors import LogError, PlanError, RowsRefused, SchemaChange
from thalweg.core.ports import WriteRequest
from thalweg.core.schema import Field, Rule, Schema
from thalweg.log import Log, RejectedRow, Topic

SCHEMA = pa.schema([pa.field("k", pa.string(), False), ("n", pa.int32())])
WIDER = pa.schema([("k", pa.string()), ("n", pa.int64()), ("x", pa.float64())])
POINT = pa.struct([("x", pa.int32()), ("y", pa.int32())])
UV = pa.struct([("u", pa.int64()), ("v", pa.string())])
LONG_X = pa.struct([("x", pa.int64()), ("y", pa.int32()), ("z", pa.string())])
WITH_Z = pa.struct([("x", pa.int32()), ("y", pa.int32()), ("z", pa.int64())])


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def rejected(log: Log, name: str = "t") -> list[dict[str, Any]]:
    return list(log.topic(f"{name}.rejected").read().to_pylist())


def assert_unchanged(topic: Topic, log: Log) -> None:
    assert topic.end() == 0
    assert topic.history == log.topic(topic.name).history and len(topic.history) == 1


@pytest.mark.parametrize("drift", ["refuse", "widen"])
@pytest.mark.parametrize(
    ("rows", "row", "column", "reason"),
    [
        ([{"k": "a"}, {"k": 3}], 1, "k", "text"),
        ([{"k": "a", "n": 1}, {"n": 1}], 1, "k", "null"),
        ([{"k": "a", "n": 1.5}], 0, "n", "an integer"),
        ([{"k": "a", "m": [1, "x"]}], ..., "m", "no such column|no type is known"),
        ([{"k": "a", "__offset": 1}], ..., ..., "no such column|a name that Thalweg keeps"),
        (pa.table({"k": ["a"], "n": ["1"]}), None, "n", "never turned into int32"),
        (pa.table({"k": ["a"], "n": [0.5]}), None, "n", "never turned into int32"),
        (pa.table([["a"], ["b"]], ["k", "k"]), None, None, "two columns have one name"),
    ],
)
def test_what_no_wider_schema_lets_in_is_refused_whole(
    log: Log, drift: Any, rows: object, row: Any, column: Any, reason: str
) -> None:
    topic = log.create("t", SCHEMA, drift=drift)
    with pytest.raises(RowsRefused, match=reason) as caught:
        topic.append(rows)
    assert row in (caught.value.row, ...)
    assert column in (caught.value.column, ...)
    assert_unchanged(topic, log)


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ([{"k": "a", "x": 1}], "x"),
        ([{"k": "a", "x": None}], "x"),
        ([{"k": "a", "p": {"x": 1, "z": 2}}], "p.z"),
        ([{"k": "a", "ps": [{"x": 1}, {"x": 1, "z": 2}]}], "ps[].z"),
        (pa.table({"k": ["a"], "x": [1]}), "x"),
        (pl.DataFrame({"k": ["a"], "x": [1]}), "x"),
    ],
)
def test_what_the_topic_has_no_column_for_is_never_left_out_silently(log: Log, rows: object, column: str) -> None:
    topic = log.create("t", pa.schema([*SCHEMA, ("p", POINT), ("ps", pa.list_(POINT))]))
    with pytest.raises(RowsRefused, match="the topic has no such column") as caught:
        topic.append(rows)
    assert caught.value.column == column
    assert_unchanged(topic, log)


def test_with_reject_rows_that_fit_are_appended_and_the_others_kept(log: Log) -> None:
    topic = log.create("t", SCHEMA, drift="reject")
    rows: list[Any] = [
        {"k": "a", "n": 1},
        {"k": "b", "n": "two"},
        {"k": "c", "n": 2**40},
        {"k": None, "n": 4},
        {"k": "e", "n": 5, "when": dt.date(2024, 1, 2)},
        7,
        {"k": "g", "n": 6},
    ]
    assert [(run.offset, run.count) for run in topic.append(rows)] == [(0, 2)]
    assert topic.read().to_pylist() == [rows[0], rows[6]]
    kept = rejected(log)
    assert [(row["step"], row["place"], row["column"]) for row in kept] == [
        ("append to t", f"row {row} of 7", column)
        for row, column in [(1, "n"), (2, "n"), (3, "k"), (4, "when"), (5, None)]
    ]
    assert all(row["reason"] and row["time"] is not None and row["encoding"] == "received" for row in kept)
    assert [json.loads(row["row"]) for row in kept[:3]] == rows[1:4]
    assert json.loads(kept[3]["row"]) == {"k": "e", "n": 5, "when": "2024-01-02"}
    assert log.topic("t.rejected").schema.arrow == ERROR_SCHEMA
    assert topic.append([rows[1]]) == []
    assert len(rejected(log)) == 6


def test_arrow_rows_are_rejected_one_by_one_and_kept_as_arrow(log: Log) -> None:
    topic = log.create("t", SCHEMA, partitions=3, key="k", id="n", drift="reject")
    topic.append([{"k": "d", "n": 4}])
    table = pa.table({"k": ["a", None, "c", "d", "e"], "n": pa.array([1, 2, 2**31, 4, -(2**31) - 1], pa.int64())})
    result = topic.append_unique(table)
    assert result.rejected == (
        RejectedRow(1, "k", "null, but the column must have a value"),
        RejectedRow(2, "n", "2147483648 of type int64 is not a value of type int32"),
        RejectedRow(4, "n", "-2147483649 of type int64 is not a value of type int32"),
    )
    assert result.duplicates.to_pylist() == [3]
    assert [offset is None for offset in result.offsets.to_pylist()] == [False, True, True, True, True]
    assert [part is None for part in result.partitions.to_pylist()] == [False, True, True, False, True]
    kept = rejected(log)
    assert [row["encoding"] for row in kept] == ["arrow"] * 3
    whole = pa.concat_tables([pa.ipc.open_stream(row["row"]).read_all() for row in kept])
    assert whole == table.take([1, 2, 4])


@pytest.mark.parametrize(
    ("rows", "column"),
    [(pa.table({"k": ["a", "b"], "x": [1, 2]}), "x"), (pa.table({"k": ["a", "b"], "n": ["1", None]}), "n")],
)
def test_arrow_rows_of_other_columns_are_all_rejected(log: Log, rows: pa.Table, column: str) -> None:
    topic = log.create("t", SCHEMA, drift="reject")
    result = topic.append_unique(rows)
    assert [(bad.row, bad.column) for bad in result.rejected] == [(0, column), (1, column)]
    assert result.offsets.to_pylist() == result.partitions.to_pylist() == [None, None]
    assert topic.end() == 0 and len(rejected(log)) == 2


def test_what_is_not_sound_as_a_whole_is_refused_also_with_reject(log: Log) -> None:
    topic = log.create("t", SCHEMA, drift="reject")
    for rows in (pa.table([["a"], ["b"]], ["k", "k"]), "text", 3):
        with pytest.raises(RowsRefused):
            topic.append(rows)
    assert rejected(log) == []


def test_an_epoch_is_refused_whole_whatever_the_policy(log: Log) -> None:
    for drift in ("reject", "widen"):
        topic = log.create(drift, SCHEMA, drift=drift)
        with pytest.raises(RowsRefused):
            topic.append_epoch("sink", 1, pa.table({"k": ["a", "b"], "x": [1, 2]}))
        assert topic.last_epoch("sink") == 0 and len(topic.history) == 1


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ([{"k": "a", "x": 0.5}], pa.field("x", pa.float64())),
        ([{"k": "a", "x": None}, {"k": "b", "x": uuid.UUID(int=1)}], pa.field("x", pa.string())),
        ([{"k": "a", "x": dt.datetime(2024, 1, 1)}], pa.field("x", pa.timestamp("us", "UTC"))),
        ([{"k": "a", "x": [{"u": 1}, {"v": "w"}]}], pa.field("x", pa.list_(UV))),
        ([{"k": "a", "n": 2**31}], pa.field("n", pa.int64())),
        (pa.table({"k": ["a"], "n": pa.array([2**31], pa.uint32())}), pa.field("n", pa.int64())),
        (pa.table({"k": ["a"], "x": pa.array([1], pa.int8())}), pa.field("x", pa.int8())),
        (pl.DataFrame({"k": ["a"], "x": pl.Series([None], dtype=pl.Int16)}), pa.field("x", pa.int16())),
        ([{"k": "a", "p": {"x": 2**40, "z": "deep"}}], pa.field("p", LONG_X)),
        ([{"k": "a", "p": {"x": None, "z": 1}}], pa.field("p", WITH_Z)),
    ],
)
def test_with_widen_added_columns_and_wider_types_change_the_topic(log: Log, rows: object, field: pa.Field) -> None:
    topic = log.create("t", pa.schema([*SCHEMA, ("p", POINT)]), drift="widen")
    other = log.topic("t")
    stored = {"k": "old", "n": 7, "p": {"x": 1, "y": 2}}
    topic.append([stored])
    (run,) = topic.append(rows)
    assert run.offset == 1
    for handle in (topic, other, log.topic("t")):
        assert handle.read(offset=1).num_rows == run.count
        assert handle.refresh().arrow.field(field.name) == field
        old = handle.read(limit=1).to_pylist()[0]
        assert {name: old[name] for name in ("k", "n")} == {"k": "old", "n": 7}
        assert {"x": 1, "y": 2}.items() <= old["p"].items()
    assert topic.schema["k"].nullable is False
    assert len(topic.history) == 2


def test_with_widen_a_column_without_any_value_is_none(log: Log) -> None:
    topic = log.create("t", SCHEMA, drift="widen")
    topic.append([{"k": "a", "x": None}])
    topic.append(pa.table({"k": ["b"], "x": pa.nulls(1)}))
    assert len(topic.history) == 1 and topic.end() == 2
    for rows in ([{"k": "a", "x": []}], pa.table({"k": ["a"], "x": pa.array([[]], pa.list_(pa.null()))})):
        with pytest.raises(RowsRefused, match="no type is known") as caught:
            topic.append(rows)
        assert caught.value.column == "x"
    assert len(topic.history) == 1


def test_two_handles_widen_one_topic_at_once_and_neither_change_is_lost(log: Log) -> None:
    topic = log.create("t", SCHEMA, drift="widen", partitions=2)
    other = log.topic("t")
    topic.append([{"k": "a", "x": 1}])
    other.append([{"k": "b", "y": 2}])
    topic.append([{"k": "c", "y": 3, "x": 4, "n": 2**33}])
    assert topic.schema.names == ("k", "n", "x", "y")
    assert log.topic("t").schema == topic.schema and other.refresh() == topic.schema


def test_a_handle_learns_that_the_topic_has_evolved_before_it_refuses(log: Log) -> None:
    for drift in ("refuse", "reject"):
        topic = log.create(drift, SCHEMA, drift=drift)
        log.topic(drift).evolve(WIDER)
        topic.append([{"k": "a", "n": 2**40, "x": 1.5}])
        assert topic.read().to_pylist() == [{"k": "a", "n": 2**40, "x": 1.5}]
        stale = log.topic(drift)
        log.topic(drift).evolve(pa.schema([*WIDER, ("y", pa.int8())]))
        stale.append_epoch("sink", 1, pa.table({"k": ["b"], "y": pa.array([1], pa.int8())}))
        assert stale.end() == 2


def test_a_stream_of_arrow_data_that_can_be_read_once_is_not_lost(log: Log) -> None:
    topic = log.create("t", SCHEMA, drift="widen")
    batch = pa.record_batch({"k": ["a"], "x": [1]})
    topic.append(pa.RecordBatchReader.from_batches(batch.schema, [batch]))
    assert topic.read().to_pylist() == [{"k": "a", "n": None, "x": 1}]


def test_a_topic_that_has_evolved_is_still_what_it_was_created_as(log: Log) -> None:
    log.create("t", SCHEMA, drift="widen").append([{"k": "a", "x": 1}])
    assert log.create("t", SCHEMA, drift="widen").end() == 1
    with pytest.raises(LogError, match="drift is 'widen', not 'refuse'"):
        log.create("t", SCHEMA)
    with pytest.raises(LogError, match="its columns are"):
        log.create("t", WIDER, drift="widen")
    with pytest.raises(LogError, match="drift='ignore'; allowed: refuse, reject, widen"):
        log.create("u", SCHEMA, drift="ignore")  # type: ignore[arg-type]  # that is what is tried


def test_what_evolve_would_change_can_be_asked(log: Log) -> None:
    topic = log.create("t", Schema((Field("k", pa.string(), False, (Rule("min_length", 1),)), Field("n", pa.int32()))))
    follows = Schema((Field("n", pa.int64(), True, (Rule("ge", 0),)), Field("k", pa.string()), Field("x", pa.bool_())))
    assert topic.changes(follows) == (
        "n: int32 becomes int64",
        "n: the rules become ≥ 0",
        "k: may be null",
        "k: the rules become none",
        "x: bool is added",
        "the columns' order becomes n, k, x",
    )
    assert len(log.topic("t").history) == 1
    topic.evolve(follows)
    assert topic.changes(follows) == ()
    with pytest.raises(SchemaChange, match='its column "x" from bool to no column'):
        topic.changes(pa.schema([("n", pa.int64()), ("k", pa.string())]))


def test_readers_that_are_open_go_on_across_a_change(log: Log) -> None:
    topic, other = log.create("t", SCHEMA), log.topic("t")
    open_readers = [handle.reader(columns=columns) for handle in (topic, other) for columns in (None, ["n"])]
    topic.append([{"k": "a", "n": 1}])
    topic.append([{"k": "b", "n": 2}])
    for reader in open_readers[1::2]:
        assert reader.read(1).to_pylist() == [{"n": 1}]
    log.topic("t").evolve(WIDER)
    log.topic("t").append([{"k": "c", "n": 2**40, "x": 0.5}])
    whole = [{"k": "a", "n": 1, "x": None}, {"k": "b", "n": 2, "x": None}, {"k": "c", "n": 2**40, "x": 0.5}]
    for reader in open_readers[::2]:
        assert reader.read().to_pylist() == whole
    for reader in open_readers[1::2]:
        assert reader.read().to_pylist() == [{"n": 2}, {"n": 2**40}]
    for handle in (topic, other):
        assert handle.read().to_pylist() == whole


def test_a_run_that_is_on_outlives_a_change_and_rejects_what_no_longer_fits(log: Log, tmp_path: Path) -> None:
    source = log.create("in", SCHEMA)
    source.append([{"k": "a", "n": 1}, {"k": "b", "n": 2}])
    app = tw.App("drift")
    rows = app.read(
        topic("in", log=str(log.path)), schema=Schema(tuple(Field(f.name, f.type, f.nullable) for f in SCHEMA))
    )
    rows.write(view("all"))
    # It evolves between the building of the program and the run, and between two runs.
    source.evolve(WIDER)
    source.append([{"k": "c", "n": 3, "x": 0.5}, {"k": "d", "n": 2**31, "x": 1.0}, {"k": None, "n": 4, "x": 1.0}])
    report = app.run(data=None, until="end", quiet=True)
    assert sorted(report.view("all").to_pylist(), key=lambda row: row["k"]) == [
        {"k": "a", "n": 1},
        {"k": "b", "n": 2},
        {"k": "c", "n": 3},
    ]
    assert [(row["place"], row["column"], row["reason"]) for row in report.errors.to_pylist()] == [
        ("in:0:3", "n", "2147483648 of type int64 is not a value of type int32"),
        ("in:0:4", "k", "null, but the column must have a value"),
    ]
    with pytest.raises(PlanError, match='has the column "n" as int64, the program declares int32; declare int64'):
        tw.App("later").read(topic("in", log=str(log.path)), schema=SCHEMA)


def test_a_source_that_is_open_gives_the_rows_of_a_wider_topic(log: Log) -> None:
    source = log.create("in", SCHEMA)
    source.append([{"k": "a", "n": 1}])
    opened = topic("in", log=str(log.path)).open(Schema(tuple(Field(f.name, f.type) for f in SCHEMA)))
    reader = opened.reader("0", None)
    first = reader.read(10, 0)
    source.evolve(WIDER)
    source.append([{"k": "b", "n": 2**40, "x": 1.0}])
    second = reader.read(10, 0)
    assert [batch.data.to_pylist() for batch in (first, second)] == [[{"k": "a", "n": 1}], [{"k": "b", "n": 2**40}]]
    reader.close()
    opened.close()


def test_a_stream_that_fitted_a_topic_before_it_evolved_is_still_written_to_it(log: Log) -> None:
    loose = pa.schema([("k", pa.string()), ("n", pa.int32())])
    sink = topic("out", log=str(log.path))
    target = log.create("out", loose)
    target.evolve(WIDER)
    app = tw.App("writes")
    app.read(memory([[{"k": "a", "n": 1}]]), schema=loose).write(sink)
    app.batch(quiet=True)
    assert target.read().to_pylist() == [{"k": "a", "n": 1, "x": None}]
    with pytest.raises(PlanError, match='it has no column "n"'):
        sink.check_write(Schema((Field("k", pa.string()),)))
    writer = sink.open(WriteRequest(loose, False, None, 0, False, "writes", "r", 1))
    writer.apply(1, 0, iter([pa.table({"k": ["b"], "n": pa.array([2], pa.int32())})]))
    writer.close()
    assert target.end() == 2
