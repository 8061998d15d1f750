"""Rows on their way between operators: a frame with hidden columns beside the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import polars as pl

TIME: Final = "__time"
"""Event time, microseconds since 1970 (Int64)."""
WATERMARK: Final = "__watermark"
"""``watermark_before`` of the row (Int64); only where a row of the batch may be late."""
WHY: Final = "__why"
"""Why the row would be late (index into LATE_REASONS); only where an exception holds."""
ROW: Final = "__row"
"""The row's number within its origin; only beside ``WATERMARK``."""
WEIGHT: Final = "_weight"
"""+1 for a row added, -1 for one withdrawn; only in changing streams."""

LENGTH: Final = "__length"
"""Beside computed columns while they are computed: constants alone would make a frame of one row."""

HIDDEN: Final = (TIME, WATERMARK, WHY, ROW, WEIGHT)
LATE_REASONS: Final = ("late", "idle", "new")

NEVER: Final = -(2**62)
"""The watermark before anything is known: minus infinity."""
ALWAYS: Final = 2**62
"""The watermark when nothing more can come: plus infinity."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of a batch came from.

    Attributes:
        place: Gives partition and place (for people) of a row number.
    """

    place: Callable[[int], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rows:
    """A run of rows.

    Attributes:
        frame: The user's columns and some of the hidden ones.
        low: No row's time is below; meaningless without ``TIME``.
        high: No row's time is above.
        origin: Where the rows came from, if every row still has its number.
    """

    frame: pl.DataFrame
    low: int = NEVER
    high: int = ALWAYS
    origin: Origin | None = None

    def place(self, frame: pl.DataFrame, number: int) -> str:
        """Return where a row of a frame made from these rows came from, for people."""
        if self.origin is None:
            return ""
        row = int(frame.get_column(ROW)[number]) if ROW in frame.columns else number
        return self.origin.place(row)[1]

    def replaced(self, frame: pl.DataFrame) -> Rows:
        """Return another frame made from these rows; its rows keep their origin if they carry their number."""
        return Rows(frame, self.low, self.high, self.origin if ROW in frame.columns else None)


def combined_watermark(last: int, marks: Iterable[int | None]) -> int:
    """Return an operator's watermark: the least of its inputs', never below the last.

    Args:
        last: The operator's watermark so far.
        marks: The inputs' watermarks; None for an input that is idle as a whole. Idle inputs don't hold the
            watermark; where only inputs that are complete are awake beside them, it stays.
    """
    known = list(marks)
    awake = [mark for mark in known if mark is not None]
    if len(awake) < len(known):
        awake = [mark for mark in awake if mark < ALWAYS]
    return max(last, min(awake)) if awake else last


def size_of(frame: pl.DataFrame) -> int:
    """Return how many rows there are, each as often as its weight says, added or withdrawn."""
    return int(frame.get_column(WEIGHT).abs().sum()) if WEIGHT in frame.columns else frame.height


def copies(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows as often as their weights say, which are above 0, without the weights."""
    weights = frame.get_column(WEIGHT)
    if frame.height and int(weights.max()) > 1:  # type: ignore[arg-type]  # an integer
        return frame.select(pl.all().exclude(WEIGHT).repeat_by(weights.cast(pl.UInt32)).explode())
    return frame.drop(WEIGHT)


def visible(frame: pl.DataFrame, *, weight: bool = False) -> pl.DataFrame:
    """Return the frame without hidden columns (but for the weight, where asked)."""
    hidden = [name for name in HIDDEN if name in frame.columns and not (weight and name == WEIGHT)]
    return frame.drop(hidden) if hidden else frame
