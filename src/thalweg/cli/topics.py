"""``thalweg topic …``: topics of the embedded log are made, filled, looked at and cut."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from thalweg.cli.program import load_module
from thalweg.cli.results import json_line
from thalweg.cli.tables import table_lines, value_text, values_of
from thalweg.cli.topic_rows import rows_of, rows_of_input
from thalweg.connect import files
from thalweg.core.clock import SystemClock
from thalweg.core.duration import duration_text, duration_us
from thalweg.core.errors import LogDamaged, LogError, PlanError, near
from thalweg.core.ports import Rejected
from thalweg.core.schema import Schema, schema_of
from thalweg.log import Damage, Drift, Log, Topic, TopicOptions, TopicReader

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
        drift: What becomes of rows that do not fit.
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
    drift: Drift = "refuse"


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
        drift=new.drift,
    )
    print(f"{made.name}: {made.schema}", file=sys.stderr)


def show_list(log: Path, *, json: bool) -> None:
    """Print every topic, a line each.

    Raises:
        LogDamaged: What is stored of one is not what was written; the others are printed.
    """
    opened = Log(log)
    rows, damaged = [], []
    for name in opened.topics():
        try:
            info = opened.topic(name).describe()
        except LogDamaged as error:
            damaged.append(error)
            continue
        rows.append({"topic": name, "partitions": len(info.partitions), "rows": info.rows, "bytes": info.bytes})
    if json:
        for row in rows:
            print(json_line(row))
    elif rows:
        _print(pa.Table.from_pylist(rows))
    elif not damaged:
        print(f"no topics in {log}; make one: thalweg topic create NAME", file=sys.stderr)
    for another in damaged[1:]:
        print(another, file=sys.stderr)
    if damaged:
        raise damaged[0]


def describe(log: Path, name: str, *, json: bool) -> None:
    """Print a topic's columns, options and partitions.

    Raises:
        PlanError: There is no such topic.
    """
    topic = _topic(Log(log), name)
    info = topic.describe()
    parts = [
        {"partition": number, "start": p.start, "end": p.end, "segments": p.segments, "bytes": p.bytes}
        for number, p in enumerate(info.partitions)
    ]
    if json:
        columns = [
            {"name": f.name, "type": str(f.type), "null": f.nullable, "rules": [str(rule) for rule in f.rules]}
            for f in topic.schema
        ]
        options = _options(topic.options)
        print(json_line({"topic": name, "rows": info.rows, "columns": columns, **options, "partitions": parts}))
        return
    print(f"{name}: {info.rows:,} rows, {info.bytes:,} bytes")
    for option, value in _options(topic.options).items():
        if value and (option, value) != ("drift", "refuse"):
            print(f"  {option} {value}" if value is not True else f"  {option}")
    for field in topic.schema:
        rules = "".join(f", {rule}" for rule in field.rules)
        print(f"  {field.name}: {field.type}{'' if field.nullable else ' not null'}{rules}")
    _print(pa.Table.from_pylist(parts))


def evolve(log: Path, name: str, schema: str, *, dry_run: bool) -> None:
    """Change a topic's columns, and say what is different.

    Raises:
        PlanError: The schema cannot be found.
        SchemaChange: It cannot follow the present one; nothing was changed.
    """
    topic, columns = Log(log).topic(name), _schema(schema)
    changes = topic.changes(columns)
    for change in changes:
        print(change)
    if not changes:
        print(f"{name} has these columns already", file=sys.stderr)
    elif dry_run:
        print(f"{name} is as it was; without --dry-run it gets these changes", file=sys.stderr)
    else:
        topic.evolve(columns)
        print(f"{name}: {topic.schema}", file=sys.stderr)


def append(log: Path, name: str, paths: Sequence[Path], format_: str | None) -> None:
    """Append the rows of files, or of the standard input; say how many, and which were refused.

    Raises:
        PlanError: There is no such topic, or a file is not there or tells no format.
        LogError: Some rows do not fit, and the others are appended; or the topic cannot be written.
        SourceError: A file cannot be read.
    """
    topic = _topic(Log(log), name)
    for path in paths:
        _check_file(path, "; nothing was appended")
    appended = duplicates = refused = 0
    shown: list[Rejected] = []
    try:
        for rows, bad in rows_of(paths, format_, topic.schema) if paths else rows_of_input(format_, topic.schema):
            result = topic.append_unique(rows)
            appended += sum(run.count for run in result.appended)
            duplicates += len(result.duplicates)
            refused += len(bad)
            shown += bad[: _SHOWN_FAULTS - len(shown)]
    finally:
        # Also where it ends early: what was appended is there.
        repeated = f", {duplicates:,} were there already" if duplicates else ""
        print(f"{name}: {appended:,} row{'s' * (appended != 1)} appended{repeated}", file=sys.stderr)
        for row in shown:
            print(f"  refused: {row.place}: {row.reason}", file=sys.stderr)
        if refused > len(shown):
            print(f"  … and {refused - len(shown):,} more", file=sys.stderr)
    if refused:
        rows_are = "1 row does not fit" if refused == 1 else f"{refused:,} rows do not fit"
        raise LogError(f"{rows_are} {name}: not appended, unlike the others; mend, and append again what was refused")


def read(log: Path, name: str, partition: int, offset: int | None, limit: int, *, json: bool) -> None:
    """Print rows of one partition from an offset.

    Raises:
        PlanError: There is no such topic or partition.
        OffsetGone: The rows at the offset were trimmed.
    """
    topic = _topic(Log(log), name)
    _check_partition(topic, partition)
    start = topic.start(partition) if offset is None else offset
    table = topic.read(partition, start, limit)
    if json:
        _print_json(table)
    else:
        _print(table)


def tail(log: Path, name: str, count: int, *, follow: bool, json: bool) -> None:
    """Print the last rows of each partition and, if asked, every new one: ``topic:partition:offset key row``.

    Raises:
        PlanError: There is no such topic.
    """
    topic = _topic(Log(log), name)
    readers = []
    for partition in range(topic.options.partitions):
        end = topic.end(partition)
        readers.append((partition, topic.reader(partition, max(topic.start(partition), end - count)), end))
    for partition, reader, end in readers:
        while reader.offset < end and _print_next(topic, partition, reader, json=json, wait_s=0):
            continue
    while follow:
        for partition, reader, _ in readers:
            # They take turns to be waited for, so that a new row waits no longer than all turns together.
            _print_next(topic, partition, reader, json=json, wait_s=_WAIT_S / len(readers))


def trim(log: Path, name: str, partition: int | None, before: str) -> None:
    """Forget the rows below an offset of one partition, or older than a time such as ``7d`` in one or all.

    Raises:
        PlanError: It is neither, or an offset of several partitions; or there is no such topic or partition.
    """
    topic = _topic(Log(log), name)
    age_us = None if before.isascii() and before.isdecimal() else duration_us(before, "--before")
    count = topic.options.partitions
    if partition is not None:
        _check_partition(topic, partition)
    if age_us is None and partition is None and count > 1:
        raise PlanError(
            f"--before {before}: {name} has {count} partitions, each with offsets of its own; --partition N"
        )
    now_us = SystemClock().now_us()
    for number in range(count) if partition is None else [partition]:
        offset = int(before) if age_us is None else topic.offset_at(number, now_us - age_us)
        start = topic.trim(offset, number)
        print(f"{name}[{number}] now starts at offset {start:,}", file=sys.stderr)


def verify(log: Path, names: Sequence[str]) -> None:
    """Check every byte of topics; print each damage.

    Raises:
        PlanError: There is no topic of one of the names; none was looked at.
        LogError: There is any damage.
    """
    opened = Log(log)
    for name in names:
        _check_there(opened, name)
    found = 0
    for name in names or opened.topics():
        try:
            damages = opened.topic(name).verify()
        except LogDamaged as error:  # without its metadata no more can be said of it; the others are looked at
            damages = [Damage(error.path, error.position, error.offset, None, str(error))]
        found += len(damages)
        for damage in damages:
            print(f"{damage.path}: byte {damage.position:,}{_offsets(damage)}: {damage.reason}")
        if not damages:
            print(f"{name}: all is as it was written", file=sys.stderr)
    if found:
        places = "1 damaged place" if found == 1 else f"{found:,} damaged places"
        raise LogError(f"{places}; restore the files from a copy, or trim the topic behind them")


def delete(log: Path, name: str, *, yes: bool) -> None:
    """Delete a topic and all of its rows.

    Raises:
        PlanError: It was not confirmed, or there is no such topic.
    """
    opened = Log(log)
    _check_there(opened, name)
    if not yes:
        rows = opened.topic(name).describe().rows
        raise PlanError(f"this deletes {rows:,} rows of {name} for ever; say so: thalweg topic delete {name} --yes")
    opened.delete(name)
    print(f"{name} is deleted", file=sys.stderr)


def _topic(log: Log, name: str) -> Topic:
    _check_there(log, name)
    return log.topic(name)


def _check_there(log: Log, name: str) -> None:
    """Raise where a command names what is not there: that is a mistake of the command, not of the log."""
    names = log.topics()
    if name not in names:
        raise PlanError(f'there is no topic "{name}" in {log.path}; {near(name, names)}')


def _check_file(path: Path, note: str) -> None:
    if not path.exists():
        there = sorted(other.name for other in path.parent.glob("*")) if path.parent.is_dir() else []
        raise PlanError(f"there is no file {path}; {near(path.name, there)}{note}")


def _check_partition(topic: Topic, partition: int) -> None:
    count = topic.options.partitions
    if partition >= count:
        there = "only partition 0" if count == 1 else f"the partitions 0 to {count - 1}"
        raise PlanError(f'the topic "{topic.name}" has {there}, and no {partition}')


def _options(options: TopicOptions) -> dict[str, Any]:  # text, numbers and truth values
    """Return a topic's options as they are given to ``create``."""
    return {
        "key": options.key,
        "time": options.time,
        "id": options.id,
        "id_within": None if options.id is None else duration_text(options.id_within_us),
        "retention": None if options.retention_us is None else duration_text(options.retention_us),
        "retention_bytes": options.retention_bytes,
        "compact": options.compact,
        "drift": options.drift,
    }


