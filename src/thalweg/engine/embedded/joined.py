"""Joins of tables: rows of two sides that agree in their keys, whenever they come.

What a step changes is ΔL ⋈ R' + L ⋈ ΔR: the left side's new rows beside all of the right side's, and the right side's
new rows beside those that the left side had before. Weights are multiplied.

Where rows come out without a partner too, they do so while their key is not there on the other side. When it comes to
be there they are withdrawn as they were given; when it is there no more they are given again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import polars as pl

from thalweg.columnar.frames import polars_type
from thalweg.engine.embedded.direct import kept, picked, repeated
from thalweg.engine.embedded.join_sides import SIGN, AddedSide, ChangingSide, JoinSide, Keys
from thalweg.engine.embedded.rows import WEIGHT, Rows, size_of
from thalweg.engine.embedded.stage import Output, TwoSided
from thalweg.engine.embedded.weighted import added_up
from thalweg.plan.nodes import Join, Node
from thalweg.plan.prune import Needed, all_of, join_columns


def table_join(node: Join, name: str, needed: Needed | None = None) -> TwoSided:
    """Return the operator of a join of tables, which keeps the columns that are needed alone; None: all."""
    needed = needed or all_of(node)
    return (ExistingRows if node.how in ("semi", "anti") else BesideRows)(node, name, needed)


class _TableJoin(TwoSided):
    """What joins of tables have in common.

    Args:
        node: The node.
        name: The step's name.
        needed: The columns that can be seen of what it gives out.
        sides: What is remembered of both sides.
        alone: Of each side, whether its rows come out without a partner.
    """

    eager = True
    uses_time = False

    def __init__(
        self,
        node: Join,
        name: str,
        needed: Needed,
        sides: tuple[JoinSide, JoinSide],
        alone: tuple[bool, bool],
    ) -> None:
        super().__init__(node, name)
        self._keys = keys_of(node)
        self._left, self._right = sides
        self._alone = alone
        self._both = node.left.changing or node.right.changing
        given = [field for field in node.schema if self._both or field.name in needed.columns]
        self._kinds = {field.name: polars_type(field.type) for field in given}
        self._weighed = node.changing
        # The right side's columns are called as in the result, so that they stand beside the left side's.
        left, right = join_columns(node, needed)
        self._taken_names = (_taken_names(node.left, left), _taken_names(node.right, right))
        self._renamed = {name: new for name, new in node.renamed if name in right}

    @abstractmethod
    def change(self, left: pl.DataFrame | None, right: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
        """Take both sides' rows of a step, those with null in a key left out; give what it changes."""

    def process_sides(self, left: Sequence[Rows], right: Sequence[Rows], watermark: int) -> Output:
        out: list[pl.DataFrame] = []
        lefts, rights = self._take(0, left, out), self._take(1, right, out)
        out += [part for part in self.change(lefts, rights) if part.height]
        if not out:
            return Output()
        frame = out[0] if len(out) == 1 else pl.concat(out, rechunk=False)
        if self._both and lefts is not None and rights is not None:
            # What one side's change gives, the other's may take back: a row that was never there is not shown.
            frame = added_up(frame)
        return Output([Rows(frame)] if frame.height else [])

    def held(self) -> int:
        return self._left.held() + self._right.held()

    def snapshot(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from self._left.snapshot("left")
        yield from self._right.snapshot("right")

    def restore(self, frames: dict[str, pl.DataFrame]) -> None:
        self._left.restore("left", frames)
        self._right.restore("right", frames)

    def given(self, rows: pl.DataFrame, sign: int = 1) -> pl.DataFrame:
        """Return rows as they come out: columns that they lack are null, weights are multiplied by signs."""
        there = set(rows.columns)
        columns = [
            rows.get_column(name) if name in there else pl.Series(name, [None], kind).new_from_index(0, rows.height)
            for name, kind in self._kinds.items()
        ]
        if self._weighed:
            weight = rows.get_column(WEIGHT) if WEIGHT in there else repeated(WEIGHT, 1, rows.height)
            weight = weight * rows.get_column(SIGN) if SIGN in there else weight
            columns.append(weight if sign == 1 else weight * sign)
        return pl.DataFrame(columns)

    def held_at(self, side: JoinSide, turned: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Give the rows that a side holds of some keys, with the keys' signs."""
        for part, keys in side.near(turned):
            yield self._keys.pairs(part, keys)

    def absorb(self, side: JoinSide, rows: pl.DataFrame, turned: pl.DataFrame | None = None) -> None:
        """Add rows to what is remembered of a side."""
        self.entry.absorbed += size_of(rows)
        self.entry.released += side.add(rows, turned)

    def _take(self, side: int, inputs: Sequence[Rows], out: list[pl.DataFrame]) -> pl.DataFrame | None:
        """Return the rows that can have a partner, or None; the others come out at once, or not at all."""
        frames = [picked(rows.frame, self._taken_names[side]) for rows in inputs if rows.frame.height]
        if not frames:
            return None
        rows = frames[0] if len(frames) == 1 else pl.concat(frames, rechunk=False)
        if side == 1 and self._renamed:
            rows = rows.rename(self._renamed)
        entry = self.entry
        entry.rows_in += rows.height
        entry.pairs += size_of(rows)
        able, alone = self._keys.split(rows)
        if alone is not None and self._alone[side]:
            entry.passed += size_of(alone)
            out.append(self.given(alone))
        elif alone is not None:
            entry.filtered += size_of(alone)
        return able if able.height else None


class BesideRows(_TableJoin):
    """Inner, left, right and full joins: the columns of both sides."""

    def __init__(self, node: Join, name: str, needed: Needed) -> None:
        keeps = (node.how in ("left", "full"), node.how in ("right", "full"))
        keys = keys_of(node)
        # Which keys are there on one side matters where the other side's rows come out without a partner.
        sides = (
            _side(node.left, keys, rows=True, counted=keeps[1]),
            _side(node.right, keys, rows=True, counted=keeps[0]),
        )
        super().__init__(node, name, needed, sides, keeps)

    def change(self, left: pl.DataFrame | None, right: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
        mine, other = self._left, self._right
        left_alone, right_alone = self._alone
        lefts = mine.turned(left) if left is not None and right_alone else None
        rights = other.turned(right) if right is not None and left_alone else None
        for side, turned in ((mine, rights), (other, lefts)):
            if turned is not None and turned.height:
                for rows in self.held_at(side, turned):
                    yield self.given(rows, -1)
        if right is not None:
            for part, asked in mine.near(right):
                yield self.given(self._keys.pairs(part, asked))
            self.absorb(other, right, rights)
        if left is not None:
            self.absorb(mine, left, lefts)
            for part, asked in other.near(left):
                yield self.given(self._keys.pairs(asked, part))
        if left is not None and left_alone:
            yield self.given(kept(left, ~other.there(left)))
        if right is not None and right_alone:
            yield self.given(kept(right, ~mine.there(right)))


class ExistingRows(_TableJoin):
    """Semi and anti joins: the left side's rows whose key is there on the right side, or is not."""

    def __init__(self, node: Join, name: str, needed: Needed) -> None:
        self._anti = node.how == "anti"
        # Where a key that is there stays there, rows that have found it need not be remembered.
        self._stays = not node.right.changing
        keys = keys_of(node)
        sides = (
            _side(node.left, keys, rows=True, counted=False),
            _side(node.right, keys, rows=False, counted=True),
        )
        super().__init__(node, name, needed, sides, (self._anti, False))

    def change(self, left: pl.DataFrame | None, right: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
        if right is not None:
            turned = self._right.turned(right)
            if turned.height:
                for rows in self.held_at(self._left, turned):
                    yield self.given(rows, -1 if self._anti else 1)
            self.absorb(self._right, right, turned)
        if left is None:
            return
        there = self._right.there(left)
        found, missing = kept(left, there), kept(left, ~there)
        yield self.given(missing if self._anti else found)
        self.absorb(self._left, missing if self._stays else left)
        if self._stays and self._anti:
            self.entry.filtered += size_of(found)
        elif self._stays:
            self.entry.passed += size_of(found)


def keys_of(node: Join) -> Keys:
    """Return the keys of a join."""
    return Keys(node.keys, {name: polars_type(node.left.schema[name].type) for name in node.keys})


def _side(node: Node, keys: Keys, *, rows: bool, counted: bool) -> JoinSide:
    return ChangingSide(keys) if node.changing else AddedSide(keys, rows=rows, counted=counted)


def _taken_names(node: Node, names: Sequence[str]) -> list[str]:
    return [*names, WEIGHT] if node.changing else list(names)
