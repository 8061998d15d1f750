"""What becomes of a state when its program changes: kept, rebuilt or lost, and what is said of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import duckdb as duckdb_client
import pyarrow as pa
import pytest

import thalweg as tw
from tests.recovery.changed import SCHEMA, Kept, Row, Table, Target, source_of
from tests.unit.clocks import Live, scripted
from tests.unit.test_idle import counts
from thalweg import SinkError, StateError, StoppedError, Stream, col, count
from thalweg.cli.commands import main
from thalweg.connect import call, duckdb, files, memory, sqlite, topic, view
from thalweg.core.ports import EpochWriter, Sink, WriteRequest
from thalweg.engine.contract import Report, RunOptions
from thalweg.engine.embedded.loop import Embedded
from thalweg.engine.embedded.rebuild import _Rebuild
from thalweg.engine.embedded.resume import state_difference
from thalweg.state import manifests
from thalweg.state.table_output import TableWriter
from thalweg.testing import Scripted

ROWS: Sequence[Row] = [("x", n, n) for n in range(1, 21)]
Program = Callable[[Stream], None]


def app_of(program: Program, source: Any) -> tw.App:  # any source
    app = tw.App("changed")
    program(app.read(source, schema=SCHEMA, time="ts"))
    return app


def run(program: Program, data: Path, shown: int | None = None, *, loss: bool = False) -> Report:
    app = app_of(program, source_of("a", [ROWS], None if shown is None else {"0": shown}))
    return app.run(data=data, until="caught-up", quiet=True, allow_state_loss=loss)


def verdicts(program: Program, data: Path, source: Any = None) -> dict[str, tuple[str, str, int]]:
    """By what a step does, up to its first bracket: what becomes of it, why, and the rows that are read again."""
    found = state_difference(app_of(program, source or source_of("a", [ROWS], None)).plan, data)
    assert found is not None
    return {c.step.split(" ", 1)[1].split("(")[0]: (c.verdict, c.why, c.rows) for c in found[1].changes}


def windows(least: int = 0, name: str = "v") -> Program:
    return lambda s: s.filter(col("v") > least).group_by("k").window("4s").agg(n=count()).write(view(name))  # type: ignore[return-value]  # the app is not looked at


def both(*programs: Program) -> Program:
    def built(stream: Stream) -> None:
        for program in programs:
            program(stream)

    return built


def test_what_has_not_changed_is_kept_wherever_it_stands(tmp_path: Path) -> None:
    run(both(windows(), windows(5, "w")), tmp_path, 10)
    swapped = both(windows(5, "w"), windows())
    assert {verdict for verdict, _, _ in verdicts(swapped, tmp_path).values()} == {"kept"}
    report = run(swapped, tmp_path)
    assert report.view("v").equals(run(windows(), tmp_path / "other").view("v"))


def test_a_changed_filter_is_named_with_what_it_was(tmp_path: Path) -> None:
    run(windows(3), tmp_path, 10)
    found = verdicts(windows(5), tmp_path)
    why = 'filter(col("v") > 5) was filter(col("v") > 3)'
    assert found["read scripted"] == ("kept", "", 0)
    assert found["group_by"] == found["write view"] == ("rebuilt", why, 10)


def test_what_is_new_and_what_was_taken_away_is_named(tmp_path: Path) -> None:
    run(lambda s: s.group_by("k").agg(n=count()).write(view("v")), tmp_path, 10)  # type: ignore[arg-type,return-value]  # the app is not looked at
    assert verdicts(windows(3), tmp_path)["write view"][1] == 'filter(col("v") > 3) is new'
    run(windows(3), tmp_path / "filtered", 10)
    bare: Program = lambda s: s.group_by("k").window("4s").agg(n=count()).write(view("v"))  # type: ignore[assignment,return-value]  # noqa: E731
    assert 'read filter(col("v") > 3)' in verdicts(bare, tmp_path / "filtered")["group_by"][1]


def test_a_view_that_is_gone_is_lost_and_the_run_says_so_before_it_does_anything(tmp_path: Path) -> None:
    run(both(windows(), windows(5, "w")), tmp_path, 10)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(StateError) as caught:
        run(windows(), tmp_path)
    message = str(caught.value)
    assert "6 group_by(k).window(tumbling(4s), emit=on_close).agg(n=count()): it is no longer in the program" in message
    assert "7 write view(w" in message and "write view(v" not in message
    for way in ("Run the program that made it", "data=", "allow_state_loss=True", "plan PROGRAM --diff"):
        assert way in message
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    report = run(windows(), tmp_path, loss=True)
    assert report.view("v").equals(run(windows(), tmp_path / "other").view("v"))


def test_a_source_that_is_gone_is_lost(tmp_path: Path) -> None:
    run(windows(), tmp_path, 10)
    other = source_of("b", [ROWS], None)
    found = verdicts(windows(), tmp_path, other)
    assert found["read scripted"] == ("lost", "it is no longer in the program", 0)
    with pytest.raises(StateError, match=r"read scripted\(a\)"):
        app_of(windows(), other).run(data=tmp_path, until="caught-up", quiet=True)


class Once(Scripted):
    """A source that cannot be read again."""

    replay = None  # type: ignore[assignment]  # which makes it none that can be replayed


def test_a_changed_step_of_a_source_that_cannot_be_read_again_is_lost(tmp_path: Path) -> None:
    def once(shown: int) -> Scripted:
        made = source_of("a", [ROWS], {"0": shown})
        return Once(made.name, made.given, made.pieces, False, False, {"0": shown})

    app_of(windows(3), once(10)).run(data=tmp_path, until="caught-up", quiet=True)
    verdict, why, _ = verdicts(windows(5), tmp_path, once(10))["group_by"]
    assert verdict == "lost"
    assert why.endswith("scripted(a) cannot be read from its beginning again")
    with pytest.raises(StateError, match="cannot be read from its beginning again"):
        app_of(windows(5), once(20)).run(data=tmp_path, until="caught-up", quiet=True)
    report = app_of(windows(5), once(20)).run(data=tmp_path, until="caught-up", quiet=True, allow_state_loss=True)
    ends = [row["window_end"].timestamp() for row in report.view("v").to_pylist()]
    assert ends == [12, 16, 20]  # from row 11 on
    assert app_of(windows(5), once(20)).run(data=tmp_path, until="caught-up", quiet=True).rows_in == 0


def test_a_trimmed_topic_cannot_be_read_again_and_a_whole_one_can(tmp_path: Path) -> None:
    log = tw.Log(tmp_path / "log")
    made = log.create("events", schema=SCHEMA)
    made.append([{"k": "x", "v": v, "ts": f"1970-01-01T00:00:{s:02}Z"} for _, v, s in ROWS])
    source = topic("events", log=tmp_path / "log")
    app_of(windows(3), source).run(data=tmp_path / "data", until="caught-up", quiet=True)
    report = app_of(windows(5), source).run(data=tmp_path / "data", until="caught-up", quiet=True)
    assert [row["n"] for row in report.view("v").to_pylist()] == [2, 4, 4, 4]
    assert report.rows_in == 0
    made.trim(7)
    verdict, why, _ = verdicts(windows(7), tmp_path / "data", source)["group_by"]
    assert verdict == "lost" and "starts at offset" in why and "was trimmed" in why


def test_files_are_read_again_in_the_order_in_which_they_were_found(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()

    def write(name: str, seconds: Sequence[int]) -> None:
        lines = [json.dumps({"k": "x", "v": s, "ts": f"1970-01-01T00:00:{s:02}Z"}) + "\n" for s in seconds]
        (folder / name).write_text("".join(lines), "utf-8")

    source = files(folder, format="ndjson")
    data = tmp_path / "data"
    write("b.ndjson", [1, 2, 9])
    app_of(windows(), source).run(data=data, until="caught-up", quiet=True)
    write("a.ndjson", [10, 11, 17])  # read first, its rows would make those of the other late
    app_of(windows(), source).run(data=data, until="caught-up", quiet=True)
    report = app_of(windows(1), source).run(data=data, until="caught-up", quiet=True)
    assert report.late_rows == 0 and report.rows_in == 0
    assert [row["n"] for row in report.view("v").to_pylist()] == [1, 3]
    (folder / "b.ndjson").write_text("{}\n", "utf-8")
    verdict, why, _ = verdicts(windows(2), data, source)["group_by"]
    assert verdict == "lost" and "restore it to read it again" in why
    (folder / "b.ndjson").unlink()
    assert "b.ndjson in" in verdicts(windows(2), data, source)["group_by"][1]


def test_a_source_with_other_data_is_found_out(tmp_path: Path) -> None:
    run(windows(3), tmp_path, 10)
    other = source_of("a", [[("x", n, n + 1) for n in range(1, 21)]], None)
    with pytest.raises(StateError, match=r"scripted\(a\)\[0\] gives other rows than it gave"):
        app_of(windows(5), other).run(data=tmp_path, until="caught-up", quiet=True)
    short = source_of("a", [ROWS[:5]], None)
    with pytest.raises(StateError, match="gives 5 rows, and gave more before"):
        app_of(windows(5), short).run(data=tmp_path, until="caught-up", quiet=True)
    assert run(windows(3), tmp_path).rows_in == 10  # the state is as it was


def fractions(stream: Stream) -> None:
    stream.group_by("k").agg(m=(col("v") / 7).sum()).write(view("v"))


def fractions_twice(stream: Stream) -> None:
    table = stream.group_by("k").agg(m=(col("v") / 7).sum())
    table.write(view("v"))
    table.filter(col("m") > 0).write(view("w"))


def check_last_bits(data: Path) -> None:
    # Large and small values: what their sum is in the last bit depends on how the steps were cut.
    rows: list[Row] = [("x", (n * 7919**4) % 10**15 if n % 2 else n, n) for n in range(1, 31)]
    app = app_of(fractions, source_of("a", [rows], {"0": 25}))
    app.start(RunOptions(data, until="caught-up", max_step_rows=1))
    report = app_of(fractions_twice, source_of("a", [rows], None)).run(data=data, until="caught-up", quiet=True)
    assert report.view("v").num_rows == report.view("w").num_rows == 1


def test_what_cannot_be_rebuilt_to_the_last_bit_is_rebuilt_with_what_feeds_it(tmp_path: Path) -> None:
    run(fractions, tmp_path / "whole", 15)
    verdict, why, rows = verdicts(fractions_twice, tmp_path / "whole")["group_by"]
    assert (verdict, rows) == ("rebuilt", 15) and "to the last bit" in why
    check_last_bits(tmp_path / "by row")


def test_whole_numbers_keep_a_table_that_a_new_step_reads(tmp_path: Path) -> None:
    def sums(stream: Stream) -> None:
        stream.group_by("k").agg(t=col("v").sum()).write(view("v"))

    def two(stream: Stream) -> None:
        table = stream.group_by("k").agg(t=col("v").sum())
        table.write(view("v"))
        table.filter(col("t") > 0).write(view("w"))

    run(sums, tmp_path, 10)
    assert verdicts(two, tmp_path)["group_by"][0] == "kept"
    assert run(two, tmp_path).view("w").to_pylist() == [{"k": "x", "t": 210}]


def test_a_sealed_state_is_rebuilt_to_its_end_and_stays_sealed(tmp_path: Path) -> None:
    app_of(windows(3), source_of("a", [ROWS], None)).run(data=tmp_path, until="end", quiet=True)
    report = run(windows(5), tmp_path)
    assert report.sealed and report.rows_in == 0
    assert sum(row["n"] for row in report.view("v").to_pylist()) == 15
    assert run(windows(5), tmp_path).sealed


def test_windows_that_closed_because_of_silence_are_not_given_again(tmp_path: Path) -> None:
    def counting(source: Scripted, least: str) -> tw.App:
        app = tw.App("counting")
        rows = app.read(source, time="ts", lateness="0s", idle_timeout="30s")
        windowed = rows.filter(col("k") >= least).group_by().window("10s").agg(n=count())
        windowed.write(view("v"))
        windowed.write(Kept("out", into))
        return app

    into = Target()
    source = scripted("clicks", {"a": [1, 15, 35, 47], "b": [2, 36]})
    with Live(counting(source, ""), source, tmp_path) as live:
        live.give(a=2, b=1)
        live.silence("29s")
        live.give(a=3)
        live.silence("29s")  # b is idle: what it holds up closes
        live.until(lambda: counts(live.view("v")) == {10: 2, 20: 1})
    assert live.report.exceptions == ()
    assert [row["n"] for row in into.rows["out"]] == [2, 1]
    source.show(None)
    report = counting(source, "a").start(RunOptions(tmp_path, until="end"))
    assert counts(report.view("v").to_pylist()) == {10: 2, 20: 1, 40: 2, 50: 1}
    assert [row["n"] for row in into.rows["out"]] == [2, 1, 2, 1]


def test_a_function_that_is_called_with_changes_gets_those_that_come_after(tmp_path: Path) -> None:
    got: list[pa.Table] = []

    def rows(factor: int) -> Program:
        return lambda s: s.select(w=col("v") * factor).write(call(got.append))  # type: ignore[return-value]  # the app is not looked at

    run(rows(1), tmp_path, 3)
    run(rows(2), tmp_path, 5)
    assert [v for table in got for v in table["w"].to_pylist()] == [1, 2, 3, 8, 10]


def test_a_run_that_is_stopped_or_dies_while_it_rebuilds_leaves_the_state_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = Target()

    def kept(least: int, name: str) -> Program:
        return lambda s: s.filter(col("v") > least).write(Kept(name, into))  # type: ignore[return-value]  # the app is not looked at

    run(kept(0, "old"), tmp_path, 10)
    before = manifests.kept(tmp_path)
    added = both(kept(0, "old"), kept(5, "new"))
    stopped = Embedded().start(app_of(added, source_of("a", [ROWS], None)).plan, RunOptions(tmp_path))
    stopped.stop()
    with pytest.raises(StoppedError, match="the state is as it was before"):
        stopped.run()

    def dies(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_Rebuild, "_hand_over", dies)
        with pytest.raises(KeyboardInterrupt):
            run(added, tmp_path)
    assert before and manifests.kept(tmp_path) == before and "new" not in into.rows
    run(added, tmp_path)
    assert [row["v"] for row in into.rows["new"]] == list(range(6, 21))
    assert [row["v"] for row in into.rows["old"]] == list(range(1, 21))


def test_a_keyed_table_gets_the_difference_only(tmp_path: Path) -> None:
    into = Target()

    def table(least: int) -> Program:
        def built(stream: Stream) -> None:
            table = stream.filter(col("v") > least).group_by(g=col("v") % 3).agg(n=count())
            table.write(Kept("out", into, "applied"))

        return built

    run(table(1), tmp_path, 10)
    assert sorted((row["g"], row["n"]) for row in into.rows["out"]) == [(0, 3), (1, 3), (2, 3)]
    run(table(8), tmp_path, 10)
    assert sorted((row["g"], row["n"]) for row in into.rows["out"]) == [(0, 1), (1, 1)]


def check_difference(folder: Path, sink: Sink, ask: Callable[[str], list[tuple[Any, ...]]]) -> None:
    """Let a changed program make a table anew."""

    def table(least: int) -> Program:
        def built(stream: Stream) -> None:
            kept = stream.filter((col("v") > least) | (col("v") % 3 == 0))
            kept.group_by(g=col("v") % 3).agg(n=count(), mean=col("v").mean(), at=col("ts").max()).write(sink)

        return built

    run(table(1), folder / "data", 10)
    assert ask("SELECT g, n, mean FROM sums ORDER BY g") == [(0, 3, 6.0), (1, 3, 7.0), (2, 3, 5.0)]
    run(table(8), folder / "data", 10)
    assert ask("SELECT g, n, mean FROM sums ORDER BY g") == [(0, 3, 6.0), (1, 1, 10.0)]
    run(table(8), folder / "data")
    assert ask("SELECT g, n, mean FROM sums ORDER BY g") == [(0, 6, 10.5), (1, 4, 14.5), (2, 4, 15.5)]


def in_sqlite(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(query).fetchall()


def in_duckdb(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb_client.connect(str(path)) as connection:
        found: list[tuple[Any, ...]] = connection.execute(query).fetchall()
        return found


DATABASES: dict[str, tuple[Callable[..., Sink], Callable[[Path, str], list[tuple[Any, ...]]]]] = {
    "sqlite": (sqlite, in_sqlite),
    "duckdb": (duckdb, in_duckdb),
}


@pytest.mark.parametrize("name", DATABASES)
def test_a_table_of_a_database_gets_the_difference_only(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[tuple[int, int]]] = []
    true = TableWriter.apply

    def noted(self: TableWriter, epoch: int, previous: int, rows: Iterator[pa.Table]) -> None:
        tables = list(rows)
        given.append(sorted((row["g"], row["_weight"]) for table in tables for row in table.to_pylist()))
        true(self, epoch, previous, iter(tables))

    monkeypatch.setattr(TableWriter, "apply", noted)
    make, ask = DATABASES[name]
    path = tmp_path / "x.db"
    check_difference(tmp_path, make(path, table="sums", key="g"), partial(ask, path))
    assert given[1] == [(1, -1), (1, 1), (2, -1)], "a row that is as it was is not written again"


@pytest.mark.parametrize("name", DATABASES)
def test_a_table_that_is_taken_for_an_empty_one_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TableWriter, "rows", lambda self: iter(()))
    with pytest.raises((AssertionError, SinkError)):
        test_a_table_of_a_database_gets_the_difference_only(name, tmp_path, monkeypatch)


class Blind(Table):
    rows = None  # type: ignore[assignment]  # which makes it none that can be read


class KeptBlindly(Kept):
    def open(self, request: WriteRequest) -> EpochWriter:
        return Blind(self, request.schema)


def test_a_keyed_table_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    into = Target()

    def table(least: int) -> Program:
        def built(stream: Stream) -> None:
            stream.filter(col("v") > least).agg(n=count()).write(KeptBlindly("out", into, "applied"))

        return built

    run(table(1), tmp_path, 10)
    with pytest.raises(StateError, match=r"kept\(out\) has the rows of an earlier program.*Name a new output"):
        run(table(8), tmp_path, 10)
    assert [row["n"] for row in into.rows["out"]] == [9]


def test_a_source_that_is_read_otherwise_is_read_again(tmp_path: Path) -> None:
    def app(lateness: str, shown: int | None) -> tw.App:
        made = tw.App("lateness")
        rows: list[Row] = [("x", 1, 10), ("x", 2, 3), ("x", 3, 20), ("x", 4, 12), ("x", 5, 40)]
        source = source_of("a", [rows], None if shown is None else {"0": shown})
        read = made.read(source, schema=SCHEMA, time="ts", lateness=lateness)
        read.group_by("k").window("5s").agg(n=count()).write(view("v"))
        return made

    first = app("0s", 3).run(data=tmp_path, until="caught-up", quiet=True)
    assert first.late_rows == 1
    report = app("10s", None).run(data=tmp_path, until="end", quiet=True)
    assert report.rows_in == 2 and report.late_rows == 0
    assert report.view("v").equals(app("10s", None).batch().view("v"))


def test_equal_steps_of_one_program_are_kept_apart(tmp_path: Path) -> None:
    def app(order: Sequence[str], shown: dict[str, int]) -> tw.App:
        made = tw.App("twins")
        for name in order:  # the same source, read once for each view
            rows = made.read(source_of("a", [ROWS], {"0": shown[name]}), schema=SCHEMA, time="ts")
            rows.group_by("k").agg(t=col("v").sum()).write(view(name))
        return made

    app(["v", "w"], {"v": 4, "w": 9}).run(data=tmp_path, until="caught-up", quiet=True)
    report = app(["w", "v"], {"v": 20, "w": 20}).run(data=tmp_path, until="caught-up", quiet=True)
    assert [report.view(name).to_pylist() for name in "vw"] == [[{"k": "x", "t": 210}]] * 2


def test_plan_diff_tells_what_becomes_of_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    program = """
import thalweg as tw
from thalweg import col, count
from thalweg.connect import memory, view
app = tw.App("shop")
rows = app.read(memory([{"k": "a", "v": 1}, {"k": "b", "v": 2}]))
rows.filter(col("v") > LEAST).group_by("k").agg(n=count()).write(view("per_k"))
"""
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text(program.replace("LEAST", "0"))
    new.write_text(program.replace("LEAST", "1").replace("per_k", "of_k"))
    assert main(["plan", str(old), "--diff"]) == 0
    assert capsys.readouterr().out == "shop: there is no state in .thalweg/apps/shop; a run starts from nothing\n"
    assert main(["run", str(old), "--until", "caught-up", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["plan", str(new), "--diff"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "shop: beside the state in .thalweg/apps/shop at epoch 1",
        "kept     1 read memory(1 partition, 2 rows) → k: string, v: int64",
        "rebuilt  3 group_by(k).agg(n=count())",
        '         filter(col("v") > 1) is new; 2 rows are read again',
        "rebuilt  4 write view(of_k, key=k)",
        '         filter(col("v") > 1) is new; 2 rows are read again',
        "lost     3 group_by(k).agg(n=count())",
        "         it is no longer in the program",
        "lost     4 write view(per_k, key=k)",
        "         it is no longer in the program",
        "A run goes on without what is lost only with --allow-state-loss.",
    ]
    assert main(["run", str(new), "--until", "caught-up", "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "would lose the state of" in said and "go on without these: --allow-state-loss. What" in said
    assert main(["run", str(new), "--until", "caught-up", "--quiet", "--allow-state-loss"]) == 0
    assert main(["plan", str(new), "--diff"]) == 0
    assert "lost" not in capsys.readouterr().out


def test_a_source_in_memory_is_read_again(tmp_path: Path) -> None:
    rows = [{"k": "x", "v": v, "ts": None} for v in range(10)]

    def table(least: int) -> Program:
        return lambda s: s.filter(col("v") >= least).agg(n=count()).write(view("v"))  # type: ignore[return-value]  # the app is not looked at

    def app(least: int) -> tw.App:
        made = tw.App("changed")
        table(least)(made.read(memory(rows), schema=SCHEMA))
        return made

    app(2).run(data=tmp_path, until="caught-up", quiet=True)
    assert app(4).run(data=tmp_path, until="caught-up", quiet=True).view("v").to_pylist() == [{"n": 6}]
