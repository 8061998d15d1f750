"""What a child tells while it writes: each attempt before it is made, each acknowledgement after it is had.

A row proves itself: its text follows from its writer and number, so a row that was torn, mixed or
repeated shows. A line of a tale is shorter than a pipe's atomic write, so a killed child leaves whole lines only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

ROW = pa.schema(
    [
        pa.field("who", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
KEYS = 5


def text_of(who: int, n: int) -> str:
    """Return the only right text of a row; lengths differ, so that shifted bytes show."""
    return f"<{who}:{n}>" * (1 + (who * 7 + n * 13) % 11)


def rows_of(who: int, first: int, count: int) -> pa.Table:
    """Return the rows ``first … first + count - 1`` of a writer."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "who": pa.array([who] * count, pa.int64()),
            "n": pa.array(numbers, pa.int64()),
            "key": pa.array([f"k{n % KEYS}" for n in numbers], pa.string()),
            "id": pa.array([f"{who}-{n}" for n in numbers], pa.string()),
            "text": pa.array([text_of(who, n) for n in numbers], pa.string()),
        },
        schema=ROW,
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a tale.

    Attributes:
        kind: ``try`` before an append, ``ack`` after it; ``making`` and ``made``, ``going`` and ``gone``,
            ``trimming`` and ``trimmed``, ``evolving`` and ``evolved`` before and after what they say; ``refused``
            after an error; ``broken`` for what must never happen.
        topic: The topic's name.
        who: The writer.
        first: The first row's number.
        count: How many rows.
        at: Per partition: partition, offset, count.
        now_us: The child's clock.
        note: Words for a human, or a number by kind.
    """

    kind: str
    topic: str = ""
    who: int = 0
    first: int = 0
    count: int = 0
    at: tuple[tuple[int, int, int], ...] = ()
    now_us: int = 0
    note: str = ""

    def packed(self) -> bytes:
        """Return the line as bytes, with its end."""
        at = [list(place) for place in self.at]
        fields = [self.kind, self.topic, self.who, self.first, self.count, at, self.now_us, self.note]
        return json.dumps(fields).encode() + b"\n"


def read_lines(data: bytes) -> list[Line]:
    """Return the lines of a tale."""
    lines = []
    for raw in data.splitlines():
        kind, topic, who, first, count, at, now_us, note = json.loads(raw)
        lines.append(Line(kind, topic, who, first, count, tuple((p, o, c) for p, o, c in at), now_us, note))
    return lines


class Place(Protocol):
    """Where appended rows went, as the log gives it."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def count(self) -> int: ...


class Teller:
    """Writes a child's tale to a descriptor.

    Args:
        descriptor: A pipe or a file.
        wrap: What makes a line's bytes fit for it.
    """

    def __init__(self, descriptor: int, wrap: Callable[[bytes], bytes] = bytes) -> None:
        self._descriptor = descriptor
        self._wrap = wrap

    def tell(self, line: Line) -> None:
        """Write one line at once."""
        packed = self._wrap(line.packed())
        if os.write(self._descriptor, packed) != len(packed):
            raise OSError("a line of the tale was cut; give the campaign's folder more space")

    def attempt(self, topic: str, who: int, first: int, count: int, now_us: int = 0) -> None:
        """Say that an append begins."""
        self.tell(Line("try", topic, who, first, count, (), now_us))

    def acknowledged(
        self, topic: str, who: int, first: int, count: int, places: Sequence[Place], now_us: int = 0
    ) -> None:
        """Say that the append has returned."""
        at = tuple((place.partition, place.offset, place.count) for place in places)
        self.tell(Line("ack", topic, who, first, count, at, now_us))
