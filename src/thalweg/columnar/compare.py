"""Two tables compared row by row: as multisets, or by a key.

Null equals null, NaN equals NaN, and -0.0 equals 0.0; with a tolerance floats that lie close are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import to_frame
from thalweg.core.errors import PlanError, near

_WEIGHT: Final = "__weight"
_GROUP: Final = "__group"
_RANK: Final = "__rank"
_SIDES: Final = ("__left", "__right")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two tables differ.

    Attributes:
        rows: How many rows each has.
        equal: Rows that both have.
        only: Rows that only one has, of each.
        changed: Rows of one key whose other columns differ.
        changed_columns: By column: in how many of them it differs.
        shown_only: The first of the rows that only one has, of each.
        shown_changed: The first of the changed ones, as each has them, in the same order.
    """

    rows: tuple[int, int]
    equal: int
    only: tuple[int, int]
    changed: int
    changed_columns: Mapping[str, int]
    shown_only: tuple[pa.Table, pa.Table]
    shown_changed: tuple[pa.Table, pa.Table]

    @property
    def same(self) -> bool:
        """Whether the two have the same rows."""
        return not (self.changed or self.only[0] or self.only[1])


@dataclass(frozen=True, slots=True)
class Aligned:
    """Two tables with the columns that they share, in the same types.

    Attributes:
        left: The one.
        right: The other.
        only: The columns that only one has, of each.
        types: Columns whose types cannot be compared, with both types.
    """

    left: pa.Table
    right: pa.Table
    only: tuple[tuple[str, ...], tuple[str, ...]]
    types: Mapping[str, tuple[str, str]]

    @property
    def same(self) -> bool:
        """Whether both have the same columns."""
        return not (self.only[0] or self.only[1] or self.types)


def aligned(left: pa.Table, right: pa.Table) -> Aligned:
    """Return the columns that two tables share, each in a type that holds the values of both."""
    one, other = to_frame(left), to_frame(right)
    shared, types = [], {}
    for name in one.columns:
        if name not in other.columns:
            continue
        pair = (one.schema[name], other.schema[name])
        kind = _shared_type(*pair)
        for side, kept in ((one, other), (other, one)):
            if kind is None and side[name].null_count() == side.height:  # it has no value that would tell its type
                kind = kept.schema[name]
                nulls = pl.lit(None, dtype=kind).alias(name)
                one, other = (one.with_columns(nulls), other) if side is one else (one, other.with_columns(nulls))
        if kind is None:
            types[name] = (str(left.schema.field(name).type), str(right.schema.field(name).type))
        else:
            shared.append(pl.col(name).cast(kind))
    only_left = tuple(name for name in one.columns if name not in other.columns)
    only_right = tuple(name for name in other.columns if name not in one.columns)
    # Without columns a frame has no rows either; the caller says what is wrong.
    return Aligned(
        one.select(shared).to_arrow(compat_level=pl.CompatLevel.oldest()),
        other.select(shared).to_arrow(compat_level=pl.CompatLevel.oldest()),
        (only_left, only_right),
        types,
    )


def compared(
    left: pa.Table, right: pa.Table, key: Sequence[str] = (), *, tolerance: float = 0.0, shown: int = 10
) -> Comparison:
    """Compare two tables of the same columns.

    Args:
        left: The one.
        right: The other.
        key: The columns that name a row; none: the tables are multisets of rows.
        tolerance: By how much floats may differ, as a part of the greater magnitude, or as such where that is below 1.
            Without a key, rows that differ in floats alone are paired in their order.
        shown: How many rows of each kind of difference are returned.

    Raises:
        PlanError: A key's column is not there, or the key names several rows of one table.

    Example:
        >>> old = pa.table({"page": ["/a", "/b"], "n": [1, 2]})
        >>> new = pa.table({"page": ["/a", "/b"], "n": [1, 3]})
        >>> found = compared(old, new, ["page"])
        >>> found.equal, found.changed, dict(found.changed_columns)
        (1, 1, {'n': 1})
        >>> compared(old, new).only
        (1, 1)
    """
    one, other = to_frame(left), to_frame(right)
    for name in key:
        if name not in one.columns:
            raise PlanError(f'the key "{name}" is no column of both; {near(name, one.columns)}')
    if key:
        return _by_key(one, other, list(key), tolerance, shown)
    return _as_multisets(one, other, tolerance, shown)


