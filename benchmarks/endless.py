"""A stream of any length in constant space, and the memory of the process that runs it.

Run as a process of its own (``python -m benchmarks.endless ROWS``), so that nothing else is in its memory; it prints
one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

import thalweg as tw
from benchmarks.events import LATENESS, Scale, events
from benchmarks.streamed import Watched
from thalweg.connect import call
from thalweg.core.errors import SourceError
from thalweg.core.ports import Json, Nothing, PartitionReader, SourceBatch
from thalweg.core.schema import Schema

BLOCK: Final = Scale(rows=1_000_000)
SAMPLE_S: Final = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Endless:
    """A source that gives one block of events again and again, each time later by the block's length.

    Attributes:
        rows: How many rows it gives in all.
        block: The rows.
        length_us: The block's length of event time, in microseconds.
    """

    rows: int
    block: pa.RecordBatch = field(repr=False)
    length_us: int

    @property
    def name(self) -> str:
        """``endless``."""
        return "endless"

    @property
    def final(self) -> bool:
        """There is a last row."""
        return True

    @property
    def prefetch(self) -> bool:
        """A read is a slice and an addition."""
        return False

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"endless({self.rows} rows)"

    def schema(self) -> pa.Schema:
        """Return the block's schema."""
        return self.block.schema

    def open(self, schema: Schema) -> _OpenEndless:
        """Start to read."""
        return _OpenEndless(self)


class _OpenEndless:
    def __init__(self, source: Endless) -> None:
        self._source = source

    def partitions(self) -> Sequence[str]:
        return ["0"]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        if position is not None and not isinstance(position, int):
            raise SourceError(f"{self._source.describe()} cannot be read from {position!r}; a row's number is wanted")
        return _EndlessReader(self._source, position or 0)

    def close(self) -> None:
        """The block belongs to the program."""


class _EndlessReader:
    def __init__(self, source: Endless, row: int) -> None:
        self._source = source
        self._row = row

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        source, first = self._source, self._row
        if first == source.rows:
            return Nothing.EVER
        turn, start = divmod(first, source.block.num_rows)
        rows = min(max_rows, source.block.num_rows - start, source.rows - first)
        part = source.block.slice(start, rows)
        later = pc.add(part["ts"], pa.scalar(turn * source.length_us, pa.duration("us")))
        self._row += rows
        data = pa.record_batch([part["key"], part["value"], later], schema=part.schema)
        return SourceBatch(data, self._row, partial(_place, first))

    def close(self) -> None:
        """The block belongs to the program."""


def _place(first: int, index: int) -> str:
    return f"endless:{first + index}"


class Sampler:
    """Samples the process's resident memory on a thread of its own.

    Args:
        engine: Knows how much was read.

    Attributes:
        samples: Rows read and bytes resident, from the start on.
    """

    def __init__(self, engine: Watched) -> None:
        self.samples: list[tuple[int, int]] = []
        self._engine = engine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.samples.append((self._engine.rows_in, resident_bytes()))
            if self._over.wait(SAMPLE_S):
                return


def resident_bytes() -> int:
    """Return how much memory this process holds resident."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return int(shown.stdout) * 1024


def flow(rows: int, block: Scale = BLOCK) -> dict[str, Json]:
    """Run rows through tumbling windows; return what was counted, and the samples."""
    batch = events(block).to_arrow().combine_chunks().to_batches()[0]
    source = Endless(rows, batch, block.rows * 1_000_000 // block.rate)
    engine = Watched()
    counted: list[int] = []
    app = tw.App("endless")
    stream = app.read(source, time="ts", lateness=LATENESS)
    windows = stream.group_by("key").window("1m").agg(n=tw.count(), total=tw.col("value").sum())
    windows.write(call(lambda table: counted.append(pc.sum(table["n"]).as_py())))
    with Sampler(engine) as sampler:
        started = time.perf_counter()
        app.run(data=None, until="end", quiet=True, engine=engine)
        seconds = time.perf_counter() - started
    samples: list[Json] = [[read, resident] for read, resident in sampler.samples]
    return {"counted": sum(counted), "calls": len(counted), "seconds": seconds, "samples": samples}


if __name__ == "__main__":
    print(json.dumps(flow(int(sys.argv[1]))))
