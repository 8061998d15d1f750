"""Topics of the embedded log as sources of programs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest
from annotated_types import Ge

import thalweg as tw
from thalweg import PlanError, SourceError, col, count
from thalweg.connect import topic, view
from thalweg.core.ports import Nothing
from thalweg.core.schema import TIMESTAMP, schema_of
from thalweg.engine.contract import Report
from thalweg.log import Log

NUMBERS = pa.schema([pa.field("k", pa.string(), nullable=False), ("n", pa.int64())])
PATIENCE_S = 30.0


@dataclass
class Hit:
    page: str
    ms: Annotated[int, Ge(0)]
    ts: datetime


def hit(page: str, ms: int, second: int) -> dict[str, Any]:
    return {"page": page, "ms": ms, "ts": datetime(2026, 3, 1, 10, 0, second, tzinfo=UTC)}


def numbers(*values: int, k: str = "a") -> list[dict[str, Any]]:
    return [{"k": k, "n": value} for value in values]


def copying(source: Any, *columns: str, schema: object = None) -> tw.App:
    app = tw.App("copy")
    rows = app.read(source, schema=schema)
    (rows.select(*columns) if columns else rows).write(view("rows"))
    return app


def rows_of(report: Report, name: str = "rows") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = report.view(name).to_pylist()
    return found


# ---------------------------------------------------------------------- reading


def test_without_a_schema_the_rows_have_the_topics(tmp_path: Path) -> None:
    Log(tmp_path).create("numbers", NUMBERS).append(numbers(3, 1, 2))
    source = topic("numbers", log=tmp_path)
    assert tw.App("a").read(source).schema == schema_of(NUMBERS)
    assert [row["n"] for row in rows_of(copying(source).batch())] == [1, 2, 3]


def test_every_partition_is_read(tmp_path: Path) -> None:
    made = Log(tmp_path).create("numbers", NUMBERS, partitions=3)
    for partition, rows in enumerate([numbers(1), numbers(2, 3), []]):
        made.append(rows, partition)
    source = topic("numbers", log=tmp_path)
    assert [row["n"] for row in rows_of(copying(source).batch())] == [1, 2, 3]
    assert list(source.open(schema_of(NUMBERS)).partitions()) == ["0", "1", "2"]


def test_a_declared_subset_of_columns_is_read_and_widened(tmp_path: Path) -> None:
    narrow = pa.schema([("k", pa.string()), ("n", pa.int32()), ("x", pa.float32()), ("u", pa.uint8())])
    Log(tmp_path).create("narrow", narrow).append([{"k": "a", "n": -5, "x": 0.5, "u": 255}])
    declared = pa.schema([("x", pa.float64()), ("n", pa.int64()), ("u", pa.int16())])
    report = copying(topic("narrow", log=tmp_path), schema=declared).batch()
    assert report.view("rows").schema == declared
    assert rows_of(report) == [{"x": 0.5, "n": -5, "u": 255}]


def test_rules_of_the_topics_schema_reject_rows(tmp_path: Path) -> None:
    Log(tmp_path).create("hits", Hit, partitions=2).append([hit("/a", 5, 1), hit("/b", -1, 2), hit("/c", 7, 3)], 1)
    report = copying(topic("hits", log=tmp_path), "page").batch()
    assert [row["page"] for row in rows_of(report)] == ["/a", "/c"]
    (error,) = report.errors.to_pylist()
    assert (error["place"], error["column"]) == ("hits:1:1", "ms")
    assert error["reason"] == "-1 breaks the rule: ≥ 0"


def test_a_declared_rule_is_judged_as_well(tmp_path: Path) -> None:
    plain = pa.schema([("page", pa.string()), ("ms", pa.int64()), ("ts", TIMESTAMP)])
    Log(tmp_path).create("hits", plain).append([hit("/a", 5, 1), hit("/b", -1, 2), {"page": None, "ms": 1, "ts": None}])
    report = copying(topic("hits", log=tmp_path), "page", schema=Hit).batch()
    assert [row["page"] for row in rows_of(report)] == ["/a"]
    assert [row["place"] for row in report.errors.to_pylist()] == ["hits:0:1", "hits:0:2"]


def test_a_run_goes_on_where_the_one_before_has_stopped(tmp_path: Path) -> None:
    made = Log(tmp_path / "log").create("numbers", NUMBERS, partitions=2)
    app = copying(topic("numbers", log=tmp_path / "log"))
    made.append(numbers(1), 0)
    made.append(numbers(2, 3), 1)
    reports = []
    for new in ([], numbers(4), []):
        made.append(new, 0)
        reports.append(app.run(data=tmp_path / "data", until="caught-up", quiet=True))
    assert [report.rows_in for report in reports] == [3, 1, 0]
    assert [row["n"] for row in rows_of(reports[-1])] == [1, 2, 3, 4]


def test_windows_over_runs_are_those_of_one_batch(tmp_path: Path) -> None:
    made = Log(tmp_path / "log").create("hits", Hit, partitions=2, key="page")
    app = tw.App("hits")
    hits = app.read(topic("hits", log=tmp_path / "log"), time="ts", lateness="5s")
    hits.group_by("page").window("10s").agg(n=count(), ms=col("ms").sum()).write(view("windows"))
    for first in range(0, 60, 7):
        made.append([hit("/abc"[: 1 + second % 4], second, second) for second in range(first, min(first + 7, 60))])
        app.run(data=tmp_path / "data", until="caught-up", quiet=True)
    ended = app.run(data=tmp_path / "data", until="end", quiet=True)
    assert rows_of(ended, "windows") == rows_of(app.batch(), "windows")
    assert sum(row["n"] for row in rows_of(ended, "windows")) == 60


def test_a_run_that_ends_by_itself_reads_what_was_there_when_it_began(tmp_path: Path) -> None:
    made = Log(tmp_path).create("numbers", NUMBERS)
    made.append(numbers(1, 2))
    opened = topic("numbers", log=tmp_path).open(schema_of(NUMBERS))
    opened.bound(complete=False)  # type: ignore[attr-defined]  # a topic's can be
    made.append(numbers(3))
    reader = opened.reader("0", None)
    batch = reader.read(10, 0)
    assert not isinstance(batch, Nothing)
    assert (batch.data.num_rows, batch.position, batch.locate(1)) == (2, 2, "numbers:0:1")
    assert reader.read(10, 0) is Nothing.EVER
    reader.close()
    opened.close()


def test_an_unbounded_reader_waits_for_rows(tmp_path: Path) -> None:
    made = Log(tmp_path).create("numbers", NUMBERS)
    opened = topic("numbers", log=tmp_path).open(schema_of(NUMBERS))
    reader = opened.reader("0", None)
    assert reader.read(10, 0) is Nothing.NOW
    made.append(numbers(7))
    batch = reader.read(10, PATIENCE_S)
    assert not isinstance(batch, Nothing)
    assert batch.data["n"].to_pylist() == [7]
    reader.close()
    opened.close()


def test_places_of_a_compacted_topic_are_the_offsets_that_the_rows_have_kept(tmp_path: Path) -> None:
    made = Log(tmp_path).create("latest", NUMBERS, key="k", compact=True, segment_bytes=1024)
    for value in range(40):
        made.append(numbers(value, k=f"k{value % 3}"))
    made.maintain()
    kept = made.read(limit=100)["n"].to_pylist()
    assert len(kept) < 40, "some rows are compacted away"
    opened = topic("latest", log=tmp_path).open(schema_of(NUMBERS))
    opened.bound(complete=True)  # type: ignore[attr-defined]  # a topic's can be
    reader, found = opened.reader("0", None), []
    while not isinstance(batch := reader.read(7, 0), Nothing):
        found += [(batch.locate(row), value) for row, value in enumerate(batch.data["n"].to_pylist())]
    reader.close()
    opened.close()
    # A row's number is its offset here.
    assert found == [(f"latest:0:{value}", value) for value in kept]


@contextmanager
def live(app: tw.App, data: Path) -> Iterator[list[Report]]:
    """Run an app in a thread of its own while the block lasts; the report is in the list afterwards."""
    reports: list[Report] = []
    errors: list[BaseException] = []

    def main() -> None:
        try:
            reports.append(app.run(data=data, checkpoint="20ms", quiet=True))
        except BaseException as error:  # the test's own thread raises it
            errors.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    try:
        yield reports
    finally:
        app.stop()
        thread.join(PATIENCE_S)
    if errors:
        raise errors[0]
    assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def seen(app: tw.App) -> int:
    try:
        return len(app.view("rows"))
    except PlanError:
        return 0  # not yet begun


def test_a_live_run_sees_what_another_process_appends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    Log(log).create("numbers", NUMBERS, partitions=2).append(numbers(0))
    app = copying(topic("numbers", log=log))
    with live(app, tmp_path / "data") as reports:
        until(lambda: seen(app) == 1)
        lines = "".join(json.dumps(row) + "\n" for row in numbers(1, 2))
        command = [sys.executable, "-m", "thalweg", "topic", "append", "numbers", "--log", str(log)]
        subprocess.run(command, input=lines, text=True, check=True, timeout=60)
        until(lambda: seen(app) == 3)
        Log(log).topic("numbers").append(numbers(3), 1)
        until(lambda: seen(app) == 4)
    assert reports[0].rows_in == 4
    assert app.run(data=tmp_path / "data", until="caught-up", quiet=True).rows_in == 0, "its state was saved"


# ---------------------------------------------------------------------- mistakes of reading


def test_a_topic_that_is_not_there_is_told_with_near_names_and_how_to_make_it(tmp_path: Path) -> None:
    Log(tmp_path).create("clicks", NUMBERS)
    with pytest.raises(SourceError, match=r'no topic "clikcs" in .*; did you mean "clicks"\?.*thalweg topic create'):
        tw.App("a").read(topic("clikcs", log=tmp_path))
    app = copying(topic("clikcs", log=tmp_path), schema=NUMBERS)  # it may be made before the run
    with pytest.raises(SourceError, match='did you mean "clicks"'):
        app.batch()
    Log(tmp_path).create("clikcs", NUMBERS).append(numbers(1))
    assert app.batch().rows_in == 1


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", 3, "x" * 201])
def test_a_name_that_no_topic_can_have_is_a_mistake_of_the_program(name: Any) -> None:
    with pytest.raises(PlanError, match="cannot be a topic's name; allowed: a letter or digit"):
        topic(name)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ([("k", pa.string()), ("other", pa.int64())], r'has no column "other"; there are: k, n'),
        ([("kk", pa.int64())], r'has no column "kk"; did you mean "k"\?'),
        ([("n", pa.string())], r'has the column "n" as int64, the program declares string; declare int64 and cast it'),
        ([("n", pa.int32())], r"as int64, the program declares int32"),
        ([("n", pa.float64())], r"as int64, the program declares double"),
        ([("n", pa.uint64())], r"as int64, the program declares uint64"),
    ],
)
def test_a_declared_schema_that_the_topic_cannot_have_is_a_mistake_of_the_program(
    tmp_path: Path, declared: list[Any], message: str
) -> None:
    Log(tmp_path).create("numbers", NUMBERS)
    with pytest.raises(PlanError, match=message) as caught:
        tw.App("a").read(topic("numbers", log=tmp_path), schema=pa.schema(declared))
    assert caught.value.place is not None
    assert caught.value.place.file == __file__


def test_a_topic_that_is_shorter_than_what_was_read_of_it_is_named(tmp_path: Path) -> None:
    log, app = Log(tmp_path / "log"), copying(topic("numbers", log=tmp_path / "log"), schema=NUMBERS)
    log.create("numbers", NUMBERS).append(numbers(1, 2))
    app.run(data=tmp_path / "data", until="caught-up", quiet=True)
    log.delete("numbers")
    log.create("numbers", NUMBERS).append(numbers(1))
    with pytest.raises(SourceError, match=r"numbers\[0\] ends at offset 1, and was read up to 2 before"):
        app.run(data=tmp_path / "data", until="caught-up", quiet=True)


def test_rows_that_were_trimmed_before_they_were_read_are_named(tmp_path: Path) -> None:
    made = Log(tmp_path / "log").create("numbers", NUMBERS)
    app = copying(topic("numbers", log=tmp_path / "log"))
    made.append(numbers(1))
    app.run(data=tmp_path / "data", until="caught-up", quiet=True)
    made.append(numbers(2, 3, 4))
    made.trim(3)
    with pytest.raises(SourceError, match=r"numbers\[0\] cannot be read: offset 1 of .* is gone"):
        app.run(data=tmp_path / "data", until="caught-up", quiet=True)
    assert [row["n"] for row in rows_of(app.batch())] == [4], "from its start it can be read"


@pytest.mark.parametrize("position", ["3", True, 1.5, [1], {"at": 1}])
def test_a_position_of_another_kind_of_source_is_refused(tmp_path: Path, position: Any) -> None:
    Log(tmp_path).create("numbers", NUMBERS)
    opened = topic("numbers", log=tmp_path).open(schema_of(NUMBERS))
    with pytest.raises(SourceError, match="a position is an offset"):
        opened.reader("0", position)
    opened.close()


def test_damage_is_an_error_of_the_source_with_its_place(tmp_path: Path) -> None:
    Log(tmp_path).create("numbers", NUMBERS).append(numbers(*range(100)))
    (segment,) = tmp_path.rglob("*.seg")
    data = bytearray(segment.read_bytes())
    data[-100] ^= 1
    segment.write_bytes(data)
    with pytest.raises(SourceError, match=r"00000000000000000000\.seg is damaged at byte \d+, offset 0"):
        copying(topic("numbers", log=tmp_path)).batch()
