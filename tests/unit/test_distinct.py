"""Different values are counted as they come, whatever was seen before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import Stream, col
from thalweg.connect import memory, view
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.embedded.arrangement import Arrangement
from thalweg.engine.embedded.distinct import NewValues, SeenValues
from thalweg.testing import Scripted
from thalweg.testing.scripted import Piece

SCHEMA = pa.schema([("k", pa.string()), ("x", pa.float64()), ("ts", TIMESTAMP)])
SECOND = 1_000_000
ROWS: list[tuple[str | None, float | None, int]] = [
    ("a", 0.0, 1),
    ("a", None, 1),
    ("a", -0.0, 2),
    (None, math.nan, 3),
    ("a", math.nan, 11),
    (None, math.nan, 12),
    ("b", None, 13),
    ("a", math.nan, 14),
    ("a", 1.0, 15),
    (None, 2.0, 16),
]


def batch() -> pa.RecordBatch:
    keys, values, seconds = zip(*ROWS, strict=True)
    times = pa.array([second * SECOND for second in seconds], TIMESTAMP)
    return pa.record_batch([pa.array(keys, pa.string()), pa.array(values, pa.float64()), times], schema=SCHEMA)


def per_key(stream: Stream) -> Stream:
    return stream.group_by("k").agg(n=col("x").n_unique(), rows=tw.count())


def per_window(stream: Stream) -> Stream:
    window = tw.hopping("10s", every="5s")
    return stream.group_by("k").window(window, emit="on_change").agg(n=col("x").n_unique())


def counts(build: Any, source: Any, **options: Any) -> list[tuple[Any, ...]]:
    app = tw.App("distinct")
    build(app.read(source, schema=SCHEMA, time="ts", lateness="1m")).write(view("counts"))
    report = app.run(quiet=True, **options)
    return sorted((tuple(row.values()) for row in report.view("counts").to_pylist()), key=str)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_null_is_no_value_nan_is_one_and_zeros_are_equal(rows: int) -> None:
    source = memory([batch()])
    assert counts(per_key, source, data=None, until="end", max_step_rows=rows) == [
        ("a", 3, 6),
        ("b", 0, 1),
        (None, 2, 3),
    ]


@pytest.mark.parametrize("build", [per_key, per_window])
@pytest.mark.parametrize("stop", range(1, len(ROWS)))
def test_what_was_seen_is_known_after_a_restart(build: Any, stop: int, tmp_path: Path) -> None:
    source = Scripted("rows", SCHEMA, {"0": [Piece(batch(), lambda row: f"rows:{row}")]})
    source.show({"0": stop})
    counts(build, source, data=tmp_path, until="caught-up")
    source.show(None)
    expected = counts(build, memory([batch()]), data=None, until="end")
    assert counts(build, source, data=tmp_path, until="end", max_step_rows=2) == expected


def test_only_new_values_are_kept_and_counted() -> None:
    count = NewValues(7)
    seen = SeenValues(count, ["k"], "v")
    main = pl.DataFrame({"k": ["a", "b"], "__n": [2, 1]})
    first = seen.counted(main, pl.DataFrame({"k": ["a", "a"], "v": [1, 2]}))
    second = seen.counted(main, pl.DataFrame({"k": ["a", "a", "b"], "v": [2, 3, 2]}))
    assert sorted(first.rows()) == [("a", 2, 2), ("b", 1, 0)]
    assert sorted(second.rows()) == [("a", 2, 1), ("b", 1, 1)]
    assert sum(frame.height for frame in seen.pairs.frames()) == 4


def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SeenValues.counted

    def forgetting(self: SeenValues, main: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
        self.pairs = Arrangement(values.columns, identity=None)
        return right(self, main, values)

    monkeypatch.setattr(SeenValues, "counted", forgetting)
    found = counts(per_key, memory([batch()]), data=None, until="end", max_step_rows=1)
    assert found != [("a", 3, 6), ("b", 0, 1), (None, 2, 3)]
