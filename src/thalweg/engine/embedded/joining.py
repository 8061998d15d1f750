"""Joins on keys, with one meaning of equality: null equals null, NaN equals NaN, −0.0 equals 0.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl


def join_on(
    left: pl.DataFrame, right: pl.DataFrame, keys: Sequence[str], how: Literal["left", "semi", "anti"]
) -> pl.DataFrame:
    """Return the join of two frames on the same key columns.

    Polars takes NaN for unequal to itself where it knows that a frame is sorted, so a float key is joined
    on two columns: the value without NaN, and whether it is NaN.
    """
    floats = [name for name in keys if left.schema[name].is_float()]
    if not floats:
        return left.join(right, on=list(keys), how=how, nulls_equal=True)
    both = [pl.col(name).fill_nan(0.0).alias(f"{name}:value") for name in floats]
    both += [pl.col(name).is_nan().alias(f"{name}:nan") for name in floats]
    on = [name for name in keys if name not in floats] + [name for f in floats for name in (f"{f}:value", f"{f}:nan")]
    joined = left.with_columns(both).join(right.with_columns(both).drop(floats), on=on, how=how, nulls_equal=True)
    return joined.drop([name for name in joined.columns if name.endswith((":value", ":nan")) and name in on])


def comparable(frame: pl.DataFrame, keys: Sequence[str]) -> list[pl.Series]:
    """Return columns that are equal where the keys are: NaN equals NaN, −0.0 equals 0.0; null stays null.

    A float key becomes two columns: the value without NaN, and whether it is NaN.
    """
    found = []
    for number, name in enumerate(keys):
        column = frame.get_column(name)
        if column.dtype.is_float():
            found += [(column.fill_nan(0.0) + 0.0).alias(f"__key{number}"), column.is_nan().alias(f"__nan{number}")]
        else:
            found.append(column.alias(f"__key{number}"))
    return found
