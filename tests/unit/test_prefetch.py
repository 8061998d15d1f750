"""Reading ahead: in order, without loss, behind a bounded queue, and errors are raised where the run sees them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from thalweg.core.errors import SourceError
from thalweg.core.ports import Nothing, SourceBatch
from thalweg.engine.embedded import prefetch as module
from thalweg.engine.embedded.prefetch import Prefetched

ROWS = pa.record_batch({"a": pa.array(range(1000), pa.int64())})


def batch(number: int) -> SourceBatch:
    return SourceBatch(ROWS, number, str)


class Reader:
    """Gives batches 0 … n-1, then what it is told."""

    def __init__(self, count: int, then: Nothing | Exception = Nothing.EVER) -> None:
        self.count = count
        self.given = 0
        self.asked: list[int] = []
        self.then = then
        self.closed = False

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        self.asked.append(max_rows)
        if self.given < self.count:
            self.given += 1
            return batch(self.given - 1)
        if isinstance(self.then, Exception):
            raise self.then
        if self.then is Nothing.NOW:
            time.sleep(0.001)
        return self.then

    def close(self) -> None:
        self.closed = True


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within ten seconds"
        time.sleep(0.001)


def positions(ahead: Prefetched) -> list[object]:
    """Everything that it gives, up to its end."""
    found: list[object] = []
    while True:
        got = ahead.read(10, 0.1)
        if got is Nothing.EVER:
            return found
        if isinstance(got, SourceBatch):
            found.append(got.position)


def test_batches_come_once_and_in_order() -> None:
    reader = Reader(50)
    ahead = Prefetched(reader, 7, threading.Event())
    assert positions(ahead) == list(range(50))
    assert set(reader.asked) == {7}
    ahead.close()
    assert reader.closed


def test_nothing_is_the_end_before_the_queue_is_empty() -> None:
    ahead = Prefetched(Reader(3), 7, threading.Event())
    until(lambda: not ahead._thread.is_alive())
    assert ahead.reading  # rows wait, so a run may not take this for the end
    assert [ahead.read(10, 0) for _ in range(4)][3] is Nothing.EVER
    assert not ahead.reading
    ahead.close()


def test_while_the_thread_reads_there_is_nothing_now_but_it_is_reading() -> None:
    gate = threading.Event()

    class Slow(Reader):
        def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
            gate.wait(10)
            return super().read(max_rows, timeout_s)

    ahead = Prefetched(Slow(1), 7, threading.Event())
    assert ahead.read(10, 0) is Nothing.NOW
    assert ahead.reading
    gate.set()
    assert positions(ahead) == [0]
    ahead.close()


def test_an_arrival_wakes_the_run() -> None:
    arrived = threading.Event()
    reader = Reader(0, Nothing.NOW)
    ahead = Prefetched(reader, 7, arrived)
    until(lambda: not ahead.reading)
    arrived.clear()
    reader.count = 1
    assert arrived.wait(10)
    ahead.close()


def test_an_error_of_the_reader_is_raised_after_the_rows_before_it() -> None:
    arrived = threading.Event()
    ahead = Prefetched(Reader(2, SourceError("the disk is gone")), 7, arrived)
    until(lambda: not ahead._thread.is_alive())
    assert [isinstance(ahead.read(10, 0), SourceBatch) for _ in range(2)] == [True, True]
    for _ in range(2):
        with pytest.raises(SourceError, match="the disk is gone"):
            ahead.read(10, 0)
    assert arrived.is_set()
    ahead.close()


def test_the_queue_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 3 * ROWS.nbytes)
    reader = Reader(100)
    ahead = Prefetched(reader, 7, threading.Event())
    until(lambda: reader.given >= 5)
    time.sleep(0.05)
    assert reader.given <= 6  # three fill the queue, one more goes past its bound, one waits in the thread's hand
    assert positions(ahead) == list(range(100))
    ahead.close()


def test_closing_stops_a_thread_that_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 0)
    reader = Reader(100)
    ahead = Prefetched(reader, 7, threading.Event())
    until(lambda: reader.given >= 2)
    ahead.close()
    assert not ahead._thread.is_alive()
    assert reader.closed
