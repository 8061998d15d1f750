"""Growing text files as a source: each log a partition, followed across rotations."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from thalweg.columnar.decode_log_lines import LogFormat, LogLinesDecoder, log_parser
from thalweg.columnar.parse_line import LineParser
from thalweg.columnar.runs import one_by_one
from thalweg.connect._tail_files import Rotated, base_of, rotated_of
from thalweg.connect._tail_read import TailReader
from thalweg.core.clock import Clock, SystemClock
from thalweg.core.errors import PlanError, SourceError, near
from thalweg.core.ports import Json, OpenSource, PartitionReader, SourceBatch
from thalweg.core.schema import Schema

_PACKED = (".gz", ".zst", ".bz2", ".xz")
_LEAST_PAUSE_S = 0.01
_LOOKS_PER_S = 8_000  # over all files that do not grow


@dataclass(frozen=True, slots=True)
class Tail:
    """Growing text files; made by ``tail``."""

    path: str
    parse: str
    parser: LineParser | None
    file_column: str | None = None
    clock: Clock = field(default_factory=SystemClock, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The folder's or file's name without suffixes: ``logs`` for ``logs/*.log``."""
        parts = [part for part in Path(self.path).parts if not glob.has_magic(part)]
        return (Path(parts[-1]).stem if parts else "") or "tail"

    @property
    def final(self) -> bool:
        """A log can grow at any time."""
        return False

    @property
    def prefetch(self) -> bool:
        """There may be thousands of logs, most of them silent: a thread for each would cost more than the reading."""
        return False

    @property
    def target(self) -> str | None:
        """The folder or file, absolute; of a pattern the folder in which it looks."""
        return str(Path(self.base).absolute())

    @property
    def base(self) -> str:
        """The path itself, or of a pattern the folder in which it looks."""
        if os.path.exists(self.path) or not glob.has_magic(self.path):
            return self.path
        parts = Path(self.path).parts
        magic = next(place for place, part in enumerate(parts) if glob.has_magic(part))
        return str(Path(*parts[:magic])) if magic else "."

    def describe(self) -> str:
        """Return one line for the plan."""
        file = f", file_column={self.file_column}" if self.file_column else ""
        return f"tail({self.path}, parse={self.parse}{file})"

    def schema(self) -> pa.Schema | None:
        """Return the columns that the parser finds; None for those that only the reader's ``schema=`` can name."""
        if self.parser is None or self.parser.columns is None:
            return None
        columns = self.parser.columns.arrow
        return columns.append(pa.field(self.file_column, pa.string(), False)) if self.file_column else columns

    def open(self, schema: Schema) -> OpenSource:
        """Start to follow the files.

        Raises:
            SourceError: The path is a folder, or the schema has a column that the parser does not find.
        """
        if os.path.isdir(self.path):
            raise SourceError(
                f"{self.path} is a folder; name the files in it, as in {os.path.join(self.path, '*.log')}"
            )
        known = self.schema()
        for column in schema.names if known is not None else ():
            if known is not None and column not in known.names:
                raise SourceError(f'{self.describe()} finds no column "{column}"; {near(column, known.names)}')
        return OpenTail(self, schema)

    def redecode(self, rows: Sequence[bytes], schema: Schema, place: Callable[[int], str]) -> SourceBatch:
        """Decode lines as they were received; the name of their file is not known any more."""
        constant = {self.file_column: ""} if self.file_column in schema.names and self.file_column else None
        return one_by_one(LogLinesDecoder(schema, self.parser, constant), rows, place)