def _by_key(one: pl.DataFrame, other: pl.DataFrame, key: list[str], tolerance: float, shown: int) -> Comparison:
    for frame, which in ((one, "first"), (other, "second")):
        repeated = frame.height - frame.select(key).n_unique() if frame.height else 0
        if repeated:
            raise PlanError(
                f"the key {', '.join(key)} names several rows of the {which}: {repeated:,} more rows than keys; name "
                "more columns, or compare without --key"
            )
    rest = [name for name in one.columns if name not in key]
    sides = [
        frame.select(
            *(pl.col(name).alias(f"{number}") for number, name in enumerate(key)),
            *(pl.col(name).alias(f"{side}{number}") for number, name in enumerate(rest)),
            pl.lit(True).alias(side),
        )
        for frame, side in zip((one, other), _SIDES, strict=True)
    ]
    keys = [f"{number}" for number in range(len(key))]
    joined = sides[0].join(sides[1], on=keys, how="full", coalesce=True, nulls_equal=True).sort(keys)
    both = joined.filter(pl.col(_SIDES[0]).is_not_null() & pl.col(_SIDES[1]).is_not_null())
    differs = both.select(
        _differs(f"{_SIDES[0]}{number}", f"{_SIDES[1]}{number}", one.schema[name], tolerance).alias(name)
        for number, name in enumerate(rest)
    )
    any_differs = differs.select(pl.any_horizontal(pl.all())).to_series() if rest else pl.Series([], dtype=pl.Boolean)
    changed = both.filter(any_differs) if rest else both.clear()
    missing = [joined.filter(pl.col(side).is_null()) for side in reversed(_SIDES)]

    def as_of(frame: pl.DataFrame, side: int) -> pa.Table:
        columns = {name: f"{number}" for number, name in enumerate(key)}
        columns |= {name: f"{_SIDES[side]}{number}" for number, name in enumerate(rest)}
        return _table(frame.head(shown).select(pl.col(columns[name]).alias(name) for name in one.columns))

    counts = {name: int(differs[name].sum()) for name in rest}
    return Comparison(
        rows=(one.height, other.height),
        equal=both.height - changed.height,
        only=(missing[0].height, missing[1].height),
        changed=changed.height,
        changed_columns={name: count for name, count in counts.items() if count},
        shown_only=(as_of(missing[0], 0), as_of(missing[1], 1)),
        shown_changed=(as_of(changed, 0), as_of(changed, 1)),
    )


def _as_multisets(one: pl.DataFrame, other: pl.DataFrame, tolerance: float, shown: int) -> Comparison:
    names = one.columns
    signed = pl.concat([one.with_columns(pl.lit(1).alias(_WEIGHT)), other.with_columns(pl.lit(-1).alias(_WEIGHT))])
    net = signed.group_by(names).agg(pl.col(_WEIGHT).sum())
    alone = [
        _repeated(net.filter(pl.col(_WEIGHT) > 0)).select(names),
        _repeated(net.filter(pl.col(_WEIGHT) < 0).with_columns(-pl.col(_WEIGHT))).select(names),
    ]
    floats = [name for name in names if one.schema[name].is_float()]
    if tolerance and floats:
        alone = _apart(alone[0], alone[1], floats, tolerance)
    first = [_table(frame.sort(_sortable(frame)).head(shown)) for frame in alone]
    return Comparison(
        rows=(one.height, other.height),
        equal=one.height - alone[0].height,
        only=(alone[0].height, alone[1].height),
        changed=0,
        changed_columns={},
        shown_only=(first[0], first[1]),
        shown_changed=(first[0].slice(0, 0), first[1].slice(0, 0)),
    )


def _apart(one: pl.DataFrame, other: pl.DataFrame, floats: Sequence[str], tolerance: float) -> list[pl.DataFrame]:
    """Pair rows that differ in floats alone, and there by no more than the tolerance; return the rest."""
    rest = [name for name in one.columns if name not in floats]
    # Rows of one group are alike but for their floats; within it the least is paired with the least, and so on.
    groups = pl.concat([one.select(rest), other.select(rest)]).unique().with_row_index(_GROUP) if rest else None
    ranked = []
    for frame, side in zip((one, other), _SIDES, strict=True):
        known = frame.with_columns(pl.lit(0, pl.UInt32).alias(_GROUP))
        if groups is not None:
            known = frame.join(groups, on=rest, how="left", nulls_equal=True)
        ordered = known.sort(_GROUP, *floats).with_row_index(side)
        ranked.append(ordered.with_columns((pl.col(side) - pl.col(side).min().over(_GROUP)).alias(_RANK)))
    pairs = ranked[0].join(ranked[1].select(_GROUP, _RANK, _SIDES[1], *floats), on=[_GROUP, _RANK], suffix="__other")
    far = pl.any_horizontal(_differs(name, f"{name}__other", one.schema[name], tolerance) for name in floats)
    close = pairs.filter(~far)
    return [
        frame.join(close.select(side), on=side, how="anti").select(one.columns)
        for frame, side in zip(ranked, _SIDES, strict=True)
    ]


def _differs(one: str, other: str, kind: pl.DataType, tolerance: float) -> pl.Expr:
    a, b = pl.col(one), pl.col(other)
    if not (tolerance and kind.is_float()):
        return a.ne_missing(b)
    room = tolerance * pl.max_horizontal(a.abs(), b.abs(), pl.lit(1.0))
    near_enough = (a.is_finite() & b.is_finite() & ((a - b).abs() <= room)).fill_null(False)
    return a.ne_missing(b) & ~near_enough


def _repeated(frame: pl.DataFrame) -> pl.DataFrame:
    """Return each row as often as its weight says."""
    if frame.height == 0 or frame[_WEIGHT].max() == 1:
        return frame
    return frame[frame.select(pl.int_range(pl.len()).repeat_by(_WEIGHT).explode()).to_series()]


def _sortable(frame: pl.DataFrame) -> list[str]:
    plain = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    return plain or frame.columns


def _shared_type(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """Return the type that holds the values of both; None if there is none."""
    if one == other:
        return one
    if pl.Null in (one, other):
        return other if one == pl.Null else one
    numbers = one.is_numeric() and other.is_numeric()
    times = one.is_temporal() and other.is_temporal()
    if not (numbers or times or (one.is_nested() and other.is_nested())):
        return None
    try:
        joined = pl.concat([pl.DataFrame(schema={"v": one}), pl.DataFrame(schema={"v": other})], how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        return None
    kind = joined.schema["v"]
    # A float would not hold every integer of both.
    return (
        pl.Decimal(38, 0)
        if one.is_integer() and other.is_integer() and (kind.is_float() or kind == pl.Int128)
        else kind
    )


def _table(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
