"""Aggregates whose state is a frame of its own: rows, values with counts, sketches, user states.

Wherever an order is needed it is (time, then all columns in schema order; null smallest, NaN
greatest), so no result depends on the order in which rows came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import polars as pl

from thalweg.engine.embedded.direct import kept, picked
from thalweg.engine.embedded.partial import Side

COUNT: Final = "__c"
_HLL_BITS = 13


class _Ordered(Side):
    """An aggregate that needs rows in (time, tie) order."""

    def __init__(self, number: int, keys: Sequence[str], ties: Sequence[str]) -> None:
        super().__init__(number, keys)
        self.value = f"__a{number}_0"
        self.ties = list(ties)

    def present(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the columns needed of the rows that have a value."""
        names = dict.fromkeys([*self.keys, *self.ties, self.value])
        return rows.lazy().filter(pl.col(self.value).is_not_null()).select(*names).collect(engine="in-memory")


class EdgeRow(_Ordered):
    """``first`` and ``last``: the value of the earliest or latest row that has one."""

    def __init__(self, number: int, keys: Sequence[str], ties: Sequence[str], edge: Literal["first", "last"]) -> None:
        super().__init__(number, keys, ties)
        self._edge = edge

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        return self.merge(self.present(rows))

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        return side.sort(self.ties).unique(self.keys, keep=self._edge, maintain_order=True)

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        return side.select(*self.keys, pl.col(self.value).alias(self.result_name))


class ExtremeRow(_Ordered):
    """``arg_min`` and ``arg_max``: the value of the row whose ``by`` is least or greatest."""

    def __init__(self, number: int, keys: Sequence[str], ties: Sequence[str], *, greatest: bool) -> None:
        super().__init__(number, keys, ties)
        self._by = f"__a{number}_1"
        self._greatest = greatest

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        names = dict.fromkeys([*self.keys, *self.ties, self.value, self._by])
        both = pl.col(self.value).is_not_null() & pl.col(self._by).is_not_null()
        return self.merge(rows.lazy().filter(both).select(*names).collect(engine="in-memory"))

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        descending = [self._greatest] + [False] * len(self.ties)
        ordered = side.sort([self._by, *self.ties], descending=descending, nulls_last=False)
        return ordered.unique(self.keys, keep="first", maintain_order=True)

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        return side.select(*self.keys, pl.col(self.value).alias(self.result_name))


class Collect(_Ordered):
    """``collect``: every value, in order. Its state is the rows."""

    identity = None

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        return self.present(rows)

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        return side

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        values = pl.col(self.value).alias(self.result_name)
        return side.sort(self.ties).group_by(self.keys, maintain_order=True).agg(values)

    def empty(self) -> pl.Expr | None:
        return pl.lit([])


class Mode(_Ordered):
    """``mode``: the most frequent value; among equals the one that came first."""

    def __init__(self, number: int, keys: Sequence[str], ties: Sequence[str]) -> None:
        super().__init__(number, keys, ties)
        self.identity = (self.value,)

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        return self.merge(self.present(rows).with_columns(pl.lit(1, pl.Int64).alias(COUNT)))

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        groups = list(dict.fromkeys([*self.keys, self.value]))
        firsts = [pl.col(name).first() for name in self.ties if name not in groups]
        merged = side.sort(self.ties).group_by(groups, maintain_order=True).agg(*firsts, pl.col(COUNT).sum())
        return merged.select(side.columns)

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        order = [COUNT, *self.ties]
        ranked = side.sort(order, descending=[True] + [False] * len(self.ties), nulls_last=False)
        best = ranked.unique(self.keys, keep="first", maintain_order=True)
        return best.select(*self.keys, pl.col(self.value).alias(self.result_name))


class Distinct(Side):
    """``n_unique``: how many different values."""

    def __init__(self, number: int, keys: Sequence[str]) -> None:
        super().__init__(number, keys)
        self.value = f"__a{number}_0"
        self.identity = (self.value,)

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        values = rows.get_column(self.value)
        pairs = picked(rows, [*self.keys, self.value])
        return self.merge(kept(pairs, values.is_not_null()) if values.has_nulls() else pairs)

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        return side.unique()

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        return side.group_by(self.keys).agg(pl.len().cast(pl.Int64).alias(self.result_name))

    def empty(self) -> pl.Expr | None:
        return pl.lit(0, pl.Int64)


class HyperLogLog(Side):
    """``approx_n_unique``: registers of 2¹³, standard error 1.15 %; linear counting when few are set.

    Source: Flajolet et al., *HyperLogLog*, AofA 2007.
    """

    identity = ("__register",)

    def __init__(self, number: int, keys: Sequence[str]) -> None:
        super().__init__(number, keys)
        self._value = f"__a{number}_0"

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        present = rows.select(*self.keys, self._value).filter(pl.col(self._value).is_not_null())
        value = pl.col(self._value)
        if present.schema[self._value].is_float():
            value = value + 0.0  # −0.0 and 0.0 are one value
        bits = value.hash(seed=17)
        rest = bits // 2**_HLL_BITS
        # The rank is the position of the highest set bit among the remaining ones, from the left.
        width = 64 - _HLL_BITS
        rank = pl.when(rest == 0).then(width + 1).otherwise(rest.bitwise_leading_zeros().cast(pl.Int64) - _HLL_BITS + 1)
        registers = present.select(
            *self.keys,
            (bits % 2**_HLL_BITS).cast(pl.UInt16).alias("__register"),
            rank.cast(pl.UInt8).alias("__rank"),
        )
        return self.merge(registers)

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        return side.group_by(*self.keys, "__register").agg(pl.col("__rank").max())

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        m = 2**_HLL_BITS
        alpha = 0.7213 / (1 + 1.079 / m)
        # Sums of powers of two up to 2⁻⁵² are exact in a float, so their order does not show.
        sums = side.group_by(self.keys).agg(
            pl.len().cast(pl.Int64).alias("__set"), (2.0 ** -pl.col("__rank").cast(pl.Float64)).sum().alias("__sum")
        )
        empty = m - pl.col("__set")
        raw = alpha * m * m / (pl.col("__sum") + empty)
        linear = m * (m / empty.cast(pl.Float64)).log()
        estimate = pl.when((raw <= 2.5 * m) & (empty > 0)).then(linear).otherwise(raw)
        return sums.select(*self.keys, estimate.round().cast(pl.Int64).alias(self.result_name))

    def empty(self) -> pl.Expr | None:
        return pl.lit(0, pl.Int64)


