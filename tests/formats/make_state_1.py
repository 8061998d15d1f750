"""How the bytes of ``state_1`` were made. They stay as they are: what was written once must be gone on from for ever.

Run ``python -m tests.formats.make_state_1 FOLDER`` to see what today's code would write.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

import thalweg as tw
from thalweg import col, count
from thalweg.connect import topic, view
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.contract import RunOptions
from thalweg.testing import Scripted, VirtualClock
from thalweg.testing.scripted import Piece

ROWS = 60
SCHEMA = pa.schema([("k", pa.string()), ("v", pa.int64()), ("ts", TIMESTAMP)])


def app_of(shown: int, log: Path) -> tw.App:
    """Return a program with state of several kinds, with so many rows of its input there."""
    columns = [
        pa.array([f"key {n % 5}" if n % 11 else None for n in range(ROWS)]),
        pa.array([n * n % 17 for n in range(ROWS)], pa.int64()),
        pa.array([n * 1_000_000 for n in range(ROWS)], TIMESTAMP),
    ]
    source = Scripted("events", SCHEMA, {"0": [Piece(pa.record_batch(columns, schema=SCHEMA), "events:{}".format)]})
    source.show({"0": shown})
    app = tw.App("stored")
    rows = app.read(source, time="ts", lateness="3s")
    rows.group_by("k").agg(n=count(), total=col("v").sum(), most=col("v").max()).write(view("table"))
    rows.group_by("k").window("20s").agg(n=count(), mean=col("v").mean()).write(view("windows"))
    rows.select("k", "v").write(topic("out", log=str(log)))
    return app


def make(folder: Path, log: Path) -> None:
    """Write a state of three checkpoints, of a run that is not at its end."""
    options = RunOptions(
        data=folder, until="caught-up", max_step_rows=10, checkpoint_us=0, clock=VirtualClock(1_704_067_200_000_000)
    )
    app_of(30, log).start(options)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path("log"))
