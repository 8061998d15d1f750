"""Rows beside the row of a reference with the same key, as it is when the row comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.conform import Conformer
from thalweg.columnar.frames import empty_frame, to_frame
from thalweg.core.clock import Clock
from thalweg.core.errors import SourceError
from thalweg.core.ports import Bounded, Nothing
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.rows import HIDDEN, Rows
from thalweg.engine.embedded.stage import Output, Stage
from thalweg.plan.nodes import Lookup

_READ_ROWS: Final = 262_144
_WAIT_S: Final = 1.0


class LookedUp(Stage):
    """A left join with a reference that is read whole, again after some time."""

    uses_time = False

    def __init__(self, node: Lookup, name: str, clock: Clock) -> None:
        super().__init__(node, name)
        self._lookup = node
        self._clock = clock
        self._reference: pl.DataFrame | None = None
        self._read_s = 0.0

    def process(self, inputs: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in inputs:
            count = rows.frame.height
            self.entry.rows_in += count
            self.entry.pairs += count
            self.entry.passed += count
            hidden = [name for name in HIDDEN if name in rows.frame.columns]
            joined = join_on(rows.frame, self._current(), self._lookup.keys, "left")
            out.rows.append(rows.replaced(joined.select(*self.node.schema.names, *hidden)))
        return out

    def _current(self) -> pl.DataFrame:
        refresh_us = self._lookup.refresh_us
        old = refresh_us is not None and self._clock.monotonic_s() - self._read_s >= refresh_us / 1e6
        if self._reference is None or old:
            self._reference = self._loaded()
            self._read_s = self._clock.monotonic_s()
        return self._reference

    def _loaded(self) -> pl.DataFrame:
        """Read the reference.

        Raises:
            SourceError: It cannot be read, a row of it is wrong, or a key occurs twice.
        """
        lookup = self._lookup
        described = lookup.reference.describe()
        conformer = Conformer(lookup.reference_schema)
        frames = []
        for batch in _batches(lookup):
            conformed = conformer.conform(batch)
            if conformed.bad:
                bad = conformed.bad[0]
                raise SourceError(f'the reference {described}: column "{bad.column}": {bad.reason}; mend the row')
            frames.append(to_frame(conformed.data))
        whole = stacked(frames) if frames else empty_frame(lookup.reference_schema)
        keys = list(lookup.keys)
        named = whole.drop_nulls(keys)
        twice = named.filter(named.select(keys).is_duplicated())
        if twice.height:
            key = ", ".join(f"{name}={value!r}" for name, value in zip(keys, twice.select(keys).row(0), strict=True))
            raise SourceError(f"the reference {described} has several rows with {key}; a look-up needs one for a key")
        return named.rename(dict(lookup.renamed))


def _batches(lookup: Lookup) -> Sequence[pa.RecordBatch]:
    """Return all rows of the reference as it is now."""
    opened = lookup.reference.open(lookup.reference_schema)
    found = []
    try:
        if isinstance(opened, Bounded):
            opened.bound(complete=True)
        for partition in opened.partitions():
            reader = opened.reader(partition, None)
            try:
                while not isinstance(batch := reader.read(_READ_ROWS, _WAIT_S), Nothing):
                    if batch.rejected:
                        bad = batch.rejected[0]
                        raise SourceError(f"the reference {lookup.reference.describe()}: {bad.place}: {bad.reason}")
                    found.append(batch.data)
            finally:
                reader.close()
    finally:
        opened.close()
    return found
