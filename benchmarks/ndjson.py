"""NDJSON files to windowed counts, beside one-shot Polars scanning the same files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from benchmarks.contest import chosen, compared, polars_engines, take_turns
from benchmarks.events import Scale, events
from benchmarks.outcome import Benchmark, Comparison
from benchmarks.streamed import Streamed
from benchmarks.tumbling import counts, query
from thalweg.connect import files

TARGET = 0.7
FILES = 8

_TIME = "%Y-%m-%dT%H:%M:%S%.fZ"


class Event:
    """A line of the files."""

    key: int
    value: int
    ts: datetime


def write(frame: pl.DataFrame, folder: Path) -> None:
    """Write the events as files of equal size, in order of their names; times as ISO 8601 text."""
    text = frame.with_columns(pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"))
    size = -(-frame.height // FILES)
    for number in range(FILES):
        text[number * size : (number + 1) * size].write_ndjson(folder / f"events-{number}.ndjson")


def scan(folder: Path) -> pl.LazyFrame:
    """Return the files as a lazy frame of parsed events."""
    schema = {"key": pl.Int64, "value": pl.Int64, "ts": pl.String}
    lines = pl.scan_ndjson(sorted(folder.glob("*.ndjson")), schema=schema)
    return lines.with_columns(pl.col("ts").str.to_datetime(_TIME, time_unit="us", time_zone="UTC"))


def measure(scale: Scale) -> Iterator[Comparison]:
    """Compare."""
    frame = events(scale)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(frame, folder)
        own = Streamed(files(str(folder / "*.ndjson")), counts, scale, Event)
        references = polars_engines(query(scan(folder)))
        seconds = take_turns({"thalweg": own, **references}, scale.rounds, query(frame.lazy()).collect())
    title = f"{FILES} NDJSON files to tumbling windows of 1 m, {scale.steps}"
    yield compared(title, scale.rows, seconds["thalweg"], chosen(seconds, references), TARGET, own.note)


BENCHMARK = Benchmark(
    "ndjson",
    "NDJSON files to tumbling windows, beside one-shot Polars scanning the same files",
    full=lambda: measure(Scale(rows=6_000_000, rounds=5)),
    quick=lambda: measure(Scale(rows=6_000_000, rounds=1)),
)
