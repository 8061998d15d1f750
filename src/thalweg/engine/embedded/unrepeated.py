"""At most once: a sink that keeps no record gets rows when they are committed, and never again."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from thalweg.core.ports import StepWriter


class Unrepeated:
    """Writes an epoch's steps to a sink without a record, as if the sink had whatever was owed to it before.

    The rows wait in the outbox until their checkpoint is committed. What a run that died was about to give is not
    given by the next one: nobody knows how much of it the sink has got.

    Args:
        writer: The sink's.
        given: The last epoch that was given to it, as the only value; changed here.
    """

    def __init__(self, writer: StepWriter, given: list[int]) -> None:
        self._writer = writer
        self._given = given

    def last_epoch(self) -> int:
        """Return the last epoch that was to be given."""
        return self._given[0]

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        """Give an epoch's rows."""
        self._given[0] = epoch  # also where it fails: nobody knows how much of it the sink has got
        for table in rows:
            self._writer.write(table)
        self._writer.flush()

    def close(self) -> None:
        """Give back what the writer holds."""
        self._writer.close()
