"""Nothing half-applied is ever shown: money that only moves from account to account always adds up to nothing.

Each transfer takes a dollar from one account and gives it to another. What an account has paid and what it has got are
two tables over one stream; beside each other they are its balance, and the balances add up to the total:

    transfers ──┬── paid per account ──┐
                │                      ├── full join ── balance ── total
                └── got per account ───┘

A join that is given one side of a transfer before the other shows a total that is not zero, or an account that has paid
and not yet got what no part of the input explains.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from tests.oracle.joins import Given
from thalweg import coalesce, col, count, lit
from thalweg.connect import call, memory
from thalweg.engine.embedded.joined import BesideRows
from thalweg.engine.embedded.rows import Rows
from thalweg.engine.embedded.stage import Output

SECOND = 1_000_000
ACCOUNTS = 10
STEPS = 40
Changes = Counter[Given]


@dataclass
class Shown:
    """The table that signed rows add up to, after each step."""

    rows: Changes = field(default_factory=Counter)
    tables: list[list[Given]] = field(default_factory=list)

    def take(self, step: pa.Table) -> None:
        """Take the rows of one step."""
        for *values, weight in zip(*(column.to_pylist() for column in step.columns), strict=True):
            self.rows[tuple(values)] += weight
        self.tables.append(list(self.rows.elements()))
        assert all(weight >= 0 for weight in self.rows.values()), "a row is withdrawn that is not there"


def transfers(rows: int, rng: random.Random, partitions: int) -> list[pl.DataFrame]:
    """Return transfers of one dollar, up to 10 s out of order; each partition has accounts of its own."""
    own = ACCOUNTS // partitions
    found = []
    for number in range(partitions):
        row = pl.int_range(rows // partitions, dtype=pl.Int64)
        source, step, late = (row.hash(rng.getrandbits(64)) for _ in range(3))
        payer = source % own
        payee = (payer + 1 + step % (own - 1)) % own
        time = row * (SECOND // 10) - (late % (10 * SECOND)).cast(pl.Int64)
        made = [
            (payer + number * own).cast(pl.Int64).alias("payer"),
            (payee + number * own).cast(pl.Int64).alias("payee"),
            pl.lit(1, pl.Int64).alias("amount"),
            time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("ts"),
        ]
        found.append(pl.select(row.alias("id")).select(*made))
    return found


def watched(parts: list[pl.DataFrame]) -> tuple[Shown, Shown, Shown]:
    """Run in steps; return what the join, the balances and the total showed."""
    app = tw.App("bank")
    moved = app.read(memory([[part] for part in parts]), time="ts", lateness="5s")
    paid = moved.group_by(account="payer").agg(paid=col("amount").sum(), payments=count())
    got = moved.group_by(account="payee").agg(got=col("amount").sum())
    both = paid.join(got, on="account", how="full")
    balance = coalesce(col("got"), lit(0)) - coalesce(col("paid"), lit(0))
    balances = both.select("account", balance=balance)
    shown = (Shown(), Shown(), Shown())
    both.write(call(shown[0].take))
    balances.write(call(shown[1].take))
    balances.agg(total=col("balance").sum()).write(call(shown[2].take))
    most = max(part.height for part in parts)
    app.run(data=None, until="end", max_step_rows=max(1, most // STEPS), quiet=True)
    return shown


def assert_consistent(rows: int, rng: random.Random, partitions: int) -> None:
    """Fail if a step shows what no part of the input explains."""
    parts = transfers(rows, rng, partitions)
    joined, balances, totals = watched(parts)
    assert len(joined.tables) >= 30, "many steps are looked at"
    assert len(balances.tables) >= 30
    for number, balance_rows in enumerate(balances.tables):
        assert sum(balance for _, balance in balance_rows) == 0, f"balances after step {number}"  # type: ignore[misc]
    assert totals.tables, "the total is shown"
    assert all(table == [(0,)] for table in totals.tables), "the total, whenever it is shown"
    own = ACCOUNTS // partitions
    for number, table in enumerate(joined.tables):
        expected: set[Given] = set()
        for place, part in enumerate(parts):
            mine = [row for row in table if row[0] // own == place]  # type: ignore[operator]
            # Each transfer is one dollar: what was paid says how many there were.
            read = part[: sum(paid or 0 for _, paid, _, _ in mine)]  # type: ignore[misc]
            payers = dict(read.group_by("payer").len().rows())
            payees = dict(read.group_by("payee").len().rows())
            for account in payers.keys() | payees.keys():
                paid = payers.get(account)
                expected.add((account, paid, paid, payees.get(account)))
        assert set(table) == expected, f"the join after step {number} is of no prefix"
        assert len(table) == len(expected)
    assert sum(paid or 0 for _, paid, _, _ in joined.tables[-1]) == sum(part.height for part in parts)  # type: ignore[misc]


@pytest.mark.parametrize("partitions", [1, 2])
def test_the_total_is_always_zero(partitions: int, rng: random.Random, torture: bool) -> None:
    for _ in range(500 if torture else 1):
        assert_consistent(10_000, rng, partitions)
    if torture:
        assert_consistent(10_000_000, rng, partitions)


def test_a_join_that_lags_on_one_side_is_found(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    true = BesideRows.process_sides
    waiting: dict[int, Sequence[Rows]] = {}

    def lagging(self: BesideRows, left: Sequence[Rows], right: Sequence[Rows], watermark: int) -> Output:
        last, waiting[id(self)] = waiting.get(id(self), ()), right
        return true(self, left, last, watermark)

    monkeypatch.setattr(BesideRows, "process_sides", lagging)
    with pytest.raises((AssertionError, tw.ThalwegError)):
        assert_consistent(1_000, rng, 1)
