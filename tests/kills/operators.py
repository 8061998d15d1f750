"""The operators that are met by the kills: each a small stream over the same input."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import thalweg as tw
from thalweg import Stream, col, count
from thalweg.connect import files, topic
from thalweg.log import Log

ITEMS = ("tea", "cup", "pot", "jug", "tin")
BEGIN = datetime(2026, 3, 1, 10, tzinfo=UTC)
ROWS = 160
"""Rows of each partition; some are late, and some are rejected."""


@dataclass
class Order:
    """A row of the input."""

    item: str
    x: int
    ts: datetime


@dataclass
class Tally:
    """What ``process`` keeps of an item."""

    n: int = 0
    total: int = 0


@dataclass
class Told:
    """What ``process`` gives."""

    item: str
    n: int
    total: int


@dataclass(frozen=True, slots=True)
class Input:
    """The streams that operators work on."""

    orders: Stream
    payments: Stream
    names: Path


@dataclass(frozen=True, slots=True)
class Operator:
    """A stream under attack.

    Attributes:
        build: Makes it.
        changing: Whether its rows can be withdrawn.
    """

    build: Callable[[Input], Stream]
    changing: bool = False


def write_input(folder: Path, seed: str) -> None:
    """Write what all pipelines read: two topics, and a reference."""
    rng = random.Random(seed)
    with Log(folder / "in") as log:
        for name, partitions in (("orders", 2), ("payments", 1)):
            written = log.create(name, Order, partitions=partitions)
            for number in range(partitions):
                written.append([_row(rng, n) for n in range(ROWS)], number)
    lines = "".join(f"{item},{number}\n" for number, item in enumerate(ITEMS[:-1]))
    (folder / "names.csv").write_text(f"item,number\n{lines}", encoding="utf-8")


def read_input(app: tw.App, folder: Path) -> Input:
    """Return the streams of an app."""
    orders = app.read(topic("orders", log=folder / "in"), time="ts", lateness="5s")
    payments = app.read(topic("payments", log=folder / "in"), time="ts", lateness="5s")
    return Input(orders, payments, folder / "names.csv")


def _row(rng: random.Random, n: int) -> dict[str, Any]:
    # A second for each row; most are a few seconds early or late, some too late.
    at = n + rng.choice([0, 0, 0, 1, 2, -2, -3, -20])
    return {"item": rng.choice(ITEMS), "x": rng.randint(-50, 50), "ts": BEGIN + timedelta(seconds=at)}


def _picky(row: dict[str, Any]) -> dict[str, Any]:
    if row["x"] % 17 == 0:
        raise ValueError(f"{row['x']} is a multiple of 17")
    return {**row, "x": -row["x"]}


def _larger(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return max(one, other, key=lambda row: (row["x"], row["ts"], row["item"]))


def _tallied(row: dict[str, Any], tally: Tally, timers: Any) -> Iterator[Told]:
    tally.n, tally.total = tally.n + 1, tally.total + row["x"]
    timers.set(timedelta(seconds=7))
    if tally.n % 3 == 0:
        yield Told(row["item"], tally.n, tally.total)


def _quiet(time: datetime, tally: Tally, timers: Any) -> Iterator[Told]:
    yield Told(timers.key["item"], -tally.n, tally.total)


def _by_batch(rows: pa.Table, states: pa.Table) -> tuple[pa.Table, pa.Table]:
    kept = {row["item"]: row for row in states.to_pylist()}
    told = []
    for row in rows.to_pylist():
        state = kept.setdefault(row["item"], {"item": row["item"], "n": 0, "total": 0})
        state["n"], state["total"] = state["n"] + 1, state["total"] + row["x"]
        told.append(dict(state))
    schema = pa.schema([("item", pa.string()), ("n", pa.int64()), ("total", pa.int64())])
    return pa.Table.from_pylist(told, schema), pa.Table.from_pylist(list(kept.values()), states.schema)


def _sums(stream: Stream) -> Stream:
    return stream.agg(n=count(), total=col("x").sum(), most=col("x").max(), last=col("x").last())


def _tables_joined(given: Input) -> Stream:
    paid = given.payments.group_by("item").agg(paid=col("x").sum())
    return given.orders.group_by("item").agg(ordered=col("x").sum()).join(paid, on="item", how="full")


def _paid(given: Input) -> Stream:
    return given.payments.select("item", "ts", paid=col("x"))


OPERATORS: dict[str, Operator] = {
    "map": Operator(lambda given: given.orders.map(_picky, schema=Order)),
    "union": Operator(lambda given: given.orders.union(given.payments)),
    "lookup": Operator(lambda given: given.orders.lookup(files(given.names), on="item")),
    "aggregate": Operator(lambda given: _sums(given.orders.group_by("item")), changing=True),
    "tumbling": Operator(lambda given: _sums(given.orders.group_by("item").window("20s"))),
    "tumbling, on change": Operator(
        lambda given: _sums(given.orders.group_by("item").window("20s", emit="on_change")), changing=True
    ),
    "hopping": Operator(lambda given: _sums(given.orders.group_by("item").window(tw.hopping("20s", every="7s")))),
    "session": Operator(lambda given: _sums(given.orders.group_by("item").window(tw.session("4s")))),
    "count window": Operator(lambda given: _sums(given.orders.group_by("item").window(tw.count_window(7)))),
    "dedupe": Operator(lambda given: given.orders.dedupe("item", within="9s")),
    "first rows": Operator(lambda given: given.orders.dedupe("x"), changing=True),
    "top-k": Operator(lambda given: given.orders.top_k(3, by=["x", "ts"], per="item"), changing=True),
    "join of tables": Operator(_tables_joined, changing=True),
    "interval join": Operator(lambda given: given.orders.join(_paid(given), on="item", how="left", within="3s")),
    "as-of join": Operator(lambda given: given.orders.join_asof(_paid(given), by="item")),
    "process": Operator(
        lambda given: given.orders.process(_tallied, key="item", state=Tally, on_timer=_quiet, ttl="12s", schema=Told)
    ),
    "process by batch": Operator(
        lambda given: given.orders.process(_by_batch, key="item", state=Tally, by_batch=True, schema=Told)
    ),
    "reduce by key": Operator(lambda given: given.orders.reduce_by_key("item", _larger), changing=True),
}
