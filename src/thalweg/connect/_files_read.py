"""Reading files, one after the other, from any cut between two rows.

A position is JSON::

    {"done": [[name, size, line, open], …],   the files that were read, with what was read of each
     "file": name,                            the one that is being read, and where in it:
     "offset": 8388608, "line": 60001,        the byte and line where the last run of rows starts (text),
     "skip": 17, "open": false}               or "row" (Parquet, Arrow)

It names every file that was read, as another run has to know which ones are new: some tens of bytes for
each. Text that is not compressed is read on from its byte; what is compressed is inflated again up to it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from thalweg.columnar.decode_csv import CsvDecoder, read_header
from thalweg.columnar.decode_json import JsonDecoder
from thalweg.columnar.decode_table import DamagedTableError, table_batches, table_schema
from thalweg.columnar.decoded import Decoded
from thalweg.columnar.infer import SAMPLE_ROWS, infer_csv, infer_json
from thalweg.columnar.inflate import InflatedFile
from thalweg.columnar.json_rows import Unknown
from thalweg.columnar.runs import RUN_BYTES, Cursor, DamagedTextError, Run, Runs, TextDecoder, one_by_one
from thalweg.connect._files_found import Found, read_before
from thalweg.core.clock import Clock, SystemClock
from thalweg.core.errors import SourceError
from thalweg.core.ports import Json, Nothing, PartitionReader, SourceBatch
from thalweg.core.schema import Schema

_LIST_EVERY_S = 0.25
_QUIET_S = 1.0  # how long a followed file must not have grown before its last line counts without a newline
_HEADER_BYTES = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _WasRead:
    """What was read of a file: its size then, for text the line after, and whether that line lacked its newline."""

    size: int
    line: int = 1
    open: bool = False

    def json(self, name: str) -> Json:
        return [name, self.size, self.line, self.open]


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """Files that are being read: one partition."""

    listed: Callable[[], list[Found]]
    schema: Schema
    follow: bool
    path: str
    clock: Clock = SystemClock()  # noqa: RUF009  # it holds nothing
    unknown: Unknown = "drop"  # fields of JSON that the schema does not have

    def partitions(self) -> Sequence[str]:
        """Return the one partition's name."""
        return ("files",)

    def reader(self, partition: str, position: Json) -> PartitionReader:
        """Return a reader from a position.

        Raises:
            SourceError: There are no files, or ones that were read before have changed.
        """
        return FilesReader(self, position)

    def replay(self, partition: str, position: Json) -> PartitionReader:
        """Return a reader of the files that were read up to a position, in the order in which they were.

        Raises:
            SourceError: One of them is gone, or has changed.
        """
        files = read_before(self.listed(), position, self.path)
        return FilesReader(replace(self, listed=lambda: files), None)

    def close(self) -> None:
        """Nothing is held here."""


