"""Appending to a topic and reading it back."""

from __future__ import annotations

import datetime as dt
import gc
import multiprocessing
import os
import threading
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from thalweg.core.errors import LogError, OffsetGone, RowsRefused
from thalweg.core.event import EVENT_SCHEMA
from thalweg.log import Appended, Log, disk
from thalweg.testing.clock import VirtualClock

SCHEMA = pa.schema([pa.field("user", pa.string(), False), ("n", pa.int64()), ("ts", pa.timestamp("us", "UTC"))])


def rows(*numbers: int, user: str = "ann") -> list[dict[str, object]]:
    return [{"user": user, "n": n, "ts": None} for n in numbers]


def numbers(table: pa.Table | pa.RecordBatch | None) -> list[int]:
    assert table is not None
    return list(table["n"].to_pylist())


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def test_rows_are_read_from_exactly_the_offset(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    assert topic.append(rows(*range(10))) == [Appended(0, 0, 10)]
    assert topic.append(rows(*range(10, 15))) == [Appended(0, 10, 5)]
    assert numbers(topic.read(offset=8, limit=4)) == [8, 9, 10, 11]
    assert numbers(topic.read(offset=14)) == [14]
    assert topic.read(offset=15).num_rows == topic.read(offset=99).num_rows == topic.read(limit=0).num_rows == 0
    assert topic.read(offset=15).schema == topic.schema.arrow
    assert (topic.start(), topic.end()) == (0, 15)


@pytest.mark.parametrize("segment_bytes", [1024, 2**20])
def test_rows_of_every_form_come_back(log: Log, segment_bytes: int) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=segment_bytes)
    table = pa.Table.from_pylist(rows(1, 2), SCHEMA)
    forms = [
        rows(1, 2),
        table,
        table.to_batches()[0],
        pl.DataFrame(table),
        table.to_reader(),
        table.select(["n", "user"]),
    ]
    for form in forms:
        topic.append(form)
    assert numbers(topic.read()) == [1, 2] * len(forms)
    assert topic.append([]) == topic.append(table.slice(0, 0)) == []


def test_nothing_of_a_call_with_a_bad_row_is_appended(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    cases: list[tuple[object, int | None, str | None]] = [
        ([*rows(1), {"user": "bob", "n": "two"}], 1, "n"),
        ([*rows(1, 2), {"user": None, "n": 3}], 2, "user"),
        ([{"user": "a", "m": 1}], 0, "m"),
        ([3], 0, None),
        ("rows", None, None),
        (pa.table({"user": ["a", None]}), 1, "user"),
        (pa.table({"user": ["a"], "n": [1.5]}), None, "n"),
        (pa.table({"user": [1]}), None, "user"),
        (pa.table({"user": ["a", "b"], "n": pa.array([1, 2**63], pa.uint64())}), 1, "n"),
    ]
    for given, row, column in cases:
        with pytest.raises(RowsRefused) as caught:
            topic.append(given)
        assert (caught.value.row, caught.value.column) == (row, column), given
        assert "none of the rows was appended" in str(caught.value)
    assert topic.end() == 0


def test_naive_nanoseconds_are_microseconds_in_utc_rounded_down(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    topic.append(pa.table({"user": ["a"], "ts": pa.array([-1], pa.timestamp("ns"))}))
    assert topic.read()["ts"].to_pylist() == [dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC)]


def test_a_key_always_goes_to_one_partition_and_keeps_its_order(log: Log) -> None:
    topic = log.create("t", SCHEMA, partitions=4, key="user")
    for n in range(20):
        topic.append([{"user": f"u{i}", "n": n} for i in range(8)])
    seen: dict[str, int] = {}
    for partition in range(4):
        table = topic.read(partition)
        for user in set(table["user"].to_pylist()):
            assert seen.setdefault(user, partition) == partition
            assert [r["n"] for r in table.to_pylist() if r["user"] == user] == list(range(20))
    assert len(seen) == 8


def test_a_topic_without_key_takes_the_partitions_in_turn(log: Log) -> None:
    topic = log.create("t", SCHEMA, partitions=3)
    places = [topic.append(rows(1, 2))[0] for _ in range(6)]
    assert sorted(place.partition for place in places) == [0, 0, 1, 1, 2, 2]
    assert all(place.count == 2 for place in places)
    assert topic.append(rows(1), partition=2) == [Appended(2, 4, 1)]
    with pytest.raises(LogError, match="no partition 3; it has 0 to 2"):
        topic.append(rows(1), partition=3)


def test_without_a_schema_a_topic_holds_cloud_events(log: Log) -> None:
    topic = log.create("events")
    assert topic.schema == EVENT_SCHEMA
    topic.append([{"id": "1", "source": "/s", "type": "t", "data": "{}"}])
    assert topic.read().to_pylist()[0]["data"] == "{}"


def test_creating_again_is_the_same_topic_or_an_error_that_names_the_difference(log: Log) -> None:
    log.create("t", SCHEMA, key="user").append(rows(1))
    assert log.create("t", SCHEMA, key="user").end() == 1
    with pytest.raises(LogError, match="partitions is 1, not 2"):
        log.create("t", SCHEMA, 2, key="user")
    with pytest.raises(LogError, match="its columns are"):
        log.create("t", pa.schema([("user", pa.string())]), key="user")
    with pytest.raises(LogError, match=r'no topic "tt".*did you mean "t"'):
        log.topic("tt")
    assert log.topics() == ["t"]


@pytest.mark.parametrize("name", ["", "../t", "a/b", ".t", "a" * 201, "t\n", None])
def test_a_name_that_is_no_directory_everywhere_is_refused(log: Log, name: str) -> None:
    with pytest.raises(LogError, match="cannot be a topic's name"):
        log.create(name, SCHEMA)
    assert not log.path.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partitions": 0}, "partitions=0"),
        ({"key": "usr"}, 'did you mean "user"'),
        ({"time": "n"}, "timestamps or dates"),
        ({"compact": True}, "name the key"),
        ({"retention": "1mo"}, "months"),
        ({"id": "user", "retention": "1m"}, "shorter than id_within"),
        ({"segment_bytes": 10}, "segment_bytes=10"),
    ],
)
def test_options_that_do_not_fit_are_refused(log: Log, options: dict[str, object], message: str) -> None:
    with pytest.raises(LogError, match=message):
        log.create("t", SCHEMA, **options)  # type: ignore[arg-type]  # wrong on purpose
    assert log.topics() == []


