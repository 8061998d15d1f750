"""Aggregates in parts: rows fold to partial aggregates, partials merge, and finish to results.

A ``Partial`` has one row per group in ``main`` and, for aggregates whose state is not one value per
group (distinct values, counts per value, the earliest row), a *side* frame each. Merging does not
depend on order or grouping, so a group may be folded in any pieces. Float sums are the exception
that semantics allows: their last bits depend on the pieces.

Integer sums stay in 64 bits where a bound (rows × greatest magnitude) proves that they fit, else they
are 128 bits wide. Float sums are kept a second time, scaled by 2⁻⁶⁴, where the bound says that an
intermediate sum could overflow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from thalweg.engine.embedded.direct import AS_WRITTEN, FEW_ROWS, only_value
from thalweg.engine.embedded.joining import join_on

COUNT: Final = "__n"
"""Rows in the group; every partial has it, so that the ledger can be counted from state."""
END: Final = "__end"
"""The end of the group's window (Int64), where it is a key: where windows share one partial."""
GROUP: Final = "__group"
"""The number of a group within its key (Int64), where windows are formed by the rows of a key."""

_INT_LIMIT = 2**63
_FLOAT_LIMIT = 1e300
_SCALE = 2.0**-64
_STREAMING_ROWS = 50_000
_ORDERED_ROWS = 1_000
"""So many rows are grouped faster in order; many more take twice as long."""
_INT64_MIN, _INT64_MAX, _UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1

Exprs = list[pl.Expr]
Function = Callable[[pl.Expr], pl.Expr]


@dataclass(slots=True)
class Partial:
    """Partial aggregates of some rows.

    Attributes:
        main: One row per group: keys, COUNT, and the flat parts.
        sides: Side frames by aggregate number.
        bounds: By aggregate number, what no sum of magnitudes in here exceeds.
    """

    main: pl.DataFrame
    sides: dict[int, pl.DataFrame] = field(default_factory=dict)
    bounds: dict[int, float] = field(default_factory=dict)


class Flat(ABC):
    """An aggregate whose state is a few values per group, held as columns of the main frame."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.argument = pl.col(f"__a{number}_0")
        self.result_name = f"__r{number}"

    def column(self, part: str) -> str:
        """Return the name of a part's column."""
        return f"__p{self.number}_{part}"

    def bound(self, rows: pl.DataFrame) -> float | None:
        """Return the bound of the rows' sum, for sums."""
        return None

    @abstractmethod
    def fold(self, bound: float) -> Exprs:
        """Return what makes parts from a group's rows."""

    @abstractmethod
    def merge(self, bound: float) -> Exprs:
        """Return what makes parts from a group's parts."""

    def aligned(self, main: pl.DataFrame, bound: float) -> Exprs:
        """Return what a main frame needs before it is merged with others under this bound."""
        return []

    @abstractmethod
    def finish(self, main: pl.DataFrame) -> Exprs:
        """Return what makes the result from merged parts."""


class CountRows(Flat):
    """``count()``: the group's rows."""

    def fold(self, bound: float) -> Exprs:
        return []

    def merge(self, bound: float) -> Exprs:
        return []

    def finish(self, main: pl.DataFrame) -> Exprs:
        return [pl.col(COUNT).alias(self.result_name)]


class CountValues(Flat):
    """``col.count()``: the values that are not null."""

    def fold(self, bound: float) -> Exprs:
        return [self.argument.count().cast(pl.Int64).alias(self.column("n"))]

    def merge(self, bound: float) -> Exprs:
        return [pl.col(self.column("n")).sum()]

    def finish(self, main: pl.DataFrame) -> Exprs:
        return [pl.col(self.column("n")).alias(self.result_name)]


class Simple(Flat):
    """An aggregate that merges by itself: minimum, maximum, any, all."""

    def __init__(self, number: int, function: Function) -> None:
        super().__init__(number)
        self._function = function

    def fold(self, bound: float) -> Exprs:
        return [self._function(self.argument).alias(self.column("v"))]

    def merge(self, bound: float) -> Exprs:
        return [self._function(pl.col(self.column("v")))]

    def finish(self, main: pl.DataFrame) -> Exprs:
        return [pl.col(self.column("v")).alias(self.result_name)]


