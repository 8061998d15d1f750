"""What a decoder of text gives: the rows that are good, and the others with their reasons."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from thalweg.core.ports import Rejected

LONGEST_ROW_BYTES = 64 << 20
"""A row of text that is longer is rejected, and of it only the start is kept."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A run of rows of a text, decoded or rejected.

    Attributes:
        data: The rows that could be decoded, in order.
        lines: For each row, decoded or rejected, the number of its first line.
        rejected: The rows that could not, in order.
        rejected_at: For each of these its index in ``lines``.
    """

    data: pa.RecordBatch
    lines: Sequence[int]
    rejected: tuple[Rejected, ...] = ()
    rejected_at: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def line(self, row: int) -> int:
        """Return the line of a row of ``data``."""
        at = self.rejected_at
        before = bisect_right(range(len(at)), row, key=lambda i: at[i] - i)
        return self.lines[row + before]

    def cut(self, start: int, stop: int) -> Decoded:
        """Return the rows from one index to before another; rejected ones count."""
        first, past = bisect_left(self.rejected_at, start), bisect_left(self.rejected_at, stop)
        return Decoded(
            self.data.slice(start - first, (stop - past) - (start - first)),
            self.lines[start:stop],
            self.rejected[first:past],
            tuple(at - start for at in self.rejected_at[first:past]),
        )


def is_utf8(text: bytes) -> bool:
    """Return whether bytes are UTF-8 throughout."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
