"""``thalweg errors …`` and ``thalweg ledger``: what was put aside, and what became of every row."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.cli.results import json_line
from thalweg.cli.tables import table_lines, value_text, values_of
from thalweg.cli.versions import state_of
from thalweg.core import places
from thalweg.core.envelope import REDRIVE_SCHEMA
from thalweg.core.errors import PlanError, near
from thalweg.core.version import parted, topic_of
from thalweg.engine.embedded.ledger import COLUMNS
from thalweg.log import Log, Topic
from thalweg.state.manifests import read_manifest

Kind: TypeAlias = Literal["errors", "late"]
_READ_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Where:
    """Where an app's rows were put aside.

    Attributes:
        app: The app's name; ``clicks@2`` means a version of it, else the current one is meant.
        data: The state directory of its first version, if it has one of its own.
        log: The log.
    """

    app: str
    data: Path | None = None
    log: Path | None = None

    @property
    def log_path(self) -> Path:
        """The log that was named, or the one of the state directory."""
        return self.log or (self.data / "log" if self.data is not None else places.LOG)

    @property
    def data_path(self) -> Path:
        """The state directory."""
        return state_of(self.app, self.data).directory

    @property
    def options(self) -> str:
        """The options that say so to another command."""
        given = (("--data", self.data), ("--log", self.log))
        return "".join(f" {option} {path}" for option, path in given if path is not None)

    def topic_name(self, kind: str) -> str:
        """The name of a topic of the app."""
        return topic_of(f"{parted(self.app)[0]}.{kind}", state_of(self.app, self.data).name)

    def topic(self, kind: str) -> Topic | None:
        """Return a topic of the app; None if it has put nothing there.

        Raises:
            PlanError: The log knows no such app.
        """
        log = Log(self.log_path)
        names = log.topics()
        if (name := self.topic_name(kind)) in names:
            return log.topic(name)
        apps = sorted({name.rpartition(".")[0] for name in names if name.endswith((".errors", ".late"))})
        if self.app not in apps and not self.data_path.exists():
            raise PlanError(f'no app "{self.app}" has put rows aside in {self.log_path}; {near(self.app, apps)}')
        return None

    def without_checkpoint(self) -> PlanError:
        """Return the error that says that there is no checkpoint, and what to do."""
        beside = self.data_path.parent
        apps = sorted(path.name for path in beside.iterdir()) if self.data is None and beside.is_dir() else []
        return PlanError(
            f"{self.data_path} has no checkpoint of {self.app}; run it first, or name its state directory with "
            f"--data{'; ' + near(self.app, apps) if apps else ''}"
        )


def show_list(where: Where, kind: Kind, *, json: bool) -> None:
    """Print how many rows each step put aside for each reason, and where the first and the last are."""
    topic = where.topic(kind)
    rows = _numbered(topic, ["step", "reason"]) if topic is not None else None
    if rows is None or not rows.num_rows:
        print(f"{where.app}: nothing {'was rejected' if kind == 'errors' else 'came late'}", file=sys.stderr)
        return
    grouped = rows.group_by(["step", "reason"]).aggregate([("offset", "count"), ("offset", "min"), ("offset", "max")])
    shown = grouped.rename_columns(["step", "reason", "rows", "first", "last"])
    _print(shown.sort_by([("rows", "descending"), ("first", "ascending")]), json=json)
    if not json:
        options = where.options + (" --late" if kind == "late" else "")
        command = f"thalweg errors show {where.app} {pc.min(rows['offset'])}{options}"
        print(f"\nOne of them, whole: {command}", file=sys.stderr)


def show(where: Where, kind: Kind, offset: int, *, json: bool) -> None:
    """Print one row that was put aside, whole.

    Raises:
        PlanError: There is none at that offset.
    """
    row = _row(where, kind, offset)
    content = _content(row)
    if json:
        print(json_line({**{k: v for k, v in row.items() if k != "row"}, "row": content}))
        return
    for name, value in row.items():
        if value is not None and name not in ("row", "encoding", "traceback"):
            print(f"{name}: {value_text(value)}")
    print(f"row: {content if isinstance(content, str) else json_line(content)}")
    if row.get("traceback"):
        print(f"\n{row['traceback'].rstrip()}")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rejected rows are meant.

    Attributes:
        step: Only those that this step rejected.
        reason: Only those whose reason has this text.
        offsets: Only those at these offsets; none: all.
        again: Also those that were sent before.
    """

    step: str | None = None
    reason: str | None = None
    offsets: Sequence[int] = ()
    again: bool = False

    def of(self, rows: pa.Table) -> pa.Table:
        """Return the rows that are meant, sent before or not.

        Raises:
            PlanError: No row was rejected by the step, or there is none at an offset.
        """
        for offset in self.offsets:
            if not pc.is_in(pa.scalar(offset, pa.int64()), value_set=rows["offset"]).as_py():
                raise PlanError(f"there is no rejected row at offset {offset}; nothing was sent")
        if self.step is not None:
            steps = pc.unique(rows["step"]).to_pylist()
            if self.step not in steps:
                raise PlanError(f'no row was rejected by the step "{self.step}"; {near(self.step, steps)}')
            rows = rows.filter(pc.equal(rows["step"], self.step))
        if self.reason is not None:
            rows = rows.filter(pc.match_substring(rows["reason"], self.reason))
        if self.offsets:
            rows = rows.filter(pc.is_in(rows["offset"], value_set=pa.array(self.offsets, pa.int64())))
        return rows


