"""Files as a source and a sink: NDJSON, CSV, Parquet and Arrow; text also compressed."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, overload

import pyarrow as pa

from thalweg.connect._files_found import Found
from thalweg.connect._files_read import OpenFiles, infer_schema, redecoded
from thalweg.connect._files_since import position_after
from thalweg.connect._files_write import FolderWriter, SingleFileWriter
from thalweg.core.errors import PlanError, SinkError, SourceError
from thalweg.core.ports import EpochWriter, Json, OpenSource, SourceBatch, WriteRequest
from thalweg.core.schema import Schema
from thalweg.core.version import path_of

Format = Literal["ndjson", "csv", "parquet", "arrow"]

_FORMAT_OF: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSIONS = (".gz", ".zst")
_SUFFIXES = ", ".join(_FORMAT_OF)


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one format, to read or to write; made by ``files``."""

    path: str
    format: Format | None = None
    follow: bool = False

    @property
    def name(self) -> str:
        """The folder's or file's name without suffixes: ``clicks`` for ``clicks/*.ndjson``."""
        parts = [part for part in Path(self.path).parts if not glob.has_magic(part)]
        stem = Path(parts[-1]).name if parts else ""
        return _without_suffixes(stem) or "files"

    @property
    def final(self) -> bool:
        """A file can be added at any time."""
        return False

    @property
    def prefetch(self) -> bool:
        """Reading and decoding are work."""
        return True

    @property
    def changes(self) -> Literal["refused", "applied", "passed on"]:
        """A changing stream is written as its rows with their weight in the column ``_weight``."""
        return "passed on"

    @property
    def target(self) -> str | None:
        """The folder or file, absolute; of a pattern the folder in which it looks."""
        return str(Path(_base(self.path)).absolute())

    @property
    def recorded(self) -> str:
        """A file counts when the folder's record has its epoch; a single file is replaced as a whole."""
        return "the folder's record names the epoch"

    def beside(self, version: str) -> Files:
        """Return the folder of a version: ``late@2`` beside ``late``."""
        return replace(self, path=str(path_of(Path(self.path), version)) + "/" * self.path.endswith("/"))

    def position_at(self, partition: str, time_us: int) -> Json:
        """Return the position after the files that were last changed before a time; others are read whole."""
        return position_after(self.listed(), time_us)

    def describe(self) -> str:
        """Return one line for the plan."""
        marks = [f", format={self.format}"] if self.format else []
        marks += [", follow"] if self.follow else []
        return f"files({self.path}{''.join(marks)})"

    def schema(self) -> pa.Schema | None:
        """Return the schema of the first file that has any rows; of text it is a guess.

        Raises:
            SourceError: There is no such file, or it cannot be read.
        """
        found = self.listed()
        schema = infer_schema(found)
        if schema is None:
            what = f"{len(found)} files, all without rows" if found else "no file"
            raise SourceError(f"{self.path}: {what}, so there is no schema to be seen; give schema= where it is read")
        return schema

    @overload
    def open(self, schema: Schema, /) -> OpenSource: ...

    @overload
    def open(self, schema: WriteRequest, /) -> EpochWriter: ...

    def open(self, schema: Schema | WriteRequest, /) -> OpenSource | EpochWriter:
        """Start to read files of a schema, or to write what is requested.

        Raises:
            SourceError: Nothing matches the path, or what does is of several formats.
            SinkError: The path cannot be written, or names a single file where rows are kept to be added to.
        """
        if isinstance(schema, WriteRequest):
            return self._writer(schema)
        return OpenFiles(self.listed, schema, self.follow, self.path)

    def open_narrow(self, schema: Schema, columns: Collection[str]) -> OpenSource:
        """Start to read files of a schema, of Parquet only some columns.

        Raises:
            SourceError: What matches the path is of several formats.
        """
        return OpenFiles(self.listed, schema, self.follow, self.path, wanted=frozenset(columns))

    def redecode(self, rows: Sequence[bytes], schema: Schema, place: Callable[[int], str]) -> SourceBatch:
        """Decode rows of text as they were received.

        Raises:
            SourceError: There is no file any more that tells the format, or it is no text.
        """
        return redecoded(self.listed(), rows, schema, place)

    def listed(self) -> list[Found]:
        """Return the files there are now, in name order.

        Raises:
            SourceError: They are of several formats, or of one that their names don't tell.
        """
        base = _base(self.path)
        found = []
        for path in self._paths(base):
            format_, compression = _kind_of(path)
            if self.format is None and format_ is None:
                raise SourceError(
                    f"{path}: its suffix tells no format; allowed: {_SUFFIXES}, the text ones also with .gz or .zst; "
                    "else give format=, or let its name start with _"
                )
            if (self.format or format_) == "parquet" and compression is not None:
                raise SourceError(f"{path}: Parquet is compressed inside; take the {compression} away first")
            name = os.path.relpath(path, base) if base != path else os.path.basename(path)
            found.append(Found(name.replace(os.sep, "/"), path, self.format or format_ or "ndjson", compression))
        formats = sorted({file.format for file in found})
        if len(formats) > 1:
            raise SourceError(
                f"{self.path} holds files of several formats ({', '.join(formats)}); name one as in *.csv"
            )
        return sorted(found, key=lambda file: file.name)

    def _paths(self, base: str) -> list[str]:
        if base != self.path:  # a pattern
            paths = [path for path in glob.glob(self.path, recursive=True) if os.path.isfile(path)]
        elif os.path.isdir(base):
            try:
                with os.scandir(base) as entries:
                    paths = [entry.path for entry in entries if entry.is_file()]
            except OSError as error:
                raise SourceError(f"{base} cannot be listed: {error.strerror}") from error
        else:
            return [base] if os.path.exists(base) else []
        return [path for path in paths if not os.path.basename(path).startswith(("_", "."))]

    def _writer(self, request: WriteRequest) -> EpochWriter:
        if _base(self.path) != self.path:
            raise SinkError(f"{self.path} is a pattern; a sink is a folder or a file")
        format_, compression = _kind_of(self.path)
        if format_ is None or os.path.isdir(self.path):
            if self.format is None:
                raise SinkError(f'{self.path} is a folder; say what to write there, as in format="parquet"')
            return FolderWriter(self.path, self.format, request)
        if not request.fresh:
            raise SinkError(
                f"{self.path} is a single file, which only a batch can write; name a folder, as in "
                f'files("{_without_suffixes(self.path)}/", format="{self.format or format_}")'
            )
        return SingleFileWriter(self.path, self.format or format_, compression, request)