def test_repeated_ids_are_dropped_within_their_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    log = Log(tmp_path, clock=clock)
    topic = log.create("t", SCHEMA, partitions=2, id="user", id_within="10m")
    table = pa.Table.from_pylist([{"user": u, "n": n} for n, u in enumerate(["a", "b", "a", "c"])], SCHEMA)
    result = topic.append_unique(table)
    assert result.duplicates.to_pylist() == [2]
    assert [offset is None for offset in result.offsets.to_pylist()] == [False, False, True, False]
    assert len(result.partitions) == 4
    clock.advance("9m")
    again = Log(tmp_path, clock=clock).topic("t")  # another process would find the same
    assert again.append(table) == []
    assert sum(topic.end(p) for p in range(2)) == 3
    clock.advance("2m")
    assert sum(a.count for a in topic.append(table)) == 3
    assert again.append_unique(table).duplicates.to_pylist() == [0, 1, 2, 3]


def test_rows_without_an_id_are_never_repeats(log: Log) -> None:
    topic = log.create("t", pa.schema([("id", pa.string())]), id="id")
    assert topic.append([{"id": None}, {"id": None}])[0].count == 2


def test_an_epoch_is_appended_once_in_every_partition(log: Log) -> None:
    topic = log.create("t", SCHEMA, partitions=2, key="user", segment_bytes=1024)
    table = pa.Table.from_pylist(rows(1, 2), SCHEMA)
    assert [a.count for a in topic.append_epoch("sink", 3, table)] == [2]
    assert topic.last_epoch("sink") == log.topic("t").last_epoch("sink") == 3
    assert topic.append_epoch("sink", 3, table) == topic.append_epoch("sink", 2, table) == []
    assert topic.last_epoch("other") == 0
    for n in range(30):  # through several rolls, which carry the epochs on
        topic.append(rows(n), partition=n % 2)
        assert log.topic("t").last_epoch("sink") == 3
    assert topic.describe().segments > 6
    assert log.topic("t").append_epoch("sink", 3, table) == []
    assert [a.count for a in log.topic("t").append_epoch("sink", 4, table)] == [2]


def test_threads_share_syncs_and_lose_nothing(log: Log) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=4096)

    def work(worker: int) -> None:
        for n in range(25):
            (place,) = topic.append(rows(n, user=str(worker)))
            assert topic.read(offset=place.offset, limit=1).to_pylist()[0]["user"] == str(worker)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = topic.read().to_pylist()
    assert len(found) == topic.end() == topic.stats.rows == 200
    for worker in range(8):
        assert [r["n"] for r in found if r["user"] == str(worker)] == list(range(25))


def _append_many(path: str, worker: int, count: int) -> None:
    topic = Log(path).topic("t")
    for n in range(count):
        topic.append(rows(n, user=str(worker)))


