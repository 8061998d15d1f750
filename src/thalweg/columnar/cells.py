"""Columns as Python values, for databases that know numbers, text and bytes only."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.encode import json_text, texts_of


def cells_of(values: pa.ChunkedArray) -> list[Any]:  # int, float, str, bytes or None
    """Return a column's values, such that each has one way back.

    Shape: booleans are 0 and 1, durations microseconds; times are text in ISO 8601 (timestamps with ``Z``), decimals
    text, lists and structs JSON. NaN, for which such databases have null, is the text ``NaN``.

    Example:
        >>> cells_of(pa.chunked_array([[float("nan"), 1.5, None]])), cells_of(pa.chunked_array([[[1], []]]))
        (['NaN', 1.5, None], ['[1]', '[]'])
    """
    t, kind = pa.types, values.type
    if t.is_floating(kind):
        found: list[Any] = values.to_pylist()
        if pc.any(pc.is_nan(values)).as_py():
            found = ["NaN" if value is not None and value != value else value for value in found]
        return found
    if t.is_boolean(kind):
        return list(values.cast(pa.int8()).to_pylist())
    if t.is_nested(kind):
        texts = [value for part in values.chunks for value in texts_of(part).to_pylist()]
        return [None if value is None else json_text(value).decode() for value in texts]
    if t.is_temporal(kind) or t.is_decimal(kind):
        return [value for part in values.chunks for value in texts_of(part).to_pylist()]
    return list(values.to_pylist())
