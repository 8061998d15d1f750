"""What an append gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa


class Appended(NamedTuple):
    """Rows that are durable in a partition: ``count`` of them from ``offset`` on."""

    partition: int
    offset: int
    count: int  # type: ignore[assignment]  # rather the plain word than tuple.count


class RejectedRow(NamedTuple):
    """A row that its topic's policy left out: its index in the call, the column at fault where it is one, and why."""

    row: int
    column: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What became of each row of an append.

    Attributes:
        appended: The rows that are durable, by partition.
        duplicates: The indices of the rows that were dropped because their id was appended before (int64).
        offsets: The offset of each row, null for a duplicate and for one that was rejected (int64).
        partitions: The partition of each row, null for one that was rejected (int32).
        rejected: The rows that do not fit, with ``drift="reject"``; they are in the topic of rejected rows.
    """

    appended: list[Appended]
    duplicates: pa.Array
    offsets: pa.Array
    partitions: pa.Array
    rejected: tuple[RejectedRow, ...] = ()