class OpenTail:
    """Logs that are being followed.

    Args:
        tail: Which.
        schema: What their rows are decoded to.
    """

    def __init__(self, tail: Tail, schema: Schema) -> None:
        self._tail = tail
        self._schema = schema
        self._paths: dict[str, str] = {}
        self.clock = tail.clock
        self.bounded = False
        self.complete = False

    def bound(self, *, complete: bool) -> None:
        """End at what is there now; ``complete`` declares it to be all."""
        self.bounded, self.complete = True, complete

    def partitions(self) -> Sequence[str]:
        """Return the names of the logs there are now, without their rotated files.

        Raises:
            SourceError: There are none, and the run would end without a row.
        """
        is_pattern = self._tail.base != self._tail.path
        found = {path for path in glob.glob(self._tail.path, recursive=True) if os.path.isfile(path)}
        if not is_pattern and os.path.exists(self._tail.path):
            found = {self._tail.path}
        if not found and self.complete:
            raise SourceError(
                f"{self._tail.path}: there is no such file; check the path, or run live to wait for files"
            )
        known = {*self._paths.values(), *found}
        for path in sorted(found):
            log = self._log_of(path, known) if is_pattern else path
            if log is not None:
                self._paths.setdefault(self._name(log), log)
        return list(self._paths)

    def reader(self, partition: str, position: Json) -> PartitionReader:
        """Return a reader of a log from a position."""
        path = self._paths.setdefault(partition, self._path(partition))
        return TailReader(self, path, partition, position)

    def close(self) -> None:
        """The readers hold the files."""

    def pause_s(self) -> float:
        """Return how long to wait between looks at a silent file: the more there are, the longer."""
        return max(_LEAST_PAUSE_S, len(self._paths) / _LOOKS_PER_S)

    def decoder(self, name: str) -> LogLinesDecoder:
        """Return a decoder of a log's lines."""
        column = self._tail.file_column
        constant = {column: name} if column is not None and column in self._schema else None
        return LogLinesDecoder(self._schema, self._tail.parser, constant)

    def older(self, name: str) -> Sequence[Rotated]:
        """Return the rotated files of a log that the pattern names, too."""
        if self._tail.base == self._tail.path:
            return ()
        named = {os.path.abspath(path) for path in glob.glob(self._tail.path, recursive=True)}
        return [file for file in rotated_of(self._paths[name]) if os.path.abspath(file.path) in named]

    def _log_of(self, path: str, known: Set[str]) -> str | None:
        """Return the log that a file which the pattern names belongs to; None if the file is none and has none."""
        folder, name = os.path.split(path)
        base = base_of(name)
        if base is not None:
            log = os.path.join(folder, base)
            # A log is missing for a moment while it is renamed, and its rotated files are its own then, too. Of
            # worker.1 without a worker that cannot be said: it may be the first of several.
            has_suffix = bool(os.path.splitext(base)[1])
            if log in known or (has_suffix and fnmatch.fnmatchcase(base, os.path.basename(self._tail.path))):
                return log
        return None if name.endswith(_PACKED) else path

    def _name(self, path: str) -> str:
        base = self._tail.base
        name = os.path.relpath(path, base) if base != self._tail.path else os.path.basename(path)
        return name.replace(os.sep, "/")

    def _path(self, name: str) -> str:
        base = self._tail.base
        return os.path.join(base, *name.split("/")) if base != self._tail.path else base


def tail(
    path: str | os.PathLike[str], *, parse: LogFormat | re.Pattern[str] = "lines", file_column: str | None = None
) -> Tail:
    r"""Follow growing text files.

    Each file that the path names is a partition and keeps its name. A file that is renamed, or copied and truncated, is
    read to its end, wherever in its folder it went, compressed (gzip, zstd) or not; then the new file of the name is
    read. So it is also after a restart. Files of rotated names (``app.log.1``, ``app.log-20260301.gz``) beside their
    log are its earlier part, read first if the path names them too; ``app.log.1`` also where there is no ``app.log`` at
    the moment. A line counts when its newline is there; the last one of a file that was left, and of an input that is
    complete (``batch``, ``until="end"``), counts without.

    Order and delivery: within a partition the order of the files; each line once. Where it can be known that lines are
    lost, because a file that was read in part is gone, a rejected row says so.

    Args:
        path: A file, or a pattern (``logs/*.log``, ``**`` for any depth).
        parse: ``lines`` (a column ``line``), ``common`` and ``combined`` (access logs), ``syslog`` (RFC 3164 and 5424),
            ``ndjson`` and ``logfmt`` (with the reader's ``schema=``), or a compiled expression whose named groups are
            the columns and that matches the whole line.
        file_column: The name of a column that is added and has the partition's name.

    Raises:
        PlanError: There is no such format, the expression cannot be used, or the column is there already.

    Example:
        >>> tail("logs/*.log", parse=re.compile(r"(?P<level>\w+) (?P<message>.*)")).schema().names
        ['level', 'message']
    """
    parser = log_parser(parse)
    if file_column is not None:
        if not isinstance(file_column, str) or not file_column:
            raise PlanError(f"tail(file_column={file_column!r}): a column's name is wanted")
        if parser is not None and parser.columns is not None and file_column in parser.columns:
            raise PlanError(f'tail(file_column="{file_column}"): the lines have a column of that name; choose another')
    shown = parse if isinstance(parse, str) else parse.pattern
    return Tail(os.fspath(path), shown, parser, file_column)