class FilesReader:
    """Reads files in the order in which they are found, at first by name."""

    def __init__(self, source: OpenFiles, position: Json) -> None:
        self._source = source
        self._closed = threading.Event()
        self._queue: deque[tuple[Found, dict[str, Any]]] = deque()
        self._known: set[str] = set()
        self._read: dict[str, _WasRead] = {}
        self._now: _FileReader | None = None
        was: dict[str, Any] = position if isinstance(position, dict) else {}
        for name, size, line, is_open in was.get("done", ()):
            self._read[name] = _WasRead(size, line, is_open)
        # A list that is shared by positions is replaced, never changed.
        self._done: list[Json] = list(was.get("done", ()))
        found = source.listed()
        if not found and position is None and not source.follow:
            what = "no file in this folder" if Path(source.path).is_dir() else "there is no such file"
            raise SourceError(f"{source.path}: {what}; check the path, or follow=True to wait for files")
        current = was.get("file")
        if current is not None:
            file = next((file for file in found if file.name == current), None)
            if file is None:
                raise SourceError(f"{current} in {source.path} was read in part and is gone; put it back to read on")
            self._known.add(file.name)
            self._queue.append((file, was))
        self._enqueue(found)
        self._listed_s = source.clock.monotonic_s()

    def read(self, max_rows: int, timeout_s: float) -> SourceBatch | Nothing:
        """Return the next rows of one file."""
        clock = self._source.clock
        until_s = clock.monotonic_s() + timeout_s
        while True:
            batch = self._next(max_rows)
            if batch is not None:
                return batch
            if not self._source.follow:
                return Nothing.EVER
            now_s = clock.monotonic_s()
            if now_s - self._listed_s >= _LIST_EVERY_S:
                self._listed_s = now_s
                self._enqueue(self._source.listed())
                if self._queue:
                    continue
            if now_s >= until_s or self._closed.is_set():
                return Nothing.NOW
            clock.wait(self._closed, min(until_s - now_s, _LIST_EVERY_S))

    def close(self) -> None:
        """Close the file that is being read."""
        self._closed.set()
        if self._now is not None:
            self._now.close()
            self._now = None

    def _enqueue(self, found: list[Found]) -> None:
        """Queue files that are new, and text files to which something was added."""
        for file in found:
            if file.name in self._known:
                continue
            was_read = self._read.get(file.name)
            if was_read is None:
                self._known.add(file.name)
                self._queue.append((file, {}))
                continue
            try:
                size = os.path.getsize(file.path)
            except OSError:
                continue  # it is gone, and was read
            if size == was_read.size:
                continue
            if size < was_read.size or not file.grows:
                raise SourceError(
                    f"{file.path} was read when it had {was_read.size} bytes and has {size} now; only text files that "
                    "are not compressed may grow, and none may shrink: restore it, write what is new to another "
                    "file, or start afresh with another data folder"
                )
            self._known.add(file.name)
            self._queue.append((file, {"offset": was_read.size, "line": was_read.line, "open": was_read.open}))

    def _next(self, max_rows: int) -> SourceBatch | None:
        while True:
            if self._now is None and not self._open_next():
                return None
            reader = self._now
            assert reader is not None, "just opened"
            try:
                with _errors_of(reader.file):
                    if reader.left() or reader.load():
                        rows = reader.take(max_rows)
                        position: Json = {"done": self._done, "file": reader.file.name, **reader.position()}
                        return SourceBatch(rows.data, position, _Locate(reader.file, rows), rows.rejected)
                    was_read = reader.was_read()
            except SourceError:
                self.close()
                raise
            if was_read is None:
                return None
            reader.close()
            self._now = None
            self._finished(reader.file, was_read)

    def _open_next(self) -> bool:
        while self._queue:
            file, place = self._queue.popleft()
            try:
                with _errors_of(file):
                    self._now = _reader(file, self._source, place)
                return True
            except SourceError as error:
                vanished = isinstance(error.__cause__, FileNotFoundError)
                if not (vanished and self._source.follow and not place):
                    raise
                self._known.discard(file.name)
        return False

    def _finished(self, file: Found, was_read: _WasRead) -> None:
        self._known.discard(file.name)
        if file.name in self._read:
            self._done = [entry for entry in self._done if not (isinstance(entry, list) and entry[0] == file.name)]
        self._read[file.name] = was_read
        self._done = [*self._done, was_read.json(file.name)]


@dataclass(frozen=True, slots=True)
class _Locate:
    file: Found
    rows: Decoded

    def __call__(self, row: int) -> str:
        return _place(self.file, self.rows.line(row))


class _FileReader(Protocol):
    """Reads one file."""

    @property
    def file(self) -> Found: ...

    def load(self) -> bool:
        """Decode the next rows; return whether there are any now."""
        ...

    def left(self) -> int:
        """Return how many decoded rows were not taken yet."""
        ...

    def take(self, count: int) -> Decoded:
        """Return the next of these."""
        ...

    def position(self) -> dict[str, Json]:
        """Return the place after the rows that were taken."""
        ...

    def was_read(self) -> _WasRead | None:
        """Return what was read, once there is no more; None while more may come soon."""
        ...

    def close(self) -> None: ...


