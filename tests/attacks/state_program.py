"""A program with state of several kinds and an output of files, run by children of a campaign on a folder.

The campaign itself never runs it: a process that forks after Polars has worked can hang.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

import thalweg as tw
from tests.attacks.children import fork
from tests.attacks.tale import Line, Teller
from thalweg import col, count
from thalweg.connect import files, view
from thalweg.core.errors import ThalwegError
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.contract import RunOptions
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

ROWS = 100
STEP_ROWS = 20
SCHEMA = pa.schema([("k", pa.string()), ("v", pa.int64()), ("ts", TIMESTAMP)])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child's run ended.

    Attributes:
        result: The rows that came out, as text; empty where the run failed.
        error: What was raised and said; empty where the run came to its end.
        signal: What ended the process; 0 for nothing.
    """

    result: str = ""
    error: str = ""
    signal: int = 0


def app_of(shown: int) -> tw.App:
    """Return the program, with so many rows of its input there; it works in the process's folder."""
    columns = [
        pa.array([f"key {n * 7 % 23}" for n in range(ROWS)]),
        pa.array([n * n % 101 for n in range(ROWS)], pa.int64()),
        pa.array([(n // 4 * 5 + n % 3) * 1_000_000 for n in range(ROWS)], TIMESTAMP),
    ]
    source = Scripted("events", SCHEMA, {"0": [Piece(pa.record_batch(columns, schema=SCHEMA), "events:{}".format)]})
    source.show({"0": shown})
    app = tw.App("attacked")
    rows = app.read(source, time="ts", lateness="3s")
    rows.group_by("k").agg(n=count(), total=col("v").sum(), values=col("v").n_unique()).write(view("table"))
    windows = rows.group_by("k").window("20s").agg(n=count(), most=col("v").max())
    windows.write(files("windows", format="ndjson"))
    rows.filter(col("v") % 3 != 0).write(files("rows", format="ndjson"))
    return app


def run(place: Path, shown: int, until: Literal["caught-up", "end"], recover_from: int | None = None) -> str:
    """Run the program in a folder, with a checkpoint after every step; return what came out of it so far.

    The folder becomes that of the process: where the outputs are is a part of the program.
    """
    os.chdir(place)
    options = RunOptions(
        data=Path("data"),
        until=until,
        max_step_rows=STEP_ROWS,
        checkpoint_us=0,
        recover_from=recover_from,
    )
    report = app_of(shown).start(options)
    lines = [json.dumps(row, default=str) for row in report.view("table").to_pylist()]
    for name in ("rows", "windows"):
        written = sorted(Path(name).glob("part-*.ndjson"))
        lines += sorted(f"{name}: {line}" for path in written for line in path.read_text().splitlines())
    return "\n".join(lines)


def in_child(work: Callable[[], str]) -> Outcome:
    """Do work in a child process that ends with it; what it returns is the result."""

    def told(teller: Teller) -> None:
        try:
            found = work()
        except ThalwegError as error:
            teller.tell(Line("refused", note=f"{type(error).__name__}: {error}"[:1500]))
            return
        for start in range(0, len(found), 1500):
            teller.tell(Line("result", note=found[start : start + 1500]))

    child = fork(told)
    lines = child.finish()
    error = "".join(line.note for line in lines if line.kind in ("refused", "broken"))
    return Outcome("".join(line.note for line in lines if line.kind == "result"), error, child.signal)
