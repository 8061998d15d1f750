"""Columns as Python values, for databases that know numbers, text and bytes only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.columnar.decode_json import JsonDecoder
from thalweg.columnar.encode import json_text, texts_of
from thalweg.core.schema import Field, Schema


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


def values_of(cells: Sequence[Any], kind: pa.DataType) -> pa.Array:  # int, float, str, bytes or None
    """Return the column that cells were made of: the way back from ``cells_of``.

    Raises:
        TypeError: A cell is none of a column of the type.
        ValueError: The same.

    Example:
        >>> values_of(["NaN", None], pa.float64()).to_pylist(), values_of(["[1]"], pa.list_(pa.int64())).to_pylist()
        ([nan, None], [[1]])
    """
    t = pa.types
    if t.is_floating(kind):
        return pa.array([float(cell) if cell == "NaN" else cell for cell in cells], kind)
    if t.is_boolean(kind):
        return pa.array(cells, pa.int8()).cast(kind)
    if t.is_duration(kind):
        return pa.array(cells, pa.int64()).cast(kind)
    if not (t.is_nested(kind) or t.is_temporal(kind) or t.is_decimal(kind)):
        return pa.array(cells, kind)
    # These are text as files have it, which is read as files are.
    texts = ("null" if cell is None else cell if t.is_nested(kind) else json.dumps(cell) for cell in cells)
    lines = "".join(f'{{"v":{text}}}\n' for text in texts).encode()
    decoded = JsonDecoder(Schema((Field("v", kind),))).decode(lines, 1, "row {}".format)
    if decoded.rejected:
        raise ValueError(f"{decoded.rejected[0].place}: {decoded.rejected[0].reason}")
    return decoded.data["v"]