class IntegerSum(Flat):
    """Sum of integers, exact; with ``mean`` divided by their count.

    Args:
        number: The aggregate's number.
        result: The type of the sum.
        mean: Whether the mean is asked for instead.
    """

    def __init__(self, number: int, result: pl.DataType, *, mean: bool = False) -> None:
        super().__init__(number)
        self._result = result
        self.mean = mean

    def bound(self, rows: pl.DataFrame) -> float:
        return greatest(rows.get_column(f"__a{self.number}_0")) * rows.height

    def fold(self, bound: float) -> Exprs:
        parts = [self.argument.cast(_width(bound)).sum().alias(self.column("s"))]
        if self.mean:
            parts.append(self.argument.count().cast(pl.Int64).alias(self.column("n")))
        return parts

    def aligned(self, main: pl.DataFrame, bound: float) -> Exprs:
        wide = _width(bound)
        return [] if main.schema[self.column("s")] == wide else [pl.col(self.column("s")).cast(wide)]

    def merge(self, bound: float) -> Exprs:
        parts = [pl.col(self.column("s")).sum()]
        if self.mean:
            parts.append(pl.col(self.column("n")).sum())
        return parts

    def finish(self, main: pl.DataFrame) -> Exprs:
        total = pl.col(self.column("s"))
        if self.mean:
            count = pl.col(self.column("n"))
            mean = total.cast(pl.Float64) / count.cast(pl.Float64)
            return [pl.when(count > 0).then(mean).alias(self.result_name)]
        if main.schema[self.column("s")] == pl.Int64() and self._result == pl.Int64():
            return [total.alias(self.result_name), pl.lit(False).alias(f"__o{self.number}")]
        low, high = (0, _UINT64_MAX) if self._result == pl.UInt64() else (_INT64_MIN, _INT64_MAX)
        wide = total.cast(pl.Int128)
        fits = (wide >= pl.lit(low, pl.Int128)) & (wide <= pl.lit(high, pl.Int128))
        return [
            pl.when(fits).then(wide).cast(self._result).alias(self.result_name),
            fits.not_().alias(f"__o{self.number}"),
        ]


class PlainSum(Flat):
    """Sum of durations or decimals."""

    def fold(self, bound: float) -> Exprs:
        return [self.argument.sum().alias(self.column("s"))]

    def merge(self, bound: float) -> Exprs:
        return [pl.col(self.column("s")).sum()]

    def finish(self, main: pl.DataFrame) -> Exprs:
        return [pl.col(self.column("s")).alias(self.result_name)]


class FloatSum(Flat):
    """Sum of floats; with ``mean`` divided by their count. NaN and infinities follow IEEE 754."""

    def __init__(self, number: int, *, mean: bool = False) -> None:
        super().__init__(number)
        self._mean = mean

    def bound(self, rows: pl.DataFrame) -> float:
        return greatest(rows.get_column(f"__a{self.number}_0")) * rows.height

    def fold(self, bound: float) -> Exprs:
        parts = [self.argument.sum().alias(self.column("s"))]
        if not bound < _FLOAT_LIMIT:
            parts.append((self.argument * _SCALE).sum().alias(self.column("h")))
        if self._mean:
            parts.append(self.argument.count().cast(pl.Int64).alias(self.column("n")))
        return parts

    def aligned(self, main: pl.DataFrame, bound: float) -> Exprs:
        if bound < _FLOAT_LIMIT:
            return []
        scaled = pl.col(self.column("s")) * _SCALE
        return [
            pl.coalesce(self.column("h"), scaled)
            if self.column("h") in main.columns
            else scaled.alias(self.column("h"))
        ]

    def merge(self, bound: float) -> Exprs:
        parts = [pl.col(self.column("s")).sum()]
        if not bound < _FLOAT_LIMIT:
            parts.append(pl.col(self.column("h")).sum())
        if self._mean:
            parts.append(pl.col(self.column("n")).sum())
        return parts

    def finish(self, main: pl.DataFrame) -> Exprs:
        count = pl.col(self.column("n")).cast(pl.Float64) if self._mean else pl.lit(1.0)
        total = pl.col(self.column("s"))
        value = total / count if self._mean else total
        if self.column("h") in main.columns:
            rescued = pl.col(self.column("h")) / count / _SCALE
            value = pl.when(total.is_finite()).then(value).otherwise(rescued)
        if self._mean:
            value = pl.when(pl.col(self.column("n")) > 0).then(value)
        return [value.alias(self.result_name)]


