"""Windows that rows form themselves, and rows that are kept of equal ones: from the definitions, row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.oracle.windows import Event, Span


@dataclass(frozen=True, slots=True)
class Session:
    """Rows of a key that are less than a gap apart."""

    gap_us: int

    def spans(self, times: Sequence[int]) -> list[Span]:
        """Return the session of each of a key's rows, which are in order."""
        found: list[list[int]] = []
        for time_us in times:
            if not found or time_us - found[-1][-1] >= self.gap_us:
                found.append([])
            found[-1].append(time_us)
        return [(session[0], session[-1] + self.gap_us) for session in found for _ in session]


def runs(rows: int, times: Sequence[int]) -> list[tuple[int, Span]]:
    """Return number and bounds of the run of each of a key's rows, which are in order."""
    found = [times[start : start + rows] for start in range(0, len(times), rows)]
    return [(number, (run[0], run[-1] + 1)) for number, run in enumerate(found) for _ in run]


def kept(within_us: int, times: Sequence[int]) -> list[bool]:
    """Return of each of a key's rows, which are in order, whether no kept row lies less than so long before it."""
    last: int | None = None
    found = []
    for time_us in times:
        found.append(last is None or time_us - last >= within_us)
        last = time_us if found[-1] else last
    return found


def is_late(event: Event) -> bool:
    """Return whether an event comes too late for what takes rows in order."""
    return event.watermark_us is not None and event.time_us < event.watermark_us