class Quantile(Side):
    """``quantile`` and ``median``, exact: each value with how often it came."""

    def __init__(
        self,
        number: int,
        keys: Sequence[str],
        share: float,
        interpolation: Literal["nearest", "lower", "higher", "midpoint", "linear"],
    ) -> None:
        super().__init__(number, keys)
        self.value = f"__a{number}_0"
        self.identity = (self.value,)
        self._share = share
        self._interpolation = interpolation

    def fold(self, rows: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
        present = rows.select(*self.keys, self.value).filter(pl.col(self.value).is_not_null())
        return self.merge(self.binned(present).with_columns(pl.lit(1, pl.Int64).alias(COUNT)))

    def binned(self, present: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with what is counted instead of the value."""
        return present

    def merge(self, side: pl.DataFrame) -> pl.DataFrame:
        return side.group_by(*self.keys, self.value).agg(pl.col(COUNT).sum())

    def values(self) -> pl.Expr:
        """Return the value of a counted thing, as a float; it rises with ``self.value``."""
        return pl.col(self.value).cast(pl.Float64)

    def finish(self, side: pl.DataFrame) -> pl.DataFrame:
        ordered = side.sort([*self.keys, self.value])
        total = pl.col(COUNT).sum().over(self.keys)
        seen = pl.col(COUNT).cum_sum().over(self.keys)
        index = self._share * (total - 1).cast(pl.Float64)
        ranked = ordered.select(
            *self.keys, self.values().alias("__v"), seen.alias("__seen"), index.alias("__index")
        ).with_columns(pl.col("__index").floor().alias("__floor"), pl.col("__index").ceil().alias("__ceil"))

        def at(rank: pl.Expr) -> pl.Expr:
            return pl.col("__v").filter(pl.col("__seen") > rank).first()

        low, high = at(pl.col("__floor")), at(pl.col("__ceil"))
        fraction = (pl.col("__index") - pl.col("__floor")).first()
        share = fraction if self._interpolation == "linear" else pl.lit(0.5)
        between = low + (high - low) * share
        # A difference of great values overflows; their weighted parts do not.
        even = pl.when(between.is_finite()).then(between).otherwise(low * (1 - share) + high * share)
        exact = pl.when(low == high)
        result = {
            "lower": low,
            "higher": high,
            "nearest": at(pl.col("__index").round(mode="half_away_from_zero")),
            "midpoint": exact.then(low).otherwise(even),
            "linear": exact.then(low).otherwise(even),
        }[self._interpolation]
        return ranked.group_by(self.keys, maintain_order=True).agg(result.alias(self.result_name))


class DDSketch(Quantile):
    """``approx_quantile``: counts per bin of values within a relative error.

    Bins are numbered so that their order is the values' order: negative ones, zero, positive ones;
    NaN is the greatest.

    Source: Masson, Rim, Lee, *DDSketch*, VLDB 2019.
    """

    _OFFSET: Final = 2**40
    _INFINITE: Final = 2**41
    _NAN: Final = 2**42

    def __init__(self, number: int, keys: Sequence[str], share: float, error: float) -> None:
        super().__init__(number, keys, share, "nearest")
        self._gamma = (1 + error) / (1 - error)

    def binned(self, present: pl.DataFrame) -> pl.DataFrame:
        value = pl.col(self.value).cast(pl.Float64)
        size = value.abs()
        index = (size.log() / math.log(self._gamma)).ceil()
        finite = pl.when(size.is_infinite() | (size == 0)).then(0.0).otherwise(index).cast(pl.Int64) + self._OFFSET
        positive = pl.when(size.is_infinite()).then(self._INFINITE).otherwise(finite)
        signed = pl.when(size == 0).then(0).when(value > 0).then(positive).otherwise(-positive)
        number = pl.when(value.is_nan()).then(self._NAN).otherwise(signed)
        return present.with_columns(number.cast(pl.Int64).alias(self.value))

    def values(self) -> pl.Expr:
        number = pl.col(self.value)
        size = number.abs()
        middle = pl.lit(self._gamma).pow((size - self._OFFSET).cast(pl.Float64)) * (2 / (1 + self._gamma))
        positive = pl.when(size == self._INFINITE).then(math.inf).otherwise(middle)
        signed = pl.when(number == 0).then(0.0).when(number > 0).then(positive).otherwise(-positive)
        return pl.when(number == self._NAN).then(math.nan).otherwise(signed)
