"""``thalweg topic …``: topics of the embedded log are made, filled, looked at and cut."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from thalweg.cli.program import load_module
from thalweg.cli.results import json_line
from thalweg.cli.tables import table_lines, value_text, values_of
from thalweg.connect import files
from thalweg.core.clock import SystemClock
from thalweg.core.duration import duration_us
from thalweg.core.errors import LogError, PlanError, RowsRefused, near
from thalweg.core.ports import Nothing, Rejected
from thalweg.core.schema import Schema, schema_of
from thalweg.log import Log, Topic

_BATCH_ROWS: Final = 100_000
_SHOWN_FAULTS: Final = 10
_WAIT_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class NewTopic:
    """What ``thalweg topic create`` was asked for.

    Attributes:
        name: The topic's name.
        schema: ``FILE.py:CLASS``, or a data file that has the columns; None for events as CloudEvents has them.
        partitions: How many.
        key: The column that decides the partition.
        time: The column of event times.
        id: The column by which repeats are dropped.
        id_within: For how long.
        retention: How long rows are kept.
        retention_bytes: How many bytes a partition keeps.
        compact: Whether only the last row of each key is kept.
    """

    name: str
    schema: str | None = None
    partitions: int = 1
    key: str | None = None
    time: str | None = None
    id: str | None = None
    id_within: str = "10m"
    retention: str | None = None
    retention_bytes: int | None = None
    compact: bool = False


def create(log: Path, new: NewTopic) -> None:
    """Make a topic and say what it is.

    Raises:
        PlanError: The schema cannot be found.
        LogError: There is another topic of that name, or an option is wrong.
    """
    made = Log(log).create(
        new.name,
        None if new.schema is None else _schema(new.schema),
        new.partitions,
        new.key,
        time=new.time,
        id=new.id,
        id_within=new.id_within,
        retention=new.retention,
        retention_bytes=new.retention_bytes,
        compact=new.compact,
    )
    print(f"{made.name}: {made.schema}", file=sys.stderr)


def show_list(log: Path, *, json: bool) -> None:
    """Print every topic, a line each."""
    opened = Log(log)
    rows = []
    for name in opened.topics():
        info = opened.topic(name).describe()
        rows.append({"topic": name, "partitions": len(info.partitions), "rows": info.rows, "bytes": info.bytes})
    if json:
        for row in rows:
            print(json_line(row))
    elif rows:
        _print(pa.Table.from_pylist(rows))
    else:
        print(f"no topics in {log}; make one: thalweg topic create NAME", file=sys.stderr)


def describe(log: Path, name: str, *, json: bool) -> None:
    """Print a topic's columns, options and partitions."""
    topic = Log(log).topic(name)
    info = topic.describe()
    parts = [
        {"partition": number, "start": p.start, "end": p.end, "segments": p.segments, "bytes": p.bytes}
        for number, p in enumerate(info.partitions)
    ]
    if json:
        columns = [{"name": f.name, "type": str(f.type), "null": f.nullable} for f in topic.schema]
        print(json_line({"topic": name, "rows": info.rows, "columns": columns, "partitions": parts}))
        return
    print(f"{name}: {info.rows:,} rows, {info.bytes:,} bytes")
    for field in topic.schema:
        rules = "".join(f", {rule}" for rule in field.rules)
        print(f"  {field.name}: {field.type}{'' if field.nullable else ' not null'}{rules}")
    _print(pa.Table.from_pylist(parts))


def append(log: Path, name: str, paths: Sequence[Path], format_: str | None) -> None:
    """Append the rows of files, or of the standard input; say how many, and which were refused.

    Raises:
        RowsRefused: Some rows do not fit; the others are appended.
        LogError: There is no such topic, or it cannot be written.
        SourceError: A file cannot be read.
    """
    topic = Log(log).topic(name)
    appended = duplicates = 0
    rejected: list[Rejected] = []
    for path in paths or [Path("/dev/stdin")]:
        for rows, bad in _rows_of(path, format_ or (None if paths else "ndjson"), topic.schema):
            result = topic.append_unique(rows)
            appended += sum(run.count for run in result.appended)
            duplicates += len(result.duplicates)
            rejected += bad
    repeated = f", {duplicates:,} were there already" if duplicates else ""
    print(f"{name}: {appended:,} rows appended{repeated}", file=sys.stderr)
    for row in rejected[:_SHOWN_FAULTS]:
        print(f"  refused: {row.place}: {row.reason}", file=sys.stderr)
    if len(rejected) > _SHOWN_FAULTS:
        print(f"  … and {len(rejected) - _SHOWN_FAULTS:,} more", file=sys.stderr)
    if rejected:
        raise RowsRefused(f"{len(rejected):,} rows do not fit {name} and were refused; mend them and append them again")


