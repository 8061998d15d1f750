"""Programs that see some of their columns, over Parquet files and over memory, and what they say of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

import thalweg as tw
from tests.oracle.tables import plain_rows
from tests.property.kinds import TIMESTAMP
from thalweg import col, count
from thalweg.connect import files, memory, view
from thalweg.engine.contract import Report, RunOptions

SCHEMA = pa.schema(
    [
        pa.field("dead", pa.string()),
        pa.field("k", pa.int64()),
        pa.field("must", pa.int64(), nullable=False),
        pa.field("ts", TIMESTAMP),
        pa.field("x", pa.float64()),
        pa.field("tie", pa.string()),
        pa.field("big", pa.int64()),
    ]
)
Row = tuple[str | None, int | None, int | None, int | None, float | None, str | None, int | None]
Shape = Callable[[tw.Stream, tw.Stream], dict[str, tw.Stream]]


def _counted(one: tw.Stream, other: tw.Stream) -> dict[str, tw.Stream]:
    return {"v": one.group_by("k").agg(n=count(), x=col("x").max()), "w": other.select("tie", "k")}


def _windows(one: tw.Stream, other: tw.Stream) -> dict[str, tw.Stream]:
    filtered = one.filter(col("x") >= 0.0).group_by("k").window("4us").agg(n=count())
    hopping = (
        other.with_columns(y=col("x") * 2.0, z=col("k").is_null()).group_by("z").window(tw.hopping("4us", every="2us"))
    )
    return {"v": filtered, "w": hopping.agg(y=col("y").max())}


def _ties(one: tw.Stream, other: tw.Stream) -> dict[str, tw.Stream]:
    first = one.group_by("k").window("4us").agg(x=col("x").first())
    return {"v": first, "w": other.top_k(1, by="x", per="k").select("k", "must")}


def _rejecting(one: tw.Stream, other: tw.Stream) -> dict[str, tw.Stream]:
    doubled = one.filter(col("x").is_not_null()).with_columns(twice=col("big") * 2).select("k", "twice")
    return {"v": doubled.group_by("k").agg(n=count()), "w": other.select("k", "x").filter(col("k") * col("k") > 0)}


def _tables(one: tw.Stream, other: tw.Stream) -> dict[str, tw.Stream]:
    inner = one.join(other, on="k").group_by("k").agg(n=count(), x=col("x_right").max())
    left = one.select("k", "x", "tie").join(other.group_by("k").agg(n=count()), on="k", how="left").select("k", "n")
    return {"v": inner, "w": left, "u": one.join(other.drop("x"), on="k", how="full").agg(n=count())}


def _near(one: tw.Stream, other: tw.Stream) -> dict[str, tw.Stream]:
    joined = one.join(other, on="k", within=("-3us", "3us"), how="left")
    return {
        "v": joined.select("k", "must_right"),
        "w": one.join(other, on="k", within="2us", how="semi").agg(n=count()),
    }


def _united(one: tw.Stream, other: tw.Stream) -> dict[str, tw.Stream]:
    both = one.filter(col("k") > 0).union(other)
    return {"v": both.group_by("k").window("4us", emit="on_change").agg(n=count()), "w": both.agg(n=count())}


SHAPES: tuple[Shape, ...] = (_counted, _windows, _ties, _rejecting, _tables, _near, _united)


@dataclass(frozen=True, slots=True)
class Sight:
    """A program and its rows.

    Attributes:
        shape: What is computed of two streams.
        rows: The rows of both.
        lateness_us: How far behind a row may lie.
        group_rows: How many rows a row group has.
        step_rows: The most rows of a step.
    """

    shape: Shape
    rows: tuple[Sequence[Row], Sequence[Row]]
    lateness_us: int
    group_rows: int
    step_rows: int | None

    def write(self, folder: Path) -> None:
        """Write the rows as Parquet files."""
        for number, rows in enumerate(self.rows):
            pq.write_table(_table(rows), folder / f"{number}.parquet", row_group_size=self.group_rows)

    def app(self, folder: Path | None) -> tw.App:
        """Return the program; over memory without a folder."""
        app = tw.App("sight")
        timed = self.shape not in (_counted, _tables)
        time: dict[str, Any] = {"time": "ts", "lateness": f"{self.lateness_us}us"} if timed else {}
        streams = []
        for number, rows in enumerate(self.rows):
            source = memory(_table(rows)) if folder is None else files(folder / f"{number}.parquet")
            streams.append(app.read(source, schema=SCHEMA, **time))
        for name, stream in self.shape(*streams).items():
            stream.write(view(name))
        return app


def told(app: tw.App, *, leave_out: bool, step_rows: int | None) -> dict[str, object]:
    """Return all that a report says of a run to the end; steps are the same in every such run."""

    def pick(names: Sequence[str]) -> list[tuple[str, int]]:
        return [(name, step_rows or 1000) for name in names]

    report = app.start(RunOptions(until="end", fresh=True, pick=pick, leave_out=leave_out))
    return told_by(report)


def told_by(report: Report) -> dict[str, object]:
    """Return all that a report says."""
    found: dict[str, object] = {name: repr(plain_rows(table)) for name, table in report.views.items()}
    found |= {
        "late": sorted(map(repr, report.late.to_pylist())),
        "errors": sorted(map(repr, report.errors.to_pylist())),
    }
    return found | {"ledger": report.ledger.to_pylist(), "rows": report.rows_in, "open": report.open_windows}


_NUMBERS = st.sampled_from([None, 0, 1, 2])
_ROW = st.tuples(
    st.sampled_from([None, "a", "ü"]),
    _NUMBERS,
    st.sampled_from([None, 1, 1, 1, 2, 3]),
    st.one_of(st.none(), st.integers(0, 20), st.integers(0, 20)),
    st.sampled_from([None, 0.0, -0.0, float("nan"), 1.5, -2.0]),
    st.sampled_from([None, "p", "q"]),
    st.sampled_from([1, 2**62, None]),
)


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    """Draw a program and rows, some of them late, some without a value that they must have."""
    rows = st.lists(_ROW, min_size=1, max_size=14)
    return Sight(
        draw(st.sampled_from(SHAPES)),
        (draw(rows), draw(rows)),
        draw(st.integers(0, 6)),
        draw(st.integers(1, 8)),
        draw(st.sampled_from([None, 1, 2, 5])),
    )


def _table(rows: Sequence[Row]) -> pa.Table:
    loose = [pa.field(field.name, field.type) for field in SCHEMA]
    return pa.table(
        [pa.array([row[at] for row in rows], f.type) for at, f in enumerate(loose)], schema=pa.schema(loose)
    )
