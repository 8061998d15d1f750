"""Logs of every released format read for ever, and can be appended to."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tests.formats.make_log_1 import FIRST, LATER, make
from thalweg.log import Log
from thalweg.log.route import partitions_of
from thalweg.testing.clock import VirtualClock

STORED = Path(__file__).parent / "log_1"


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(shutil.copytree(STORED, tmp_path / "log"), clock=VirtualClock(1_704_200_000_000_000))


def stored_rows(log: Log) -> dict[str, list[tuple[object, ...]]]:
    found = {}
    for name in log.topics():
        topic = log.topic(name)
        for partition in range(topic.options.partitions):
            table = topic.read(partition, topic.start(partition))
            found[f"{name}/{partition}"] = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return found


LATE = dt.datetime(2024, 1, 1, 10, tzinfo=dt.UTC)
ROWS: dict[str, list[tuple[object, ...]]] = {
    "plain/0": [("u2", 2, None), ("u4", 4, None), ("u7", 7, None), ("late", 2**40, LATE)],
    "plain/1": [("u0", 0, None), ("u3", 3, None), ("u5", 5, None), ("u6", 6, None), ("w", 100, None)],
    "sealed/0": [("u", n) for n in range(12)],
    "table/0": [("u0", 8), ("u1", 9), ("u0", 10), ("u1", 11)],
}


def test_stored_rows_are_read(log: Log) -> None:
    assert stored_rows(log) == ROWS
    assert log.topic("plain").schema == LATER
    assert log.topic("table").schema == log.topic("sealed").schema == FIRST
    assert log.topic("plain").start(0) == 1
    assert all(log.topic(name).verify() == [] for name in log.topics())


def test_stored_rows_are_read_without_the_published_ends(log: Log) -> None:
    for end in log.path.glob("*/*/end"):
        end.write_bytes(b"")
    assert stored_rows(log) == ROWS


def test_a_stored_log_goes_on(log: Log) -> None:
    plain = log.topic("plain")
    assert plain.last_epoch("sink") == 5
    assert plain.append_epoch("sink", 5, pa.table({"user": ["w"]})) == []
    (place,) = plain.append([{"user": "u7", "n": 200}])
    assert (place.partition, place.offset) == (0, 5)
    for name in log.topics():
        log.topic(name).maintain()
    expected = {name: list(rows) for name, rows in ROWS.items()}
    expected["plain/0"].append(("u7", 200, None))
    assert stored_rows(log) == expected


def test_rows_written_today_are_the_same(tmp_path: Path) -> None:
    make(tmp_path)
    assert stored_rows(Log(tmp_path)) == ROWS


@pytest.mark.parametrize(
    ("keys", "partitions"),
    [
        (pa.array(["", "ann", "bob", "Zoë", None]), [0, 256, 724, 738, 0]),
        (pa.array([b"", b"ann"]), [0, 256]),
        (pa.array([0, 1, -1, 2**63 - 1], pa.int64()), [650, 941, 967, 191]),
        (pa.array([0, 1, -1, 127], pa.int8()), [650, 941, 967, 75]),
        (pa.array([0.0, -0.0, 1.5, float("nan")]), [650, 650, 729, 869]),
        (pa.array([True, False]), [941, 650]),
        (pa.array(["1.50", "-0.00", "100.00"]).cast(pa.decimal128(9, 2)), [959, 736, 168]),
        (pa.array([1], pa.date32()), [941]),
        (pa.array([1], pa.timestamp("us", "UTC")), [941]),
        (pa.array([1], pa.time64("us")), [941]),
        (pa.array([1], pa.duration("us")), [941]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_keys_go_where_they_always_went(keys: pa.Array, partitions: list[int]) -> None:
    assert partitions_of(pa.chunked_array([keys]), 1024).to_pylist() == partitions
