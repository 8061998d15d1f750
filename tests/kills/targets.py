"""The outputs that are met by the kills: how each is written, read back and looked at meanwhile; one entry each."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb as duckdb_client
import pyarrow as pa
import pyarrow.parquet as pq

from thalweg.connect import duckdb, files, sqlite, topic, view
from thalweg.log import Log
from thalweg.state.manifests import read_manifest

_PART = re.compile(r"part-(\d{8,})\.\w+")
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """An exactly-once output.

    Attributes:
        sink: Makes what an operator's stream is written to, by the act's folder and a name.
        rows: Reads what is there, as any other program would.
        changing: Whether it takes changing streams; those that do not are looked at while they grow.
        shut: Whether nobody else can read it while a run has it open.
        look: Fails unless what is there now is whole and committed.
    """

    sink: Callable[[Path, str], Any]
    rows: Callable[[Path, str], Rows]
    changing: bool = False
    shut: bool = False
    look: Callable[[Path, str, Seen], None] | None = None


@dataclass(slots=True)
class Seen:
    """What was seen of an act's files: the digest of each."""

    digests: dict[str, str] = field(default_factory=dict)


def _files(format_: str) -> Target:
    return Target(
        lambda folder, name: files(folder / name, format=format_),
        lambda folder, name: [row for part in _parts(folder / name) for row in _whole(part)],
        look=_look_at_files,
    )


def _parts(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))


def _whole(path: Path) -> Rows:
    """Read a file to its end as its format wants it: one that is torn cannot be."""
    if path.suffix == ".parquet":
        rows: Rows = pq.ParquetFile(path).read(use_threads=False).to_pylist()
    elif path.suffix == ".arrow":
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            rows = reader.read_all().to_pylist()
    else:
        text = path.read_text("utf-8")
        assert text.endswith("\n"), f"{path.name} ends within a line"
        rows = [json.loads(line) for line in text.splitlines()]
    return rows


def _look_at_files(folder: Path, name: str, seen: Seen) -> None:
    parts = list(_parts(folder / name))
    # Read after the names: what is visible by then is committed.
    body = read_manifest(folder / "data")
    for path in parts:
        found = _PART.fullmatch(path.name)
        assert found is not None, f"{path.name} is none of the sink's names"
        assert body is not None and int(found[1]) <= body["epoch"], f"{path.name} is visible before its checkpoint"
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        assert seen.digests.setdefault(f"{name}/{path.name}", digest) == digest, f"{path.name} has changed"


def _topic_rows(folder: Path, name: str) -> Rows:
    with Log(folder / "log") as log:
        if name not in log.topics():
            return []
        found = log.topic(name)
        rows: Rows = found.read(limit=max(found.end(), 1)).to_pylist()
        return rows


def _sqlite_rows(folder: Path, name: str) -> Rows:
    path = folder / "out.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [name]).fetchall():
            return []
        found = connection.execute(f'SELECT * FROM "{name}"')
        names = [column for column, *_ in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]


def _duckdb_rows(folder: Path, name: str) -> Rows:
    with duckdb_client.connect(folder / "out.duckdb", read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows: Rows = connection.sql(f'SELECT * FROM "{name}"').to_arrow_table().to_pylist()
        return rows


def _view_rows(folder: Path, name: str) -> Rows:
    with pa.OSFile(str(folder / "views" / f"{name}.arrow")) as source, pa.ipc.open_file(source) as reader:
        rows: Rows = reader.read_all().to_pylist()
        return rows


TARGETS: dict[str, Target] = {
    "files, Parquet": _files("parquet"),
    "files, Arrow": _files("arrow"),
    "files, NDJSON": _files("ndjson"),
    "topic": Target(lambda folder, name: topic(name, log=folder / "log"), _topic_rows),
    "SQLite": Target(lambda folder, name: sqlite(folder / "out.db", table=name), _sqlite_rows),
    "DuckDB": Target(lambda folder, name: duckdb(folder / "out.duckdb", table=name), _duckdb_rows, shut=True),
    "view": Target(lambda folder, name: view(name), _view_rows, changing=True),
}