def read(log: Path, name: str, partition: int, offset: int | None, limit: int, *, json: bool) -> None:
    """Print rows of one partition from an offset."""
    topic = Log(log).topic(name)
    start = topic.start(partition) if offset is None else offset
    table = topic.read(partition, start, limit)
    if json:
        _print_json(table)
    else:
        _print(table)


def tail(log: Path, name: str, count: int, *, follow: bool, json: bool) -> None:
    """Print the last rows of each partition and, if asked, every new one: ``topic:partition:offset key row``."""
    topic = Log(log).topic(name)
    readers = []
    for partition in range(topic.options.partitions):
        end = topic.end(partition)
        readers.append((partition, topic.reader(partition, max(topic.start(partition), end - count)), end))
    for partition, reader, end in readers:
        while reader.offset < end and _print_next(topic, partition, reader, json=json, wait_s=0):
            continue
    while follow:
        # The first partition is waited for; with more than one none waits longer than this.
        waits_s = [_WAIT_S / len(readers)] * len(readers)
        for (partition, reader, _), wait_s in zip(readers, waits_s, strict=True):
            _print_next(topic, partition, reader, json=json, wait_s=wait_s)


def trim(log: Path, name: str, partition: int, before: str) -> None:
    """Forget the rows below an offset, or older than a time such as ``7d``."""
    topic = Log(log).topic(name)
    if before.isdigit():
        offset = int(before)
    else:
        offset = topic.offset_at(partition, SystemClock().now_us() - duration_us(before, "--before"))
    start = topic.trim(offset, partition)
    print(f"{name}[{partition}] now starts at offset {start:,}", file=sys.stderr)


def verify(log: Path, names: Sequence[str]) -> None:
    """Check every byte of topics; print each damage.

    Raises:
        LogError: There is any.
    """
    opened = Log(log)
    found = 0
    for name in names or opened.topics():
        damages = opened.topic(name).verify()
        found += len(damages)
        for damage in damages:
            print(damage)
        if not damages:
            print(f"{name}: all is as it was written", file=sys.stderr)
    if found:
        raise LogError(f"{found} damaged places; restore the files from a copy, or trim the topic behind them")


def delete(log: Path, name: str, *, yes: bool) -> None:
    """Delete a topic and all of its rows.

    Raises:
        PlanError: It was not confirmed.
    """
    topic = Log(log).topic(name)
    if not yes:
        raise PlanError(
            f"this deletes {topic.describe().rows:,} rows of {name} for ever; say so: thalweg topic delete {name} --yes"
        )
    Log(log).delete(name)
    print(f"{name} is deleted", file=sys.stderr)


def _schema(given: str) -> Schema:
    file, colon, name = given.rpartition(":")
    if colon and file.endswith(".py"):
        module = load_module(Path(file))
        classes = [key for key, value in vars(module).items() if isinstance(value, (type, pa.Schema))]
        if name not in classes:
            raise PlanError(f'{file} has no class or Arrow schema "{name}"; {near(name, classes)}')
        return schema_of(getattr(module, name))
    if given.endswith(".py"):
        raise PlanError(f"--schema {given}: name the class in it, as in {given}:Click")
    found = files(given).schema()
    if found is None:
        raise PlanError(f"--schema {given}: it has no rows to see the columns by; name a class: PROGRAM.py:CLASS")
    return schema_of(found)


def _rows_of(path: Path, format_: str | None, schema: Schema) -> Iterator[tuple[pa.Table, Sequence[Rejected]]]:
    source = files(path, format=format_).open(schema)
    reader = source.reader("files", None)
    try:
        while not isinstance(batch := reader.read(_BATCH_ROWS, 0), Nothing):
            yield pa.Table.from_batches([batch.data]), batch.rejected
    finally:
        reader.close()
        source.close()


def _print_next(topic: Topic, partition: int, reader: Any, *, json: bool, wait_s: float) -> bool:
    first = reader.offset
    batch = reader.read(_BATCH_ROWS, wait_s)
    if batch is None:
        return False
    columns = [values_of(column) for column in batch.columns]
    for number, row in enumerate(zip(*columns, strict=True), first):
        if json:
            row_json = dict(zip(batch.schema.names, row, strict=True))
            print(json_line({"topic": topic.name, "partition": partition, "offset": number, "row": row_json}))
        else:
            key = topic.options.key
            shown = "" if key is None else value_text(row[batch.schema.names.index(key)]) + " "
            print(
                f"{topic.name}:{partition}:{number} {shown}{json_line(dict(zip(batch.schema.names, row, strict=True)))}"
            )
    sys.stdout.flush()
    return True


def _print(table: pa.Table) -> None:
    for line in table_lines(table):
        print(line)


def _print_json(table: pa.Table) -> None:
    columns = [values_of(column) for column in table.columns]
    for row in zip(*columns, strict=True):
        print(json_line(dict(zip(table.column_names, row, strict=True))))
