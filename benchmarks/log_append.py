"""Durable appends: long ones beside the device itself, single events with and without group commit."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from benchmarks.outcome import ROOT, Benchmark, Comparison, WrongAnswerError
from thalweg.log import Log, Topic

LONG_TARGET = 0.7
GROUP_TARGET = 2.5
BATCH_ROWS = 100_000
THREADS = 16
SCHEMA = pa.schema([("id", pa.int64()), ("key", pa.int64()), ("payload", pa.string())])


def events(first: int, count: int) -> pa.Table:
    """Return events of 100 bytes each: two numbers and a text of 80 bytes (and 4 of its length)."""
    numbers = pa.array(range(first, first + count), pa.int64())
    return pa.table([numbers, numbers, pa.array([f"{n:080d}" for n in range(first, first + count)])], schema=SCHEMA)


def check_stored(topic: Topic, count: int) -> None:
    """Check that a topic has the events 0 to count - 1, each once.

    Raises:
        WrongAnswerError: It has not.
    """
    found = 0
    total = 0
    with topic.reader() as reader:
        while (batch := reader.read(BATCH_ROWS)) is not None:
            found += batch.num_rows
            total += sum(batch["id"].to_pylist())
    if (found, total) != (count, count * (count - 1) // 2) or topic.verify():
        raise WrongAnswerError(f"{found} events are stored where {count} were appended, or others than these")


def long_appends(batches: int, rounds: int) -> Iterator[Comparison]:
    """Compare appends of many rows, each durable, with writing and syncing the same bytes."""
    tables = [events(n * BATCH_ROWS, BATCH_ROWS) for n in range(batches)]
    own: list[float] = []
    device: list[float] = []
    chunks: list[bytes] = []
    for turn in range(rounds + 1):
        with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
            topic = Log(Path(folder) / "log").create("events", SCHEMA)
            raw = Path(folder) / "raw"
            device_s = _timed(lambda: _write(raw, chunks)) if turn % 2 else 0.0  # noqa: B023  # called at once
            own_s = _timed(lambda: [topic.append(table) for table in tables])  # noqa: B023  # called at once
            if not turn % 2:  # the one that comes second finds the device busier
                device_s = _timed(lambda: _write(raw, chunks))  # noqa: B023  # called at once
            check_stored(topic, batches * BATCH_ROWS)
            if turn == 0:  # warms up, and gives the bytes
                whole = b"".join(path.read_bytes() for path in sorted(topic.path.glob("0000/*.seg")))
                step = len(whole) // batches + 1
                chunks = [whole[start : start + step] for start in range(0, len(whole), step)]
                continue
            if raw.read_bytes() != b"".join(chunks):
                raise WrongAnswerError("the device gave other bytes than were written")
            own.append(own_s)
            device.append(device_s)
    mb = batches * BATCH_ROWS * 100 / 1e6
    note = f"{mb / min(own):.0f} MB/s, the device {mb / min(device):.0f} MB/s, one sync per {BATCH_ROWS:,} rows"
    rows = batches * BATCH_ROWS
    yield Comparison("long appends", rows, tuple(own), "the device", tuple(device), LONG_TARGET, note)


def single_events(count: int, rounds: int) -> Iterator[Comparison]:
    """Compare single events appended by 16 threads at once with the same events one after the other."""
    grouped: list[float] = []
    alone: list[float] = []
    per_sync = 0.0
    for turn in range(rounds + 1):
        with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
            log = Log(folder)
            together, apart = log.create("together", SCHEMA), log.create("apart", SCHEMA)
            grouped_s = _timed(lambda: _by_threads(together, count))  # noqa: B023  # called at once
            alone_s = _timed(lambda: _append_each(apart, range(count)))  # noqa: B023  # called at once
            check_stored(together, count)
            check_stored(apart, count)
            per_sync = together.stats.rows / together.stats.syncs
            if apart.stats.syncs < count:
                raise WrongAnswerError("the reference shared its syncs")
        if turn:
            grouped.append(grouped_s)
            alone.append(alone_s)
    note = f"{per_sync:.1f} events per sync from {THREADS} threads; {count / min(grouped):,.0f} events/s"
    yield Comparison("single events", count, tuple(grouped), "one by one", tuple(alone), GROUP_TARGET, note)


def _append_each(topic: Topic, numbers: range) -> None:
    for n in numbers:
        topic.append([{"id": n, "key": n, "payload": "x" * 80}])


def _by_threads(topic: Topic, count: int) -> None:
    failed: list[BaseException] = []

    def work(numbers: range) -> None:
        try:
            _append_each(topic, numbers)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(range(first, count, THREADS),)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _write(path: Path, chunks: list[bytes]) -> None:
    with open(path, "wb", buffering=0) as file:
        for chunk in chunks:
            file.write(chunk)
            os.fdatasync(file.fileno())


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(batches: int, count: int, rounds: int) -> Iterator[Comparison]:
    """Measure both."""
    yield from long_appends(batches, rounds)
    yield from single_events(count, rounds)


BENCHMARK = Benchmark(
    "log_append",
    "durable appends of 100,000 events beside the device; 16 threads of single events beside one sync for each",
    full=lambda: measure(20, 4_000, 5),
    quick=lambda: measure(5, 1_000, 3),
)
