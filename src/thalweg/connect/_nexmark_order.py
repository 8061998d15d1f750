"""Which event stands in which row of a partition of a Nexmark table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.connect._nexmark_draw import counted, key_of, whole, words
from thalweg.connect._nexmark_rows import CYCLE

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Order:
    """The order of one partition's rows.

    The table's events are dealt to the partitions in turn. Disorder permutes the rows of a partition within blocks,
    each of which spans no more than it::

        slots  0 1 2 3 | 4 5 6 7 | 8 9      a last block may be shorter
        rows   2 0 3 1 | 5 7 4 6 | 9 8

    So the rows are the same ones whatever the disorder, and any of them is found without those before it.

    Attributes:
        share: The first of a cycle's events that are of the table, and how many.
        events: How many there are over all tables; None is without end.
        rate: Events per second of event time.
        seed: What the permutations are drawn from.
        partitions: How many there are.
        partition: The number of this one.
        disorder_us: How far apart the events of a block may be.
    """

    share: tuple[int, int]
    events: int | None
    rate: int
    seed: int
    partitions: int
    partition: int
    disorder_us: int

    @property
    def rows(self) -> int | None:
        """How many rows the partition has."""
        if self.events is None:
            return None
        offset, count = self.share
        cycles, rest = divmod(self.events, CYCLE)
        total = cycles * count + min(max(rest - offset, 0), count)
        return max(0, -(-(total - self.partition) // self.partitions))

    @property
    def block(self) -> int:
        """How many rows can be permuted without any coming later than the disorder allows.

        The last of m table rows is at most m + ceil(m / count) · (50 - count) events after the first.
        """
        _, count = self.share
        span = self.disorder_us * self.rate // 1_000_000
        apart = max(0, (span - CYCLE + count) * count // CYCLE)
        return min(apart // self.partitions + 1, 2**31)

    def event(self, slot: int) -> int:
        """Return the number of the event that would stand in a row without disorder."""
        offset, count = self.share
        cycle, place = divmod(slot * self.partitions + self.partition, count)
        return cycle * CYCLE + offset + place

    def events_of(self, first: int, size: int) -> pa.Array:
        """Return the numbers of the events in ``size`` rows from ``first`` on."""
        offset, count = self.share
        row = pc.add(pc.multiply(self._slots(first, size), whole(self.partitions)), whole(self.partition))
        if count == CYCLE:
            return row
        skipped = pc.add(pc.multiply(pc.divide(row, whole(count)), whole(CYCLE - count)), whole(offset))
        return pc.add(row, skipped)

    def _slots(self, first: int, size: int) -> pa.Array:
        block = self.block
        if block == 1:
            return counted(first, size)
        rows = self.rows
        short = first + size if rows is None else rows - rows % block  # where a shorter last block starts
        whole_rows = min(max(short - first, 0), size)
        parts = [self._permuted(counted(first, whole_rows), block, block)] if whole_rows else []
        if whole_rows < size and rows is not None:
            parts.append(self._permuted(counted(first + whole_rows, size - whole_rows), block, rows - short))
        return pa.concat_arrays(parts)

    def _permuted(self, slots: pa.Array, block: int, size: int) -> pa.Array:
        """Return a·x + b mod ``size`` within each block, a being prime to it and b drawn for each block."""
        factor = max(1, round(size * _GOLDEN))
        while math.gcd(factor, size) > 1:
            factor += 1
        number = pc.divide(slots, whole(block))
        start = pc.multiply(number, whole(block))
        shift = pc.modulo(words(key_of(self.seed, f"order {self.partition}"), number), whole(size))
        place = pc.multiply(pc.subtract(slots, start), whole(factor))
        return pc.add(start, pc.modulo(pc.add(place, shift), whole(size)))
