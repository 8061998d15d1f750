"""Which schema may follow which: stored rows stay readable, and rows keep their partitions."""

from __future__ import annotations

import pyarrow as pa

from thalweg.core.errors import SchemaChange
from thalweg.core.schema import Schema

_ALLOWED = (
    "allowed: columns that are added and may be null, wider types (int32 to int64, float to double, a decimal with "
    "more digits), and nulls where none were allowed"
)


def check_change(topic: str, old: Schema, new: Schema) -> None:
    """Check that a schema may become another.

    Raises:
        SchemaChange: It may not.

    Example:
        >>> from thalweg.core.schema import Field
        >>> old = Schema((Field("n", pa.int32(), False),))
        >>> check_change("t", old, Schema((Field("n", pa.int64()), Field("note", pa.string()))))
    """
    for field in old:
        if field.name not in new:
            raise _refused(topic, field.name, str(field.type), "no column")
        wanted = new[field.name]
        if not is_widened(field.type, wanted.type):
            raise _refused(topic, field.name, str(field.type), str(wanted.type))
        if field.nullable and not wanted.nullable:
            raise _refused(topic, field.name, "may be null", "never null")
    for field in new:
        if field.name not in old and not field.nullable:
            raise _refused(topic, field.name, "no column", f"{field.type} that is never null")


def is_widened(old: pa.DataType, new: pa.DataType) -> bool:
    """Return whether every value of a type is one of another, with the same hash as a key."""
    t = pa.types
    if old.equals(new):
        return True
    if t.is_integer(old) and t.is_integer(new):
        if t.is_signed_integer(old):
            return bool(t.is_signed_integer(new) and new.bit_width >= old.bit_width)
        return bool(new.bit_width > old.bit_width or (t.is_unsigned_integer(new) and new.bit_width == old.bit_width))
    if t.is_floating(old) and t.is_floating(new):
        return bool(new.bit_width >= old.bit_width)
    if t.is_decimal(old) and t.is_decimal(new):
        return bool(new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale)
    if t.is_list(old) and t.is_list(new):
        return is_widened(old.value_type, new.value_type)
    if t.is_struct(old) and t.is_struct(new):
        names = {field.name for field in new}
        return all(field.name in names and is_widened(field.type, new.field(field.name).type) for field in old)
    return False


def _refused(topic: str, column: str, old: str, new: str) -> SchemaChange:
    return SchemaChange(
        f'the topic "{topic}" cannot change its column "{column}" from {old} to {new}; {_ALLOWED}. For another schema '
        "create another topic"
    )
