"""Count and sum per key in windows of a minute, in large and in small steps, beside one-shot Polars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import polars as pl

import thalweg as tw
from benchmarks.contest import Contestant, chosen, compared, polars_engines, take_turns
from benchmarks.events import Scale, events
from benchmarks.outcome import Benchmark, Comparison
from benchmarks.streamed import Streamed
from thalweg.connect import memory
from thalweg.stream import Stream

TARGETS: Mapping[int, float] = {100_000: 0.8, 1_000: 0.25}
"""The ratio that is aimed at, by rows of a step."""


def counts(stream: Stream) -> Stream:
    """Return the pipeline."""
    return stream.group_by("key").window("1m").agg(n=tw.count(), total=tw.col("value").sum())


def query(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the same as one query."""
    window = pl.col("ts").dt.truncate("1m").alias("window_start")
    return frame.group_by("key", window).agg(n=pl.len().cast(pl.Int64), total=pl.col("value").sum())


def measure(scale: Scale, targets: Mapping[int, float] = TARGETS) -> Iterator[Comparison]:
    """Compare, step size by step size."""
    frame = events(scale)
    source = memory(frame.to_arrow())
    own = {rows: Streamed(source, counts, replace(scale, step_rows=rows)) for rows in targets}
    references = polars_engines(query(frame.lazy()))
    contestants: dict[str, Contestant] = {f"thalweg, {rows}-row steps": run for rows, run in own.items()}
    seconds = take_turns(contestants | references, scale.rounds, query(frame.lazy()).collect())
    for rows, target in targets.items():
        name = f"tumbling 1 m, count and sum per key, steps of {rows} rows"
        own_s = seconds[f"thalweg, {rows}-row steps"]
        yield compared(name, scale.rows, own_s, chosen(seconds, references), target, own[rows].note)


BENCHMARK = Benchmark(
    "tumbling",
    "tumbling windows of a minute in steps of 100,000 and of 1,000 rows, beside one-shot Polars",
    full=lambda: measure(Scale(rows=12_000_000, rounds=7)),
    quick=lambda: measure(Scale(rows=6_000_000, rounds=3)),
)
