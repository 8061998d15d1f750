"""What an operator is to the loop: rows and a watermark in, rows, late rows and rejected rows out."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import polars as pl

from thalweg.core.errors import of_package
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.rows import NEVER, Rows
from thalweg.plan.nodes import Node


@dataclass(frozen=True, slots=True)
class LateRows:
    """Rows that came too late.

    Attributes:
        rows: The input's columns; of windows, start and end of the window missed; hidden columns.
        of_windows: Whether they missed windows.
    """

    rows: Rows
    of_windows: bool = True


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that could not be processed.

    Attributes:
        place: Where it came from, or its key or step where that is not known.
        reason: What is wrong with it.
        row: The row: as it was received, or as a frame of one row, with its event time beside it where it is known.
        column: The column at fault, where it is one.
        trace: The traceback, where user code raised.
    """

    place: str
    reason: str
    row: bytes | pl.DataFrame
    column: str | None = None
    trace: str | None = None


@dataclass(slots=True)
class Output:
    """What a stage gives in one step."""

    rows: list[Rows] = field(default_factory=list)
    late: list[LateRows] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)


class LateTest(Protocol):
    """Which rows an operator finds late: those whose first end their ``watermark_before`` has reached."""

    def first_end(self, time_us: int) -> int:
        """Return from which watermark on a row of this time is late, at least for a part; it rises with the time."""
        ...


class Stage(ABC):
    """An operator of the compiled plan.

    Attributes:
        node: The plan's node (of several fused ones the last).
        entry: Its counts in the ledger.
        watermark: Its operator watermark after the last step.
        uses_time: Whether it looks at the rows' event time.
        remembers: Whether rows stay in it; what it gives out are rows of its own, which are never late.
        eager: Whether it may give something for every row at once.
        late_test: Which rows it finds late; None for none.
    """

    uses_time: ClassVar[bool] = True
    remembers: ClassVar[bool] = False
    eager: ClassVar[bool] = False
    late_test: LateTest | None = None

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.entry = Entry(name)
        self.watermark = NEVER

    @abstractmethod
    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        """Take the rows of a step, then the operator watermark after it."""

    def due(self, watermark: int) -> bool:
        """Tell whether it may give something when its watermark rises to this."""
        return False

    def watermark_out(self) -> int:
        """Return what no row that it will give has a time below of."""
        return self.watermark

    def use_memory(self, memory: Memory) -> None:  # noqa: B027  # most operators keep little
        """Keep to a budget that all operators share; one with little state need not."""

    def held(self) -> int:
        """Return how many rows (for windows: pairs) are in the state, counted from it."""
        return 0

    def open_windows(self) -> int:
        """Return how many windows hold rows."""
        return 0

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the state as named frames."""
        return iter(())

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        """Take the state back."""
        if frames:
            raise ValueError(f"{self.entry.step} keeps no state, but was given {sorted(frames)}")


class TwoSided(Stage):
    """An operator with two inputs that it tells apart."""

    remembers = True

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        """Take no rows: which side would they be of?"""
        assert not inputs, "the rows of two sides come apart"
        return self.process_sides((), (), watermark)

    @abstractmethod
    def process_sides(self, left: Sequence[Rows], right: Sequence[Rows], watermark: int) -> Output:
        """Take the rows of a step from both sides, then the operator watermark after it."""


def without_bad_rows(
    frame: pl.DataFrame, attempt: Callable[[pl.DataFrame], pl.DataFrame]
) -> tuple[list[pl.DataFrame], list[tuple[int, Exception]]]:
    """Run an attempt on a frame; where it raises, on halves, until only the rows at fault are left out.

    Returns:
        The results in order, and (row number, error) of the rows at fault.
    """
    results: list[pl.DataFrame] = []
    bad: list[tuple[int, Exception]] = []
    todo = [(0, frame)]
    while todo:
        start, part = todo.pop()
        try:
            results.append(attempt(part))
        except Exception as error:  # user code and strict casts may raise anything; the rows are rejected with it
            if part.height <= 1:
                bad.append((start, error))
            else:
                half = part.height // 2
                todo += [(start + half, part[half:]), (start, part[:half])]
    return results, bad


_PYTHON_TIMES = {pl.Datetime: (-62_135_596_800_000_000, 253_402_300_799_999_999), pl.Date: (-719_162, 2_932_896)}
"""What Python's datetime and date can hold: the years 1 to 9999."""


def unfit_for_python(frame: pl.DataFrame) -> dict[int, RejectedRow]:
    """Return the rows with a time that no Python function can be given, by number, as rejected."""
    found: dict[int, RejectedRow] = {}
    for name, kind in frame.schema.items():
        bounds = _PYTHON_TIMES.get(kind.base_type())
        if bounds is None or name.startswith("__"):
            continue
        values = frame.get_column(name).to_physical()
        for row in ((values < bounds[0]) | (values > bounds[1])).arg_true().to_list():
            reason = (
                f'the column "{name}" has a time outside the years 1 to 9999, which no Python function can be given'
            )
            found[row] = RejectedRow("", reason, frame[row : row + 1], name)
    return found


def described(error: Exception) -> str:
    """Return an error's type and message in one line."""
    try:
        text = str(error)
    except Exception:  # a user's exception class may fail to describe itself
        text = ""
    return f"{type(error).__name__}: {text}".splitlines()[0] if text else type(error).__name__


def traced(error: Exception) -> str:
    """Return an error's traceback from the user's function on; whole if it did not come so far."""
    frames = error.__traceback__
    while frames is not None and of_package(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames or error.__traceback__))
