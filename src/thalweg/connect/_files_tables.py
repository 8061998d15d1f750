"""Reading one Parquet or Arrow file; of Parquet not the columns that nobody sees."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator
from typing import Any

import pyarrow as pa

from thalweg.columnar.decode_table import WholeRows, may_be_left_out, table_batches
from thalweg.columnar.decoded import Decoded
from thalweg.connect._files_found import Found, WasRead
from thalweg.core.ports import Json
from thalweg.core.schema import Schema


class TableReader:
    """Reads Parquet or Arrow; of Parquet not the columns that nobody sees.

    Where it turns out that rows are asked for whole (many of them are late, or rejected), the rest is read whole.
    """

    def __init__(self, file: Found, schema: Schema, wanted: Collection[str] | None, place: dict[str, Any]) -> None:
        self.file = file
        self.left_out: tuple[str, ...] = ()
        self.whole: WholeRows | None = None
        self._names = schema.names
        self._row: int = place.get("row", 0)
        self._size = os.path.getsize(file.path)
        if file.format == "parquet" and wanted is not None:
            self.left_out = may_be_left_out(file.path, schema, wanted)
            self.whole = WholeRows(file.path, self._names) if self.left_out else None
        self._batches = self._from_here()
        self._rows: Decoded | None = None

    def load(self) -> bool:
        if self.whole is not None and self.whole.asked:
            self._batches.close()
            self.left_out, self.whole = (), None
            self._batches = self._from_here()
        batch = next(self._batches, None)
        if batch is None:
            return False
        self._rows = Decoded(batch, range(self._row + 1, self._row + 1 + batch.num_rows))
        return True

    def left(self) -> int:
        return 0 if self._rows is None else len(self._rows)

    def take(self, count: int) -> Decoded:
        assert self._rows is not None, "asked for only when rows are left"
        count = min(count, len(self._rows))
        taken, self._rows = self._rows.cut(0, count), self._rows.cut(count, len(self._rows))
        self._row += count
        return taken

    def position(self) -> dict[str, Json]:
        return {"row": self._row}

    def _from_here(self) -> Generator[pa.RecordBatch, None, None]:
        names = [name for name in self._names if name not in self.left_out]
        return table_batches(self.file.path, self.file.format, self.file.compression, names, self._row)

    def was_read(self) -> WasRead | None:
        return WasRead(self._size)

    def close(self) -> None:
        self._batches.close()
