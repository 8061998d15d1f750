"""The sinks that record epochs, each with a way to make one and to read what it has."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb as duckdb_client
import pyarrow as pa

from thalweg.connect import duckdb, files, sqlite, topic
from thalweg.core.ports import EpochWriter, Sink, WriteRequest
from thalweg.log import Log

SCHEMA = pa.schema([("v", pa.int64())])


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of sink.

    Attributes:
        sink: Makes the sink in a folder, by the output's name.
        read: Returns the values that the output has, sorted, as another program would see them.
    """

    sink: Callable[[Path, str], Sink]
    read: Callable[[Path, str], list[int]]

    def open(self, folder: Path, **request: Any) -> EpochWriter:
        """Open the output ``out`` as an engine would."""
        writer = self.sink(folder, "out").open(wanted(**request))
        assert isinstance(writer, EpochWriter)
        return writer

    def values(self, folder: Path) -> list[int]:
        """Return what the output ``out`` has."""
        return self.read(folder, "out")


def wanted(
    run: str = "r",
    term: int = 1,
    epoch: int = 0,
    foreign: Literal["refused", "replaced", "joined"] = "refused",
    fresh: bool = False,
) -> WriteRequest:
    """Return what an engine asks of a sink."""
    return WriteRequest(SCHEMA, False, None, epoch, fresh, "app", run, 0 if fresh else term, foreign)


def rows(*values: int) -> Iterator[pa.Table]:
    """Return an epoch's rows, in two tables."""
    whole = pa.table({"v": pa.array(values, pa.int64())}, schema=SCHEMA)
    return iter([whole.slice(0, 1), whole.slice(1)])


def _files(folder: Path, name: str) -> list[int]:
    parts = sorted((folder / name).glob("part-*.ndjson"))
    return sorted(json.loads(line)["v"] for part in parts for line in part.read_text().splitlines())


def _topic(folder: Path, name: str) -> list[int]:
    with Log(folder / "log") as log:
        if name not in log.topics():
            return []
        opened = log.topic(name)
        values: list[int] = opened.read(offset=opened.start(), limit=10**6)["v"].to_pylist()
    return sorted(values)


def _sqlite(folder: Path, name: str) -> list[int]:
    with closing(sqlite3.connect(folder / "out.db")) as connection:
        there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [name]).fetchall()
        return [v for (v,) in connection.execute(f"SELECT v FROM {name} ORDER BY v")] if there else []


def _duckdb(folder: Path, name: str) -> list[int]:
    with duckdb_client.connect(folder / "out.duckdb") as connection:
        there = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [name]).fetchall()
        return [v for (v,) in connection.execute(f"SELECT v FROM {name} ORDER BY v").fetchall()] if there else []


TARGETS = {
    "files": Target(lambda folder, name: files(folder / name, format="ndjson"), _files),
    "topic": Target(lambda folder, name: topic(name, log=folder / "log"), _topic),
    "sqlite": Target(lambda folder, name: sqlite(folder / "out.db", table=name), _sqlite),
    "duckdb": Target(lambda folder, name: duckdb(folder / "out.duckdb", table=name), _duckdb),
}
