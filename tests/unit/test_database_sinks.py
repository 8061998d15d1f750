"""Tables of SQLite and DuckDB as sinks: values, keys, columns, and what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import importlib.util
import json
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb as duckdb_client
import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import PlanError, SinkError, SinkUnavailable, col, count
from thalweg.connect import _sqlite, duckdb, memory, sqlite
from thalweg.core.ports import EpochWriter, Rereadable, Sink, WriteRequest
from thalweg.core.schema import TIMESTAMP
from thalweg.state.table_output import TableWriter

Made = Callable[..., Any]
SINKS: dict[str, Made] = {"sqlite": sqlite, "duckdb": duckdb}
INT64 = (-(2**63), 2**63 - 1)


def ask(name: str, path: Path, query: str) -> list[tuple[Any, ...]]:
    if name == "sqlite":
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(query).fetchall()
    with duckdb_client.connect(str(path)) as connection:
        found: list[tuple[Any, ...]] = connection.execute(query).fetchall()
        return found


def opened(sink: Sink, schema: pa.Schema, *, changing: bool = False, **request: Any) -> EpochWriter:
    writer = sink.open(WriteRequest(schema, changing, None, 0, False, "app", "r", 1, **request))
    assert isinstance(writer, EpochWriter)
    return writer


def write(sink: Sink, *tables: pa.Table, changing: bool = False) -> None:
    writer = opened(sink, tables[0].schema, changing=changing)
    for epoch, table in enumerate(tables, 1):
        writer.apply(epoch, epoch - 1, iter([table]))
    writer.close()


# ---------------------------------------------------------------------- values


def times(*micros: int | None) -> pa.Array:
    return pa.array(micros, pa.int64()).cast(TIMESTAMP)


VALUES: dict[str, pa.Array] = {
    "text": pa.array(["", "é\U0001f600\x00'\"", "null", None]),
    "whole": pa.array([*INT64, 0, None], pa.int64()),
    "small": pa.array([-128, 127, 0, None], pa.int8()),
    "float": pa.array([math.nan, math.inf, -math.inf, None]),
    "tiny": pa.array([5e-324, 1.7976931348623157e308, 0.1, None]),
    "single": pa.array([math.nan, -math.inf, 0.5, None], pa.float32()),
    "yes": pa.array([True, False, True, None]),
    "bytes": pa.array([b"", b"\x00\xff", b"x", None]),
    "at": times(-62_135_596_800_000_000, 253_402_300_799_999_999, 1, None),
    "day": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(1970, 1, 1), None]),
    "clock": pa.array([dt.time(0), dt.time(23, 59, 59, 999_999), dt.time(12), None], pa.time64("us")),
    "lasting": pa.array([*INT64, 1, None], pa.int64()).cast(pa.duration("us")),
    "money": pa.array(
        [decimal.Decimal("9" * 29 + ".123456789"), decimal.Decimal("-0.5"), 0, None], pa.decimal128(38, 9)
    ),
    "many": pa.array([[1.5, None, math.nan], [], [-math.inf], None], pa.list_(pa.float64())),
    "nested": pa.array([{"a": 1, "b": ["x"]}, {"a": None, "b": []}, {"a": -1, "b": None}, None]),
}

BACK: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "single": float,
    "yes": bool,
    "at": lambda text: dt.datetime.fromisoformat(text),
    "day": dt.date.fromisoformat,
    "clock": dt.time.fromisoformat,
    "money": decimal.Decimal,
    "many": lambda text: [None if value is None else float(value) for value in json.loads(text)],
    "nested": json.loads,
}
"""The way back from what SQLite has."""


def same(left: Any, right: Any) -> bool:
    """Compare such that NaN is NaN."""
    return repr(left) == repr(right) if "nan" in repr(left) else bool(left == right)


@pytest.mark.parametrize("key", [None, "number"])
@pytest.mark.parametrize("name", SINKS)
def test_every_value_comes_back(name: str, key: str | None, tmp_path: Path) -> None:
    rows = pa.table({"number": pa.array(range(4), pa.int64()), **VALUES})
    path = tmp_path / "new" / "values.db"
    sink = SINKS[name](path, table="values_of_all", key=key)
    write(sink, rows)
    again = opened(sink, rows.schema)  # its own table has the stream's columns
    assert isinstance(again, Rereadable)
    there = pa.concat_tables(again.rows())
    again.close()
    assert there.schema == rows.schema
    assert same(there.to_pylist(), rows.to_pylist())
    expected = rows.set_column(rows.column_names.index("lasting"), "lasting", rows["lasting"].cast(pa.int64()))
    if name == "duckdb":
        with duckdb_client.connect(str(path)) as connection:
            found = connection.sql("FROM values_of_all ORDER BY number").to_arrow_table()
        for column in expected.column_names:
            there = found[column].cast(expected.schema.field(column).type).to_pylist()
            assert same(there, expected[column].to_pylist()), column
        return
    for column in expected.column_names:
        there = [value for (value,) in ask(name, path, f'SELECT "{column}" FROM values_of_all ORDER BY number')]
        values = [None if value is None else BACK.get(column, lambda same: same)(value) for value in there]
        assert same(values, expected[column].to_pylist()), column


def test_what_sqlite_cannot_hold_is_a_mistake_of_the_program(tmp_path: Path) -> None:
    app = tw.App("app")
    stream = app.read(memory([[]]), schema=pa.schema([("n", pa.uint64())]))
    with pytest.raises(
        PlanError, match=r'column "n" is uint64, and integers of SQLite end at .*; cast it to int64'
    ) as at:
        stream.write(sqlite(tmp_path / "x.db", table="t"))
    assert at.value.place is not None and at.value.place.file == __file__
    stream.write(duckdb(tmp_path / "x.duckdb", table="t"))
    app.batch()
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize("name", SINKS)
def test_nan_is_above_all_numbers_and_odd_names_are_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    write(SINKS[name](path, table="Order"), pa.table({'a "b"': [math.nan, math.inf, 1.0], "select": [1, 2, 3]}))
    assert ask(name, path, 'SELECT "select" FROM "Order" ORDER BY "a ""b"""') == [(3,), (2,), (1,)]


