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
        last: The last epoch that had rows for it.
    """

    def __init__(self, writer: StepWriter, last: int) -> None:
        self._writer = writer
        self._last = last

    def last_epoch(self) -> int:
        """Return the last epoch that was to be given."""
        return self._last

    def apply(self, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        """Give an epoch's rows."""
        for table in rows:
            self._writer.write(table)
        self._writer.flush()
        self._last = epoch

    def close(self) -> None:
        """Give back what the writer holds."""
        self._writer.close()
