"""What changes a topic besides appends: trimming, retention, sealing, compaction, evolution."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.core.errors import LogError, OffsetGone, SchemaChange
from thalweg.core.schema import Field, Rule, Schema
from thalweg.log import Log, Topic
from thalweg.testing.clock import VirtualClock

SCHEMA = pa.schema([("k", pa.string()), ("n", pa.int32())])


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def log(tmp_path: Path, clock: VirtualClock) -> Log:
    return Log(tmp_path / "log", clock=clock, upkeep=False)


def fill(topic: Topic, count: int, first: int = 0) -> None:
    for n in range(first, first + count):
        topic.append([{"k": f"k{n % 3}", "n": n}])


def numbers(topic: Topic, offset: int = 0) -> list[int]:
    return list(topic.read(offset=offset, limit=100_000)["n"].to_pylist())


def segments(topic: Topic) -> list[Path]:
    return sorted((topic.path / "0000").glob("*.seg"))


def test_trimmed_rows_are_gone_for_ever(log: Log) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=1024)
    fill(topic, 20)
    files = len(segments(topic))
    reader = topic.reader()
    assert topic.trim(9) == 9
    assert topic.start() == log.topic("t").start() == 9
    assert len(segments(topic)) < files
    assert numbers(topic, 9) == list(range(9, 20))
    for handle in (topic, log.topic("t")):
        with pytest.raises(OffsetGone, match=r"offset 8 .* first that may be read is 9"):
            handle.read(offset=8)
    with pytest.raises(OffsetGone):
        reader.read()
    assert topic.trim(3) == 9
    assert topic.trim(10**9) == topic.end() == 20
    fill(topic, 1, 20)
    assert numbers(topic, 20) == [20]


def test_the_start_is_kept_where_the_published_end_is_lost(log: Log) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=1024)
    fill(topic, 9)
    topic.trim(5)
    (topic.path / "0000" / "end").write_bytes(b"")
    again = log.topic("t")
    assert (again.start(), again.end()) == (5, 9)


def test_retention_by_time_removes_old_segments_but_the_active_one(log: Log, clock: VirtualClock) -> None:
    topic = log.create("t", SCHEMA, retention="1h", segment_bytes=1024)
    fill(topic, 10)
    clock.advance("50m")
    fill(topic, 10, 10)
    assert topic.maintain().removed == 0
    clock.advance("20m")
    assert topic.maintain().removed > 0
    start = topic.start()
    assert 0 < start <= 10
    assert numbers(topic, start) == list(range(start, 20))
    clock.advance("10h")
    topic.maintain()
    assert len(segments(topic)) == 1
    assert topic.verify() == []


def test_retention_by_bytes_keeps_at_least_so_many(log: Log) -> None:
    topic = log.create("t", SCHEMA, retention_bytes=4096, segment_bytes=1024)
    fill(topic, 50)
    before = topic.describe().bytes
    assert topic.maintain().removed > 0
    start = topic.start()
    assert 4096 <= before * (50 - start) / 50 < 4096 + 2048
    assert numbers(topic, start) == list(range(start, 50))


def test_sealing_keeps_offsets_rows_times_and_epochs(log: Log, clock: VirtualClock) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=4096)
    topic.append_epoch("sink", 7, pa.Table.from_pylist([{"k": "e", "n": -1}], SCHEMA))
    for n in range(60):
        clock.advance("1s")
        fill(topic, 1, n)
    before = topic.read().to_pylist()
    size = topic.describe().bytes
    middle = topic.offset_at(0, clock.now_us() - 30_000_000)
    with topic.reader() as reader:
        given = reader.read(5)
        assert given is not None
        done = topic.maintain()
        rest = []
        while (batch := reader.read(1000)) is not None:
            rest += batch.to_pylist()
    assert done.sealed >= 3
    assert done.freed == size - topic.describe().bytes > 0
    assert given.to_pylist() + rest == before
    for handle in (topic, log.topic("t")):
        assert handle.read().to_pylist() == before
        assert handle.read(offset=17, limit=2).to_pylist() == before[17:19]
    assert topic.verify() == []
    assert topic.maintain().sealed == 0
    assert topic.offset_at(0, clock.now_us() - 30_000_000) <= middle
    assert log.topic("t").append_epoch("sink", 7, pa.Table.from_pylist([{"k": "e", "n": -1}], SCHEMA)) == []


def test_the_ids_of_rows_that_can_still_repeat_are_not_merged(log: Log, clock: VirtualClock) -> None:
    topic = log.create("t", SCHEMA, id="n", id_within="10m", segment_bytes=1024)
    fill(topic, 20)
    assert topic.maintain().sealed == 0
    clock.advance("11m")
    fill(topic, 20, 20)
    assert topic.maintain().sealed > 0
    assert log.topic("t").append([{"k": "x", "n": 39}]) == []
    assert log.topic("t").append([{"k": "x", "n": 3}]) != []


def test_compaction_keeps_the_last_row_of_each_key_and_its_offset(log: Log) -> None:
    topic = log.create("t", SCHEMA, key="k", compact=True, segment_bytes=1024)
    topic.append([{"k": None, "n": -1}, {"k": None, "n": -2}])
    fill(topic, 30)
    active = int(segments(topic)[-1].name[:20])
    done = topic.maintain()
    assert done.dropped == active - 5
    kept = topic.read(limit=100).to_pylist()
    assert kept[:2] == [{"k": None, "n": -1}, {"k": None, "n": -2}]
    assert [row["n"] for row in kept[2:]] == list(range(active - 5, 30))
    assert topic.end() == 32
    with topic.reader(offset=3) as reader:
        batch = reader.read()
        assert batch is not None
        offsets = [reader.row_offset(row) for row in range(batch.num_rows)]
        assert offsets == [row["n"] + 2 for row in batch.to_pylist()]
    for offset in range(33):
        assert [row["n"] for row in topic.read(offset=offset).to_pylist()] == [
            row["n"] for place, row in zip([0, 1, *range(active - 3, 32)], kept, strict=True) if place >= offset
        ]
    assert topic.describe().rows == len(kept)
    assert topic.verify() == []
    fill(topic, 30, 30)
    topic.maintain()
    newest = int(segments(topic)[-1].name[:20])
    assert [row["n"] for row in topic.read().to_pylist()[2:]] == list(range(newest - 5, 60))


def test_upkeep_goes_on_beside_appends_and_reads(log: Log) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=2048)
    over = threading.Event()
    failed: list[BaseException] = []

    def keep_up() -> None:
        try:
            while not over.is_set():
                log.topic("t").maintain()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=keep_up)
    thread.start()
    found: list[int] = []
    with topic.reader() as reader:
        for n in range(150):
            fill(topic, 1, n)
            batch = reader.read()
            assert batch is not None
            found += batch["n"].to_pylist()
    over.set()
    thread.join()
    assert failed == []
    assert found == numbers(topic) == list(range(150))


def test_an_evolved_topic_reads_old_rows_with_the_new_columns(log: Log) -> None:
    topic = log.create("t", SCHEMA, partitions=2)
    other = log.topic("t")
    topic.append([{"k": "a", "n": 1}], partition=0)
    wider = Schema((Field("n", pa.int64(), True, (Rule("ge", 0),)), Field("k", pa.string()), Field("x", pa.float64())))
    topic.evolve(wider)
    topic.evolve(wider)
    topic.append([{"k": "b", "n": 2**40, "x": 0.5}], partition=0)
    other.append(pa.table({"k": ["c"], "n": pa.array([3], pa.int32())}), partition=0)
    expected = [{"n": 1, "k": "a", "x": None}, {"n": 2**40, "k": "b", "x": 0.5}, {"n": 3, "k": "c", "x": None}]
    for handle in (topic, other, log.topic("t")):
        assert handle.read().to_pylist() == expected
        assert handle.read(1).schema == wider.arrow
        with handle.reader(columns=["x", "n"]) as reader:
            batch = reader.read(2)
            assert batch is not None
            assert batch.to_pylist() == [{"x": None, "n": 1}, {"x": 0.5, "n": 2**40}]
        assert handle.schema == wider
    assert topic.verify() == []


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"k": pa.string()}, 'column "n" from int32 to no column'),
        ({"k": pa.string(), "n": pa.string()}, 'column "n" from int32 to string'),
        ({"k": pa.string(), "n": pa.float64()}, 'column "n" from int32 to double'),
        ({"k": pa.string(), "n": pa.int16()}, 'column "n" from int32 to int16'),
    ],
)
def test_a_schema_that_old_rows_do_not_fit_is_refused(log: Log, schema: dict[str, pa.DataType], message: str) -> None:
    topic = log.create("t", SCHEMA)
    with pytest.raises(SchemaChange, match=message + ".*allowed: columns that are added"):
        topic.evolve(pa.schema(list(schema.items())))
    assert log.topic("t").schema.arrow == SCHEMA


def test_columns_that_are_never_null_cannot_come_later(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    with pytest.raises(SchemaChange, match="never null"):
        topic.evolve(pa.schema([*SCHEMA, pa.field("x", pa.int64(), False)]))
    with pytest.raises(SchemaChange, match="never null"):
        topic.evolve(pa.schema([SCHEMA.field("k"), pa.field("n", pa.int32(), False)]))


def test_offset_at_gives_the_first_row_of_a_time(log: Log, clock: VirtualClock) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=1024)
    times = []
    for n in range(12):
        times.append(clock.now_us())
        fill(topic, 1, n)
        clock.advance("1s")
    for n, time in enumerate(times):
        assert topic.offset_at(0, time) == n
        assert topic.offset_at(0, time + 1) == n + 1
    clock.set_back("1h")
    fill(topic, 1, 12)  # a clock that was set back does not make rows older than those before them
    assert topic.offset_at(0, times[-1]) == 11
    assert topic.offset_at(0, times[-1] + 1) == 13
    topic.trim(4)
    assert topic.offset_at(0, 0) == 4


def test_a_topic_describes_itself(log: Log, clock: VirtualClock) -> None:
    topic = log.create("t", SCHEMA, partitions=2, segment_bytes=1024)
    empty = topic.describe()
    assert (empty.rows, empty.first_append_us, empty.segments) == (0, None, 2)
    began = clock.now_us()
    fill(topic, 12)
    clock.advance("5s")
    fill(topic, 1)
    topic.trim(2)
    info = topic.describe()
    assert info.rows == 13 - 2
    assert info.first_append_us == began
    assert info.last_append_us == began + 5_000_000
    assert info.bytes == sum(path.stat().st_size for path in topic.path.glob("*/*.seg"))
    assert info.partitions[0].start == 2


def test_rules_of_every_kind_survive(log: Log) -> None:
    import datetime as dt
    import decimal
    import re

    rules = (
        Rule("ge", dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
        Rule("lt", decimal.Decimal("1.50")),
        Rule("one_of", ("a", 1, None, True)),
        Rule("gt", float("-inf")),
        Rule("pattern", re.compile("a+", re.IGNORECASE)),
        Rule("le", dt.timedelta(seconds=1)),
        Rule("le", dt.date(2020, 1, 1)),
        Rule("ge", b"x"),
    )
    schema = Schema((Field("a", pa.string(), False, rules),))
    log.create("t", schema)
    assert log.topic("t").schema == schema
    with pytest.raises(LogError, match="cannot be stored"):
        log.create("u", Schema((Field("a", pa.string(), False, (Rule("ge", object()),)),)))
