"""The made-up events of an online auction house."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.connect import nexmark
from thalweg.connect._nexmark import Nexmark
from thalweg.connect._nexmark_draw import key_of, mixed
from thalweg.core.errors import PlanError, SourceError
from thalweg.core.ports import Json, Nothing, Source, SourceBatch
from thalweg.core.schema import schema_of

START = dt.datetime(2015, 7, 15, tzinfo=dt.UTC)
EVENTS = 200_000
TABLES = st.sampled_from(["persons", "auctions", "bids", None])


PERSON_3: dict[str, Any] = {
    "id": 1003,
    "name": "Ida Wells",
    "email_address": "poukpk@bokj.com",
    "credit_card": "2394 6322 3123 2621",
    "city": "Portland",
    "state": "WA",
}
AUCTION_7: dict[str, Any] = {
    "id": 1007,
    "item_name": "injnoqjqdtm",
    "initial_bid": 276,
    "reserve": 3500394,
    "seller": 1000,
    "category": 13,
    "expires": START + dt.timedelta(microseconds=230799),
}
BID_123456: dict[str, Any] = {
    "auction": 8987,
    "bidder": 3100,
    "price": 474520,
    "channel": "Apple",
    "url": "https://www.nexmark.com/lkr/mck/jdw/item.htm?query=1",
}


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


def read(
    source: Nexmark, partition: str = "0", position: Json = None, max_rows: int = 1 << 20
) -> Iterator[SourceBatch]:
    reader = source.open(schema_of(source.schema())).reader(partition, position)
    while not isinstance(batch := reader.read(max_rows, 0.0), Nothing):
        assert 0 < batch.data.num_rows <= max_rows
        batch.data.validate(full=True)
        yield batch
    assert batch is Nothing.EVER


def table(source: Nexmark, partition: str = "0", position: Json = None, max_rows: int = 1 << 20) -> pa.Table:
    batches = [batch.data for batch in read(source, partition, position, max_rows)]
    return pa.Table.from_batches(batches, source.schema())


def frame(source: Nexmark, partition: str = "0") -> pl.DataFrame:
    made = pl.from_arrow(table(source, partition))
    assert isinstance(made, pl.DataFrame)
    return made


def rows(data: pl.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(data.iter_rows())


@pytest.fixture(scope="module")
def persons() -> pl.DataFrame:
    return frame(nexmark("persons", events=EVENTS))


@pytest.fixture(scope="module")
def auctions() -> pl.DataFrame:
    return frame(nexmark("auctions", events=EVENTS))


@pytest.fixture(scope="module")
def bids() -> pl.DataFrame:
    return frame(nexmark("bids", events=EVENTS))


@settings(deadline=None)
@given(
    TABLES,
    st.integers(0, 400),
    st.integers(1, 3),
    st.sampled_from(["0s", "7ms", "30ms", "1h"]),
    st.integers(1, 90),
    st.integers(0, 400),
)
def test_any_cut_and_any_start_give_the_same_rows(
    name: Any, events: int, partitions: int, disorder: str, cut: int, start: int
) -> None:
    source = nexmark(name, events=events, partitions=partitions, disorder=disorder)
    for partition in source.open(schema_of(source.schema())).partitions():
        whole = table(source, partition)
        row = min(start, whole.num_rows)
        for batch in read(source, partition, row, cut):
            assert pa.Table.from_batches([batch.data]).equals(whole.slice(row, batch.data.num_rows))
            assert batch.locate(0) == f"{source.name}[partition {partition}]:{row}"
            row += batch.data.num_rows
            assert batch.position == row
        assert row == whole.num_rows


@settings(deadline=None)
@given(
    TABLES,
    st.integers(0, 3000),
    st.integers(1, 5),
    st.integers(1, 100_000),
    st.integers(0, 200_000),
    st.integers(-(2**70), 2**70),
)
def test_disorder_and_partitions_change_the_order_only_and_within_the_bound(
    name: Any, events: int, partitions: int, rate: int, disorder_us: int, seed: int
) -> None:
    plain = nexmark(name, events=events, rate=rate, seed=seed)
    disorder = dt.timedelta(microseconds=disorder_us)
    source = nexmark(name, events=events, rate=rate, seed=seed, partitions=partitions, disorder=disorder)
    parts = [frame(source, str(number)) for number in range(partitions)]
    if name is None:  # structs don't compare; the bids do
        assert rows(pl.concat(parts)["bid"].drop_nulls().struct.unnest()) == rows(
            frame(plain)["bid"].drop_nulls().struct.unnest()
        )
    else:
        assert rows(pl.concat(parts)) == rows(frame(plain))
    for part in parts:
        behind = part.select((pl.col("date_time").cum_max() - pl.col("date_time")).max()).item()
        assert behind is None or behind <= disorder


def test_disorder_is_used() -> None:
    times = frame(nexmark("bids", events=EVENTS, disorder="3s"))["date_time"]
    behind = (times.cum_max() - times).max()
    assert isinstance(behind, dt.timedelta)
    assert dt.timedelta(seconds=2.9) < behind <= dt.timedelta(seconds=3)


def test_fifty_events_are_one_person_three_auctions_and_46_bids(
    persons: pl.DataFrame, auctions: pl.DataFrame, bids: pl.DataFrame
) -> None:
    assert (persons.height, auctions.height, bids.height) == (EVENTS // 50, EVENTS // 50 * 3, EVENTS // 50 * 46)
    for events in (0, 1, 2, 4, 5, 49, 50, 53):
        kinds = frame(nexmark(events=events))["event_type"].to_list()
        assert kinds == (["person"] + ["auction"] * 3 + ["bid"] * 46 + ["person"] + ["auction"] * 2)[:events]
        counts = [frame(nexmark(name, events=events)).height for name in ("persons", "auctions", "bids")]
        assert counts == [kinds.count(kind) for kind in ("person", "auction", "bid")]


def test_one_stream_has_the_rows_of_the_tables(
    persons: pl.DataFrame, auctions: pl.DataFrame, bids: pl.DataFrame
) -> None:
    events = frame(nexmark(events=EVENTS))
    assert events["date_time"].is_sorted()
    for kind, own in (("person", persons), ("auction", auctions), ("bid", bids)):
        part = events.filter(pl.col("event_type") == kind)
        assert part[kind].struct.unnest().equals(own)
        assert part["date_time"].equals(own["date_time"])
        assert events.filter(pl.col("event_type") != kind)[kind].null_count() == EVENTS - own.height


def test_whom_and_what_a_row_names_exists_by_then(
    persons: pl.DataFrame, auctions: pl.DataFrame, bids: pl.DataFrame
) -> None:
    for rows_, column, named in ((bids, "auction", auctions), (bids, "bidder", persons), (auctions, "seller", persons)):
        assert named["id"].is_unique().all()
        joined = rows_.join(named.select("id", since="date_time"), left_on=column, right_on="id")
        assert joined.height == rows_.height
        assert (joined["since"] < joined["date_time"]).all()


def test_ids_count_from_a_thousand_and_time_from_the_start(persons: pl.DataFrame, auctions: pl.DataFrame) -> None:
    assert persons["id"].to_list() == list(range(1000, 1000 + persons.height))
    assert auctions["id"].to_list() == list(range(1000, 1000 + auctions.height))
    third = nexmark("persons", events=EVENTS, rate=3)
    assert frame(third)["date_time"].to_list()[:3] == [
        START + dt.timedelta(microseconds=event * 1_000_000 // 3) for event in (0, 50, 100)
    ]


def test_the_hot_ones_get_their_share(persons: pl.DataFrame, auctions: pl.DataFrame, bids: pl.DataFrame) -> None:
    """The mean of n draws of chance p is within 5 standard deviations, the chance of others than the hot added."""
    for column, place, share in (
        (bids["auction"], 0, 1 / 2 + 1 / 2 / 100),
        # In every hundredth cycle the hot bidder is not there yet, and the last person stands in.
        (bids["bidder"], 1, 3 / 4 * 99 / 100 + 1 / 4 / 100),
        (auctions["seller"], 0, 3 / 4 + 1 / 4 / 100),
    ):
        error = 5 * (share * (1 - share) / len(column)) ** 0.5
        # 0.002: until a hundred people or auctions exist, the one first is drawn more often.
        assert (column % 100 == place).mean() == pytest.approx(share, abs=error + 0.002)
    hot = bids["channel"].is_in(["Google", "Facebook", "Baidu", "Apple"]).mean()
    assert hot == pytest.approx(1 / 2, abs=5 * 0.5 / bids.height**0.5)
    with_id = bids.filter(pl.col("channel").str.starts_with("channel-"))["url"].str.contains("&channel_id=").mean()
    assert with_id == pytest.approx(0.9, abs=0.02)
    per_channel = bids.group_by("channel").agg(pl.col("url").n_unique())
    assert per_channel["url"].to_list() == [1] * per_channel.height


def test_who_acts_is_one_of_the_last_thousand_people_and_what_is_bid_for_one_of_the_last_hundred_auctions(
    bids: pl.DataFrame,
) -> None:
    cycle = (pl.int_range(pl.len()) // 46).alias("cycle")
    seen = bids.with_columns(cycle)
    back = seen.select(
        person=pl.col("cycle") - (pl.col("bidder") - 1000), auction=pl.col("cycle") * 3 + 2 - (pl.col("auction") - 1000)
    )
    assert back["person"].min() == back["auction"].min() == 0
    assert back["person"].max() == 999
    assert back["auction"].max() == 100


def test_prices_are_spread_evenly_in_their_logarithm(bids: pl.DataFrame, auctions: pl.DataFrame) -> None:
    for prices in (bids["price"], auctions["initial_bid"], auctions["reserve"] - auctions["initial_bid"]):
        logarithm = (prices / 100).log10()
        assert logarithm.min() >= 0 and logarithm.max() <= 6
        shares = logarithm.floor().clip(0, 5).value_counts(normalize=True)["proportion"]
        assert len(shares) == 6
        assert all(share == pytest.approx(1 / 6, abs=0.02) for share in shares)


def test_an_auction_is_open_for_as_long_as_it_takes_to_open_a_hundred_on_average(auctions: pl.DataFrame) -> None:
    length = (auctions["expires"] - auctions["date_time"]).dt.total_microseconds()
    horizon_us = 1666 * 100  # events, microseconds between them
    assert length.min() >= 1000
    assert length.max() <= 2 * horizon_us + 1000
    assert length.mean() == pytest.approx(horizon_us + 1000, rel=0.03)
    counts = auctions["category"].value_counts(normalize=True)
    assert sorted(counts["category"]) == [10, 11, 12, 13, 14]
    assert all(share == pytest.approx(0.2, abs=0.02) for share in counts["proportion"])


def test_rows_have_the_sizes_of_the_specification(
    persons: pl.DataFrame, auctions: pl.DataFrame, bids: pl.DataFrame
) -> None:
    for data, size, texts in (
        (persons, 200, ["name", "email_address", "credit_card", "city", "state", "extra"]),
        (auctions, 500, ["item_name", "description", "extra"]),
        (bids, 100, ["extra"]),
    ):
        numbers = 8 * sum(data[name].dtype in (pl.Int64, pl.Datetime("us", "UTC")) for name in data.columns)
        numbers = {8: 8, 16: 8}.get(numbers, numbers)  # a person's time is not counted there
        mean = numbers + sum(data[name].str.len_bytes().mean() for name in texts)
        assert mean == pytest.approx(size, rel=0.05)
    assert persons["credit_card"].str.contains(r"^\d{4}( \d{4}){3}$").all()
    assert persons["email_address"].str.contains(r"^[a-z]{3,6}@[a-z]{3,4}\.com$").all()


def test_a_bid_is_what_a_row_by_row_account_of_it_says(bids: pl.DataFrame) -> None:
    """The same draws, one row at a time in plain Python."""
    key, gamma = key_of(42, "bid"), 0x9E3779B97F4A7C15
    for row in range(0, bids.height, 997):
        cycle, place = divmod(row, 46)
        event = cycle * 50 + 4 + place
        word = mixed((event * gamma + key) % 2**64)
        last = cycle * 3 + 2
        open_ = min(last + 1, 101)
        auction = last // 100 * 100 if word >> 61 & 1 else last + 1 - open_ + ((word % 2**32) * open_ >> 32)
        active = min(cycle + 1, 1000)
        some = cycle + 1 - active + ((word >> 32) % 2**29 * active >> 29)
        bidder = min(cycle // 100 * 100 + 1, cycle) if word >> 62 else some
        assert bids["auction"][row] == 1000 + auction
        assert bids["bidder"][row] == 1000 + bidder
        assert bids["date_time"][row] == START + dt.timedelta(microseconds=event * 100)


def test_rows_stay_what_they_are_from_release_to_release(
    persons: pl.DataFrame, auctions: pl.DataFrame, bids: pl.DataFrame
) -> None:
    """Published figures rest on these rows: a change of them is a breaking change."""
    person = persons.row(3, named=True)
    assert {name: person[name] for name in PERSON_3} == PERSON_3
    auction = auctions.row(7, named=True)
    assert {name: auction[name] for name in AUCTION_7} == AUCTION_7
    bid = bids.row(123_456, named=True)
    assert {name: bid[name] for name in BID_123456} == BID_123456


def test_another_seed_gives_other_rows(bids: pl.DataFrame) -> None:
    other = frame(nexmark("bids", events=EVENTS, seed=43))
    assert (other["price"] == bids["price"]).mean() < 0.01


def test_only_the_asked_for_columns_are_made() -> None:
    source = nexmark("bids", events=100)
    schema = schema_of(pa.schema([source.schema().field(name) for name in ("price", "auction")]))
    batch = source.open(schema).reader("0", None).read(10, 0.0)
    assert isinstance(batch, SourceBatch)
    assert batch.data.schema.names == ["price", "auction"]
    whole = table(source)
    assert batch.data.column("price").equals(whole["price"].combine_chunks()[:10])


def test_without_a_number_of_events_there_is_no_end() -> None:
    source = nexmark("bids")
    assert isinstance(source, Source)
    assert not source.final and source.prefetch
    assert nexmark("bids", events=1).final
    reader = source.open(schema_of(source.schema())).reader("0", 10**12)
    batch = reader.read(5, 0.0)
    assert isinstance(batch, SourceBatch)
    assert batch.position == 10**12 + 5


def test_with_a_speed_events_come_as_time_goes_by() -> None:
    clock = ScriptedClock()
    source = replace(nexmark(events=1000, rate=100, speed=2.0), clock=clock)
    reader = source.open(schema_of(source.schema())).reader("0", None)
    first = reader.read(1000, 0.0)
    assert isinstance(first, SourceBatch) and first.position == 1
    assert reader.read(1000, 0.0) is Nothing.NOW
    second = reader.read(1000, 60.0)  # waits until it happens and no longer
    assert isinstance(second, SourceBatch) and second.position == 2
    assert clock.s == pytest.approx(1 / 200)
    clock.s = 1.0
    later = reader.read(1000, 0.0)
    assert isinstance(later, SourceBatch) and later.position == 201
    assert reader.read(1000, 0.001) is Nothing.NOW
    assert clock.s == pytest.approx(1.001)
    resumed = source.open(schema_of(source.schema())).reader("0", 990)
    assert isinstance(resumed.read(1000, 0.0), SourceBatch)
    clock.s += 60
    assert isinstance(resumed.read(1000, 0.0), SourceBatch)
    assert resumed.read(1000, 0.0) is Nothing.EVER


@pytest.mark.parametrize(
    "arguments",
    [
        {"table": "bid"},
        {"events": -1},
        {"events": 1.5},
        {"events": True},
        {"rate": 0},
        {"seed": "x"},
        {"partitions": 0},
        {"disorder": "3 months"},
        {"disorder": "-3s"},
        {"speed": 0},
        {"speed": float("nan")},
        {"speed": "fast"},
    ],
)
def test_what_is_not_allowed_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=r"allowed|zero or more|write days"):
        nexmark(**arguments)


@pytest.mark.parametrize("position", [-1, 47, "x", True])
def test_a_position_outside_is_refused(position: Json) -> None:
    source = nexmark("bids", events=50)
    with pytest.raises(SourceError, match="allowed: 0 to 46"):
        source.open(schema_of(source.schema())).reader("0", position)


def test_an_unknown_partition_or_column_is_refused() -> None:
    source = nexmark("bids", events=50)
    with pytest.raises(SourceError, match="there are: 0"):
        source.open(schema_of(source.schema())).reader("1", None)
    with pytest.raises(SourceError, match='did you mean "price"'):
        source.open(schema_of(pa.schema({"prise": pa.int64()})))


def test_the_plan_shows_what_it_reads() -> None:
    shown = nexmark(events=5, partitions=2, speed=1).describe()
    assert shown == "nexmark(events=5, rate=10000, seed=42, partitions=2, speed=1)"
    assert nexmark("bids").name == "nexmark.bids"
    assert nexmark("bids", events=5) == nexmark("bids", events=5) != nexmark("bids", events=6)
