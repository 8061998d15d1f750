"""Events from another process, through its standard output, as they are made: the writing and the reading end.

A message is four bytes of length, little-endian, and one Arrow record batch. The writer stamps each event with the wall
clock of the machine as it makes it; the reader is a live source.
"""

from __future__ import annotations

import argparse
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO, Final

import pyarrow as pa

from benchmarks.outcome import ROOT
from thalweg.core.errors import SourceError
from thalweg.core.ports import Json, Nothing, PartitionReader, SourceBatch
from thalweg.core.schema import TIMESTAMP, Schema

SCHEMA: Final = pa.schema([("seq", pa.int64()), ("key", pa.int64()), ("made_ns", pa.int64()), ("ts", TIMESTAMP)])
"""``seq`` counts the events from 0; ``made_ns`` is when the event was made, ``ts`` the same in microseconds."""

TICK_S: Final = 0.001
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Flow:
    """How events are made.

    Attributes:
        rate: Events per second.
        seconds: For how long.
        keys: Different keys.
    """

    rate: int = 10_000
    seconds: float = 30.0
    keys: int = 1_000

    @property
    def events(self) -> int:
        """How many there are in all."""
        return int(self.rate * self.seconds)


def send(flow: Flow, out: BinaryIO) -> None:
    """Make events at their rate and send those of each millisecond as one batch."""
    start = time.perf_counter()
    sent = 0
    while sent < flow.events:
        due = min(int((time.perf_counter() - start) * flow.rate) + 1, flow.events)
        if due > sent:
            # An event is stamped when it is made, not when it should have been: only what comes after is measured.
            stamps = [time.time_ns() for _ in range(sent, due)]
            columns = [
                pa.array(range(sent, due), pa.int64()),
                pa.array([_key(number, flow.keys) for number in range(sent, due)], pa.int64()),
                pa.array(stamps, pa.int64()),
                pa.array([stamp // 1_000 for stamp in stamps], TIMESTAMP),
            ]
            body = pa.record_batch(columns, schema=SCHEMA).serialize()
            out.write(_LENGTH.pack(body.size))
            out.write(body)
            out.flush()
            sent = due
        time.sleep(TICK_S)


def _key(number: int, keys: int) -> int:
    return number * 2_654_435_761 % 2**32 % keys


@dataclass(frozen=True, slots=True)
class Feed:
    """A live source: a process that sends a flow of events.

    Attributes:
        flow: What it sends.
        received: The batches that came, for the answer that is checked later.
    """

    flow: Flow
    received: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def name(self) -> str:
        """``feed``."""
        return "feed"

    @property
    def final(self) -> bool:
        """When the process has ended nothing more comes."""
        return True

    @property
    def prefetch(self) -> bool:
        """Reading waits for the process."""
        return True

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"feed({self.flow.rate} events/s for {self.flow.seconds:g} s)"

    def schema(self) -> pa.Schema:
        """Return the schema of the events."""
        return SCHEMA

    def open(self, schema: Schema) -> _OpenFeed:
        """Start to read; the process starts with the reader."""
        return _OpenFeed(self)


class _OpenFeed:
    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def partitions(self) -> Sequence[str]:
        return ["0"]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        if position is not None:
            raise SourceError(f"{self._feed.describe()} cannot be read from {position!r}: what was sent is gone")
        return _FeedReader(self._feed)

    def close(self) -> None:
        """The reader ends the process."""


class _FeedReader:
    """Reads on the thread that reads ahead, so that it may wait."""

    def __init__(self, feed: Feed) -> None:
        flow = feed.flow
        arguments = ["--rate", str(flow.rate), "--seconds", str(flow.seconds), "--keys", str(flow.keys)]
        self._received = feed.received
        command = [sys.executable, "-m", "benchmarks.feed", *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        self._bytes = bytearray()
        self._rows = 0

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        while (batch := self._next()) is None:
            ready, _, _ = select.select([self._pipe], [], [], timeout_s)
            if not ready:
                return Nothing.NOW
            arrived = os.read(self._pipe, 1 << 16)
            if not arrived:
                return self._end()
            self._bytes += arrived
        self._received.append(batch)
        first, self._rows = self._rows, self._rows + batch.num_rows
        return SourceBatch(batch, self._rows, partial(_place, first))

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _next(self) -> pa.RecordBatch | None:
        """Return the next batch that is here whole."""
        if len(self._bytes) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._bytes)
        end = _LENGTH.size + size
        if len(self._bytes) < end:
            return None
        body = pa.py_buffer(bytes(self._bytes[_LENGTH.size : end]))
        del self._bytes[:end]
        return pa.ipc.read_record_batch(body, SCHEMA)

    def _end(self) -> Nothing:
        code = self._process.wait()
        if code or self._bytes:
            raise SourceError(f"the feed's process ended with code {code} and {len(self._bytes)} bytes of a message")
        return Nothing.EVER


def _place(first: int, index: int) -> str:
    return f"feed:{first + index}"


def main() -> None:
    """Send a flow to the standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed")
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--keys", type=int, required=True)
    chosen = parser.parse_args()
    send(Flow(chosen.rate, chosen.seconds, chosen.keys), sys.stdout.buffer)


if __name__ == "__main__":
    main()
