"""What a topic is told when it is created."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import pyarrow as pa

from thalweg.core.errors import LogError, near
from thalweg.core.schema import Schema

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
MOST_PARTITIONS: Final = 1024
LEAST_SEGMENT_BYTES: Final = 1024
MOST_SEGMENT_BYTES: Final = 2**40


Drift: TypeAlias = Literal["refuse", "reject", "widen"]
"""What becomes of an append whose rows do not fit the topic's columns.

``refuse``: none of its rows is appended. ``reject``: those that fit are, the others go to the topic of rejected rows.
``widen``: the topic gets the columns that are added and the wider types, where that is all that it takes.
"""


@dataclass(frozen=True, slots=True)
class TopicOptions:
    """A topic's options, fixed when it is created.

    Attributes:
        partitions: How many there are.
        key: The column that decides the partition.
        time: The column of event times, whose bounds stand in frame headers.
        id: The column of event ids, by which repeats are dropped.
        id_within_us: For how long a repeated id is dropped, in microseconds.
        retention_us: For how long rows are kept, in microseconds; None: for ever.
        retention_bytes: How many bytes a partition keeps; None: all.
        compact: Whether sealed segments keep the last row of each key only.
        segment_bytes: The length at which a new segment is begun.
        drift: What becomes of rows whose columns are not the topic's.
    """

    partitions: int = 1
    key: str | None = None
    time: str | None = None
    id: str | None = None
    id_within_us: int = 600_000_000
    retention_us: int | None = None
    retention_bytes: int | None = None
    compact: bool = False
    segment_bytes: int = 64 * 2**20
    drift: Drift = "refuse"

    @property
    def route(self) -> str | None:
        """The column that decides the partition: the key, else the id, so that repeats meet."""
        return self.key or self.id


def check_name(name: object) -> str:
    """Return a topic's name.

    Raises:
        LogError: It cannot be the name of a directory everywhere.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise LogError(
            f"{name!r} cannot be a topic's name; allowed: a letter or digit, then up to 199 letters, digits and _ . -"
        )
    return name


def rejected_name(topic: str) -> str:
    """Return the name of the topic that keeps the rows which a topic has rejected."""
    return f"{topic}.rejected"


def check_options(options: TopicOptions, schema: Schema) -> None:
    """Check that options fit each other and the schema.

    Raises:
        LogError: They do not.
    """
    _whole("partitions", options.partitions, 1, MOST_PARTITIONS)
    _whole("segment_bytes", options.segment_bytes, LEAST_SEGMENT_BYTES, MOST_SEGMENT_BYTES)
    if options.retention_bytes is not None:
        _whole("retention_bytes", options.retention_bytes, 1, 2**62)
    if options.drift not in get_args(Drift):
        raise LogError(f"drift={options.drift!r}; allowed: {', '.join(get_args(Drift))}")
    if not schema.fields:
        raise LogError("a topic needs at least one column")
    for name in schema.names:
        if name.startswith("__") or name == "_weight":
            raise LogError(f'the column "{name}" has a name that Thalweg keeps for itself; rename it')
    for what, column in (("key", options.key), ("time", options.time), ("id", options.id)):
        if column is not None and column not in schema:
            raise LogError(f'{what}="{column}" is not a column of the topic; {near(str(column), schema.names)}')
    for what, column in (("key", options.key), ("id", options.id)):
        if column is not None and pa.types.is_nested(schema[column].type):
            raise LogError(f'{what}="{column}" is {schema[column].type}; allowed: a column of plain values')
    if options.time is not None:
        kind = schema[options.time].type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            raise LogError(f'time="{options.time}" is {kind}; allowed: a column of timestamps or dates')
    if options.compact and options.key is None:
        raise LogError("compact=True keeps the last row of each key; name the key's column with key=")
    if options.id is not None and options.retention_us is not None and options.retention_us < options.id_within_us:
        raise LogError("retention is shorter than id_within, so that ids would be forgotten too soon; make it longer")


def _whole(what: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise LogError(f"{what}={value!r}; allowed: a whole number from {least:,} to {most:,}")
