"""Arrow tables to Polars frames and back, in the types that schemas are held in."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from thalweg.core.schema import Schema

_POLARS: dict[pa.DataType, pl.DataType] = {
    pa.string(): pl.String(),
    pa.binary(): pl.Binary(),
    pa.bool_(): pl.Boolean(),
    pa.int8(): pl.Int8(),
    pa.int16(): pl.Int16(),
    pa.int32(): pl.Int32(),
    pa.int64(): pl.Int64(),
    pa.uint8(): pl.UInt8(),
    pa.uint16(): pl.UInt16(),
    pa.uint32(): pl.UInt32(),
    pa.uint64(): pl.UInt64(),
    pa.float32(): pl.Float32(),
    pa.float64(): pl.Float64(),
    pa.date32(): pl.Date(),
    pa.time64("us"): pl.Time(),
    pa.duration("us"): pl.Duration("us"),
    pa.timestamp("us", tz="UTC"): pl.Datetime("us", "UTC"),
}


def polars_type(kind: pa.DataType) -> pl.DataType:
    """Return the Polars type of a schema's type (see ``core.schema.normal_type``)."""
    if (simple := _POLARS.get(kind)) is not None:
        return simple
    if pa.types.is_decimal(kind):
        return pl.Decimal(kind.precision, kind.scale)
    if pa.types.is_list(kind):
        return pl.List(polars_type(kind.value_type))
    return pl.Struct([pl.Field(field.name, polars_type(field.type)) for field in kind])


def empty_frame(schema: Schema) -> pl.DataFrame:
    """Return a frame of these columns without rows."""
    return pl.DataFrame(schema={field.name: polars_type(field.type) for field in schema})


def to_frame(table: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """Return a frame over the same data, without a copy where the layout allows.

    Shape: the same columns and rows. Rows that came in many small batches are laid side by side.
    """
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError(f"expected a table, got {type(table).__name__}")
    return frame


def in_order(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Return the frame with these columns alone, in this order; a frame that is so already costs nothing."""
    return frame if frame.columns == names else pl.DataFrame([frame.get_column(name) for name in names])


def to_table(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return the frame's columns as an Arrow table of exactly this schema."""
    table = in_order(frame, schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    loose = pa.schema([pa.field(field.name, field.type) for field in schema])
    return table if table.schema.equals(loose) else table.cast(loose)
