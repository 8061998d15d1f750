"""States of all keys as one table, looked up and replaced many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.conform import Conformer
from thalweg.columnar.frames import in_order, to_frame
from thalweg.core.errors import FunctionError
from thalweg.core.python_rows import decode_rows
from thalweg.core.schema import Field, Schema
from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.direct import picked
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.rows import TIME
from thalweg.plan.nodes import Process

LAST: Final = "__last"
"""When the last row of a key was (Int64), in event time; null where rows have none."""

_STATES: Final = "states"
_LIFE: Final = "__life"
_BEFORE: Final = "__before"
_THERE: Final = "__there"


class StateTable:
    """A row per key: its columns, the fields of its state, ``LAST``.

    Args:
        node: The step; it says what a state is and how long it is kept.

    Attributes:
        schema: The key columns and the fields of a state.
    """

    def __init__(self, node: Process) -> None:
        assert node.state_schema is not None, "a step by batch has states with columns"
        self._node = node
        self._keys = list(node.keys)
        self._fields = list(node.state_schema.names)
        keys = [node.input.schema[name] for name in node.keys]
        self.schema = Schema((*(Field(f.name, f.type) for f in keys), *node.state_schema))
        self._conformer = Conformer(self.schema)
        self._floats = [f.name for f in keys if pa.types.is_floating(f.type)]
        self._kept = Arrangement(self._keys)

    def lives(self, rows: pl.DataFrame) -> Sequence[pl.DataFrame]:
        """Return rows in the parts in which a key's state is one and the same.

        The first part goes on with what is kept; in each other part all keys begin anew.
        """
        ttl_us = self._node.ttl_us
        if ttl_us is None or self._reach(rows) < ttl_us:
            return [rows]
        keys = rows.select(self._keys).unique(maintain_order=True)
        found = self._kept.lookup(keys)
        before = pl.lit(None, pl.Int64).alias(_BEFORE)
        if found is None:
            timed = rows.with_columns(before)
        else:
            named = found.rows.select(*self._keys, pl.col(LAST).alias(_BEFORE))
            timed = join_on(rows, named, self._keys, "left")
        # Rows as they arrive may be older than those before them: what counts is the latest so far.
        latest = pl.max_horizontal(pl.col(TIME).cum_max().shift(1).over(self._keys), pl.col(_BEFORE))
        anew = (pl.col(TIME) - latest >= ttl_us).fill_null(False)
        lived = timed.with_columns(anew.cast(pl.Int64).alias(_LIFE)).with_columns(
            pl.col(_LIFE).cum_sum().over(self._keys)
        )
        columns = [*rows.columns, _LIFE]
        last = int(lived.get_column(_LIFE).max())  # type: ignore[arg-type]  # an integer: there are rows
        parts = lived.select(columns).partition_by(_LIFE, maintain_order=True, as_dict=True, include_key=False)
        return [parts[(life,)] if (life,) in parts else rows.clear() for life in range(last + 1)]

    def of(self, rows: pl.DataFrame, *, anew: bool) -> pl.DataFrame:
        """Return the states of the keys of rows: those kept, or new ones; with the time of the last of the rows.

        Shape: a row per key, in the order of their first rows; the schema's columns and ``LAST``.
        """
        timed = TIME in rows.columns
        last = pl.col(TIME).max() if timed else pl.lit(None, pl.Int64)
        keys = rows.group_by(self._keys, maintain_order=True).agg(last.alias(LAST))
        if self._floats:
            zero = pl.col(self._floats) == 0  # −0.0 is 0.0
            keys = keys.with_columns(pl.when(zero).then(0.0).otherwise(pl.col(self._floats)).name.keep())
        found = None if anew else self._kept.lookup(keys)
        if found is None:
            return in_order(keys.hstack(self._first(keys.height)), [*self.schema.names, LAST])
        named = found.rows.rename({LAST: _BEFORE}).with_columns(pl.lit(True).alias(_THERE))
        states = join_on(keys, named, self._keys, "left").with_columns(pl.max_horizontal(LAST, _BEFORE))
        if found.rows.height < keys.height:
            new = states.get_column(_THERE).is_null()
            first = self._first(keys.height)
            states = states.with_columns(
                pl.when(new).then(first.get_column(name)).otherwise(pl.col(name)).alias(name) for name in self._fields
            )
        return states.select(*self.schema.names, LAST)

    def conformed(self, states: pa.Table, told: str) -> pl.DataFrame:
        """Return the states that a function gave with the columns and types that its class says.

        Raises:
            FunctionError: They lack a column, or one is not what the class says.
        """
        missing = [name for name in self.schema.names if name not in states.column_names]
        if missing:
            raise FunctionError(f"{told}; the states lack {', '.join(missing)}")
        batch = states.combine_chunks().to_batches()
        conformed = self._conformer.conform(batch[0] if batch else pa.RecordBatch.from_pylist([], states.schema))
        if conformed.bad:
            bad = conformed.bad[0]
            raise FunctionError(f'{told}; row {bad.row} of the states is wrong: column "{bad.column}": {bad.reason}')
        return to_frame(conformed.data)

    def stamped(self, after: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame | None:
        """Return states with the times that stand beside the same keys before; None if they are of other keys."""
        if after.height != before.height:
            return None
        if picked(after, self._keys).equals(picked(before, self._keys)):
            return after.hstack([before.get_column(LAST)])
        numbered = before.select(*self._keys, LAST).with_columns(pl.lit(True).alias(_THERE))
        beside = join_on(after, numbered, self._keys, "left")
        same = beside.get_column(_THERE).null_count() == 0 and not beside.select(self._keys).is_duplicated().any()
        return beside.drop(_THERE) if same else None

    def put(self, states: pl.DataFrame) -> None:
        """Keep states instead of those of the same keys."""
        self._kept.insert(states)

    def forget(self, watermark: int) -> None:
        """Forget the states that were kept long enough."""
        if self._node.ttl_us is not None:
            self._kept.drop_up_to(LAST, watermark - self._node.ttl_us)

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give all states as named frames; one that did not change is the same object as before."""
        for number, frame in enumerate(self._kept.frames()):
            yield f"{_STATES}/{number}", frame

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the states back."""
        count = sum(name.startswith(f"{_STATES}/") for name in frames)
        if count:
            self._kept.restore([frames[f"{_STATES}/{number}"] for number in range(count)])

    def _reach(self, rows: pl.DataFrame) -> int:
        """Return how far the last of some rows is from the first of them and of what is kept: no gap is longer."""
        times = [frame.get_column(LAST) for frame in self._kept.frames()] + [rows.get_column(TIME)]
        return int(times[-1].max()) - min(int(part.min()) for part in times)  # type: ignore[arg-type]  # integers, none null

    def _first(self, keys: int) -> pl.DataFrame:
        """Return the state that a key begins with, so many times."""
        assert self._node.state_schema is not None, "as above"
        values = self._node.state.values(self._node.state.new())
        decoded = decode_rows([values], self._node.state_schema, str)
        if decoded.rejected:
            raise FunctionError(
                f"the first state of process(state={self._node.state.kind.__name__}) is not what the class says: "
                f"{decoded.rejected[0].reason}"
            )
        one = to_frame(decoded.data)
        return pl.DataFrame([column.new_from_index(0, keys) for column in one.get_columns()])