class Variance(Flat):
    """Variance or standard deviation, merged by Chan et al.'s formula.

    Where squares could overflow, mean and squares are kept a second time, of the values scaled by 2⁻⁶⁰⁰.

    Source: Chan, Golub, LeVeque, *Updating formulae and a pairwise algorithm for computing sample
    variances*, 1979.
    """

    _LIMIT: Final = 1e140
    _SCALE: Final = 2.0**-600

    def __init__(self, number: int, ddof: int, *, root: bool) -> None:
        super().__init__(number)
        self._ddof = ddof
        self._root = root

    def bound(self, rows: pl.DataFrame) -> float:
        return greatest(rows.get_column(f"__a{self.number}_0")) * rows.height

    def fold(self, bound: float) -> Exprs:
        value = self.argument.cast(pl.Float64)
        parts = [
            value.count().cast(pl.Int64).alias(self.column("n")),
            value.mean().alias(self.column("m")),
            (value.var(ddof=0) * value.count()).alias(self.column("q")),
        ]
        if not bound < self._LIMIT:
            scaled = value * self._SCALE
            parts += [
                scaled.mean().alias(self.column("ms")),
                (scaled.var(ddof=0) * scaled.count()).alias(self.column("qs")),
                value.abs().max().alias(self.column("g")),
            ]
        return parts

    def aligned(self, main: pl.DataFrame, bound: float) -> Exprs:
        if bound < self._LIMIT:
            return []
        # Parts that were kept plain are of values that are small enough.
        plain = {
            "ms": pl.col(self.column("m")) * self._SCALE,
            "qs": pl.col(self.column("q")) * self._SCALE**2,
            "g": pl.lit(0.0),
        }
        needed = []
        for part, value in plain.items():
            name = self.column(part)
            needed.append(pl.coalesce(name, value) if name in main.columns else value.alias(name))
        return needed

    def merge(self, bound: float) -> Exprs:
        parts = [pl.col(self.column("n")).sum(), *self._merged("m", "q")]
        if not bound < self._LIMIT:
            parts += [*self._merged("ms", "qs"), pl.col(self.column("g")).max()]
        return parts

    def finish(self, main: pl.DataFrame) -> Exprs:
        n = pl.col(self.column("n"))
        value = self._result("q", 1.0)
        if self.column("g") in main.columns:
            # Scaling loses what is small, so a group is scaled only if it holds something great.
            great = pl.col(self.column("g")) >= self._LIMIT
            value = pl.when(great).then(self._result("qs", self._SCALE)).otherwise(value)
        return [pl.when(n > self._ddof).then(value).alias(self.result_name)]

    def _merged(self, mean: str, squares: str) -> Exprs:
        n = pl.col(self.column("n"))
        # What parts of no value say is not looked at: it may be null or NaN.
        m, q = (pl.when(n > 0).then(pl.col(self.column(part))) for part in (mean, squares))
        weight = n.cast(pl.Float64)
        whole = (weight * m).sum() / weight.sum()
        between = (weight * (m - whole) ** 2).sum()
        # A group of one part keeps its bits: merging with nothing changes nothing.
        single = (n > 0).sum() == 1
        return [
            pl.when(single).then(m.max()).otherwise(whole).alias(self.column(mean)),
            pl.when(single).then(q.max()).otherwise(q.sum() + between).alias(self.column(squares)),
        ]

    def _result(self, squares: str, scale: float) -> pl.Expr:
        value = pl.col(self.column(squares)) / (pl.col(self.column("n")) - self._ddof)
        return value.sqrt() / scale if self._root else value / scale / scale


class Side(ABC):
    """An aggregate whose state is a frame of its own.

    Attributes:
        identity: The columns that, with the keys, name a row of the side frame: a later state of the
            group replaces rows of the same name. None: rows are only ever added.
        runs_user_code: Whether folding calls the user's functions, which may raise.
    """

    identity: tuple[str, ...] | None = ()
    runs_user_code = False

    def __init__(self, number: int, keys: Sequence[str]) -> None:
        self.number = number
        self.keys = tuple(keys)
        self.result_name = f"__r{number}"

    @abstractmethod
    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        """Return the side frame of some rows; ``before`` is their groups', for those that go on from it."""

    @abstractmethod
    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        """Return one side frame for several, one below the other."""

    @abstractmethod
    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        """Return keys and result; groups that are missing have the ``empty`` result."""

    def empty(self) -> pl.Expr | None:
        """Return the result of a group without any value; None for null."""
        return None


