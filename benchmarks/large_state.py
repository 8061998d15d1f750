"""A count and a sum for each of many keys, in a process of its own, and the memory that it takes.

Run as ``python -m benchmarks.large_state KEYS ROWS [BUDGET]``; prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

import thalweg as tw
from benchmarks.outcome import WrongAnswerError
from thalweg.connect import call, memory
from thalweg.core.errors import SourceError
from thalweg.core.ports import Json, Nothing, PartitionReader, SourceBatch
from thalweg.core.schema import Schema

SCHEMA = pa.schema([("key", pa.int64()), ("value", pa.int64())])
_SPREAD = 2_654_435_761


@dataclass(frozen=True, slots=True)
class ManyKeys:
    """A source of rows whose keys come in no order, each as often as any other.

    Attributes:
        keys: How many keys there are.
        rows: How many rows it gives.
    """

    keys: int
    rows: int

    @property
    def name(self) -> str:
        """``many_keys``."""
        return "many_keys"

    @property
    def final(self) -> bool:
        """There is a last row."""
        return True

    @property
    def prefetch(self) -> bool:
        """A read is little work."""
        return False

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"many_keys({self.keys} keys, {self.rows} rows)"

    def schema(self) -> pa.Schema:
        """Return the schema."""
        return SCHEMA

    def open(self, schema: Schema) -> _OpenManyKeys:
        """Start to read."""
        return _OpenManyKeys(self)


class _OpenManyKeys:
    def __init__(self, source: ManyKeys) -> None:
        self._source = source

    def partitions(self) -> Sequence[str]:
        return ["0"]

    def reader(self, partition: str, position: Json) -> PartitionReader:
        if position is not None and not isinstance(position, int):
            raise SourceError(f"{self._source.describe()} cannot be read from {position!r}; a row's number is wanted")
        return _ManyKeysReader(self._source, position or 0)

    def close(self) -> None:
        """Nothing is held."""


class _ManyKeysReader:
    def __init__(self, source: ManyKeys, row: int) -> None:
        self._source = source
        self._row = row

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        source, first = self._source, self._row
        if first == source.rows:
            return Nothing.EVER
        self._row = min(first + max_rows, source.rows)
        numbers = pl.int_range(first, self._row, dtype=pl.UInt64, eager=True)
        # Each run of `keys` rows has each key once: the factor is a prime.
        keys = (numbers % source.keys * _SPREAD % source.keys).cast(pl.Int64)
        columns = [keys.to_arrow(), (numbers % 100).cast(pl.Int64).to_arrow()]
        return SourceBatch(pa.record_batch(columns, schema=SCHEMA), self._row, str)

    def close(self) -> None:
        """Nothing is held."""


def anonymous_bytes() -> int:
    """Return the process's anonymous resident memory (``RssAnon``): without files that are mapped."""
    with open("/proc/self/status", encoding="ascii") as status:
        found = next(line for line in status if line.startswith("RssAnon"))
    return int(found.split()[1]) * 1024


def counted(keys: int, rows: int, budget: str | None) -> dict[str, Json]:
    """Count and sum the rows of each key.

    Raises:
        WrongAnswerError: The changes do not add up to all rows.
    """
    idle = tw.App("idle")
    idle.read(memory([{"key": 1}])).group_by("key").agg(n=tw.count()).write(call(lambda table: None))
    idle.run(data=None, quiet=True)
    start = most = anonymous_bytes()
    groups = n = total = 0

    def take(change: pa.Table) -> None:
        nonlocal groups, n, total, most
        weights = change["_weight"]
        groups += pc.sum(weights).as_py()
        n += pc.sum(pc.multiply(change["n"], weights)).as_py()
        total += pc.sum(pc.multiply(change["total"], weights)).as_py()
        most = max(most, anonymous_bytes())

    app = tw.App("large_state")
    stream = app.read(ManyKeys(keys, rows))
    stream.group_by("key").agg(n=tw.count(), total=tw.col("value").sum()).write(call(take))
    began = time.perf_counter()
    app.run(data=None, quiet=True, memory=budget or "1000GB")
    seconds = time.perf_counter() - began
    expected = sum(range(100)) * (rows // 100) + sum(range(rows % 100))
    if (groups, n, total) != (min(keys, rows), rows, expected):
        raise WrongAnswerError(f"{groups} groups, {n} rows, sum {total}; expected {keys}, {rows}, {expected}")
    return {"seconds": seconds, "idle": start, "most": most}


if __name__ == "__main__":
    print(json.dumps(counted(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)))