# ---------------------------------------------------------------------- keys


@pytest.mark.parametrize("name", SINKS)
def test_a_changing_stream_is_the_table_that_it_adds_up_to(name: str, tmp_path: Path) -> None:
    rows = [{"k": "abc"[n % 3] if n % 4 else None, "v": n} for n in range(40)]
    app = tw.App("app")
    totals = app.read(memory(rows)).group_by("k").agg(n=count(), total=col("v").sum())
    path = tmp_path / "x.db"
    totals.write(SINKS[name](path, table="totals", key="k"))
    totals.group_by("n").agg(keys=count()).write(SINKS[name](path, table="sizes", key=["n"]))
    app.run(data=tmp_path / "data", until="end", quiet=True, max_step_rows=1, checkpoint="1us")
    expected: dict[str | None, tuple[int, int]] = {}
    for row in rows:
        n, total = expected.get(row["k"], (0, 0))  # type: ignore[arg-type]  # a text or None
        expected[row["k"]] = (n + 1, total + row["v"])  # type: ignore[index, operator]  # as above
    assert {k: (n, total) for k, n, total in ask(name, path, "SELECT k, n, total FROM totals")} == expected
    sizes = [n for n, _ in expected.values()]
    assert dict(ask(name, path, "SELECT n, keys FROM sizes")) == {n: sizes.count(n) for n in sizes}
    (epoch,) = ask(name, path, "SELECT max(epoch) FROM _thalweg_sinks")[0]
    assert epoch > 1, "the changes came in several epochs"


def changed(*rows: tuple[str | None, int, int]) -> pa.Table:
    schema = pa.schema([("k", pa.string()), ("n", pa.int64()), pa.field("_weight", pa.int64(), nullable=False)])
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], schema=schema)