class _TextReader:
    """Reads NDJSON or CSV."""

    def __init__(self, file: Found, source: OpenFiles, place: dict[str, Any]) -> None:
        self.file = file
        self._follow, self._clock, self._unknown = source.follow, source.clock, source.unknown
        self._bytes = InflatedFile(file.path, file.compression)
        self._skip: int = place.get("skip", 0)
        self._run: Run | None = None
        self._taken = 0
        self._quiet_since: tuple[int, float] | None = None
        self._is_held = False
        self._runs: Runs | None = None
        try:
            self._start(source.schema, Cursor(place.get("offset", 0), place.get("line", 1), place.get("open", False)))
        except BaseException:
            self._bytes.close()
            raise

    def _start(self, schema: Schema, cursor: Cursor) -> None:
        if self.file.grows and os.path.getsize(self.file.path) < cursor.offset:
            raise SourceError(
                f"{self.file.path} has become shorter than what was read of it; restore it, or start afresh"
            )
        decoder, start = _decoder(self.file, schema, self._bytes, self._unknown)
        if decoder is not None:
            cursor = start if cursor.offset < start.offset else cursor
            self._bytes.seek(cursor.offset)
            self._runs = Runs(decoder, self._bytes.read, lambda line: _place(self.file, line), cursor)

    def load(self) -> bool:
        while self._runs is not None:
            run = self._runs.next(hold=self._follow)
            if run is None and self._runs.waiting_bytes and self._follow:
                self._is_held = not self._is_quiet(self._runs.waiting_bytes)
                run = None if self._is_held else self._runs.next()
            if run is None:
                if self._skip:
                    raise SourceError(
                        f"{self.file.path} has fewer rows than were read of it; restore it, or start afresh"
                    )
                return False
            skipped = min(self._skip, len(run.rows))
            if len(run.rows) > skipped:
                self._run, self._taken = run, skipped
                self._skip = 0
                return True
            self._skip -= skipped
        return False

    def left(self) -> int:
        return 0 if self._run is None else len(self._run.rows) - self._taken

    def take(self, count: int) -> Decoded:
        assert self._run is not None, "asked for only when rows are left"
        start = self._taken
        self._taken = min(start + count, len(self._run.rows))
        return self._run.rows.cut(start, self._taken)

    def position(self) -> dict[str, Json]:
        assert self._run is not None, "asked for only after rows were taken"
        at, skip = self._run.start, self._taken
        if not self.left() and self._run.end is not None:
            at, skip = self._run.end, 0
        return {"offset": at.offset, "line": at.line, "skip": skip, "open": at.open}

    def was_read(self) -> _WasRead | None:
        if self._is_held:
            return None
        cursor = Cursor() if self._runs is None else self._runs.cursor
        size = cursor.offset if self.file.grows else os.path.getsize(self.file.path)
        return _WasRead(size, cursor.line, cursor.open)

    def close(self) -> None:
        self._bytes.close()

    def _is_quiet(self, size: int) -> bool:
        now_s = self._clock.monotonic_s()
        if self._quiet_since is None or self._quiet_since[0] != size:
            self._quiet_since = (size, now_s)
        return now_s - self._quiet_since[1] >= _QUIET_S


class _TableReader:
    """Reads Parquet or Arrow."""

    def __init__(self, file: Found, source: OpenFiles, place: dict[str, Any]) -> None:
        self.file = file
        self._row: int = place.get("row", 0)
        self._size = os.path.getsize(file.path)
        self._batches = table_batches(file.path, file.format, file.compression, source.schema.names, self._row)
        self._rows: Decoded | None = None

    def load(self) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            return False
        self._rows = Decoded(batch, range(self._row + 1, self._row + 1 + batch.num_rows))
        return True

    def left(self) -> int:
        return 0 if self._rows is None else len(self._rows)

    def take(self, count: int) -> Decoded:
        assert self._rows is not None, "asked for only when rows are left"
        count = min(count, len(self._rows))
        taken, self._rows = self._rows.cut(0, count), self._rows.cut(count, len(self._rows))
        self._row += count
        return taken

    def position(self) -> dict[str, Json]:
        return {"row": self._row}

    def was_read(self) -> _WasRead | None:
        return _WasRead(self._size)

    def close(self) -> None:
        self._batches.close()


def infer_schema(found: Sequence[Found]) -> pa.Schema | None:
    """Return the schema of the first file that tells one; None if none does.

    Raises:
        SourceError: A file cannot be read.
    """
    for file in found:
        with _errors_of(file):
            if file.format in ("parquet", "arrow"):
                return table_schema(file.path, file.format, file.compression)
            if schema := _text_schema(file):
                return schema
    return None