def files(path: str | os.PathLike[str], format: str | None = None, follow: bool = False) -> Files:
    """Return files to read or to write.

    *Reading*: a file, a pattern (``clicks/*.ndjson``, ``**`` for any depth) or a folder (its own files);
    names that start with ``_`` or ``.`` are skipped. The files are one partition in name order; with
    ``follow`` later ones are read as they are found, in that order. A file that is still to be written
    should have a skipped name until it is complete. A second run over kept state reads files that are
    new, and what was added to text files that are not compressed. What cannot be decoded is rejected
    row by row: also the rest of a compressed file that is cut or damaged.

    *Writing*: a folder gets one file ``part-{epoch}`` for each checkpoint with rows, which appears
    whole; the rows of one are sorted where they fit in memory. A path with a format's suffix is one file,
    replaced as a whole by each batch. A changing stream is written with the column ``_weight``.

    Args:
        path: The file, pattern or folder.
        format: ``ndjson``, ``csv``, ``parquet`` or ``arrow``; by default what the suffix says (``.ndjson``,
            ``.jsonl``, ``.csv``, ``.parquet``, ``.arrow``; text and Arrow streams also with ``.gz`` or ``.zst``).
        follow: Whether to wait for more files when all are read.

    Raises:
        PlanError: There is no such format.

    Example:
        >>> files("clicks/*.ndjson").name
        'clicks'
    """
    if format is not None and format not in get_args(Format):
        raise PlanError(f'there is no file format "{format}"; allowed: {", ".join(get_args(Format))}')
    known: Any = format  # one of the literals, as was checked
    return Files(os.fspath(path), known, follow)


def _kind_of(path: str) -> tuple[Format | None, str | None]:
    stem, suffix = os.path.splitext(path.rstrip("/"))
    compression = suffix if suffix in _COMPRESSIONS else None
    return _FORMAT_OF.get(os.path.splitext(stem)[1] if compression else suffix), compression


def _without_suffixes(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    if suffix in _COMPRESSIONS:
        stem, suffix = os.path.splitext(stem)
    return stem if suffix in _FORMAT_OF else stem + suffix


def _base(path: str) -> str:
    """Return the path itself, or of a pattern the folder in which it looks."""
    if os.path.exists(path) or not glob.has_magic(path):
        return path
    parts = Path(path).parts
    magic = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:magic])) if magic else "."