def redrive(where: Where, chosen: Chosen, *, dry: bool) -> None:
    """Send rejected rows again, to the step that rejected them: the app's next run, or the one that is on, takes them.

    Raises:
        PlanError: No row is chosen that way.
    """
    topic = where.topic("errors")
    meant = chosen.of(_numbered(topic)) if topic is not None else None
    if meant is None or not meant.num_rows:
        see = f"thalweg errors list {where.app}{where.options}"
        raise PlanError(f"no rejected row of {where.app} is chosen; see them: {see}")
    log, name = Log(where.log_path), where.topic_name("redrive")
    rows = meant
    if not chosen.again and name in log.topics():
        sent = _numbered(log.topic(name), ["error"])["error"]
        rows = meant.filter(pc.invert(pc.is_in(meant["offset"], value_set=sent)))
    before = meant.num_rows - rows.num_rows
    were = "1 was sent before; --again sends it" if before == 1 else f"{before:,} were sent before; --again sends them"
    note = f" ({were} once more)" if before else ""
    if dry:
        print(f"{_rows(rows.num_rows)} would be sent again{note}", file=sys.stderr)
        return
    if rows.num_rows:
        named = rows.rename_columns(["error" if name == "offset" else name for name in rows.column_names])
        log.create(name, REDRIVE_SCHEMA).append(named.select(REDRIVE_SCHEMA.names))
    sent_now = "1 row is sent again" if rows.num_rows == 1 else f"{rows.num_rows:,} rows are sent again"
    takes = f"; a run of {where.app} takes {'it' if rows.num_rows == 1 else 'them'}" if rows.num_rows else ""
    print(f"{sent_now}{note}{takes}", file=sys.stderr)


def ledger(where: Where, *, json: bool) -> None:
    """Print what became of every row, as of the last checkpoint.

    Raises:
        PlanError: The app has no state there.
    """
    body = read_manifest(where.data_path)
    if body is None:
        raise where.without_checkpoint()
    entries = pa.Table.from_pylist(body["ledger"])
    # A manifest has the columns in the order of the alphabet.
    _print(entries.select(sorted(entries.column_names, key=COLUMNS.index)), json=json)
    if not json:
        print(f"\nepoch {body['epoch']}: every row is accounted for", file=sys.stderr)


def _rows(number: int) -> str:
    return f"{number:,} row{'s' * (number != 1)}"


def _numbered(topic: Topic, columns: Sequence[str] | None = None) -> pa.Table:
    """Return all rows of a topic of one partition with their offsets; of the columns named, else of all."""
    names = list(topic.schema.names if columns is None else columns)
    schema = pa.schema([topic.schema.arrow.field(name) for name in names]).append(pa.field("offset", pa.int64()))
    batches = []
    with topic.reader(offset=topic.start(), columns=names) as reader:
        while (batch := reader.read(_READ_ROWS)) is not None:
            offsets = pa.array([reader.row_offset(row) for row in range(batch.num_rows)], pa.int64())
            batches.append(pa.RecordBatch.from_arrays([*batch.columns, offsets], schema=schema))
    return pa.Table.from_batches(batches, schema)


def _row(where: Where, kind: Kind, offset: int) -> dict[str, Any]:
    topic = where.topic(kind)
    start, end = (topic.start(), topic.end()) if topic is not None else (0, 0)
    if topic is None or not start <= offset < end:
        there = f"there are {start} to {end - 1}" if end > start else "there are none"
        raise PlanError(f"{where.app}.{kind} has no row at offset {offset}; {there}")
    table = topic.read(offset=offset, limit=1)
    return {name: values_of(table[name])[0] for name in table.column_names}


def _content(row: dict[str, Any]) -> Any:  # a JSON value or text
    if row["encoding"] != "arrow":
        return bytes(row["row"]).decode("utf-8", "replace")
    with pa.ipc.open_stream(row["row"]) as reader:
        table = reader.read_all()
    return {name: values_of(table[name])[0] for name in table.column_names}


def _print(table: pa.Table, *, json: bool) -> None:
    if json:
        columns = [values_of(column) for column in table.columns]
        for row in zip(*columns, strict=True):
            print(json_line(dict(zip(table.column_names, row, strict=True))))
    else:
        for line in table_lines(table):
            print(line)
    sys.stdout.flush()  # before what follows on standard error, also where both go to one file
