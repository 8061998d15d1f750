"""Which schema may follow which: stored rows stay readable, and rows keep their partitions."""

from __future__ import annotations

import pyarrow as pa

from thalweg.core.errors import SchemaChange
from thalweg.core.schema import Field, Rule, Schema

_ALLOWED = (
    "allowed: columns that are added and may be null, wider types (int32 to int64, float to double, a decimal with "
    "more digits), and nulls where none were allowed"
)
_MOST_DIGITS = 38


def check_change(topic: str, old: Schema, new: Schema) -> None:
    """Check that a schema may become another.

    Raises:
        SchemaChange: It may not.

    Example:
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


def changes(old: Schema, new: Schema) -> tuple[str, ...]:
    """Return what becomes different when a schema follows another, a line each, for people.

    Example:
        >>> old = Schema((Field("n", pa.int32(), False),))
        >>> changes(old, Schema((Field("n", pa.int64()), Field("note", pa.string()))))
        ('n: int32 becomes int64', 'n: may be null', 'note: string is added')
    """
    lines = []
    for field in new:
        if field.name not in old:
            lines.append(f"{field.name}: {field.type} is added{_rules_text(field.rules)}")
            continue
        before = old[field.name]
        if before.type != field.type:
            lines.append(f"{field.name}: {before.type} becomes {field.type}")
        if field.nullable and not before.nullable:
            lines.append(f"{field.name}: may be null")
        if field.rules != before.rules:
            lines.append(f"{field.name}: the rules become{_rules_text(field.rules) or ' none'}")
    kept = [name for name in new.names if name in old]
    if kept != list(old.names):
        lines.append(f"the columns' order becomes {', '.join(new.names)}")
    return tuple(lines)


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


def covering(schema: Schema, given: Schema) -> Schema:
    """Return the least schema that may follow one and has the columns and types of another as well.

    A column whose types have none in common stays as it is: rows that need another are refused.

    Example:
        >>> topic = Schema((Field("n", pa.int32(), False), Field("s", pa.string())))
        >>> print(covering(topic, Schema((Field("n", pa.uint32()), Field("s", pa.int64()), Field("x", pa.bool_())))))
        n: int64 not null, s: string, x: bool
    """
    fields = []
    for field in schema:
        wider = covering_type(field.type, given[field.name].type) if field.name in given else None
        fields.append(field if wider is None else Field(field.name, wider, field.nullable, field.rules))
    fields += [Field(field.name, field.type) for field in given if field.name not in schema]
    return Schema(tuple(fields))


def covering_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the narrowest type that both may be widened to; None where there is none."""
    t = pa.types
    if t.is_null(one) or t.is_null(other):
        return other if t.is_null(one) else one  # nothing is known of one
    if is_widened(one, other):
        return other
    if is_widened(other, one):
        return one
    if t.is_integer(one) and t.is_integer(other):
        # Neither holds the other: one of them has a sign, and the other one's values need a bit more.
        unsigned = one if t.is_unsigned_integer(one) else other
        return {8: pa.int16(), 16: pa.int32(), 32: pa.int64()}.get(unsigned.bit_width)
    if t.is_decimal(one) and t.is_decimal(other):
        scale = max(one.scale, other.scale)
        digits = scale + max(one.precision - one.scale, other.precision - other.scale)
        return pa.decimal128(digits, scale) if digits <= _MOST_DIGITS else None
    if t.is_list(one) and t.is_list(other):
        item = covering_type(one.value_type, other.value_type)
        return None if item is None else pa.list_(pa.field("item", item))
    if t.is_struct(one) and t.is_struct(other):
        return _covering_struct(one, other)
    return None


def _covering_struct(one: pa.StructType, other: pa.StructType) -> pa.DataType | None:
    there = {field.name: field.type for field in other}
    fields = []
    for field in one:
        wider = covering_type(field.type, there.pop(field.name, field.type))
        if wider is None:
            return None
        fields.append(pa.field(field.name, wider))
    return pa.struct([*fields, *(pa.field(name, kind) for name, kind in there.items())])


def _rules_text(rules: tuple[Rule, ...]) -> str:
    return "".join(f", {rule}" for rule in rules).replace(",", "", 1)


def _refused(topic: str, column: str, old: str, new: str) -> SchemaChange:
    return SchemaChange(
        f'the topic "{topic}" cannot change its column "{column}" from {old} to {new}; {_ALLOWED}. For another schema '
        "create another topic"
    )
