"""The sinks that call a function, print, or are kept by the engine."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import subprocess
import sys

import pyarrow as pa
import pytest

import thalweg.connect
from thalweg.connect import View, call, stdout, view
from thalweg.core.errors import PlanError, SinkError
from thalweg.core.ports import Sink, WriteRequest

COUNTS = pa.table({"page": ["/a", "/b"], "n": [1, 20]})
CHANGES = COUNTS.append_column("_weight", pa.array([-1, 2]))


def request(rows: pa.Table, changing: bool = False) -> WriteRequest:
    return WriteRequest(rows.schema, changing, None, 0, False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def writelines(self, lines: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def printed(sink: Sink, *steps: pa.Table, changing: bool = False, out: io.StringIO | None = None) -> str:
    """Return what the sink prints, at no terminal unless ``out`` is one."""
    with contextlib.redirect_stdout(out or io.StringIO()) as stream:
        writer = sink.open(request(steps[0], changing))
        for step in steps:
            writer.write(step)
            writer.flush()
        writer.close()
    return stream.getvalue()


def test_call_hands_over_every_step() -> None:
    seen: list[pa.Table] = []
    sink = call(seen.append)
    assert isinstance(sink, Sink)
    assert (sink.name, sink.changes, sink.target) == ("list.append", "passed on", None)
    writer = sink.open(request(CHANGES, changing=True))
    writer.write(CHANGES)
    assert seen == [CHANGES]
    writer.flush()
    writer.write(CHANGES.slice(1))
    writer.close()
    assert seen == [CHANGES, CHANGES.slice(1)]


def test_what_the_function_raises_names_it() -> None:
    def refuse(rows: pa.Table) -> None:
        raise KeyError("page")

    with pytest.raises(SinkError, match=r"refuse raised KeyError on 2 rows: 'page'") as caught:
        call(refuse).open(request(COUNTS)).write(COUNTS)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_stop_is_not_taken_for_a_failure() -> None:
    def stop(rows: pa.Table) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(stop).open(request(COUNTS)).write(COUNTS)


def test_an_object_that_can_be_called_has_its_class_for_a_name() -> None:
    class Bell:
        def __call__(self, rows: pa.Table) -> None:
            self.rows = rows.num_rows

    bell = Bell()
    sink = call(bell)
    sink.open(request(COUNTS)).write(COUNTS)
    assert bell.rows == 2
    assert sink.describe().endswith("Bell)")


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(PlanError, match="a function that takes an Arrow table"):
        call("print")  # type: ignore[arg-type]  # the mistake that is tested


def test_elsewhere_than_at_a_terminal_rows_are_ndjson() -> None:
    rows = pa.table(
        {
            "text": ['ä"\n'],
            "at": pa.array([dt.datetime(2026, 1, 1, 12)], pa.timestamp("us", "UTC")),
            "nan": [float("nan")],
            "raw": [b"\xff"],
            "none": pa.nulls(1),
            "nested": [{"a": [1]}],
        }
    )
    (line,) = printed(stdout(), rows).splitlines()
    assert json.loads(line) == {
        "text": 'ä"\n',
        "at": "2026-01-01T12:00:00Z",
        "nan": None,
        "raw": "/w==",
        "none": None,
        "nested": {"a": [1]},
    }


def test_changing_rows_have_their_sign_first_and_count_as_often_as_they_weigh() -> None:
    lines = [json.loads(line) for line in printed(stdout(), CHANGES, changing=True).splitlines()]
    added = {"op": "+", "page": "/b", "n": 20}
    assert lines == [{"op": "-", "page": "/a", "n": 1}, added, added]
    assert list(lines[0]) == ["op", "page", "n"]


def test_at_a_terminal_columns_are_lined_up_and_named_again_only_when_they_grow() -> None:
    wide = pa.table({"page": ["/longer"], "n": [3]})
    assert printed(stdout(), COUNTS, COUNTS.slice(0, 1), COUNTS.slice(0, 0), wide, out=Terminal()).splitlines() == [
        "page  n",
        "────  ──",
        "/a     1",
        "/b    20",
        "/a     1",
        "page     n",
        "───────  ──",
        "/longer   3",
    ]


def test_a_terminal_gets_no_control_characters_and_no_endless_lines() -> None:
    rows = pa.table({"text": ["\x1b[2J\n", "x" * 100], "none": pa.array([None, 1])})
    lines = printed(stdout(), rows, out=Terminal()).splitlines()
    assert lines[2].startswith("·[2J·")
    assert lines[2].endswith("null")
    assert lines[3].startswith("x" * 39 + "…  ")


def test_the_format_can_be_chosen() -> None:
    assert printed(stdout("ndjson"), COUNTS, out=Terminal()).splitlines()[0] == '{"page":"/a","n":1}'
    assert stdout("table").describe() == "stdout(table)"
    assert stdout().describe() == "stdout()"
    assert isinstance(stdout(), Sink)


def test_a_table_of_changes_has_the_sign_as_a_column() -> None:
    lines = printed(stdout("table"), CHANGES, changing=True).splitlines()
    assert lines[0].split() == ["op", "page", "n"]
    assert lines[2].split() == ["-", "/a", "1"]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(PlanError, match="allowed: ndjson, table"):
        stdout("xml")  # type: ignore[arg-type]  # the mistake that is tested


def test_a_column_op_of_a_changing_stream_is_refused() -> None:
    rows = pa.table({"op": ["x"], "_weight": [1]})
    with pytest.raises(SinkError, match="rename it"):
        stdout().open(request(rows, changing=True))


def test_a_reader_that_went_away_is_an_error_of_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    writer = stdout().open(request(COUNTS))
    with pytest.raises(SinkError, match="Broken pipe"):
        writer.write(COUNTS)


def test_a_view_is_a_description() -> None:
    sink = view("page_views", key=["page", "window_end"])
    assert sink == View("page_views", ("page", "window_end"))
    assert (sink.changes, sink.target) == ("applied", None)
    assert sink.describe() == "view(page_views, key=page, window_end)"
    assert view("page_views").describe() == "view(page_views)"
    assert view("v", key="a").key == ("a",)


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "a\n", "ä", "../up", None, 5])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(PlanError, match="letters, digits and underscores"):
        view(name)


@pytest.mark.parametrize("key", [[], ["a", "a"], [1]])
def test_a_key_that_is_none_is_refused(key: list[str]) -> None:
    with pytest.raises(PlanError, match="the key of the view"):
        view("v", key=key)


def test_the_exports_are_sorted_and_there() -> None:
    names = thalweg.connect.__all__
    assert names == sorted(names)
    for name in names:
        assert callable(getattr(thalweg.connect, name))
    assert set(names) <= set(dir(thalweg.connect))
    with pytest.raises(AttributeError, match="there are: View, call"):
        _ = thalweg.connect.kafkaa


def test_the_front_of_the_package_loads_no_reader_of_files() -> None:
    program = "import sys, thalweg.connect; print([m for m in sys.modules if m in ('pyarrow.parquet', 'polars')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
