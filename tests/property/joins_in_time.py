"""Cases of joins in event time: two sources, what is joined, and the same as an app of Thalweg."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

import pyarrow as pa
from hypothesis import strategies as st

import thalweg as tw
from tests.oracle.interval import How, LateRows, Table, Timed, asof_join, counted, in_time, interval_join
from tests.oracle.tables import batch_of, plain_rows
from tests.oracle.values import canonical
from tests.oracle.windows import Read, Tumbling, Window
from tests.property.agree import ledger
from tests.property.cases import Cuts, duration
from tests.property.cases import window as window_of
from tests.property.rows import BASES, SECOND, Columns, columns, reads, windows
from thalweg import count
from thalweg.connect import view
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

Kind = Literal["interval", "windows", "asof"]


@dataclass(frozen=True, slots=True)
class Source:
    """What one source holds, and how it is cut."""

    read: Read
    schema: pa.Schema
    cuts: tuple[Cuts, ...]


@dataclass(frozen=True, slots=True)
class JoinCase:
    """A join of two sources.

    Attributes:
        kind: Of rows in an interval, of counts per window, or with versions.
        left: The one.
        right: The other.
        keys: The columns that rows agree in.
        how: What becomes of rows without a partner.
        within: The interval, in microseconds.
        window: What is counted by, where counts are joined.
        watched: Whether something reads the sources beside the join that wants every row at once, so that each batch
            is a step.
    """

    kind: Kind
    left: Source
    right: Source
    keys: tuple[str, ...]
    how: How
    within: tuple[int, int]
    window: Window
    watched: bool

    @property
    def by(self) -> tuple[str, ...]:
        """The columns that the join is on."""
        return (*self.keys, "window_end") if self.kind == "windows" else self.keys


@dataclass(frozen=True, slots=True)
class Expected:
    """What the oracle says: the joined rows, the late ones, how many are rejected."""

    rows: list[Timed]
    late: LateRows
    rejected: int


@st.composite
def join_cases(draw: st.DrawFn, kind: Kind, *, max_rows: int = 30) -> JoinCase:
    """Draw two sources with common keys, and how they are joined."""
    one = draw(columns(("a", "b", "c")))
    keys = draw(st.lists(st.sampled_from([k for k in one.kinds if k != "ts"]), min_size=1, max_size=2, unique=True))
    other = _with_keys(draw(columns(("d", "c"))), one, keys)
    window = draw(windows()) if kind == "windows" else Tumbling(draw(st.sampled_from([1, 10, 1000, SECOND])) * 6)
    size_us = window.size_us if isinstance(window, Tumbling) else SECOND
    within = draw(st.sampled_from(_intervals(size_us)))
    base_us = draw(BASES)
    left, right = (_source(draw, given, window, base_us, max_rows) for given in (one, other))
    how = draw(st.sampled_from(get_args(How)))
    return JoinCase(kind, left, right, tuple(keys), how, within, window, draw(st.booleans()))


def expected(case: JoinCase) -> Expected:
    """Return what the oracle says."""
    if case.kind == "windows":
        sides = [counted(source.read, case.keys, case.window) for source in (case.left, case.right)]
        rejected = sum(in_time(source.read)[2] for source in (case.left, case.right))
        return Expected(interval_join(sides[0], sides[1], case.by, case.how, (0, 0)), Counter(), rejected)
    (left, late, bad), (right, late_too, bad_too) = in_time(case.left.read), in_time(case.right.read)
    return Expected(_joined(case, left, right), late + late_too, bad + bad_too)


def _joined(case: JoinCase, left: Table, right: Table) -> list[Timed]:
    if case.kind == "asof":
        return asof_join(left, right, case.keys)
    return interval_join(left, right, case.keys, case.how, case.within)


def sources(case: JoinCase) -> tuple[Scripted, Scripted]:
    """Return the two sources, which show all that they have."""
    return _scripted("left", case.left), _scripted("right", case.right)


def build(case: JoinCase, left: Scripted, right: Scripted) -> tw.App:
    """Return the app: the joined rows, and how many there are per window of their time."""
    app = tw.App("joins")
    one, other = (
        app.read(
            source,
            schema=given.schema,
            time="ts",
            lateness=duration(given.read.lateness_us),
            max_jump=None if given.read.max_jump_us is None else duration(given.read.max_jump_us),
        )
        for source, given in ((left, case.left), (right, case.right))
    )
    if case.watched:
        one.write(view("left"))
        other.write(view("right"))
    if case.kind == "asof":
        joined = one.join_asof(other, by=list(case.by))
    elif case.kind == "windows":
        window: Any = window_of(case.window)
        one, other = (stream.group_by(*case.keys).window(window).agg(n=count()) for stream in (one, other))
        joined = one.join(other, on=list(case.by), how=case.how)
    else:
        low, high = (duration(bound) for bound in case.within)
        joined = one.join(other, on=list(case.by), how=case.how, within=(low, high))
    joined.write(view("joined"))
    joined.group_by().window(duration(_counted_by(case))).agg(n=count()).write(view("per_window"))
    return app


def differences(case: JoinCase, report: Any, found: Expected, *, whole: bool = True) -> list[str]:
    """Return how a report differs from what the oracle says.

    Args:
        case: The case.
        report: What a run returned.
        found: What the oracle says.
        whole: Whether the run read all; else it went on from an earlier one, which has reported rows too.
    """
    wrong = []
    names = report.view("joined").column_names
    expected_rows = Counter(tuple(canonical(row.row[name]) for name in names) for row in found.rows)
    rows = Counter(tuple(canonical(row[name]) for name in names) for row in plain_rows(report.view("joined")))
    wrong += [f"row is missing: {row} × {times}" for row, times in (expected_rows - rows).items()]
    wrong += [f"row should not be there: {row} × {times}" for row, times in (rows - expected_rows).items()]
    size_us = _counted_by(case)
    counts = Counter(row.time_us // size_us * size_us for row in found.rows)
    windows_of = [(row["window_start"], row["n"]) for row in plain_rows(report.view("per_window"))]
    if sorted(windows_of) != sorted(counts.items()):
        wrong.append(f"per window of time: {sorted(windows_of)}, expected {sorted(counts.items())}")
    lines = ledger(report)
    (join,) = (line for line in lines if line["step"].split()[-1] in ("join", "join_asof"))
    if join["held"] or join["absorbed"] != join["released"]:
        wrong.append(f"the join holds rows at the end: {join}")
    if join["late"] != found.late.total():
        wrong.append(f"{join['late']} rows are late for the join, expected {found.late.total()}")
    if whole:
        wrong += _whole_differences(case, report, found)
    return wrong


def _whole_differences(case: JoinCase, report: Any, found: Expected) -> list[str]:
    wrong = []
    if case.kind != "windows":
        late = Counter(
            (int(row["partition"]), row["time"], row["watermark"])
            for row in plain_rows(report.late.select(["partition", "time", "watermark"]))
        )
        if late != found.late:
            wrong.append(f"late rows {late}, expected {found.late}")
    if report.errors.num_rows != found.rejected:
        wrong.append(f"{report.errors.num_rows} rows are rejected, expected {found.rejected}")
    return wrong


def _counted_by(case: JoinCase) -> int:
    """Return the size of the windows that joined rows are counted by."""
    return max(1, (case.within[1] - case.within[0]) // 3) if case.kind != "windows" else SECOND


def _intervals(size_us: int) -> list[tuple[int, int]]:
    return [
        (0, size_us),
        (-size_us, size_us),
        (-size_us, 0),
        (0, 0),
        (size_us // 3, size_us),
        (-size_us, -size_us // 3),
        (-1, 1),
        (0, 4 * size_us),
        (-size_us // 2, 3 * size_us),
    ]


def _with_keys(given: Columns, keyed: Columns, keys: Sequence[str]) -> Columns:
    """Return columns with the keys of others before them."""
    kinds = {key: keyed.kinds[key] for key in keys} | {k: v for k, v in given.kinds.items() if k not in keys}
    pools = {key: keyed.pools[key] for key in keys} | {k: v for k, v in given.pools.items() if k not in keys}
    return Columns(kinds, pools, frozenset(name for name in given.required if name not in keys))


def _source(draw: st.DrawFn, given: Columns, window: Window, base_us: int, max_rows: int) -> Source:
    read, cuts = draw(reads(given, window, max_rows=max_rows, max_partitions=3, base_us=base_us))
    return Source(replace(read, max_jump_us=None), given.schema, cuts)


def _scripted(name: str, source: Source) -> Scripted:
    loose = pa.schema([pa.field(field.name, field.type) for field in source.schema])
    pieces = {}
    for number, (rows, at) in enumerate(zip(source.read.partitions, source.cuts, strict=True)):
        pieces[str(number)] = [
            Piece(batch_of(rows[a:b], loose), lambda row, n=number: f"{name}[{n}]:{row}")  # type: ignore[misc]  # binds n
            for a, b in pairwise((0, *at, len(rows)))
        ]
    return Scripted(name, loose, pieces)