class Folding:
    """How the rows of one aggregate node fold, merge and finish.

    Args:
        keys: The (prepared) key columns.
        flats: Aggregates held in the main frame.
        sides: Aggregates with side frames.
        carried: What else the main frame of merged partials has, made from a group's parts in their order.
    """

    def __init__(
        self, keys: Sequence[str], flats: Sequence[Flat], sides: Sequence[Side], carried: Sequence[pl.Expr] = ()
    ) -> None:
        self.keys = list(keys)
        self.flats = list(flats)
        self.sides = {side.number: side for side in sides}
        self._carried = list(carried)
        self.runs_user_code = any(side.runs_user_code for side in sides)

    def fold(self, rows: pl.DataFrame, before: Partial | None = None) -> Partial:
        """Return the partial aggregates of prepared rows; ``before`` is the state of their groups so far."""
        bounds = {flat.number: bound for flat in self.flats if (bound := flat.bound(rows)) is not None}
        parts = [pl.len().cast(pl.Int64).alias(COUNT)]
        for flat in self.flats:
            parts += flat.fold(bounds.get(flat.number, 0))
        sides = {
            number: side.fold(rows, None if before is None else before.sides.get(number))
            for number, side in self.sides.items()
        }
        return Partial(grouped(rows, self.keys, parts), sides, bounds)

    def merge(self, partials: Sequence[Partial]) -> Partial:
        """Return one partial for several."""
        return partials[0] if len(partials) == 1 else self._merged(partials, self._carried)

    def regrouped(self, partial: Partial) -> Partial:
        """Return the partial with one row per group, of one that has several; nothing is carried."""
        return self._merged([partial], ())

    def _merged(self, partials: Sequence[Partial], carried: Sequence[pl.Expr]) -> Partial:
        bounds: dict[int, float] = {}
        for partial in partials:
            for number, bound in partial.bounds.items():
                bounds[number] = bounds.get(number, 0) + bound
        frames = []
        for partial in partials:
            needed = [e for flat in self.flats for e in flat.aligned(partial.main, bounds.get(flat.number, 0))]
            frames.append(partial.main.with_columns(needed) if needed else partial.main)
        parts = [pl.col(COUNT).sum(), *carried]
        for flat in self.flats:
            parts += flat.merge(bounds.get(flat.number, 0))
        main = grouped(pl.concat(frames, how="diagonal" if _differ(frames) else "vertical"), self.keys, parts)
        sides = {
            number: side.merge(pl.concat([partial.sides[number] for partial in partials]))
            for number, side in self.sides.items()
        }
        return Partial(main, sides, bounds)

    def finish(self, partial: Partial, show: Sequence[pl.Expr] | None = None) -> pl.DataFrame:
        """Return keys, COUNT, one result column per aggregate, and a flag for sums that do not fit.

        Shape: one row per group, in the order of the partial's main frame.

        Args:
            partial: The parts.
            show: What to make of those columns and return instead, beside the keys.
        """
        results = [e for flat in self.flats for e in flat.finish(partial.main)]
        query = partial.main.lazy().select(*self.keys, COUNT, *results)
        if self.sides:
            query = self._beside(query.collect(engine="in-memory"), partial).lazy()
        if show is not None:
            query = query.select(*self.keys, *show)
        return query.collect(engine="in-memory", optimizations=AS_WRITTEN)

    def _beside(self, frame: pl.DataFrame, partial: Partial) -> pl.DataFrame:
        for number, side in self.sides.items():
            frame = join_on(frame, side.finish(partial.sides[number]), self.keys, "left")
            if (empty := side.empty()) is not None:
                frame = frame.with_columns(pl.col(side.result_name).fill_null(empty))
        return frame


def greatest(values: pl.Series) -> float:
    """Return the greatest magnitude of numbers, exactly where they are integers; 0 of none."""
    low, high = values.min(), values.max()
    if low is None or high is None:
        return 0
    if isinstance(low, float) or isinstance(high, float):
        return max(abs(float(low)), abs(float(high)))  # type: ignore[arg-type]  # numbers, and neither is null
    return max(abs(int(low)), abs(int(high)))  # type: ignore[arg-type]  # as above


def grouped(frame: pl.DataFrame, keys: list[str], parts: Exprs) -> pl.DataFrame:
    """Return the parts per group, on the engine that is faster for so many rows."""
    if frame.height > FEW_ROWS:
        engine: Literal["streaming", "in-memory"] = "streaming" if frame.height >= _STREAMING_ROWS else "in-memory"
        return frame.lazy().group_by(keys).agg(parts).collect(engine=engine)
    # Most steps are of one window, and to group by two columns takes longer than by one.
    if len(keys) > 1 and keys[-1] in (END, GROUP) and only_value(frame.get_column(keys[-1])) is not None:
        keys, parts = keys[:-1], [pl.col(keys[-1]).first(), *parts]
    query = frame.lazy().group_by(keys, maintain_order=frame.height <= _ORDERED_ROWS).agg(parts)
    return query.collect(engine="in-memory", optimizations=AS_WRITTEN)


def _differ(frames: Sequence[pl.DataFrame]) -> bool:
    return any(frame.columns != frames[0].columns for frame in frames)


def _width(bound: float) -> pl.DataType:
    return pl.Int64() if bound < _INT_LIMIT else pl.Int128()
