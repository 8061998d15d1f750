"""The sink of the test kit: it takes each epoch once, and outlives the runs that write to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from thalweg.core.ports import EpochWriter, WriteRequest
from thalweg.testing.compare import consolidated

_WEIGHT = "_weight"


@dataclass(slots=True, eq=False)
class Kept:
    """A sink in memory. Runs that go on from each other's state write to the same one.

    Attributes:
        name: What it is called in the plan: there may be several sinks of one name.
        called: What the sink in whose place it is was called.
        schema: The rows' columns, those of the stream.
        changing: Whether rows can be withdrawn.
        epochs: What it has been given.
    """

    name: str
    called: str
    schema: pa.Schema
    changing: bool
    epochs: dict[int, pa.Table] = field(default_factory=dict)

    @property
    def changes(self) -> Literal["passed on"]:
        """Rows of a changing stream come with their weight."""
        return "passed on"

    @property
    def target(self) -> None:
        """It is no path or address."""
        return None

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"kept({self.name})"

    def open(self, request: WriteRequest) -> EpochWriter:
        """Start to write."""
        return _KeptWriter(self.epochs)

    def table(self) -> pa.Table:
        """Return all rows; of a changing stream the table that they add up to."""
        if not self.changing:
            return pa.concat_tables([self.schema.empty_table(), *self.epochs.values()])
        signed = self.schema.append(pa.field(_WEIGHT, pa.int64(), nullable=False))
        return consolidated(pa.concat_tables([signed.empty_table(), *self.epochs.values()]), _WEIGHT)


class _KeptWriter:
    def __init__(self, epochs: dict[int, pa.Table]) -> None:
        self._epochs = epochs

    def last_epoch(self) -> int:
        return max(self._epochs, default=0)

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        if epoch > self.last_epoch() and (tables := list(rows)):
            self._epochs[epoch] = pa.concat_tables(tables)

    def close(self) -> None:
        """Nothing is held."""