@pytest.mark.parametrize("name", SINKS)
def test_within_an_epoch_only_what_is_left_counts_whatever_the_order(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    first = changed(("a", 1, 1), (None, 1, 1), ("gone", 1, 1))
    second = changed(("a", 2, 1), ("a", 1, -1), ("a", 2, -1), ("a", 1, 1), (None, 2, 1), (None, 1, -1), ("gone", 1, -1))
    write(SINKS[name](path, table="t", key="k"), first, second, changing=True)
    assert sorted(ask(name, path, "SELECT k, n FROM t"), key=repr) == [("a", 1), (None, 2)]


@pytest.mark.parametrize("name", SINKS)
def test_a_key_that_names_two_rows_is_an_error_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    for number, steps in enumerate(([changed(("a", 1, 1), ("a", 2, 1))], [changed(("a", 1, 1)), changed(("a", 2, 1))])):
        path = tmp_path / f"{number}.db"
        sink = SINKS[name](path, table="t", key="k")
        with pytest.raises(SinkError, match=r"the table t in .*: two rows have the key k='a', so it does not name a"):
            write(sink, *steps, changing=True)
        assert ask(name, path, "SELECT k, n FROM t") == [("a", 1)] * (len(steps) - 1)


@pytest.mark.parametrize("name", SINKS)
def test_of_a_stream_that_only_grows_the_last_row_of_a_key_stays(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    steps = [{"k": ["a", "a", "b"], "v": [1, 2, 3]}, {"k": ["b", None, None], "v": [4, 5, 6]}]
    write(SINKS[name](path, table="t", key="k"), *(pa.table(step) for step in steps))
    assert sorted(ask(name, path, "SELECT k, v FROM t"), key=repr) == [("a", 2), ("b", 4), (None, 6)]


@pytest.mark.parametrize("name", SINKS)
def test_keys_that_cannot_be_are_mistakes_of_the_program(name: str, tmp_path: Path) -> None:
    sink, path = SINKS[name], tmp_path / "x.db"
    app = tw.App("app")
    rows = app.read(memory([{"user": "ann", "v": 1}]))
    with pytest.raises(
        PlanError, match=r"only adds rows, but .* a changing table; give it key= \(the columns .*\), wr"
    ):
        rows.group_by("user").agg(n=count()).write(sink(path, table="t"))
    with pytest.raises(PlanError, match='the stream has no column "usr"; did you mean "user"'):
        rows.write(sink(path, table="t", key="usr"))
    with pytest.raises(PlanError, match='the stream has no column "v"'):
        rows.group_by("user").agg(n=count()).write(sink(path, table="t", key="v"))
    with pytest.raises(PlanError, match='the columns "user" and "USER" are one name in SQL'):
        rows.with_columns(USER=col("user")).write(sink(path, table="t"))
    with pytest.raises(PlanError, match='the column "RowId" has the name by which databases find rows'):
        rows.rename({"user": "RowId"}).write(sink(path, table="t"))
    for key in ((), ["a", "a"], 3):
        with pytest.raises(PlanError, match=r"key=.*\): allowed are a column's name, or several different ones"):
            sink(path, table="t", key=key)
    for table in ("", "a b", "1st", "_thalweg_sinks", "sqlite_x", None):
        with pytest.raises(PlanError, match="a table's name is made of letters, digits and _"):
            sink(path, table=table)
    assert not path.exists()


# ---------------------------------------------------------------------- tables that are there


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("n BIGINT", r'has no column "s" \(.*, for string\); select its columns, change or drop the table, or name an'),
        ("n BIGINT, s BLOB", r'has the column "s" as BLOB, and string of the stream needs (TEXT|VARCHAR);'),
        ("n BIGINT, s VARCHAR, more BIGINT", r'has the column "more", which the stream has not;'),
    ],
)
@pytest.mark.parametrize("name", SINKS)
def test_a_table_with_other_columns_is_refused(name: str, columns: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    ask(name, path, f"CREATE TABLE t ({columns})")
    with pytest.raises(SinkError, match=f"the table t in .*x.db {message}"):
        opened(SINKS[name](path, table="t"), pa.schema([("n", pa.int64()), ("s", pa.string())]))


@pytest.mark.parametrize("name", SINKS)
def test_a_table_that_was_made_before_is_written_and_rows_of_others_are_not_touched(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    ask(name, path, "CREATE TABLE t (s VARCHAR, n BIGINT CHECK (n < 9))")
    rows = pa.table({"n": [1], "s": ["x"]})
    write(SINKS[name](path, table="t"), rows)
    assert ask(name, path, "SELECT s, n FROM t") == [("x", 1)]
    ask(name, path, "CREATE TABLE u (n BIGINT, s VARCHAR)")
    ask(name, path, "INSERT INTO u VALUES (7, 'theirs')")
    other = SINKS[name](path, table="u")
    with pytest.raises(SinkError, match=r"the table u in .* has rows, and no record of who wrote them\. Replace them"):
        opened(other, rows.schema)
    app = tw.App("app")
    app.read(memory(rows)).write(other)
    with pytest.raises(SinkError, match="has rows, and no record of who wrote them"):
        app.batch()
    assert ask(name, path, "SELECT n, s FROM u") == [(7, "theirs")]
    opened(other, rows.schema, foreign="replaced").close()
    assert ask(name, path, "SELECT n, s FROM u") == []
    writer = opened(SINKS[name](path, table="t"), rows.schema)
    with pytest.raises(SinkError, match=r"the table t in .* cannot be written: .*CHECK"):
        writer.apply(2, 1, iter([pa.table({"n": [2, 9], "s": ["y", "z"]})]))
    writer.close()
    assert ask(name, path, "SELECT s, n FROM t") == [("x", 1)], "not a part of the epoch"


@pytest.mark.parametrize("name", SINKS)
def test_a_batch_that_fails_leaves_the_table_as_it_was(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    app = tw.App("app")
    app.read(memory([{"n": 1}])).write(SINKS[name](path, table="t"))
    app.batch()
    with pytest.MonkeyPatch.context() as patch:

        def fails(self: TableWriter, record: Any) -> None:
            raise SinkError("the disk is full")

        worse = tw.App("app")
        worse.read(memory([{"n": 2}])).write(SINKS[name](path, table="t"))
        patch.setattr(TableWriter, "_note", fails)
        with pytest.raises(SinkError, match="the disk is full"):
            worse.batch()
    assert ask(name, path, "SELECT n FROM t") == [(1,)]


# ---------------------------------------------------------------------- others at work


def test_a_locked_sqlite_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite, "_PATIENCE_S", 0.05)
    path = tmp_path / "x.db"
    rows = pa.table({"n": [1]})
    writer = opened(sqlite(path, table="t"), rows.schema)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SinkUnavailable, match=r"the table t in .*x\.db cannot be written: another program has"):
            writer.apply(1, 0, iter([rows]))
        other.execute("ROLLBACK")
    writer.apply(1, 0, iter([rows]))
    writer.close()
    assert ask("sqlite", path, "SELECT n FROM t") == [(1,)]


@pytest.mark.parametrize("cell", ["'[1'", "'[\"x\"]'", "'[1]}' || char(10) || '{\"v\":[2]'", "x'00'"])
def test_values_that_somebody_else_has_put_into_a_sqlite_table_are_told_of(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    rows = pa.table({"n": pa.array([1]), "some": pa.array([[1]], pa.list_(pa.int64()))})
    write(sqlite(path, table="t", key="n"), rows)
    ask("sqlite", path, f"UPDATE t SET some = {cell}")
    writer = opened(sqlite(path, table="t", key="n"), rows.schema)
    assert isinstance(writer, Rereadable)
    with pytest.raises(SinkError, match=r"the table t in .*x\.db has values that the stream has not: "):
        list(writer.rows())
    writer.close()


def test_sqlite_is_read_while_it_is_written_and_survives_the_power(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    rows = pa.table({"n": [1]})
    writer = opened(sqlite(path, table="t"), rows.schema)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT n FROM t").fetchall() == []
        writer.apply(1, 0, iter([rows]))
        assert reader.execute("SELECT n FROM t").fetchall() == []
        reader.execute("ROLLBACK")
        assert reader.execute("SELECT n FROM t").fetchall() == [(1,)]
    assert isinstance(writer, TableWriter)
    assert writer._db.ask("PRAGMA synchronous") == [(2,)], "FULL"
    writer.close()


@pytest.mark.parametrize("name", SINKS)
def test_what_is_no_database_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("not a database, but long enough to look like one" * 100)
    with pytest.raises(SinkError, match=r"the table t in .*x\.db cannot be opened: .*database"):
        opened(SINKS[name](path, table="t"), pa.schema([("n", pa.int64())]))


def test_without_its_client_duckdb_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        PlanError, match=r'needs the package duckdb, which is an extra: pip install "thalweg\[duckdb\]"'
    ):
        duckdb("x.db", table="t")
