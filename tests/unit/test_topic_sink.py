"""Topics of the embedded log as sinks: each epoch once, and topics of late and rejected rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest
from annotated_types import Ge

import thalweg as tw
from thalweg import PlanError, SinkError, col, count
from thalweg.connect import memory, topic, view
from thalweg.core.ports import EpochWriter, WriteRequest
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


def stored(log: Path, name: str) -> list[dict[str, Any]]:
    opened = Log(log).topic(name)
    tables = [opened.read(partition, limit=10**6) for partition in range(opened.options.partitions)]
    found: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return found


def writing(log: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema = NUMBERS, name: str = "out") -> tw.App:
    app = tw.App("writes")
    app.read(memory(rows), schema=schema).write(topic(name, log=log))
    return app


def test_a_sink_makes_the_topic_with_the_streams_columns(tmp_path: Path) -> None:
    writing(tmp_path, numbers(1, 2)).batch()
    made = Log(tmp_path).topic("out")
    assert (made.schema.arrow, made.options.partitions) == (NUMBERS, 1)
    assert stored(tmp_path, "out") == numbers(1, 2)


def test_a_batch_without_rows_makes_the_topic_too(tmp_path: Path) -> None:
    writing(tmp_path, []).batch()
    assert stored(tmp_path, "out") == []


def test_each_batch_appends_its_rows(tmp_path: Path) -> None:
    app = writing(tmp_path, numbers(1, 2))
    app.batch()
    app.batch()
    assert stored(tmp_path, "out") == numbers(1, 2, 1, 2)


def test_runs_with_a_state_append_each_row_once(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.create("in", NUMBERS)
    app = tw.App("copy")
    app.read(topic("in", log=tmp_path / "log")).write(topic("out", log=tmp_path / "log"))
    for rows in (numbers(1, 2), [], numbers(3)):
        log.topic("in").append(rows)
        app.run(data=tmp_path / "data", until="caught-up", quiet=True)
    assert stored(tmp_path / "log", "out") == numbers(1, 2, 3)


def test_rows_go_to_the_partition_of_their_key(tmp_path: Path) -> None:
    made = Log(tmp_path).create("out", NUMBERS, partitions=4, key="k")
    rows = [{"k": f"k{n % 10}", "n": n} for n in range(100)]
    writing(tmp_path, rows).batch()
    found = [made.read(partition, limit=1000).to_pylist() for partition in range(4)]
    keys = [{row["k"] for row in part} for part in found]
    assert sum(map(len, keys)) == 10, "each key is in one partition"
    assert sum(map(bool, keys)) > 1
    for part in found:
        assert [row["n"] for row in part] == sorted(row["n"] for row in part)


def test_columns_go_by_their_names(tmp_path: Path) -> None:
    Log(tmp_path).create("out", pa.schema([("n", pa.int64()), ("k", pa.string())]))
    writing(tmp_path, numbers(4)).batch()
    assert stored(tmp_path, "out") == [{"n": 4, "k": "a"}]


def test_a_changing_stream_is_refused(tmp_path: Path) -> None:
    app = tw.App("writes")
    totals = app.read(memory(numbers(1)), schema=NUMBERS).group_by("k").agg(n=count())
    with pytest.raises(PlanError, match=r"topic\(out.*changing|changing.*topic\(out"):
        totals.write(topic("out", log=tmp_path))
    assert Log(tmp_path).topics() == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([("k", pa.string()), ("n", pa.int64()), ("more", pa.int64())], r'has no column "more"; select the topic\'s'),
        ([("k", pa.string())], r'has the column "n", which the topic has not'),
        ([("k", pa.string()), ("n", pa.int32())], r'has "n" as int64, the topic as int32'),
        (
            [("k", pa.string()), pa.field("n", pa.int64(), nullable=False)],
            r'"n" may be null in it, but never in the topic: fill_null\(\) says what stands for null',
        ),
    ],
)
def test_a_stream_with_other_columns_than_the_topic_is_a_mistake_of_the_program(
    tmp_path: Path, columns: list[Any], message: str
) -> None:
    Log(tmp_path).create("out", pa.schema(columns))
    with pytest.raises(PlanError, match=f'cannot be written to the topic "out": .*{message}') as caught:
        writing(tmp_path, numbers(1))
    assert caught.value.place is not None
    assert caught.value.place.file == __file__


def test_a_topic_that_was_made_otherwise_since_the_program_was_built_is_refused(tmp_path: Path) -> None:
    app = writing(tmp_path, numbers(1))
    Log(tmp_path).create("out", pa.schema([("k", pa.string())]))
    with pytest.raises(SinkError, match=r'topic\(out, log=.*\) cannot be written: it has the column "n"'):
        app.batch()
    assert stored(tmp_path, "out") == []


def test_nulls_may_be_written_where_the_topic_allows_them_and_the_other_way_round(tmp_path: Path) -> None:
    Log(tmp_path).create("out", pa.schema([("k", pa.string()), ("n", pa.int64())]))
    writing(tmp_path, [{"k": "a", "n": None}]).batch()
    assert stored(tmp_path, "out") == [{"k": "a", "n": None}]


def test_a_sink_into_its_own_source_is_refused(tmp_path: Path) -> None:
    Log(tmp_path / "log").create("in", NUMBERS)
    (tmp_path / "link").symlink_to(tmp_path / "log")
    for log in (tmp_path / "log", tmp_path / "link", tmp_path / "log" / ".." / "log"):
        with pytest.raises(PlanError, match="would read its own output"):
            tw.App("a").read(topic("in", log=tmp_path / "log")).write(topic("in", log=log))
    app = tw.App("a")
    app.read(topic("in", log=tmp_path / "log")).write(topic("in", log=tmp_path / "other"))
    app.batch()


def test_two_streams_into_one_topic_are_refused(tmp_path: Path) -> None:
    app = tw.App("a")
    rows = app.read(memory(numbers(1)), schema=NUMBERS)
    rows.write(topic("out", log=tmp_path))
    with pytest.raises(PlanError, match=r"two streams are written to topic\(out"):
        rows.filter(col("n") > 0).write(topic("out", log=tmp_path))


def writer_of(log: Path, run: str = "r") -> EpochWriter:
    return topic("out", log=log).open(WriteRequest(NUMBERS, False, None, 0, False, "writes", run, 1))


def test_an_epoch_that_the_topic_has_changes_nothing(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(numbers(1, 2), NUMBERS)
    writer = writer_of(tmp_path)
    assert isinstance(writer, EpochWriter)
    assert writer.last_epoch() == 0
    writer.apply(1, 0, iter([table.slice(0, 1), table.slice(1)]))
    writer.apply(1, 0, iter([table]))
    writer.apply(3, 1, iter([]))
    writer.close()
    again = writer_of(tmp_path)
    assert again.last_epoch() == 3, "an epoch without rows is one as well"
    again.apply(2, 1, iter([table]))
    again.close()
    assert stored(tmp_path, "out") == numbers(1, 2)


def test_a_second_run_on_a_copy_of_the_state_is_found(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(numbers(1), NUMBERS)
    first, second = writer_of(tmp_path), writer_of(tmp_path)
    first.apply(1, 0, iter([table]))
    with pytest.raises(SinkError, match='the topic "out" has epoch 1 of this state from another run'):
        second.apply(1, 0, iter([table]))
    first.close()
    second.close()


def test_an_epoch_that_reached_some_partitions_is_completed(tmp_path: Path) -> None:
    made = Log(tmp_path).create("out", NUMBERS, partitions=3, key="k")
    rows = [{"k": f"k{n}", "n": n} for n in range(30)]
    empty = {file: file.read_bytes() for file in (tmp_path / "out" / "0002").iterdir()}
    whole = pa.Table.from_pylist(rows, NUMBERS)
    writer = writer_of(tmp_path)
    writer.apply(1, 0, iter([whole]))
    writer.close()
    done = [made.read(partition).to_pylist() for partition in range(3)]
    assert all(done), "each partition has rows"
    # What a crash before the last partition's append leaves.
    for file in (tmp_path / "out" / "0002").iterdir():
        file.write_bytes(empty[file]) if file in empty else file.unlink()
    again = writer_of(tmp_path)
    assert again.last_epoch() == 0
    again.apply(1, 0, iter([whole]))
    again.close()
    fresh = Log(tmp_path).topic("out")
    assert [fresh.read(partition).to_pylist() for partition in range(3)] == done


# ---------------------------------------------------------------------- late and rejected rows


def asides(log: Path, name: str) -> list[dict[str, Any]]:
    return stored(log, name) if name in Log(log).topics() else []


def test_late_and_rejected_rows_of_all_runs_are_in_topics_once(tmp_path: Path) -> None:
    made = Log(tmp_path / "log").create("hits", Hit)
    app = tw.App("hits")
    hits = app.read(topic("hits", log=tmp_path / "log"), time="ts")
    hits.group_by("page").window("10s").agg(n=count()).write(view("windows"))

    def run() -> Report:
        return app.run(data=tmp_path / "data", until="caught-up", quiet=True)

    run()
    assert not (tmp_path / "data" / "log").exists(), "no topic before there is a row for it"
    made.append([hit("/a", 1, 1), hit("/a", -1, 2), hit("/a", 1, 30), hit("/b", 1, 3)])
    first = run()
    made.append([hit("/c", 1, 4), hit("/a", -2, 31)])
    second = run()
    third = run()
    assert [(report.late_rows, report.error_rows) for report in (first, second, third)] == [(1, 1), (1, 1), (0, 0)]
    late, errors = (asides(tmp_path / "data" / "log", f"hits.{kind}") for kind in ("late", "errors"))
    assert [row["position"] for row in late] == ["hits:0:3", "hits:0:4"]
    assert [row["place"] for row in errors] == ["hits:0:1", "hits:0:5"]
    assert late == first.late.to_pylist() + second.late.to_pylist()
    assert errors == first.errors.to_pylist() + second.errors.to_pylist()
    with pa.ipc.open_stream(late[0]["row"]) as reader:
        assert reader.read_all().to_pylist() == [hit("/b", 1, 3)]


def test_without_a_state_late_and_rejected_rows_are_in_the_report_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Log(tmp_path / "log").create("hits", Hit).append([hit("/a", -1, 2)])
    app = tw.App("copy")
    app.read(topic("hits", log=tmp_path / "log")).write(view("rows"))
    report = app.run(data=None, until="end", quiet=True)
    assert report.error_rows == 1
    assert Log(tmp_path / "log").topics() == ["hits"]
    assert not (tmp_path / ".thalweg").exists()
