"""Versions of an app: run from the start or from a time beside the one that is there, and promoted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import thalweg as tw
from thalweg import PlanError, SinkError, StateError, UnsupportedError, col
from thalweg.connect import call, files, memory, stdout, topic, view
from thalweg.core.ports import StepWriter, Versioned, WriteRequest
from thalweg.engine.embedded import beside as beside_module
from thalweg.engine.embedded import loop
from thalweg.engine.embedded.posting import OutboxDelivery
from thalweg.engine.embedded.stored_view import stored_view
from thalweg.log import Log
from thalweg.state import versions

SCHEMA = pa.schema([("n", pa.int64())])
CALLED: list[int] = []


def note(rows: pa.Table) -> None:
    CALLED.extend(rows["n"].to_pylist())


def even_fails(row: dict[str, Any]) -> dict[str, Any]:
    if row["n"] % 2 == 0:
        raise ValueError("even")
    return row


@pytest.fixture(autouse=True)
def called() -> None:
    CALLED.clear()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    opened = Log(tmp_path / "log")
    opened.create("in", schema=SCHEMA, partitions=2, key="n")
    append(opened, 1, 2, 3)
    return opened


def append(log: Log, *numbers: int) -> None:
    log.topic("in").append([{"n": number} for number in numbers])


def app_of(tmp_path: Path, least: int = 0) -> tw.App:
    app = tw.App("odd")
    rows = app.read(topic("in", log=tmp_path / "log")).filter(col("n") >= least)
    rows.write(view("all"))
    rows.write(files(tmp_path / "out", format="ndjson"))
    rows.write(topic("out", log=tmp_path / "log"))
    rows.write(call(note))
    rows.map(even_fails, schema=SCHEMA).write(view("odd"))
    return app


def run(tmp_path: Path, least: int = 0, **given: Any) -> list[int]:
    report = app_of(tmp_path, least).run(data=tmp_path / "data", until="caught-up", **given)
    return sorted(report.view("all")["n"].to_pylist())


def in_files(folder: Path) -> list[int]:
    app = tw.App("read")
    app.read(files(folder), schema=SCHEMA).write(view("rows"))
    return sorted(app.batch().view("rows")["n"].to_pylist())


def in_topic(log: Log, name: str) -> list[int]:
    found = log.topic(name)
    tables = [found.read(partition, limit=1000) for partition in range(found.options.partitions)]
    return sorted(pa.concat_tables(tables)["n"].to_pylist())


def test_a_replay_from_the_earliest_rows_stands_beside_what_was_there(tmp_path: Path, log: Log) -> None:
    assert run(tmp_path) == [1, 2, 3]
    assert run(tmp_path, least=2, start="earliest") == [2, 3]
    assert in_files(tmp_path / "out") == [1, 2, 3]
    assert in_files(tmp_path / "out@2") == [2, 3]
    assert in_topic(log, "out") == [1, 2, 3]
    assert in_topic(log, "out.v2") == [2, 3]
    # Late and rejected rows follow the rule of topics.
    aside = Log(tmp_path / "data" / "log")
    assert [aside.topic(name).describe().rows for name in ("odd.errors", "odd.errors.v2")] == [1, 1]
    kept = stored_view(tmp_path / "data", "all").rows
    assert kept is not None and sorted(kept["n"].to_pylist()) == [1, 2, 3]
    # A function has no place beside: the first version has called it.
    assert sorted(CALLED) == [1, 2, 3]


def test_both_versions_go_on_each_with_its_own_outputs(tmp_path: Path, log: Log) -> None:
    run(tmp_path)
    run(tmp_path, start="earliest")
    append(log, 4)
    assert run(tmp_path) == [1, 2, 3, 4]
    append(log, 5)
    assert run(tmp_path, version=2) == [1, 2, 3, 4, 5]
    assert (in_topic(log, "out"), in_topic(log, "out.v2")) == ([1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert sorted(CALLED) == [1, 2, 3, 4]


def test_a_promoted_version_is_what_runs_go_on_with(tmp_path: Path, log: Log) -> None:
    run(tmp_path)
    run(tmp_path, start="earliest")
    versions.promote(versions.existing(tmp_path / "data", "2"))
    append(log, 4)
    assert run(tmp_path) == [1, 2, 3, 4]
    # Its outputs keep their names, and functions are called now.
    assert (in_topic(log, "out"), in_topic(log, "out.v2")) == ([1, 2, 3], [1, 2, 3, 4])
    assert sorted(CALLED) == [1, 2, 3, 4]
    # The first one stands beside now.
    assert run(tmp_path, version=1) == [1, 2, 3, 4]
    assert in_topic(log, "out") == [1, 2, 3, 4]
    assert sorted(CALLED) == [1, 2, 3, 4]
    assert run(tmp_path, start="earliest") == [1, 2, 3, 4]
    assert in_files(tmp_path / "out@3") == [1, 2, 3, 4]


def test_the_first_run_of_all_is_the_first_version_from_wherever_it_starts(tmp_path: Path, log: Log) -> None:
    assert run(tmp_path, start="earliest") == [1, 2, 3]
    assert in_files(tmp_path / "out") == [1, 2, 3]
    assert sorted(CALLED) == [1, 2, 3]


def between(log: Log) -> datetime:
    """Return a time after what is in the topic and before what is appended next."""
    info = log.topic("in").describe()
    assert info.last_append_us is not None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=info.last_append_us + 1)
    while datetime.now(UTC) <= moment:
        continue
    return moment


def test_a_topic_is_read_from_what_was_appended_at_a_time_on(tmp_path: Path, log: Log) -> None:
    moment = between(log)
    append(log, 4, 5)
    run(tmp_path)
    assert run(tmp_path, start=moment) == [4, 5]
    assert run(tmp_path, start=moment.astimezone(timezone(timedelta(hours=5)))) == [4, 5]
    assert run(tmp_path, start=moment.replace(tzinfo=None) - timedelta(days=365_000)) == [1, 2, 3, 4, 5]
    append(log, 6)
    assert run(tmp_path, version=2) == [4, 5, 6]


def _in_the_firsts_places(patch: pytest.MonkeyPatch) -> None:
    true = beside_module.open_version
    planted = lambda sink, version, request, **_: true(sink, "1", request, beside=False)  # noqa: E731
    patch.setattr("thalweg.engine.embedded.outputs.open_version", planted)


def _calls_again(patch: pytest.MonkeyPatch) -> None:
    true = beside_module.open_version
    planted = lambda sink, version, request, **_: true(sink, version, request, beside=False)  # noqa: E731
    patch.setattr("thalweg.engine.embedded.outputs.open_version", planted)


def _from_the_beginning_after_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(versions.Version, "from_us", None)


def _never_current(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("thalweg.engine.versioned.current", lambda first: versions.Version(first, "1"))


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (_in_the_firsts_places, test_a_replay_from_the_earliest_rows_stands_beside_what_was_there),
        (_calls_again, test_a_replay_from_the_earliest_rows_stands_beside_what_was_there),
        (_never_current, test_a_promoted_version_is_what_runs_go_on_with),
        (_from_the_beginning_after_all, test_a_topic_is_read_from_what_was_appended_at_a_time_on),
    ],
)
def test_the_tests_find_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None],
    check: Callable[[Path, Log], None],
    tmp_path: Path,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, SinkError)):
        check(tmp_path, log)


def test_a_version_that_dies_before_its_first_checkpoint_starts_at_its_time_again(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = between(log)
    append(log, 4)
    run(tmp_path)

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoints, "write", dies)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path, start=moment)
    assert run(tmp_path, version=2) == [4]


def test_a_partition_that_gave_no_row_yet_still_starts_at_the_time(tmp_path: Path, log: Log) -> None:
    append(log, *range(10, 30))  # both partitions have rows from before
    moment = between(log)
    run(tmp_path)
    assert run(tmp_path, start=moment) == []
    assert run(tmp_path, version=2) == []
    append(log, *range(30, 50))
    assert run(tmp_path, version=2) == list(range(30, 50))


def test_a_version_that_began_at_a_time_is_not_made_again_from_the_beginning(tmp_path: Path, log: Log) -> None:
    moment = between(log)
    append(log, 4, 5)
    run(tmp_path)
    assert run(tmp_path, start=moment) == [4, 5]
    with pytest.raises(StateError, match="this version began at a time, not at the beginning: make a new one"):
        run(tmp_path, least=5, version=2)
    # One that began at the beginning is: every step below what has changed has the rows that it would have.
    assert run(tmp_path, least=2) == [2, 3, 4, 5]


def files_app(folder: Path) -> tw.App:
    app = tw.App("files")
    app.read(files(folder / "in" / "*.ndjson"), schema=SCHEMA).write(view("rows"))
    return app


def test_files_are_read_that_were_changed_at_a_time_or_later(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("a", "b", "c")):
        path = tmp_path / "in" / f"{name}.ndjson"
        path.write_text(f'{{"n": {number}}}\n{{"n": {number + 10}}}')
        os.utime(path, (1_000 + number, 1_000 + number))
    app, data = files_app(tmp_path), tmp_path / "data"
    app.run(data=data, until="caught-up")
    start = datetime(1970, 1, 1, 0, 16, 41, tzinfo=UTC)
    assert sorted(app.run(data=data, until="caught-up", start=start).view("rows")["n"].to_pylist()) == [1, 2, 11, 12]
    # What an older file grows by came later.
    with open(tmp_path / "in" / "a.ndjson", "a", encoding="utf-8") as file:
        file.write('\n{"n": 20}\n{"n": "x"}\n')
    report = app.run(data=data, until="caught-up", version=2)
    assert sorted(report.view("rows")["n"].to_pylist()) == [1, 2, 11, 12, 20]
    assert report.errors["place"].to_pylist() == ["a.ndjson:4"]


def test_a_source_that_keeps_no_times_is_not_read_from_one_and_no_version_is_made(tmp_path: Path) -> None:
    app = tw.App("memory")
    app.read(memory([{"n": 1}])).write(view("rows"))
    app.run(data=tmp_path / "data", until="caught-up")
    with pytest.raises(UnsupportedError, match=r"memory\(.*\) does not keep when its rows came; topics and files do"):
        app.run(data=tmp_path / "data", until="caught-up", start=datetime(2026, 1, 1))
    assert [version.name for version in versions.versions(tmp_path / "data")] == ["1"]


class OnePlace:
    """A sink with an address, and no place for another version."""

    name = "there"
    changes = "refused"
    target = "somewhere"

    def describe(self) -> str:
        return "there()"

    def open(self, request: WriteRequest) -> StepWriter:
        return call(note).open(request)


def test_a_sink_whose_place_the_versions_would_share_is_refused_and_no_version_is_made(tmp_path: Path) -> None:
    app = tw.App("shared")
    app.read(memory([{"n": 1}])).write(OnePlace())  # type: ignore[arg-type]  # its kind of changes is a plain text
    app.run(data=tmp_path / "data", until="caught-up", start="earliest")
    with pytest.raises(UnsupportedError, match=r"there\(\) has one place, which is the first version's"):
        app.run(data=tmp_path / "data", until="caught-up", start="earliest")
    with pytest.raises(UnsupportedError, match=r"there\(\) has one place"):
        app.run(data=tmp_path / "data", until="caught-up", version="dev")
    assert [version.name for version in versions.versions(tmp_path / "data")] == ["1"]
    assert CALLED == [1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": "latest"}, r'allowed are "checkpoint", "earliest" and a datetime'),
        ({"version": 0}, r'allowed are a number from 1 and "dev"'),
        ({"version": 2, "start": "earliest"}, "leave one of them out"),
        ({"data": None, "start": "earliest"}, "need a state directory"),
        ({"data": None, "version": 1}, "need a state directory"),
        ({"data": "data@2"}, "name the first one's, data, and version=2"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, log: Log, given: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        app_of(tmp_path).run(**({"data": tmp_path / "data", "until": "caught-up"} | given))
    assert not (tmp_path / "data").exists()


def test_a_version_that_is_not_there_is_refused(tmp_path: Path, log: Log) -> None:
    run(tmp_path)
    with pytest.raises(StateError, match=r"there is no version 3 of the state .*data; there are: 1"):
        run(tmp_path, version=3)


def test_a_topic_of_a_version_has_the_options_of_the_one_beside(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    given = log.create("out", schema=SCHEMA, partitions=3, key="n", retention="7d", compact=True)
    log.create("in", schema=SCHEMA).append([{"n": n} for n in range(9)])
    for start in ("checkpoint", "earliest"):
        run(tmp_path, start=start)
    made = log.topic("out.v2")
    assert (made.options, made.schema) == (given.options, given.schema)
    assert in_topic(log, "out.v2") == list(range(9))


def test_a_version_that_died_on_the_way_to_its_outputs_delivers_there(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(OutboxDelivery, "_deliver", lambda *_: (_ for _ in ()).throw(SinkError("gone")))
        with pytest.raises(SinkError, match="gone"):
            run(tmp_path, start="earliest")
    assert run(tmp_path, version=2) == [1, 2, 3]
    assert (in_files(tmp_path / "out@2"), in_topic(log, "out.v2")) == ([1, 2, 3], [1, 2, 3])
    assert (in_files(tmp_path / "out"), in_topic(log, "out")) == ([1, 2, 3], [1, 2, 3])


@pytest.mark.parametrize(
    ("sink", "version", "shown"),
    [
        (files("late/", format="csv"), "2", "files(late@2/, format=csv)"),
        (files("a/late", format="csv"), "dev", "files(a/late@dev, format=csv)"),
        (topic("t"), "12", "topic(t.v12)"),
        (topic("t", log="l"), "dev", "topic(t.dev, log=l)"),
        (stdout("ndjson"), "2", "stdout(ndjson)"),
    ],
)
def test_places_are_named_by_one_rule(sink: Versioned, version: str, shown: str) -> None:
    assert sink.beside(version).describe() == shown


def test_a_view_is_found_in_a_state_also_when_rows_are_withdrawn(tmp_path: Path) -> None:
    app = tw.App("changing")
    rows = app.read(memory([{"k": k, "n": 1} for k in "abab"]))
    rows.group_by("k").agg(n=tw.count()).write(view("counts"))
    rows.filter(col("n") > 1).select("k").write(view("none"))
    app.run(data=tmp_path, until="caught-up", max_step_rows=1)
    found = stored_view(tmp_path, "counts")
    assert found.key == ("k",)
    assert found.rows is not None
    assert sorted(found.rows.to_pylist(), key=str) == [{"k": "a", "n": 2}, {"k": "b", "n": 2}]
    assert stored_view(tmp_path, "none").rows is None
    with pytest.raises(PlanError, match=r'has no view "count"; did you mean "counts"'):
        stored_view(tmp_path, "count")
    with pytest.raises(PlanError, match="there is no checkpoint"):
        stored_view(tmp_path / "nothing", "counts")


def damaged(tmp_path: Path, spoil: Callable[[Path], object]) -> Sequence[Path]:
    found = sorted((tmp_path / "files").iterdir())
    for path in found:
        spoil(path)
    return found


@pytest.mark.parametrize(
    ("spoil", "message"), [(lambda p: p.write_bytes(b"x"), "is damaged"), (Path.unlink, "is missing")]
)
def test_a_view_is_not_read_from_a_damaged_state(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    app = tw.App("kept")
    app.read(memory([{"n": 1}])).write(view("rows"))
    app.run(data=tmp_path, until="caught-up")
    assert damaged(tmp_path, spoil)
    with pytest.raises(StateError, match=message):
        stored_view(tmp_path, "rows")
