"""Rows, functions and runs for the tests of ``process``."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

import thalweg as tw
from thalweg import Stream
from thalweg.connect import memory

DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
STEPS = (1, 2, 100)


@dataclasses.dataclass
class Event:
    k: str
    x: int
    ts: dt.datetime


class Out:
    k: str
    n: int


@dataclasses.dataclass
class Count:
    n: int = 0


def at(second: float) -> dt.datetime:
    return DAY + dt.timedelta(seconds=second)


def events(app: tw.App, *given: tuple[str, int, float], lateness: str = "0s") -> Stream:
    data = [{"k": key, "x": x, "ts": at(second)} for key, x, second in given]
    return app.read(memory([data]), schema=Event, time="ts", lateness=lateness)


def counted(row: dict[str, Any], state: Any, timers: Any) -> Iterator[dict[str, Any]]:
    state.n += row["x"]
    yield {"k": row["k"], "n": state.n}


def run(app: tw.App, step_rows: int = 100, **options: Any) -> tw.Report:
    report = app.run(**({"data": None, "until": "end", "max_step_rows": step_rows, "quiet": True} | options))
    for line in report.ledger.to_pylist():
        assert line["absorbed"] == line["released"] + line["held"], line
    return report


def shown(report: tw.Report) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in report.view("v").to_pylist()]


def line_of(report: tw.Report) -> dict[str, Any]:
    (line,) = [line for line in report.ledger.to_pylist() if "process" in line["step"]]
    found: dict[str, Any] = line
    return found


def running(table: pa.Table, states: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Count x per key, with a row for each, as ``counted`` does."""
    given, before = pl.DataFrame(table), pl.DataFrame(states)
    key = pl.col("k").fill_nan(-1.5) if given.schema["k"].is_float() else pl.col("k")
    key = pl.when(key == 0).then(0.0).otherwise(key) if given.schema["k"].is_float() else key
    text = key.cast(pl.String).fill_null("null").alias("text")  # null, NaN and −0.0 are keys as others are
    given, before = given.with_columns(text), before.with_columns(text).select("k", "text", "n")
    made = given.join(before.drop("k"), on="text", how="left", maintain_order="left")
    made = made.with_columns(n=pl.col("n") + pl.col("x").cum_sum().over("text"))
    after = before.join(given.group_by("text").agg(pl.col("x").sum()), on="text", how="left", maintain_order="left")
    return made.select("k", "n").to_arrow(), after.select("k", n=pl.col("n") + pl.col("x")).to_arrow()
