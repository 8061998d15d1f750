"""Filter and projection, beside one-shot Polars."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

import thalweg as tw
from benchmarks.contest import chosen, compared, polars_engines, take_turns
from benchmarks.events import Scale, events
from benchmarks.outcome import Benchmark, Comparison
from benchmarks.streamed import Streamed
from thalweg.connect import memory
from thalweg.stream import Stream

TARGET = 0.8


def dear(stream: Stream) -> Stream:
    """Return the pipeline: about half of the rows, one column computed anew."""
    return stream.filter(tw.col("value") >= 500).select("key", "ts", price=tw.col("value") * 2 + 1)


def query(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the same as one query."""
    return frame.filter(pl.col("value") >= 500).select("key", "ts", price=pl.col("value") * 2 + 1)


def measure(scale: Scale) -> Iterator[Comparison]:
    """Compare."""
    frame = events(scale)
    own = Streamed(memory(frame.to_arrow()), dear, scale)
    references = polars_engines(query(frame.lazy()))
    seconds = take_turns({"thalweg": own, **references}, scale.rounds, query(frame.lazy()).collect())
    name = f"filter and projection, {scale.steps}"
    yield compared(name, scale.rows, seconds["thalweg"], chosen(seconds, references), TARGET, own.note)


BENCHMARK = Benchmark(
    "filter",
    "filter and projection, beside one-shot Polars",
    full=lambda: measure(Scale(rows=16_000_000, rounds=9)),
    quick=lambda: measure(Scale(rows=4_000_000, rounds=5)),
)
