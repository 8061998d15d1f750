"""Runs that catch up and stop, one after the other: they read only what is new, and add up to one batch."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from tests.property.shares import share
from thalweg import StateError, Stream, col, count
from thalweg.connect import call, view
from thalweg.core.schema import TIMESTAMP
from thalweg.engine.contract import Report, RunOptions
from thalweg.engine.embedded import tray
from thalweg.engine.embedded.loop import EmbeddedRun
from thalweg.testing import Scripted, VirtualClock
from thalweg.testing.scripted import Piece

SECOND = 1_000_000
SCHEMA = pa.schema([("k", pa.string()), ("v", pa.int64()), ("ts", TIMESTAMP)])
Row = tuple[str, int, int | None]
"""Key, value, second."""


def source_of(partitions: Sequence[Sequence[Row]]) -> Scripted:
    pieces = {}
    for number, rows in enumerate(partitions):
        columns = [
            pa.array([key for key, _, _ in rows], pa.string()),
            pa.array([value for _, value, _ in rows], pa.int64()),
            pa.array([None if second is None else second * SECOND for _, _, second in rows], TIMESTAMP),
        ]
        data = pa.record_batch(columns, schema=SCHEMA)
        pieces[str(number)] = [Piece(data, lambda row, n=number: f"events[{n}]:{row}")]  # type: ignore[misc]  # binds n
    source = Scripted("events", SCHEMA, pieces)
    source.show({name: 0 for name in pieces})
    return source


def total(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return old | {"v": (old["v"] + new["v"]) % 1000, "ts": max(old["ts"], new["ts"])}


def not_zero(row: dict[str, Any]) -> dict[str, Any]:
    if row["v"] == 0:
        raise ValueError("zero")
    return row


spread = tw.aggregate(
    init=list,
    step=lambda state, v: [*state, v],
    merge=lambda a, b: a + b,
    finish=lambda s: max(s) - min(s),
    returns=float,
)


def several_steps(stream: Stream) -> Stream:
    per_window = stream.group_by("k").window("10s").agg(n=count(), t=col("v").sum())
    return per_window.group_by("k").window("1m").agg(windows=count(), t=col("t").sum(), most=col("n").max())


PROGRAMS: dict[str, Callable[[Stream], Stream]] = {
    "rows": lambda s: s.filter(col("v") > 0),
    "tumbling": lambda s: s.group_by("k").window("10s").agg(n=count(), t=col("v").sum(), m=col("v").mean()),
    "hopping": lambda s: s.group_by("k").window(tw.hopping("10s", every="4s")).agg(n=count(), u=col("v").n_unique()),
    "cumulating": lambda s: (
        s.group_by().window(tw.cumulating("20s", every="5s")).agg(l=col("v").last(), q=col("v").median())
    ),
    "on_change": lambda s: s.group_by("k").window("10s", emit="on_change").agg(n=count(), c=col("v").collect()),
    "table": lambda s: s.group_by("k").agg(n=count(), top=col("v").max(), f=col("v").first(), md=col("v").mode()),
    "total": lambda s: s.agg(n=count(), t=col("v").sum(), sd=(col("v") % 7).std()),
    "reduce": lambda s: s.reduce_by_key("k", total),
    "several": several_steps,
    "late": lambda s: s.group_by("k").window("10s").agg(n=count()).late.select("k", "v", "window_end"),
    "errors": lambda s: s.errors.select("place", "reason"),
    "united": lambda s: s.union(s.filter(col("v") > 0)).group_by("k").window("10s").agg(n=count()),
    "user": lambda s: s.map(not_zero, schema=SCHEMA).group_by("k").window("10s").agg(d=spread(col("v")), n=count()),
    "sessions": lambda s: (
        s.group_by("k").window(tw.session("5s")).agg(n=count(), c=col("v").collect(), t=col("v").sum())
    ),
    "windows of sessions": lambda s: (
        s.group_by("k").window(tw.session("4s")).agg(n=count()).group_by("k").window("20s").agg(n=col("n").sum())
    ),
    "count windows": lambda s: (
        s.group_by("k").window(tw.count_window(3)).agg(n=count(), m=col("v").median(), d=spread(col("v")))
    ),
    "windows of count windows": lambda s: (
        s.group_by("k").window(tw.count_window(4)).agg(t=col("v").sum()).group_by().window("20s").agg(t=col("t").sum())
    ),
    "dedupe": lambda s: s.dedupe("k", within="6s"),
    "filtered table": lambda s: s.group_by("k").agg(n=count(), t=col("v").sum()).filter(col("n") % 2 == 1),
}


def app_of(source: Scripted, build: Callable[[Stream], Stream]) -> tw.App:
    app = tw.App("caught")
    made = build(app.read(source, time="ts", lateness="3s"))
    made.write(view("v"))
    return app


def shown(report: Report) -> list[str]:
    """The view's rows as text, floats rounded: their last bits depend on the pieces."""
    rows = report.view("v").to_pylist()
    plain = [{k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    return sorted(map(repr, plain))


def ledger(report: Report) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = report.ledger.to_pylist()
    return lines


PARTITIONS = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(-5, 5), st.one_of(st.none(), st.integers(0, 60))),
        max_size=20,
    ),
    min_size=1,
    max_size=2,
)
STOPS = st.lists(st.lists(st.integers(0, 20), min_size=2, max_size=2), max_size=4)
"""How many rows of each partition there are at each run."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_runs_that_catch_up_and_one_to_the_end_are_one_batch(
    program: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @share(0.1)
    @given(PARTITIONS, STOPS, st.sampled_from([None, 1, 3]))
    def holds(partitions: list[list[Row]], stops: list[list[int]], rows: int | None) -> None:
        source = source_of(partitions)
        source.show(None)
        expected = app_of(source, PROGRAMS[program]).batch()
        directory = tmp_path_factory.mktemp("state")
        read = late = rejected = 0
        there = [0] * len(partitions)
        for stop in stops:
            there = [max(before, now) for before, now in zip(there, stop, strict=False)]
            source.show({str(number): count for number, count in enumerate(there)})
            report = app_of(source, PROGRAMS[program]).run(
                data=directory, until="caught-up", max_step_rows=rows, quiet=True
            )
            read, late, rejected = read + report.rows_in, late + report.late_rows, rejected + report.error_rows
            assert read == sum(min(count, len(part)) for count, part in zip(there, partitions, strict=True))
        source.show(None)
        last = app_of(source, PROGRAMS[program]).run(data=directory, until="end", max_step_rows=rows, quiet=True)
        assert shown(last) == shown(expected)
        assert last.open_windows == 0
        assert read + last.rows_in == sum(map(len, partitions))
        assert late + last.late_rows == expected.late_rows
        assert rejected + last.error_rows == expected.error_rows
        # The ledger counts over all runs; results are given out more than once where a table changes more often.
        counts = ("in", "late", "rejected", "filtered", "absorbed", "held")
        if not expected_changing(program):
            assert [[line[c] for c in counts] for line in ledger(last)] == [
                [line[c] for c in counts] for line in ledger(expected)
            ]

    holds()


def expected_changing(program: str) -> bool:
    source = source_of([[]])
    return PROGRAMS[program](tw.App("kind").read(source, time="ts")).changing


WORDS: list[Row] = [("a", 1, 1), ("b", 2, 11), ("a", 3, 25), ("b", 4, 31), ("a", 5, 47)]


def test_an_incremental_load_reads_only_what_is_new(tmp_path: Path) -> None:
    source = source_of([WORDS])
    reads = []
    for there in (2, 2, 5):
        source.show({"0": there})
        report = app_of(source, PROGRAMS["table"]).run(data=tmp_path, until="caught-up", quiet=True)
        reads.append(report.rows_in)
    assert reads == [2, 0, 3]
    assert [(row["k"], row["n"]) for row in report.view("v").to_pylist()] == [("a", 3), ("b", 2)]


def test_windows_stay_open_between_runs(tmp_path: Path) -> None:
    source = source_of([WORDS])
    source.show({"0": 2})
    first = app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)
    assert (first.view("v").num_rows, first.open_windows) == (0, 2)  # the watermark is 8 s
    source.show({"0": 3})
    second = app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)
    assert (second.view("v").num_rows, second.open_windows) == (2, 1)


def test_a_row_that_is_late_stays_late_after_a_restart(tmp_path: Path) -> None:
    source = source_of([[("a", 1, 50), ("a", 2, 5), ("a", 3, 49)]])
    source.show({"0": 1})
    app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)
    source.show({"0": 3})
    report = app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="end", quiet=True)
    (late,) = report.late.to_pylist()
    assert (late["position"], late["reason"]) == ("events[0]:1", "late")
    assert late["watermark"] == dt.datetime(1970, 1, 1, 0, 0, 47, tzinfo=dt.UTC)


def test_a_state_whose_input_was_complete_is_sealed(tmp_path: Path) -> None:
    source = source_of([WORDS])
    source.show({"0": 3})
    first = app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="end", quiet=True)
    assert not first.sealed
    source.show(None)
    for until in ("caught-up", "end", None):
        again = app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until=until, quiet=True)  # type: ignore[arg-type]  # one of the three
        assert again.sealed
        assert (again.rows_in, shown(again)) == (0, shown(first))


def test_a_sealed_state_writes_nothing_to_its_sinks(tmp_path: Path) -> None:
    source = source_of([WORDS])
    source.show(None)
    steps: list[pa.Table] = []
    for _ in range(2):
        app = tw.App("sealed")
        app.read(source, time="ts").write(call(steps.append))
        app.run(data=tmp_path, until="end", quiet=True)
    assert sum(step.num_rows for step in steps) == len(WORDS)


def test_a_partition_found_between_two_runs_is_held_up_to_what_has_closed(tmp_path: Path) -> None:
    source = source_of([WORDS, [("z", 9, 2), ("z", 9, 46)]])
    source.show({"0": 5})
    first = app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)
    closed = shown(first)
    assert len(closed) == 4  # up to 40 s, at the watermark 44 s
    source.show({"0": 5, "1": 2})
    second = app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="end", quiet=True)
    assert [(e.partition, e.row, e.floor, e.why) for e in second.exceptions] == [("1", 0, 44 * SECOND, "new")]
    assert set(closed) <= set(shown(second))
    assert [(row["k"], row["n"]) for row in second.view("v").to_pylist()].count(("z", 1)) == 1
    assert [(row["position"], row["reason"]) for row in second.late.to_pylist()] == [("events[1]:0", "new")]


class Killed(BaseException):
    """Stands for the end of the process."""


def often(directory: Path, rows: int) -> RunOptions:
    """A run with a checkpoint after every step: no time passes in it, and none needs to pass."""
    return RunOptions(data=directory, until="end", max_step_rows=rows, checkpoint_us=0, clock=VirtualClock())


@pytest.mark.parametrize("program", ["tumbling", "hopping", "table", "several", "rows"])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_run_that_dies_after_a_checkpoint_goes_on_from_it(
    program: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = [(key, n, n * 7 % 50) for n in range(40) for key in "ab"]
    source = source_of([rows])
    source.show(None)
    expected = app_of(source, PROGRAMS[program]).batch()
    calls = []
    checkpoint = EmbeddedRun._checkpoint

    def dies(self: EmbeddedRun, *, last: bool) -> None:
        calls.append(last)
        checkpoint(self, last=last)
        if len(calls) == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedRun, "_checkpoint", dies)
        with pytest.raises(Killed):
            app_of(source, PROGRAMS[program]).start(often(tmp_path, 5))
    last = app_of(source, PROGRAMS[program]).run(data=tmp_path, until="end", quiet=True)
    assert shown(last) == shown(expected)


def test_a_function_that_does_something_else_is_a_changed_program(tmp_path: Path) -> None:
    def run(factor: int) -> Report:
        source = source_of([WORDS])
        source.show(None)
        app = tw.App("mapped")
        app.read(source).map(lambda row: row | {"v": row["v"] * factor}, schema=SCHEMA).write(view("v"))
        return app.run(data=tmp_path, until="caught-up", quiet=True)

    run(2)
    assert run(2).rows_in == 0
    changed = run(3)
    assert changed.rows_in == 0
    assert sorted(changed.view("v")["v"].to_pylist()) == [3 * value for _, value, _ in WORDS]


def test_a_damaged_state_file_stops_the_run(tmp_path: Path) -> None:
    source = source_of([WORDS])
    source.show(None)
    app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)
    for path in (tmp_path / "files").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(StateError, match="its checksum is wrong"):
        app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)


def test_epochs_rise_by_one_and_sinks_are_told_the_last(tmp_path: Path) -> None:
    source = source_of([WORDS])
    epochs = []
    for there in (2, 4, 5):
        source.show({"0": there})
        app_of(source, PROGRAMS["table"]).run(data=tmp_path, until="caught-up", quiet=True)
        epochs.append(json.loads((tmp_path / "manifest.json").read_bytes())["body"]["epoch"])
    assert epochs == sorted(set(epochs))
    assert epochs[0] >= 1


def test_where_nothing_changed_there_is_no_checkpoint(tmp_path: Path) -> None:
    source = source_of([WORDS])
    source.show({"0": 3})
    manifests = []
    for _ in range(2):
        app_of(source, PROGRAMS["table"]).run(data=tmp_path, until="caught-up", quiet=True)
        manifests.append((tmp_path / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]


def kept(directory: Path, kind: str) -> int:
    """How many late or rejected rows are in their topics."""
    log = tw.Log(directory / "log")
    return sum(log.topic(name).read(limit=10**6).num_rows for name in log.topics() if name.endswith(f".{kind}"))


def test_late_and_rejected_rows_are_kept_on_disk_over_all_runs(tmp_path: Path) -> None:
    rows: list[Row] = [("a", 1, 50), ("a", 2, 5), ("a", 3, None), ("a", 4, 6), ("a", 5, None)]
    source = source_of([rows])
    for there in (3, 5):
        source.show({"0": there})
        app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)
    assert (kept(tmp_path, "late"), kept(tmp_path, "errors")) == (2, 2)


def test_more_late_and_rejected_rows_than_a_report_holds_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tray, "KEPT_ROWS", 3)
    rows: list[Row] = [("a", 1, 50)] + [("a", n, 5) for n in range(7)] + [("a", n, None) for n in range(8)]
    source = source_of([rows])
    source.show(None)
    report = app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="end", max_step_rows=2, quiet=True)
    assert (report.late_rows, report.error_rows) == (7, 8)
    assert (report.late.num_rows, report.errors.num_rows) == (3, 3)
    assert (kept(tmp_path, "late"), kept(tmp_path, "errors")) == (7, 8)


def test_late_rows_of_a_checkpoint_that_was_never_committed_are_not_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = [("a", 1, 50), ("a", 2, 5), ("a", 3, 51), ("a", 4, 52)]
    source = source_of([rows])

    def dies(*given: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("thalweg.state.store.StateStore.commit", dies)
        source.show({"0": 2})
        app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)
    source.show({"0": 1})  # this time the first checkpoint comes before the late row
    for there in (1, 4):
        source.show({"0": there})
        app_of(source, PROGRAMS["tumbling"]).run(data=tmp_path, until="caught-up", quiet=True)
    assert kept(tmp_path, "late") == 1


def test_errors_that_a_stream_reads_survive_a_crash_after_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = [("a", 1, 1), ("a", 2, None), ("a", 3, None), ("a", 4, 4)]

    def app(source: Scripted) -> tw.App:
        made = tw.App("errors")
        stream = made.read(source, time="ts")
        stream.write(view("good"))
        stream.errors.select("reason").write(view("v"))
        return made

    source = source_of([rows])
    source.show(None)
    checkpoint = EmbeddedRun._checkpoint
    for after in (1, 2, 3, 4):
        calls = []

        def dies(self: EmbeddedRun, *, last: bool, calls: list[bool] = calls, after: int = after) -> None:
            calls.append(last)
            checkpoint(self, last=last)
            if len(calls) == after:
                raise Killed

        directory = tmp_path / str(after)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(EmbeddedRun, "_checkpoint", dies)
            app(source).start(often(directory, 1))
        report = app(source).run(data=directory, until="end", quiet=True)
        assert report.view("good").num_rows == 2
        assert report.view("v").num_rows == 2, f"killed after checkpoint {after}"
