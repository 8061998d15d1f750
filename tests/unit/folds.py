"""Aggregates folded whole and in pieces, for the tests of what they are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl
import pyarrow as pa

import thalweg as tw
from thalweg.connect import memory
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded.aggregate import Recipe, recipe
from thalweg.engine.embedded.partial import Partial
from thalweg.engine.embedded.rows import TIME
from thalweg.plan.nodes import Aggregate

SCHEMA = pa.schema(
    [
        ("k", pa.string()),
        ("i", pa.int64()),
        ("f", pa.float64()),
        ("b", pa.bool_()),
        ("s", pa.string()),
        ("ts", TIMESTAMP),
    ]
)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Folded:
    """An aggregate over rows of ``SCHEMA``, ready to be folded."""

    how: Recipe

    @classmethod
    def of(cls, expr: object) -> Folded:
        stream = tw.App("folds").read(memory([[]]), schema=SCHEMA, time="ts")
        node = stream.group_by("k").window("1h").agg(r=expr)._node
        assert isinstance(node, Aggregate)
        return cls(recipe(node))

    def prepared(self, rows: Sequence[Row]) -> pl.DataFrame:
        frame = pl.from_arrow(pa.Table.from_pylist(list(rows), schema=SCHEMA))
        assert isinstance(frame, pl.DataFrame)
        frame = frame.with_columns(pl.col("ts").to_physical().alias(TIME))
        return frame.select(*self.how.prepare)

    def fold(self, rows: Sequence[Row]) -> Partial:
        return self.how.folding.fold(self.prepared(rows))

    def result(self, partial: Partial) -> dict[str | None, Any]:
        """The result by key."""
        finished = self.how.folding.finish(partial)
        shown = finished.select(pl.col(self.how.folding.keys[0]).alias("k"), self.how.show[-1].alias("r"))
        return {row["k"]: row["r"] for row in shown.sort("k").to_dicts()}

    def whole(self, rows: Sequence[Row]) -> dict[str | None, Any]:
        return self.result(self.fold(rows))

    def in_pieces(self, rows: Sequence[Row], cuts: Sequence[int], order: Sequence[int]) -> dict[str | None, Any]:
        """Fold runs between cuts, and merge two by two: each number says where the next partial goes."""
        bounds = [0, *sorted(cut % (len(rows) + 1) for cut in cuts), len(rows)]
        pieces = [list(rows[a:b]) for a, b in pairwise(bounds) if b > a]
        partials = [self.fold(piece) for piece in pieces]
        for number in [*order, *([0] * len(partials))]:
            if len(partials) == 1:
                break
            left = partials.pop(number % len(partials))
            right = partials.pop(number % len(partials))
            partials.insert(0, self.how.folding.merge([left, right]))
        return self.result(partials[0])


def same(found: Any, expected: Any, size: float = 0.0) -> bool:
    """Whether two results are equal; floats within a part of ``size``, the magnitude of what was added."""
    if isinstance(found, float) and isinstance(expected, float):
        if math.isnan(expected) or math.isinf(expected):
            return math.isnan(found) == math.isnan(expected) and (math.isnan(found) or found == expected)
        return abs(found - expected) <= 1e-9 * max(size, 1e-300)
    return bool(found == expected)
