"""What ``thalweg compare`` can read: files, topics and views, each as one table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from thalweg.cli.faults import Where
from thalweg.connect import files
from thalweg.connect._files import Files
from thalweg.core.errors import LogError, PlanError, SourceError, StateError, near
from thalweg.core.ports import Nothing
from thalweg.core.schema import Schema, schema_of
from thalweg.engine.embedded.stored_view import stored_view
from thalweg.log import Log

_READ_ROWS: Final = 262_144
_FORMS: Final = "a file, a folder, a pattern, topic:NAME or view:APP/NAME, such as view:clicks@2/page_views"


@dataclass(frozen=True, slots=True)
class Compared:
    """A table to compare, and what is known of it.

    Attributes:
        name: As it was given.
        rows: Its rows; None where it has none, and its columns are not known.
        key: The columns that name a row, where that is known.
    """

    name: str
    rows: pa.Table | None
    key: tuple[str, ...] = ()


def read_both(one: str, other: str, log: Path) -> tuple[Compared, Compared]:
    """Return two outputs.

    What is text is read with the columns of what is not; of two texts each value is read as the wider of both.

    Raises:
        PlanError: One of them is not there, or cannot be read.
    """
    first, second = _text_files(one), _text_files(other)
    if first is not None and second is not None:
        schemas = _inferred(first), _inferred(second)
        if schemas[0] is not None and schemas[1] is not None:
            schemas = _widened(schemas[0], schemas[1])
        return Compared(one, _files_table(first, schemas[0])), Compared(other, _files_table(second, schemas[1]))
    if first is not None:
        typed = _read(other, log)
        return _text_like(one, first, typed), typed
    typed = _read(one, log)
    return typed, _read(other, log) if second is None else _text_like(other, second, typed)


def _text_like(target: str, source: Files, typed: Compared) -> Compared:
    """Return the rows of text, in the types that the other side has."""
    schema = _inferred(source)
    if schema is not None and typed.rows is not None:
        # Only columns that the text has: others would be read as null, and be taken for its values.
        known = {field.name: field.type for field in typed.rows.schema}
        schema = schema_of(pa.schema([pa.field(field.name, known.get(field.name, field.type)) for field in schema]))
    return Compared(target, _files_table(source, schema))


def _read(target: str, log: Path) -> Compared:
    kind, colon, name = target.partition(":")
    try:
        if colon and kind == "topic":
            return Compared(target, _topic_table(name, log))
        if colon and kind == "view":
            return _view(target, name)
        source = _files(target)
        return Compared(target, _files_table(source, _inferred(source)))
    except (SourceError, LogError, StateError) as error:
        raise PlanError(f"{target} cannot be compared: {error}") from error


def _text_files(target: str) -> Files | None:
    """Return the files that a target names if they are text."""
    if target.startswith(("topic:", "view:")):
        return None
    source = _files(target)
    try:
        found = source.listed()
    except SourceError as error:
        raise PlanError(f"{target} cannot be compared: {error}") from error
    return source if not found or found[0].format in ("ndjson", "csv") else None


def _files(target: str) -> Files:
    source = files(target)
    if not os.path.exists(target) and not source.listed():
        folder = Path(target).parent
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        raise PlanError(f"there is no {target} to compare; {near(Path(target).name, there)}. Allowed: {_FORMS}")
    return source


def _inferred(source: Files) -> Schema | None:
    """Return the columns that files show; None where there is no row."""
    found = source.listed()
    if not found or all(os.path.getsize(file.path) == 0 for file in found):
        return None
    try:
        return schema_of(source.schema())
    except SourceError as error:
        raise PlanError(f"{source.path} cannot be compared: {error}") from error


def _files_table(source: Files, schema: Schema | None) -> pa.Table | None:
    if schema is None:
        return None
    tables = []
    try:
        reader = source.open(schema).reader("files", None)
        try:
            while not isinstance(batch := reader.read(_READ_ROWS, 0), Nothing):
                if batch.rejected:
                    bad = batch.rejected[0]
                    raise PlanError(f"{source.path} cannot be compared: {bad.place}: {bad.reason}")
                # The same values: what is longer than a microsecond or than a dictionary's code is cut or spelt out.
                tables.append(pa.Table.from_batches([batch.data]).cast(schema.arrow, safe=False))
        finally:
            reader.close()
    except SourceError as error:
        raise PlanError(f"{source.path} cannot be compared: {error}") from error
    return pa.concat_tables(tables) if tables else schema.arrow.empty_table()


def _topic_table(name: str, path: Path) -> pa.Table:
    log = Log(path)
    if name not in log.topics():
        raise PlanError(f'there is no topic "{name}" in {path}; {near(name, log.topics())}')
    topic = log.topic(name)
    batches = []
    for partition in range(topic.options.partitions):
        end = topic.end(partition)
        with topic.reader(partition, topic.start(partition)) as reader:
            while reader.offset < end and (batch := reader.read(min(_READ_ROWS, end - reader.offset))) is not None:
                batches.append(batch)
    return pa.Table.from_batches(batches, topic.schema.arrow)


def _view(target: str, name: str) -> Compared:
    app, slash, view = name.rpartition("/")
    if not slash or not app or not view:
        raise PlanError(f"{target} names no view; allowed: view:APP/NAME, such as view:clicks@2/page_views")
    directory = Path(app) if "/" in app or Path(app).is_dir() else Where(app).data_path
    found = stored_view(directory, view)
    return Compared(target, found.rows, found.key)


def _widened(one: Schema, other: Schema) -> tuple[Schema, Schema]:
    """Return both schemas with the wider type of each column that was guessed differently."""
    kinds = {field.name: field.type for field in other}
    wide = {}
    for field in one:
        if field.name in kinds and (kind := _wider(field.type, kinds[field.name])) is not None:
            wide[field.name] = kind

    def of(schema: Schema) -> Schema:
        return schema_of(pa.schema([pa.field(field.name, wide.get(field.name, field.type)) for field in schema]))

    return of(one), of(other)


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type to read two texts with; None where each has its own: what it is worth is seen in the values."""
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other)):
        return one if one == other else pa.float64()
    return pa.timestamp("us", "UTC") if pa.types.is_temporal(one) and pa.types.is_temporal(other) else None
