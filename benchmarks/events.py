"""The events that the benchmarks read: made up, the same in every run."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

START_US = 1_704_067_200_000_000  # 2024-01-01T00:00:00Z
DISORDER_US = 3_000_000
LATENESS = "5s"
"""More than the disorder, so that no row is late and a query over everything is an answer too."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        rows: Events.
        rounds: Timed rounds.
        rate: Events per second of event time.
        keys: Different keys.
        step_rows: The most rows of a step; None is the engine's own choice.
        soonest: Before which part of the input is read the first result must come: that the input ends is no
            excuse to wait. A tiny input is over before a busy machine gets round to the call, and needs more.
    """

    rows: int
    rounds: int = 5
    rate: int = 10_000
    keys: int = 100_000
    step_rows: int | None = None
    soonest: float = 0.2

    @property
    def steps(self) -> str:
        """How large the steps are, in words."""
        return "default steps" if self.step_rows is None else f"steps of {self.step_rows} rows"


def events(scale: Scale) -> pl.DataFrame:
    """Return ``key`` and ``value`` (int64) and ``ts``, in order of arrival: up to three seconds out of order.

    Example:
        >>> events(Scale(rows=3)).columns
        ['key', 'value', 'ts']
    """
    number = pl.int_range(scale.rows, dtype=pl.UInt64, eager=True)

    def drawn(seed: int, below: int) -> pl.Series:
        return (number.hash(seed) % below).cast(pl.Int64)

    made_us = number.cast(pl.Int64) * 1_000_000 // scale.rate
    time_us = START_US + (made_us - drawn(3, DISORDER_US)).clip(lower_bound=0)
    columns = [drawn(1, scale.keys).alias("key"), drawn(2, 1_000).alias("value"), time_us.alias("ts")]
    frame = pl.DataFrame(columns).with_columns(pl.col("ts").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    return frame.rechunk()
