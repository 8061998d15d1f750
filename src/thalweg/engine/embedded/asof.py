"""As-of joins: each row beside the version of its key that was valid at its time.

    table      v1 ------- v2 ---------- v3 ----------
    stream          a            b         c
    beside it       v1           v2        v2           a version at c's very time would be c's

A row comes when the watermark is strictly past its time: then no version that is not late can still come for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from thalweg.columnar.frames import empty_frame
from thalweg.engine.embedded.arrangement import Arrangement, Counted, stacked
from thalweg.engine.embedded.direct import kept, picked, repeated
from thalweg.engine.embedded.joining import comparable, join_on
from thalweg.engine.embedded.rows import ALWAYS, TIME, Rows
from thalweg.engine.embedded.stage import Output, TwoSided
from thalweg.engine.embedded.waiting import EACH_ROW, Waiting, split_behind
from thalweg.plan.nodes import JoinAsof

_ROWS: Final = "__rows"
_ADDED: Final = "__added"


class AsofJoin(TwoSided):
    """Each row of a stream beside the latest version of its key.

    State: rows ahead of the watermark, and for each key the last version before it.

    Order and delivery: each row of the stream comes once, when the watermark is past its time.
    """

    def __init__(self, node: JoinAsof, name: str) -> None:
        super().__init__(node, name)
        self.late_test = EACH_ROW
        self._keys = list(node.keys)
        self._names = list(node.schema.names)
        self._renamed = dict(node.renamed)
        self._left = Waiting(node.left.schema.names, ties=False)
        self._right = Waiting(node.right.schema.names)
        self._none = empty_frame(node.right.schema).with_columns(pl.lit(None, pl.Int64).alias(TIME))
        self._versions = self._no_versions()
        """The last version of each key before the watermark."""

    def process_sides(self, left: Sequence[Rows], right: Sequence[Rows], watermark: int) -> Output:
        out = Output()
        for rows in left:
            self._left.add(self._in_time(rows, out))
        for rows in right:
            self._right.add(self._with_keys(self._in_time(rows, out)))
        stream, versions = self._left.release(watermark), self._right.release(watermark)
        if stream is not None or versions is not None:
            self._release(stream, versions, out)
        if watermark >= ALWAYS:  # nothing can come any more
            self.entry.released += self._versions.total()
            self._versions = self._no_versions()
        return out

    def _release(self, stream: pl.DataFrame | None, versions: pl.DataFrame | None, out: Output) -> None:
        """Give out rows that the watermark is past, and take the versions that it is past."""
        parts = [frame.select(self._keys) for frame in (stream, versions) if frame is not None]
        found = self._versions.lookup(stacked(parts).unique())
        before = self._none if found is None else picked(found.rows, self._none.columns)
        if stream is not None:
            self.entry.released += stream.height
            known = [before.sort(TIME)] if versions is None else [before.sort(TIME), versions]
            times = stream.get_column(TIME)
            out.rows.append(Rows(self._beside(stream, stacked(known)), int(times[0]), int(times[-1])))
        if versions is not None:
            self._replace(versions, before)

    def due(self, watermark: int) -> bool:
        return self._left.due(watermark)

    def held(self) -> int:
        return self._left.held() + self._right.held() + self._versions.total()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for side, waiting in (("left", self._left), ("right", self._right)):
            for name, frame in waiting.snapshot():
                yield f"{side}/{name}", frame
        for number, frame in enumerate(self._versions.frames()):
            yield f"versions/{number}", frame

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        parts: dict[str, dict[str, pl.DataFrame]] = {"left": {}, "right": {}, "versions": {}}
        for key, frame in frames.items():
            part, _, name = key.partition("/")
            parts[part][name] = frame
        self._left.restore(parts["left"])
        self._right.restore(parts["right"])
        if versions := parts["versions"]:
            self._versions.restore([versions[name] for name in sorted(versions, key=int)])

    def _no_versions(self) -> Arrangement:
        return Arrangement(self._keys, (), Counted(_ROWS, _ADDED))

    def _in_time(self, given: Rows, out: Output) -> Rows:
        entry = self.entry
        entry.rows_in += given.frame.height
        entry.pairs += given.frame.height
        rows, late = split_behind(given, self.watermark)
        if late is not None:
            entry.late += late.rows.frame.height
            out.late.append(late)
        entry.absorbed += rows.frame.height
        return rows

    def _with_keys(self, rows: Rows) -> Rows:
        """Return the versions without those of null, which names nothing."""
        frame = rows.frame
        for name in self._keys:
            if (column := frame.get_column(name)).has_nulls():
                frame = kept(frame, column.is_not_null())
        nameless = rows.frame.height - frame.height
        self.entry.absorbed -= nameless
        self.entry.filtered += nameless
        return rows.replaced(frame)

    def _beside(self, stream: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
        """Return rows beside their versions; both are in the order of time."""
        by = comparable(versions, self._keys)
        columns = [versions.get_column(old).alias(new) for old, new in self._renamed.items()]
        table = pl.DataFrame([*by, *columns, versions.get_column(TIME)])
        names = [column.name for column in by]
        keyed = stream.with_columns(comparable(stream, self._keys))
        # Of versions with one time the last one is taken: the greatest.
        both = keyed.join_asof(table, on=TIME, by=names, strategy="backward", check_sortedness=False)
        return picked(both, [*self._names, TIME])

    def _replace(self, versions: pl.DataFrame, before: pl.DataFrame) -> None:
        """Keep the last version of each key instead of the one before."""
        last = versions.unique(self._keys, keep="last", maintain_order=True)
        replaced = join_on(last.with_row_index(_ROWS), before, self._keys, "semi").get_column(_ROWS)
        self.entry.released += versions.height - last.height + replaced.len()
        added = repeated(_ADDED, 1, last.height).scatter(replaced, 0)
        self._versions.insert(last.hstack([repeated(_ROWS, 1, last.height), added]))
