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


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What became of each row of an append.

    Attributes:
        appended: The rows that are durable, by partition.
        duplicates: The indices of the rows that were dropped because their id was appended before (int64).
        offsets: The offset of each row, null for a duplicate (int64).
        partitions: The partition of each row (int32).
    """

    appended: list[Appended]
    duplicates: pa.Array
    offsets: pa.Array
    partitions: pa.Array