def _offsets(damage: Damage) -> str:
    if damage.first is None:
        return ""
    return f", offsets from {damage.first:,}" + ("" if damage.next is None else f" to {damage.next - 1:,}")


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
    _check_file(Path(given), "")
    found = files(given).schema()
    if found is None:
        raise PlanError(f"--schema {given}: it has no rows to see the columns by; name a class: PROGRAM.py:CLASS")
    return schema_of(found)


def _print_next(topic: Topic, partition: int, reader: TopicReader, *, json: bool, wait_s: float) -> bool:
    batch = reader.read(_BATCH_ROWS, wait_s)
    if batch is None:
        return False
    names, key = batch.schema.names, topic.options.key
    for index, values in enumerate(zip(*map(values_of, batch.columns), strict=True)):
        row = dict(zip(names, values, strict=True))
        offset = reader.row_offset(index)
        if json:
            print(json_line({"topic": topic.name, "partition": partition, "offset": offset, "row": row}))
        else:
            shown = "" if key is None else f"{value_text(row[key])} "
            print(f"{topic.name}:{partition}:{offset} {shown}{json_line(row)}")
    sys.stdout.flush()
    return True


def _print(table: pa.Table) -> None:
    for line in table_lines(table):
        print(line)


def _print_json(table: pa.Table) -> None:
    columns = [values_of(column) for column in table.columns]
    for row in zip(*columns, strict=True):
        print(json_line(dict(zip(table.column_names, row, strict=True))))
