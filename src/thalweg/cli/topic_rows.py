"""Rows that ``thalweg topic append`` is given: in files, or on the standard input."""

from __future__ import annotations

import os
import select
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa

from thalweg.columnar.conform import Conformer
from thalweg.columnar.decode_json import JsonDecoder
from thalweg.columnar.runs import Cursor, Runs
from thalweg.connect import files
from thalweg.connect._files_found import Found
from thalweg.connect._files_read import OpenFiles, infer_schema
from thalweg.core.errors import PlanError, SourceError, near
from thalweg.core.ports import Nothing, Rejected
from thalweg.core.schema import Schema

_BATCH_ROWS: Final = 100_000
_NAME: Final = "stdin"

Part: TypeAlias = "tuple[pa.Table, Sequence[Rejected]]"
"""Rows that fit a topic, and those between them that do not."""


def rows_of(paths: Sequence[Path], format_: str | None, schema: Schema) -> Iterator[Part]:
    """Give the rows of files, some at a time.

    Shape: The schema's columns.

    Raises:
        PlanError: A file's name tells no format, or a folder's files have several.
        SourceError: A file cannot be read.
    """
    conformer = Conformer(schema)
    sources = [files(path, format=format_) for path in paths]
    try:
        listed = [each.listed() for each in sources]
    except SourceError as error:
        raise PlanError(str(error).replace("format=", "--format")) from error
    for found in listed:
        _check_columns(found, schema)  # before anything is appended
    for each in sources:
        source = each.open(schema)
        assert isinstance(source, OpenFiles), "files that are read"
        source = replace(source, unknown="refuse")
        reader = source.reader("files", None)
        try:
            while not isinstance(batch := reader.read(_BATCH_ROWS, 0), Nothing):
                done = conformer.conform(batch.data)
                bad = [
                    Rejected(batch.locate(row.row), f'column "{row.column}": {row.reason}', b"", row.column)
                    for row in done.bad
                ]
                yield pa.Table.from_batches([done.data]), [*batch.rejected, *bad]
        finally:
            reader.close()
            source.close()


def _check_columns(found: Sequence[Found], schema: Schema) -> None:
    """Check that files have no column that would be left out; of JSON each row tells its own.

    Raises:
        PlanError: There is one.
        SourceError: A file cannot be read.
    """
    if not found or found[0].format == "ndjson":
        return
    given = infer_schema(found)
    for name in () if given is None else given.names:
        if name not in schema:
            raise PlanError(
                f'{found[0].path}: there is a column "{name}", and the topic has none of that name: '
                f"{near(name, schema.names)}; leave it out of the file, or evolve the topic"
            )


def rows_of_input(format_: str | None, schema: Schema) -> Iterator[Part]:
    """Give the rows on the standard input: NDJSON as it comes in, other formats when it has ended.

    Shape: The schema's columns.

    Raises:
        PlanError: Somebody sits at a terminal.
        SourceError: It cannot be read.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise PlanError("no rows are given: name files, or pipe them in, as in cat day.ndjson | thalweg topic append …")
    if format_ in (None, "ndjson"):
        runs = Runs(JsonDecoder(schema, unknown="refuse"), _come, f"{_NAME}:{{}}".format, Cursor())
        while (run := runs.next()) is not None:
            yield pa.Table.from_batches([run.rows.data]), run.rows.rejected
        return
    # The other formats are not read from front to back.
    with tempfile.TemporaryDirectory(prefix="thalweg-") as folder:
        path = Path(folder, _NAME)
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            yield from rows_of([path], format_, schema)
        except SourceError as error:
            # The place where it was kept meanwhile is gone when this is read.
            raise SourceError(str(error).replace(str(path), "the standard input")) from error


def _come(most: int) -> bytes:
    """Return what has come in, waiting for the first of it; nothing at the end."""
    source = sys.stdin.fileno()
    parts = [os.read(source, most)]
    size = len(parts[0])
    # A pipe gives little at a time, and each append is a sync.
    while parts[-1] and size < most and select.select([source], [], [], 0)[0]:
        parts.append(os.read(source, most - size))
        size += len(parts[-1])
    return b"".join(parts)
