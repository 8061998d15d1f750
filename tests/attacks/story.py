"""What a topic must hold, from the tales of those who wrote to it, and the check that it does.

The invariants: every acknowledged row is readable, where the acknowledgement said; the readable rows of a
writer are a prefix of its attempts; no row is torn, repeated or of nobody; what was readable once stays
as it was until retention or a trim may take it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tests.attacks.tale import KEYS, Line, text_of

Row = tuple[int, int]
NEVER = 1 << 62


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Story:
    """The tales of one topic, and what has been seen of it.

    Attributes:
        partitions: The topic's partitions.
        ordered: Whether all rows of an attempt go to one partition, so that each writer leaves a prefix.
        kept_us: How long retention must keep a row; None for ever.
        tried: Per writer: the first number that was never attempted.
        told: The acknowledgements, in order.
        seen: Per partition: the row at each offset; None where it was gone before it was seen.
        starts: Per partition: the least offset that is still readable.
        trimmed: Per partition: what a trim may have taken.
    """

    partitions: int
    ordered: bool = True
    kept_us: int | None = None
    tried: dict[int, int] = field(default_factory=dict)
    told: list[Line] = field(default_factory=list)
    seen: list[list[Row | None]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    trimmed: list[int] = field(default_factory=list)
    _fresh: list[Line] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = [[] for _ in range(self.partitions)]
        self.starts = [0] * self.partitions
        self.trimmed = [0] * self.partitions

    def hear(self, lines: list[Line]) -> None:
        """Take in what was told of this topic."""
        for line in lines:
            match line.kind:
                case "try":
                    self.tried[line.who] = max(self.tried.get(line.who, 0), line.first + line.count)
                case "ack":
                    self.told.append(line)
                    self._fresh.append(line)
                case "trimming":
                    partition = line.at[0][0]
                    self.trimmed[partition] = max(self.trimmed[partition], line.at[0][1])
                case "broken":
                    raise Broken(line.note)

    def acknowledged_rows(self) -> int:
        """Return how many rows were acknowledged."""
        return sum(line.count for line in self.told)

    def check(self, topic: Any, now_us: int = 0, whole: bool = True) -> int:  # Any: the log under attack
        """Read the topic and compare it with its story.

        Args:
            topic: The topic, opened anew.
            now_us: The present time of the topic's clock, for retention.
            whole: Whether to read all of it, and not only what is new.

        Returns:
            How many rows were read.

        Raises:
            Broken: An invariant does not hold.
        """
        read = sum(self._look(topic, partition, whole) for partition in range(self.partitions))
        for line in self.told if whole else self._fresh:
            self._check_acknowledged(line, now_us)
        self._fresh.clear()
        if whole:
            self._check_writers()
        return read

    def _look(self, topic: Any, partition: int, whole: bool) -> int:
        start, end, seen = int(topic.start(partition)), int(topic.end(partition)), self.seen[partition]
        if end < len(seen):
            raise Broken(f"{topic.name}/{partition} ends at {end}, and was readable up to {len(seen)} before")
        if start < self.starts[partition]:
            raise Broken(f"{topic.name}/{partition} starts at {start}, and had started at {self.starts[partition]}")
        self.starts[partition] = start
        first = start if whole else max(start, len(seen) - 3)
        seen.extend([None] * (first - len(seen)))
        offset = first
        for row in rows_between(topic, partition, first, end):
            if offset < len(seen):
                before = seen[offset]
                if before is not None and before != row:
                    raise Broken(f"{topic.name}/{partition}:{offset} was {before} and is {row} now")
                seen[offset] = row
            else:
                seen.append(row)
            offset += 1
        if offset < end:
            raise Broken(f"{topic.name}/{partition} gave rows up to {offset}, and says that it ends at {end}")
        return offset - first

    def _check_acknowledged(self, line: Line, now_us: int) -> None:
        for partition, offset, count in line.at:
            seen, start = self.seen[partition], self.starts[partition]
            if offset + count > len(seen):
                raise Broken(f"acknowledged and not readable: {line}; partition {partition} ends at {len(seen)}")
            if offset < start and not self._may_be_gone(line, partition, min(offset + count, start), now_us):
                raise Broken(f"acknowledged and gone: {line}; partition {partition} starts at {start}")
            last = -1
            for row in seen[offset : offset + count]:
                if row is None:
                    continue
                if row[0] != line.who or not line.first <= row[1] < line.first + line.count or row[1] <= last:
                    raise Broken(f"at the place that {line} names there is {row}")
                last = row[1]

    def _may_be_gone(self, line: Line, partition: int, end: int, now_us: int) -> bool:
        old = self.kept_us is not None and line.now_us < now_us - self.kept_us
        return old or end <= self.trimmed[partition]

    def _check_writers(self) -> None:
        numbers: dict[int, list[int]] = {}
        lost = any(row is None for seen in self.seen for row in seen)
        for seen in self.seen:
            latest: dict[int, int] = {}
            for row in seen:
                if row is None:
                    continue
                who, n = row
                if n <= latest.get(who, -1):
                    raise Broken(f"writer {who}: row {n} comes after row {latest[who]}")
                latest[who] = n
                numbers.setdefault(who, []).append(n)
        for who, found in numbers.items():
            if len(set(found)) != len(found):
                raise Broken(f"writer {who}: a row is there twice")
            if max(found) >= self.tried.get(who, 0):
                raise Broken(f"writer {who}: row {max(found)} was never attempted")
            if self.ordered and not lost and sorted(found) != list(range(len(found))):
                raise Broken(f"writer {who}: what is readable is not a prefix of its attempts: {sorted(found)[-20:]}")
        for line in self.told:
            gone = set(range(line.first, line.first + line.count)).difference(numbers.get(line.who, ()))
            if gone and not lost:
                raise Broken(f"acknowledged and nowhere: rows {sorted(gone)} of {line}")


def rows_between(topic: Any, partition: int, start: int, end: int, step: int = 4096) -> Iterator[Row]:
    """Give the rows of a partition by ``read``, each checked against its own text."""
    while start < end:
        table = topic.read(partition, start, min(step, end - start))
        if table.num_rows == 0:
            return
        yield from whole_rows(table, f"{topic.name}/{partition}:{start}")
        start += table.num_rows


def whole_rows(data: pa.Table | pa.RecordBatch, where: str) -> Iterator[Row]:
    """Give each row's writer and number.

    Raises:
        Broken: A row's text, key or id is not the one that its writer wrote.
    """
    columns = (data.column(name).to_pylist() for name in ("who", "n", "text", "id", "key"))
    for place, (who, n, text, id_, key) in enumerate(zip(*columns, strict=True)):
        if text != text_of(who, n) or id_ != f"{who}-{n}" or not key.startswith("k"):
            raise Broken(f"{where} + {place}: not a row that anybody wrote: {(who, n, key, id_, text)}")
        yield who, n


def check_compacted(story: Story, topic: Any) -> int:
    """Check a compacted topic: the last acknowledged row of each key, or a later one, is readable.

    Returns:
        How many rows were read.

    Raises:
        Broken: It is not, or a row is there that was never attempted, or twice.
    """
    read = 0
    for partition in range(story.partitions):
        newest: dict[str, tuple[int, int, Row]] = {}
        order: dict[Row, int] = {}
        rows = list(_compacted_rows(topic, partition))
        read += len(rows)
        if len({row for _, row in rows}) != len(rows):
            raise Broken(f"{topic.name}/{partition}: a row is there twice")
        for position, (key, row) in enumerate(rows):
            if row[1] >= story.tried.get(row[0], 0):
                raise Broken(f"{topic.name}/{partition}: {row} was never attempted")
            order[row] = position
            newest[key] = (position, 0, row)
        told: dict[str, Row] = {}
        for line in sorted((x for x in story.told if x.at[0][0] == partition), key=lambda x: x.at[0][1]):
            told |= {f"k{n % KEYS}": (line.who, n) for n in range(line.first, line.first + line.count)}
        acknowledged = {
            (line.who, n): line.at[0][1] + n - line.first
            for line in story.told
            if line.at[0][0] == partition
            for n in range(line.first, line.first + line.count)
        }
        for key, row in told.items():
            if key not in newest:
                raise Broken(f"{topic.name}/{partition}: key {key} had {row} acknowledged and has no row")
            found = newest[key][2]
            if acknowledged.get(found, NEVER) < acknowledged[row]:
                raise Broken(f"{topic.name}/{partition}: key {key} shows {found}, and {row} was acknowledged later")
    return read


def _compacted_rows(topic: Any, partition: int) -> Iterator[tuple[str, Row]]:
    reader = topic.reader(partition, topic.start(partition))
    try:
        end = topic.end(partition)
        while reader.offset < end:
            batch = reader.read(1000, 0.0)
            if batch is None:
                return
            rows = whole_rows(batch, f"{topic.name}/{partition}")
            yield from zip(batch.column("key").to_pylist(), rows, strict=True)
    finally:
        reader.close()
