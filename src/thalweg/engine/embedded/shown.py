"""The rows of a changing table as they were emitted: a row is withdrawn exactly as it was added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from thalweg.engine.embedded.aggregate import Recipe
from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.assign import bounds_of
from thalweg.engine.embedded.direct import AS_WRITTEN, kept, picked, repeated
from thalweg.engine.embedded.joining import join_on
from thalweg.engine.embedded.memory import Memory
from thalweg.engine.embedded.partial import END
from thalweg.engine.embedded.rows import WEIGHT
from thalweg.engine.embedded.stored import load_frames, save_frames
from thalweg.plan.nodes import Aggregate, ReduceByKey
from thalweg.plan.windows import Window

_NAME: Final = "shown"
_THERE: Final = "__there"
_NOW: Final = "__now"
_GONE, _NEW = "__gone", "__new"


class ShownTable:
    """The emitted rows of a changing table with one row per group.

    Args:
        node: The node that they are the result of.
        how: How it is computed.
        window: Its windows; their ends are the last key.
    """

    def __init__(self, node: Aggregate | ReduceByKey, how: Recipe, window: Window | None) -> None:
        self._keys = how.folding.keys
        self._window = window
        self._was = {expr.meta.output_name(): f"__w{number}" for number, expr in enumerate(how.results)}
        self._results = [expr.alias(f"__v{number}") for number, expr in enumerate(how.results)]
        self._labels = [(expr.meta.root_names()[0], expr.meta.output_name()) for expr in how.labels]
        self._order = list(node.schema.names)
        self._rows = Arrangement(self._keys)

    def apply(self, keys: pl.DataFrame, groups: pl.DataFrame | None) -> pl.DataFrame:
        """Take the results of some groups; return the rows that are withdrawn and added, with ``WEIGHT``.

        Args:
            keys: The groups, each once.
            groups: Their finished aggregates beside the keys; those that are missing have no row any more.
        """
        found = self._rows.lookup(keys)
        if groups is None and found is None:
            return pl.DataFrame()
        if groups is not None:
            query = groups.lazy().select(*self._keys, *self._results)
            now = query.collect(engine="in-memory", optimizations=AS_WRITTEN)
        else:
            assert found is not None, "as above"
            now = found.rows.clear().select(*self._keys, *(pl.col(w).alias(f"__v{w[3:]}") for w in self._was.values()))
        now = now.hstack([repeated(_NOW, True, now.height)])
        both = join_on(picked(keys, self._keys), now, self._keys, "left")
        values = [name for name in both.columns if name.startswith("__v")]
        if found is None:
            before = now.clear().rename({name: f"__w{name[3:]}" for name in values} | {_NOW: _THERE})
        else:
            before = found.rows
        both = join_on(both, before, self._keys, "left")
        differs = pl.any_horizontal([pl.col(v).ne_missing(pl.col(f"__w{v[3:]}")) for v in values] or [pl.lit(False)])
        there, here = pl.col(_THERE).fill_null(False), pl.col(_NOW).fill_null(False)
        query = both.lazy().select((there & (~here | differs)).alias(_GONE), (here & (~there | differs)).alias(_NEW))
        gone, new = query.collect(engine="in-memory", optimizations=AS_WRITTEN).get_columns()
        changed = kept(both, gone | new)
        if changed.height:
            rows = [changed.get_column(key) for key in self._keys]
            rows.append(changed.get_column(_NOW).fill_null(False).alias(_THERE))
            self._rows.insert(pl.DataFrame([*rows, *(changed.get_column(v).alias(f"__w{v[3:]}") for v in values)]))
        return self._emitted(kept(both, gone), "__w", -1).vstack(self._emitted(kept(both, new), "__v", 1))

    def use_memory(self, memory: Memory) -> None:
        """Keep to a budget."""
        self._rows.memory = memory

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Give the rows as named frames."""
        yield from save_frames(_NAME, self._rows.frames())

    def restore(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Take the rows back."""
        if saved := load_frames(_NAME, frames):
            self._rows.restore(saved)

    def _emitted(self, rows: pl.DataFrame, prefix: str, weight: int) -> pl.DataFrame:
        columns = {name: rows.get_column(f"{prefix}{was[3:]}") for name, was in self._was.items()}
        columns |= {name: rows.get_column(key) for key, name in self._labels}
        if self._window is not None:
            columns |= {bound.name: bound for bound in bounds_of(self._window, rows.get_column(END))}
        named = [columns[name].alias(name) for name in self._order]
        return pl.DataFrame([*named, repeated(WEIGHT, weight, rows.height)])
