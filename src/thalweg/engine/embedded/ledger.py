"""The ledger: what became of every row, per operator.

Each input row (for windows: each pair of a row and a window) is in exactly one of passed, filtered,
late, rejected, absorbed; absorbed = released + held, where *held* is counted from the state itself.
What one operator gives out is what each of its consumers takes in,
but for rows that are sent again to the step that had rejected them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from thalweg.core.errors import LedgerError

COLUMNS: Final = (
    "step",
    "rows_in",
    "in",
    "passed",
    "filtered",
    "late",
    "rejected",
    "absorbed",
    "released",
    "held",
    "rows_out",
)
"""The ledger's columns in the order in which a row goes."""


@dataclass(slots=True)
class Entry:
    """The counts of one operator.

    Attributes:
        step: The operator's name.
        rows_in: Rows that it took.
        pairs: What they count as: rows, or (row, window) pairs.
        passed: Rows that went through.
        filtered: Rows or pairs that a condition dropped.
        late: Pairs that came too late.
        rejected: Rows or pairs that could not be processed.
        absorbed: Rows or pairs that went into state.
        released: Of those, the ones that left it.
        held: Of those, the ones still there.
        rows_out: Rows that it gave to each consumer.
        redriven: Rows that it took a second time, after they had been rejected.
        carried: Rows that it took under an earlier program, beyond those that its operators now count as given to it.
        feeds: The operators that it gave them to.
    """

    step: str
    rows_in: int = 0
    pairs: int = 0
    passed: int = 0
    filtered: int = 0
    late: int = 0
    rejected: int = 0
    absorbed: int = 0
    released: int = 0
    held: int = 0
    rows_out: int = 0
    redriven: int = 0
    carried: int = 0
    feeds: list[Entry] = field(default_factory=list)

    def counts(self) -> tuple[str | int, ...]:
        """Return the entry as a row of the printed ledger."""
        return (
            self.step,
            self.rows_in,
            self.pairs,
            self.passed,
            self.filtered,
            self.late,
            self.rejected,
            self.absorbed,
            self.released,
            self.held,
            self.rows_out,
        )


def balance(entries: Sequence[Entry]) -> None:
    """Prove that no row is missing or counted twice.

    Raises:
        LedgerError: Some operator's counts do not add up.
    """
    for entry in entries:
        kept = entry.passed + entry.filtered + entry.late + entry.rejected + entry.absorbed
        if entry.pairs != kept:
            raise _imbalance(entry, f"in is {entry.pairs}, but what became of it adds up to {kept}")
        if entry.absorbed != entry.released + entry.held:
            state = f"{entry.released} released and {entry.held} held"
            raise _imbalance(entry, f"{entry.absorbed} rows were absorbed, but there are {state}")
    taken = _taken(entries)
    for entry in entries:
        apart = entry.redriven + entry.carried
        given = taken.get(id(entry), entry.rows_in - apart) + apart
        if given != entry.rows_in:
            raise _imbalance(entry, f"it took {entry.rows_in} rows, but was given {given}")


def carry(entries: Sequence[Entry]) -> None:
    """Note what operators of a changed program have taken, but not from those that feed them now.

    Some of the counts are of an earlier program, others of a run over the same rows in other steps.
    """
    taken = _taken(entries)
    for entry in entries:
        entry.carried = entry.rows_in - entry.redriven - taken.get(id(entry), entry.rows_in - entry.redriven)


def _taken(entries: Sequence[Entry]) -> dict[int, int]:
    """Return how many rows each operator was given, by identity; nothing for those that none feeds."""
    taken: dict[int, int] = {}
    for entry in entries:
        for consumer in entry.feeds:
            taken[id(consumer)] = taken.get(id(consumer), 0) + entry.rows_out
    return taken


def table(entries: Sequence[Entry]) -> pa.Table:
    """Return the ledger: a row per operator, columns ``step, rows_in, in, passed, …, rows_out``."""
    columns = list(zip(*(entry.counts() for entry in entries), strict=True)) or [()] * len(COLUMNS)
    types = [pa.string()] + [pa.int64()] * (len(COLUMNS) - 1)
    arrays = [pa.array(list(values), kind) for values, kind in zip(columns, types, strict=True)]
    return pa.Table.from_arrays(arrays, names=list(COLUMNS))


def _imbalance(entry: Entry, what: str) -> LedgerError:
    return LedgerError(
        f"the ledger of {entry.step!r} does not balance: {what}. This is a fault in Thalweg; the run was stopped "
        "before its results were committed"
    )
