"""Count and sum per key in windows of ten seconds that start every two, beside one-shot DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import duckdb
import polars as pl
import pyarrow as pa

import thalweg as tw
from benchmarks.contest import Contestant, OneShot, chosen, compared, take_turns
from benchmarks.events import Scale, events
from benchmarks.outcome import Benchmark, Comparison
from benchmarks.streamed import Streamed
from thalweg.connect import memory
from thalweg.stream import Stream

TARGET = 0.6

# DuckDB has no hopping windows, and how they are spelled matters much: the faster of two ways counts. Both number
# the windows (by the two seconds that they start with), which is faster than timestamps.
QUERIES: Mapping[str, str] = {
    "duckdb unnested": """
        SELECT key, number, count(*) AS n, sum(value)::BIGINT AS total
        FROM (
            SELECT key, value, unnest(range(epoch_us(ts) // 2000000 - 4, epoch_us(ts) // 2000000 + 1)) AS number
            FROM events
        )
        GROUP BY ALL
    """,
    "duckdb slices": """
        SELECT key, slice - back AS number, sum(n)::BIGINT AS n, sum(total)::BIGINT AS total
        FROM (
            SELECT key, epoch_us(ts) // 2000000 AS slice, count(*) AS n, sum(value) AS total
            FROM events
            GROUP BY ALL
        ), range(5) AS windows(back)
        GROUP BY ALL
    """,
}


def counts(stream: Stream) -> Stream:
    """Return the pipeline."""
    window = tw.hopping("10s", every="2s")
    return stream.group_by("key").window(window).agg(n=tw.count(), total=tw.col("value").sum())


def measure(scale: Scale) -> Iterator[Comparison]:
    """Compare."""
    table = events(scale).to_arrow()
    own = Streamed(memory(table), counts, scale)
    with duckdb.connect() as connection:
        connection.register("events", table)
        references: dict[str, Contestant] = {
            name: OneShot(_query(connection, text), _dated) for name, text in QUERIES.items()
        }
        seconds = take_turns({"thalweg": own, **references}, scale.rounds, _expected(table))
    name = f"hopping 10 s every 2 s, count and sum per key, {scale.steps}"
    yield compared(name, scale.rows, seconds["thalweg"], chosen(seconds, references), TARGET, own.note)


def _query(connection: duckdb.DuckDBPyConnection, text: str) -> Callable[[], pa.Table]:
    return lambda: connection.sql(text).to_arrow_table()


def _dated(frame: pl.DataFrame) -> pl.DataFrame:
    start = (pl.col("number") * 2_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return frame.select("key", start.alias("window_start"), "n", "total")


def _expected(table: pa.Table) -> pl.DataFrame:
    """Return the rows that are right, by a third program: Polars, window by window of a row."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    slices = frame.select("key", "value", pl.col("ts").dt.truncate("2s"))
    shifted = [slices.with_columns(pl.col("ts") - pl.duration(seconds=2 * back)) for back in range(5)]
    groups = pl.concat(shifted).lazy().group_by("key", pl.col("ts").alias("window_start"))
    return groups.agg(n=pl.len().cast(pl.Int64), total=pl.col("value").sum()).collect()


BENCHMARK = Benchmark(
    "hopping",
    "hopping windows of ten seconds every two, beside one-shot DuckDB",
    full=lambda: measure(Scale(rows=4_000_000, rounds=5)),
    quick=lambda: measure(Scale(rows=3_000_000, rounds=3)),
)
