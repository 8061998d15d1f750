"""Buckets: rows wait by the windows that they belong to, until those close.

Rows whose first and last window end agree belong to exactly the same windows, so they share a bucket
``(first, last)``. A row that is late for some of its windows has a later first end, and so another
bucket than its neighbours that are not: it counts in the windows that it is not late for, and in no other.

    hopping("4m", every="2m")
    12:00     12:02     12:04     12:06
      |---------w1--------|                     bucket (12:04, 12:04): rows of 12:00–12:02
                |---------w2--------|           bucket (12:04, 12:06): rows of 12:02–12:04
                                                bucket (12:06, 12:06): those of them that are late for w1

Rows are folded late: when a window closes, or when enough wait that folding shrinks them. Most rows are
aggregated exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from thalweg.engine.embedded.direct import repeated
from thalweg.engine.embedded.partial import COUNT, END, Folding, Partial
from thalweg.plan.windows import Window

FOLD_ROWS = 1_000_000
"""Rows that wait in a bucket before they are folded for the first time."""

SMALL_ROWS = 32_768
"""Windows of no more rows each are closed together: a query costs about a millisecond beside its rows."""

_SHRINKS = 0.7
"""A slice that several windows share is folded on its own if that leaves fewer than this part of its rows."""

Slice = tuple[int, int]
"""First and last window end of the rows in a bucket."""


@dataclass(slots=True)
class Bucket:
    """The rows of one slice: frames that wait, and partials of those that were folded."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    waiting: int = 0
    partials: list[Partial] = field(default_factory=list)
    fold_at: int = FOLD_ROWS

    def rows(self) -> int:
        """Return how many rows are in here, counted from what is held."""
        folded = sum(int(partial.main.get_column(COUNT).sum()) for partial in self.partials)
        return folded + sum(frame.height for frame in self.frames)

    def is_small(self) -> bool:
        """Tell whether it holds few rows, and all as they came."""
        return not self.partials and self.waiting <= SMALL_ROWS


class Buckets:
    """The open windows of one aggregate.

    Args:
        window: The windows.
        folding: How rows become aggregates.
    """

    def __init__(self, window: Window, folding: Folding) -> None:
        self._window = window
        self._folding = folding
        self._buckets: dict[Slice, Bucket] = {}
        self._shrink = 0.0
        self._folds = 0

    def add(self, key: Slice, frame: pl.DataFrame) -> None:
        """Let rows of one slice wait."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket()
        bucket.frames.append(frame)
        bucket.waiting += frame.height
        if bucket.waiting >= bucket.fold_at:
            self._fold(bucket)

    def add_partial(self, key: Slice, partial: Partial) -> None:
        """Keep rows of one slice that were folded already."""
        bucket = self._buckets.setdefault(key, Bucket())
        bucket.partials.append(partial)
        self._combine(bucket)

    def next_end(self) -> int | None:
        """Return the end of the window that closes next, of those that hold rows."""
        return min((first for first, _ in self._buckets), default=None)

    def close_small(self, watermark: int) -> pl.DataFrame | None:
        """Close the windows that the watermark has reached, share no rows with others, and hold few.

        Returns:
            Their rows, with each one's window in ``END``; None where there is one such window at the most.
        """
        if self._window.kind != "tumbling":
            return None
        small = [end for (end, _), bucket in self._buckets.items() if end <= watermark and bucket.is_small()]
        if len(small) < 2:
            return None
        closed = [(end, frame) for end in small for frame in self._buckets.pop((end, end)).frames]
        return _stacked([frame.hstack([repeated(END, end, frame.height)]) for end, frame in closed])

    def close(self, watermark: int) -> Iterator[tuple[int, Partial]]:
        """Close every window whose end the watermark has reached, in order; give end and aggregates."""
        while (end := self.next_end()) is not None and end <= watermark:
            yield end, self._close(end)

    def held(self) -> int:
        """Return how many (row, window) pairs are held, counted from the state itself."""
        every = self._window.every_us
        return sum(((last - first) // every + 1) * bucket.rows() for (first, last), bucket in self._buckets.items())

    def open_windows(self) -> set[int]:
        """Return the ends of the windows that hold rows; from any thread."""
        every = self._window.every_us
        return {end for first, last in list(self._buckets) for end in range(first, last + 1, every)}

    def contents(self) -> Iterator[tuple[Slice, Bucket]]:
        """Return the buckets, for a checkpoint."""
        yield from self._buckets.items()

    def restore(self, key: Slice, bucket: Bucket) -> None:
        """Put a bucket back."""
        self._buckets[key] = bucket

    def _close(self, end: int) -> Partial:
        chosen = [(key, self._buckets.pop(key)) for key in list(self._buckets) if key[0] <= end <= key[1]]
        if self._window.kind == "cumulating":
            return self._close_cumulating(end, chosen)
        frames: list[pl.DataFrame] = []
        partials: list[Partial] = []
        for (_, last), bucket in chosen:
            if last > end and bucket.frames and self._pays():
                self._fold(bucket)
            frames += bucket.frames
            partials += bucket.partials
            if last > end:
                # The rest of this slice's windows start at the next end.
                self._merge_into((end + self._window.every_us, last), bucket)
        if frames:
            partials = [self._folding.fold(_stacked(frames)), *partials]
        return self._folding.merge(partials)

    def _close_cumulating(self, end: int, chosen: Sequence[tuple[Slice, Bucket]]) -> Partial:
        # All of these windows grow from one start: what is in this one is in every later one.
        frames = [frame for _, bucket in chosen for frame in bucket.frames]
        partials = [partial for _, bucket in chosen for partial in bucket.partials]
        if frames:
            partials = [*partials, self._folding.fold(_stacked(frames))]
        merged = self._folding.merge(partials)
        last = chosen[0][0][1]
        if last > end:
            self._merge_into((end + self._window.every_us, last), Bucket(partials=[merged]))
        return merged

    def _merge_into(self, key: Slice, bucket: Bucket) -> None:
        present = self._buckets.get(key)
        if present is None:
            self._buckets[key] = bucket
            return
        present.frames += bucket.frames
        present.waiting += bucket.waiting
        present.partials += bucket.partials

    def _pays(self) -> bool:
        """Tell whether folding a shared slice is worth it; tried anew from time to time."""
        self._folds += 1
        return self._shrink < _SHRINKS or self._folds % 16 == 0

    def _fold(self, bucket: Bucket) -> None:
        rows = _stacked(bucket.frames)
        partial = self._folding.fold(rows)
        kept = partial.main.height + max((side.height for side in partial.sides.values()), default=0)
        self._shrink = kept / max(rows.height, 1)
        bucket.frames, bucket.waiting = [], 0
        bucket.partials.append(partial)
        self._combine(bucket)

    def _combine(self, bucket: Bucket) -> None:
        # Partials merge like the digits of a counter, so each is merged a logarithmic number of times.
        while len(bucket.partials) > 1 and bucket.partials[-2].main.height < 2 * bucket.partials[-1].main.height:
            newest = [bucket.partials.pop(), bucket.partials.pop()]
            bucket.partials.append(self._folding.merge(newest[::-1]))


def _stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return frames[0] if len(frames) == 1 else pl.concat(frames, rechunk=False)
