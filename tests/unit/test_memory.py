"""The source of data in memory."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.connect import memory
from thalweg.core.errors import PlanError, SourceError
from thalweg.core.ports import Json, Nothing, Source, SourceBatch
from thalweg.core.schema import Schema, schema_of


@dataclass
class Click:
    user: str
    price: float | None
    ts: dt.datetime


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Part:
    at: dt.datetime
    size: int


@dataclass
class Wide:
    n: int | None = None
    yes: bool | None = None
    raw: bytes | None = None
    day: dt.date | None = None
    clock: dt.time | None = None
    wait: dt.timedelta | None = None
    cost: decimal.Decimal | None = None
    text: str | None = None
    tags: list[str] | None = None
    times: list[dt.datetime] | None = None
    part: Part | None = None


def read_all(
    source: Source, schema: Schema | None = None, partition: str = "0", position: Json = None, max_rows: int = 1000
) -> list[SourceBatch]:
    found = source.schema() if schema is None else None
    reader = source.open(schema or schema_of(found)).reader(partition, position)
    batches = []
    while not isinstance(batch := reader.read(max_rows, 0.0), Nothing):
        batches.append(batch)
    assert batch is Nothing.EVER
    assert reader.read(1, 0.0) is Nothing.EVER
    reader.close()
    return batches


def dicts(batches: list[SourceBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.data.to_pylist()]


def numbers(count: int, chunk: int) -> pa.Table:
    return pa.concat_tables([pa.table({"n": range(i, min(i + chunk, count))}) for i in range(0, count, chunk)])


@given(
    st.integers(0, 40), st.integers(1, 9), st.integers(1, 50), st.integers(0, 40), st.sampled_from(["arrow", "dict"])
)
def test_any_cut_and_any_start_give_the_same_rows(count: int, chunk: int, cut: int, start: int, form: str) -> None:
    table = numbers(count, chunk) if count else pa.table({"n": pa.array([], pa.int64())})
    source = memory(table if form == "arrow" else [table.to_pylist()])
    start = min(start, count)
    batches = read_all(source, schema_of(table.schema), position=start, max_rows=cut)
    assert [row["n"] for row in dicts(batches)] == list(range(start, count))
    row = start
    for batch in batches:
        assert batch.data.num_rows <= cut
        assert batch.locate(0) == f"memory[partition 0]:{row}"
        row += batch.data.num_rows
        assert batch.position == row


def test_a_read_copies_nothing() -> None:
    table = numbers(100, 100)
    (batch, *_) = read_all(memory(table), position=3, max_rows=10)
    whole = table.column("n").chunk(0).buffers()[1]
    part = batch.data.column(0).buffers()[1]
    assert whole is not None and part is not None and part.address == whole.address


@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        (numbers(4, 2), [4]),
        (numbers(4, 2).to_batches(), [2, 2]),
        ([numbers(4, 2).to_batches(), numbers(3, 3)], [4, 3]),
        (pl.DataFrame({"n": [1, 2]}), [2]),
        ([[pl.DataFrame({"n": [1, 2]}), pl.DataFrame({"n": [3]})]], [3]),
        ([{"n": 1}, {"n": 2}], [2]),
        ([[{"n": 1}], [{"n": 2}, {"n": 3}]], [1, 2]),
        ([[{"n": 1}], numbers(2, 2)], [1, 2]),
        ([[]], [0]),
        ([], [0]),
    ],
)
def test_what_is_one_partition(data: object, sizes: list[int]) -> None:
    source = memory(data)
    schema = schema_of(pa.schema({"n": pa.int64()}))
    names = source.open(schema).partitions()
    assert list(names) == [str(i) for i in range(len(sizes))]
    assert [len(dicts(read_all(source, schema, name))) for name in names] == sizes
    assert isinstance(source, Source)
    assert source.final and not source.prefetch


def test_the_schema_is_that_of_arrow_data() -> None:
    table = pa.table({"a": pa.array(["x"], pa.large_string()), "b": pa.array([1], pa.int16())})
    assert memory([[{"a": "y"}], table]).schema() == table.schema


def test_the_schema_of_dicts_is_inferred_over_all_rows_and_partitions() -> None:
    source = memory([[{"a": 1}, {"b": None}], [{"a": 2.5, "b": "x"}]])
    assert source.schema() == pa.schema({"a": pa.float64(), "b": pa.string()})
    assert dicts(read_all(source)) == [{"a": 1.0, "b": None}, {"a": None, "b": None}]


def test_without_rows_there_is_no_schema() -> None:
    assert memory([[]]).schema() is None


def test_a_column_of_two_types_has_no_schema() -> None:
    with pytest.raises(SourceError, match=r'column "a" .* no one type.*declare schema='):
        memory([{"a": 1}, {"a": "x"}]).schema()


def test_columns_are_chosen_by_the_schema() -> None:
    table = pa.table({"a": [1], "b": ["x"], "c": [2.0]})
    chosen = schema_of(pa.schema({"c": pa.float64(), "a": pa.int64()}))
    assert dicts(read_all(memory(table), chosen)) == [{"c": 2.0, "a": 1}]


def test_a_column_that_arrow_data_lacks_is_named() -> None:
    with pytest.raises(SourceError, match=r'no column "pric"; did you mean "price"\?'):
        memory(pa.table({"price": [1]})).open(schema_of(pa.schema({"pric": pa.int64()})))


@pytest.mark.parametrize(
    "data", [3, "text", [3], [[3]], [{"a": 1}, 3], [[pa.table({"a": [1]}), {"a": 1}]], pa.chunked_array([[1]])]
)
def test_what_is_no_data_is_refused(data: object) -> None:
    with pytest.raises(PlanError):
        memory(data)


def test_two_schemas_are_refused() -> None:
    with pytest.raises(PlanError, match=r"two schemas, \(a: int64\) and \(a: string\)"):
        memory([pa.table({"a": [1]}), pa.table({"a": ["x"]})])


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(PlanError, match='two columns named "a"'):
        memory(pa.table([[1], [2]], names=["a", "a"]))


@pytest.mark.parametrize("position", [-1, 3, "x", True, 1.0])
def test_a_position_outside_is_refused(position: Json) -> None:
    with pytest.raises(SourceError, match="allowed: 0 to 2"):
        memory([{"n": 1}, {"n": 2}]).open(schema_of(pa.schema({"n": pa.int64()}))).reader("0", position)


def test_an_unknown_partition_is_refused() -> None:
    with pytest.raises(SourceError, match='no partition "7"; there are: 0'):
        memory([{"n": 1}]).open(schema_of(pa.schema({"n": pa.int64()}))).reader("7", None)


def test_two_sources_of_equal_rows_are_two() -> None:
    assert memory([{"n": 1}]) != memory([{"n": 1}])


def test_times_are_datetimes_or_iso_text_and_naive_ones_are_utc() -> None:
    plus_two = dt.timezone(dt.timedelta(hours=2))
    given = [
        "2026-01-01T12:00:00",
        "2026-01-01 12:00:00Z",
        "2026-01-01T14:00:00+02:00",
        dt.datetime(2026, 1, 1, 12),
        dt.datetime(2026, 1, 1, 14, tzinfo=plus_two),
    ]
    batches = read_all(memory([{"user": "a", "price": 1, "ts": ts} for ts in given]), schema_of(Click))
    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    assert dicts(batches) == [{"user": "a", "price": 1.0, "ts": noon}] * len(given)


@given(st.sets(st.integers(0, 29)), st.integers(1, 31))
def test_bad_rows_are_set_apart_whatever_the_cut(bad: set[int], cut: int) -> None:
    noon = dt.datetime(2026, 1, 1, 12)
    rows = [{"user": f"u{i}", "price": "2" if i in bad else 2.0, "ts": noon} for i in range(30)]
    batches = read_all(memory(rows), schema_of(Click), max_rows=cut)
    good = [i for i in range(30) if i not in bad]
    assert [row["user"] for row in dicts(batches)] == [f"u{i}" for i in good]
    places = [batch.locate(i) for batch in batches for i in range(batch.data.num_rows)]
    assert places == [f"memory[partition 0]:{i}" for i in good]
    rejected = [rejected for batch in batches for rejected in batch.rejected]
    assert [r.place for r in rejected] == [f"memory[partition 0]:{i}" for i in sorted(bad)]
    for r in rejected:
        assert r.reason == "price is '2' (str); allowed: a number"
        assert r.column == "price"
        assert json.loads(r.raw)["ts"] == "2026-01-01T12:00:00"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("n", 1.0),  # Arrow alone would cut it
        ("n", 1.5),
        ("n", "1"),
        ("n", True),
        ("n", 2**63),
        ("yes", 1),
        ("yes", "true"),
        ("raw", "text"),  # Arrow alone would encode it
        ("text", b"bytes"),  # Arrow alone would decode it
        ("text", 1),
        ("text", "\ud800"),
        ("day", dt.datetime(2026, 1, 1)),  # Arrow alone would drop the time of day
        ("day", "1st of May"),
        ("clock", "noon"),
        ("wait", 5),
        ("cost", 1.5),
        ("cost", "1.5"),
        ("cost", decimal.Decimal("0.0000000001")),
        ("tags", "text"),
        ("tags", ["a", 1]),
        ("times", ["2026-01-01", 5]),
        ("part", {"at": "2026-01-01", "size": 1.5}),
        ("part", [1]),
    ],
)
def test_values_of_another_type_are_rejected(column: str, value: object) -> None:
    (batch,) = read_all(memory([{column: value}]), schema_of(Wide))
    assert batch.data.num_rows == 0
    (rejected,) = batch.rejected
    assert rejected.column == column
    assert rejected.reason.startswith(column)
    assert batch.position == 1


def test_values_of_the_type_are_taken() -> None:
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    row = {
        "n": -1,
        "yes": False,
        "raw": b"\xff",
        "day": "2026-01-01",
        "clock": "12:00:01",
        "wait": dt.timedelta(seconds=1),
        "cost": decimal.Decimal("1.5"),
        "text": Colour.RED,
        "tags": {"b", "a"},
        "times": ["2026-01-01", None],
        "part": {"at": "2026-01-01", "size": 3, "more": "ignored"},
        "more": "ignored",
    }
    (batch,) = read_all(memory([row, {}]), schema_of(Wide))
    first, second = batch.data.to_pylist()
    assert not batch.rejected
    assert first == {
        "n": -1,
        "yes": False,
        "raw": b"\xff",
        "day": dt.date(2026, 1, 1),
        "clock": dt.time(12, 0, 1),
        "wait": dt.timedelta(seconds=1),
        "cost": decimal.Decimal("1.5"),
        "text": "red",
        "tags": ["a", "b"],
        "times": [moment, None],
        "part": {"at": moment, "size": 3},
    }
    assert set(second.values()) == {None}


def test_a_uuid_is_text_and_a_wide_decimal_fits() -> None:
    name = uuid.UUID(int=5)
    row = {"text": name, "cost": decimal.Decimal(12)}
    (batch,) = read_all(memory([row]), schema_of(Wide))
    assert batch.data.to_pylist()[0]["text"] == str(name)


def test_lists_and_structs_keep_their_places_when_some_are_turned() -> None:
    given: list[Any] = [["2026-01-01"], None, [], [dt.datetime(2026, 1, 2)]]
    (batch,) = read_all(memory([{"times": times} for times in given]), schema_of(Wide))
    first, second = (dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (1, 2))
    assert [row["times"] for row in batch.data.to_pylist()] == [[first], None, [], [second]]