def redecoded(
    found: Sequence[Found], rows: Sequence[bytes], schema: Schema, place: Callable[[int], str]
) -> SourceBatch:
    """Decode rows of text that were rejected, as a file of the same kind would be.

    Raises:
        SourceError: There is no file that tells the format, or it is no text.
    """
    if not found or found[0].format not in ("ndjson", "csv"):
        what = f"{found[0].path} is no text" if found else "there is no file left"
        raise SourceError(f"rejected rows cannot be decoded again: {what}")
    text = InflatedFile(found[0].path, found[0].compression)
    try:
        decoder, _ = _decoder(found[0], schema, text)
    finally:
        text.close()
    # A file without a header yet says nothing of its columns: they are the schema's.
    decoder = decoder or CsvDecoder(schema, schema.names)
    return one_by_one(decoder, rows, place)


def _text_schema(file: Found) -> pa.Schema | None:
    text = InflatedFile(file.path, file.compression)
    try:
        names, start = _header(text) if file.format == "csv" else ((), _after_mark(text))
        text.seek(start.offset)
        sample = text.read(RUN_BYTES)
    except DamagedTextError:
        return None  # the run rejects it
    finally:
        text.close()
    if file.format == "csv":
        return infer_csv(names, sample, final=len(sample) < RUN_BYTES) if names and sample else None
    lines = sample.split(b"\n", SAMPLE_ROWS)[:SAMPLE_ROWS]
    return infer_json(lines) or None


def _reader(file: Found, source: OpenFiles, place: dict[str, Any]) -> _FileReader:
    return (_TextReader if file.format in ("ndjson", "csv") else _TableReader)(file, source, place)


def _header(text: InflatedFile) -> tuple[tuple[str, ...], Cursor]:
    """Return a CSV file's column names and where its rows start; no names if nothing is there yet."""
    start = _after_mark(text)
    text.seek(start.offset)
    head = b""
    while (header := read_header(head)) is None:
        more = text.read(_HEADER_BYTES)
        if not more:
            if not head:
                return (), start
            names, _ = read_header(head + b"\n") or ((), 0)
            return names, Cursor(start.offset + len(head), 1 + head.count(b"\n"), open=True)
        head += more
    names, stop = header
    return names, Cursor(start.offset + stop, 1 + head.count(b"\n", 0, stop))


def _after_mark(text: InflatedFile) -> Cursor:
    return Cursor(len(_BYTE_ORDER_MARK) if text.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK else 0)


def _decoder(
    file: Found, schema: Schema, text: InflatedFile, unknown: Unknown = "drop"
) -> tuple[TextDecoder | None, Cursor]:
    """Return the decoder of a file's rows, and where they start; None while it has no header."""
    try:
        if file.format == "ndjson":
            return JsonDecoder(schema, unknown), _after_mark(text)
        names, start = _header(text)
    except DamagedTextError:
        # Not even the start can be read: the run of rows says so, once it comes to it.
        return JsonDecoder(schema, unknown) if file.format == "ndjson" else CsvDecoder(schema, ()), Cursor()
    except ValueError as error:
        raise SourceError(f"{file.path}: the first row is no header: {error}; a CSV file starts with one") from error
    if names and not set(names) & set(schema.names):
        raise SourceError(
            f"{file.path}: the header has none of the columns {', '.join(schema.names)}; it has {', '.join(names)}"
        )
    return (CsvDecoder(schema, names) if names else None), start


def _place(file: Found, line: int) -> str:
    return f"{file.name}:{line}" if file.format in ("ndjson", "csv") else f"{file.name}: row {line}"


@contextmanager
def _errors_of(file: Found) -> Iterator[None]:
    try:
        yield
    except DamagedTableError as error:
        raise SourceError(
            f"{file.path} cannot be read as {file.format}: {error}; restore it, or take it away"
        ) from error
    except SourceError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"{file.path} has vanished since it was listed; put it back, or start again") from error
    except OSError as error:
        raise SourceError(f"{file.path} cannot be read: {error.strerror or error}") from error