def test_processes_append_without_gaps_while_another_reads(log: Log) -> None:
    topic = log.create("t", SCHEMA, segment_bytes=4096)
    start = multiprocessing.get_context("spawn").Process
    workers = [start(target=_append_many, args=(str(log.path), worker, 30)) for worker in range(8)]
    for worker in workers:
        worker.start()
    found: list[dict[str, object]] = []
    with topic.reader() as reader:
        while len(found) < 240:
            batch = reader.read(7, timeout_s=60)
            assert batch is not None
            found += batch.to_pylist()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert topic.end() == 240
    assert topic.read(limit=1000).to_pylist() == found
    for worker in range(8):
        assert [r["n"] for r in found if r["user"] == str(worker)] == list(range(30))
    assert topic.verify() == []


def test_a_reader_waits_and_is_woken(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    with topic.reader(columns=["n"]) as reader:
        assert reader.read(10, timeout_s=0) is None
        thread = threading.Timer(0.05, topic.append, [rows(5)])
        thread.start()
        batch = reader.read(10, timeout_s=30)
        thread.join()
        assert batch is not None
        assert batch.schema.names == ["n"]
        assert (numbers(batch), reader.offset, reader.row_offset(0)) == ([5], 1, 0)
    with pytest.raises(LogError, match='no column "m"'):
        topic.reader(columns=["m"])


def test_a_readers_batches_are_cut_and_long_ones_are_not_copied(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    topic.append(rows(*range(50_000)))
    before = pa.total_allocated_bytes()
    with topic.reader(offset=10) as reader:
        first = reader.read(20_000)
        second = reader.read(100_000)
        assert pa.total_allocated_bytes() - before < 100_000
        assert numbers(first) == list(range(10, 20_010))
        assert numbers(second) == list(range(20_010, 50_000))


def test_a_deleted_topic_can_neither_be_appended_to_nor_read(log: Log) -> None:
    topic = log.create("t", SCHEMA)
    topic.append(rows(1))
    reader = topic.reader()
    log.delete("t")
    assert log.topics() == []
    assert list(log.path.iterdir()) == []
    with pytest.raises(OffsetGone, match="deleted"):
        reader.read()
    with pytest.raises(LogError, match="deleted"):
        topic.append(rows(2))
    with pytest.raises(OffsetGone, match="deleted"):
        topic.read()
    with pytest.raises(LogError, match="no topic"):
        log.delete("t")
    assert log.create("t", SCHEMA).append(rows(3)) == [Appended(0, 0, 1)]
    with pytest.raises(LogError, match="deleted"):
        topic.append(rows(2))


def test_a_closed_log_opens_its_files_anew_when_used(log: Log) -> None:
    with log:
        topic = log.create("t", SCHEMA)
        topic.append(rows(1))
    assert topic.append(rows(2)) == [Appended(0, 1, 1)]


def refused_once(path: Path, patch: pytest.MonkeyPatch) -> list[Path]:
    """Let the next sync of a directory's names fail, and note the later ones."""
    true, synced, refused = disk.sync_directory, list[Path](), list[Path]()

    def sync(directory: Path) -> None:
        if directory == path and not refused:
            refused.append(directory)
            raise OSError(5, "the disk is broken")
        synced.append(directory)
        true(directory)

    patch.setattr(disk, "sync_directory", sync)
    return synced


def test_a_creation_that_was_refused_is_durable_when_it_succeeds_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.create("a", SCHEMA)
    synced = refused_once(log.path, monkeypatch)
    with pytest.raises(LogError, match='creating the topic "t"'):
        log.create("t", SCHEMA)
    assert log.topics() == ["a", "t"], "its name is there, but a power cut may take it"
    synced.clear()
    log.create("t", SCHEMA)
    assert log.path in synced


def test_planted_a_topic_that_is_there_is_taken_for_one_that_stays_there(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(self: Log, name: str) -> None:
        return None

    monkeypatch.setattr(Log, "_secure", planted)
    with pytest.raises(AssertionError):
        test_a_creation_that_was_refused_is_durable_when_it_succeeds_again(log, monkeypatch)


def test_a_deletion_that_was_refused_is_durable_when_there_is_no_topic_any_more(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.create("t", SCHEMA)
    synced = refused_once(log.path, monkeypatch)
    with pytest.raises(LogError, match='deleting the topic "t"'):
        log.delete("t")
    synced.clear()
    with pytest.raises(LogError, match='there is no topic "t"'):
        log.delete("t")
    assert log.path in synced


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_a_log_that_nobody_closed_gives_its_files_back(tmp_path: Path) -> None:
    def append() -> None:
        topic = Log(tmp_path).create("numbers", pa.schema([("n", pa.int64())]), partitions=3)
        topic.append([{"n": 1}] * 10)
        assert mine(), "files are open"

    def mine() -> list[str]:
        links = [entry.path for entry in os.scandir("/proc/self/fd")]
        return [target for link in links if os.path.lexists(link) and (target := os.readlink(link)).startswith(folder)]

    folder = str(tmp_path)
    append()
    gc.collect()
    assert mine() == []
