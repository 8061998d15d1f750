"""``thalweg topic append`` and ``thalweg topic tail``: rows go in, and come out as they come."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from annotated_types import Ge

from thalweg.cli import main
from thalweg.log import Log, Topic

NUMBERS = pa.schema([pa.field("k", pa.string(), nullable=False), ("n", pa.int64())])
LOG = Path(".thalweg/log")
PATIENCE_S = 30.0


class Hit:
    user: str
    ms: Annotated[int, Ge(0)] | None


class Run(Protocol):
    def __call__(self, *tokens: str) -> tuple[int, str, str]: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call ``thalweg topic`` in this process; return its exit code, output and errors."""

    def called(*tokens: str) -> tuple[int, str, str]:
        code = main(["topic", *tokens])
        return code, *capsys.readouterr()

    return called


@pytest.fixture
def numbers(folder: Path) -> Topic:
    made = Log(LOG).create("numbers", NUMBERS, partitions=2, key="k")
    made.append([{"k": "a", "n": 1}, {"k": "a", "n": 2}, {"k": "a", "n": None}], 0)
    made.append([{"k": "b", "n": 10}], 1)
    return made


def values(name: str = "numbers") -> list[int | None]:
    topic = Log(LOG).topic(name)
    return [n for p in range(topic.options.partitions) for n in topic.read(p, topic.start(p))["n"].to_pylist()]


ROWS = pa.table({"k": ["a", "b"], "n": pa.array([7, None], pa.int64())})


def ndjson(table: pa.Table) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist())


def encoded(format_: str, rows: pa.Table = ROWS) -> bytes:
    sink = io.BytesIO()
    match format_:
        case "ndjson":
            sink.write(ndjson(rows))
        case "csv":
            pyarrow.csv.write_csv(rows, sink)
        case "parquet":
            pyarrow.parquet.write_table(rows, sink)
        case "arrow":
            with pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_table(rows)
    return sink.getvalue()


@pytest.fixture
def stdin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Put bytes on the standard input."""
    with ExitStack() as opened:

        def put(data: bytes) -> None:
            path = folder / "input"
            path.write_bytes(data)
            monkeypatch.setattr(sys, "stdin", opened.enter_context(open(path, encoding="utf-8")))

        yield put


@pytest.mark.parametrize("format_", ["ndjson", "csv", "parquet", "arrow"])
def test_rows_of_every_format_are_appended_from_files_and_the_standard_input(
    run: Run, stdin: Callable[[bytes], None], format_: str
) -> None:
    Log(LOG).create("numbers", NUMBERS)
    Path(f"day.{format_}").write_bytes(encoded(format_))
    assert run("append", "numbers", f"day.{format_}") == (0, "", "numbers: 2 rows appended\n")
    Path("odd.name").write_bytes(encoded(format_))
    assert run("append", "numbers", "odd.name", "--format", format_)[0] == 0
    stdin(encoded(format_))
    assert run("append", "numbers", *(() if format_ == "ndjson" else ("--format", format_)))[0] == 0
    assert values() == [7, None] * 3


def test_several_files_are_appended_in_their_order(run: Run, numbers: Topic) -> None:
    for name, n in (("z", 3), ("a", 4)):
        Path(f"{name}.ndjson").write_text(json.dumps({"k": "a", "n": n}) + "\n", encoding="utf-8")
    assert run("append", "numbers", "z.ndjson", "a.ndjson") == (0, "", "numbers: 2 rows appended\n")
    tail = values()
    assert tail.index(3) < tail.index(4)


BAD = [
    (b'{"k": "a", "n": "x"}', "column \"n\" takes a whole number (int64), this is the text 'x'"),
    (b'{"n": 1}', 'column "k": null, but the column must have a value'),
    (b"nonsense", "not valid JSON"),
    (b'{"k": "a", "k": "b"}', "k"),
]


@pytest.mark.parametrize("way", ["file", "input"])
def test_rows_that_do_not_fit_are_told_and_the_others_appended(
    run: Run, stdin: Callable[[bytes], None], way: str
) -> None:
    Log(LOG).create("numbers", NUMBERS)
    data = b'{"k": "a", "n": 1}\n' + b"".join(row + b"\n" for row, _ in BAD) + b'{"k": "c", "n": 2}'
    Path("day.ndjson").write_bytes(data)
    stdin(data)
    code, out, err = run("append", "numbers", *(["day.ndjson"] if way == "file" else []))
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == "numbers: 2 rows appended"
    place = "day.ndjson" if way == "file" else "stdin"
    for line, (number, (_, reason)) in zip(lines[1:], enumerate(BAD, 2), strict=False):
        assert line.startswith(f"  refused: {place}:{number}: ")
        assert reason in line
    assert lines[-1] == (
        "thalweg: 4 rows do not fit numbers: not appended, unlike the others; mend, and append again what was refused"
    )
    assert values() == [1, 2]


def test_rules_of_the_topic_refuse_rows_that_are_typed_too(run: Run) -> None:
    Log(LOG).create("hits", Hit)
    table = pa.table({"user": ["a", "b"], "ms": [-1, 5]})
    pyarrow.parquet.write_table(table, "day.parquet")
    code, _, err = run("append", "hits", "day.parquet")
    assert code == 1
    assert 'refused: day.parquet: row 1: column "ms": -1 breaks the rule: ≥ 0' in err
    assert "thalweg: 1 row does not fit hits" in err
    assert Log(LOG).topic("hits").read()["user"].to_pylist() == ["b"]


def test_of_many_refused_rows_the_first_are_shown(run: Run) -> None:
    Log(LOG).create("numbers", NUMBERS)
    Path("day.ndjson").write_text("odd\n" * 1234, encoding="utf-8")
    code, _, err = run("append", "numbers", "day.ndjson")
    assert code == 1
    assert err.count("refused: day.ndjson:") == 10
    assert "  … and 1,224 more\n" in err


def test_repeats_of_an_id_are_counted_apart(run: Run) -> None:
    Log(LOG).create("numbers", NUMBERS, id="k")
    Path("day.ndjson").write_bytes(ndjson(ROWS))
    assert run("append", "numbers", "day.ndjson")[0] == 0
    assert run("append", "numbers", "day.ndjson") == (0, "", "numbers: 0 rows appended, 2 were there already\n")


@pytest.mark.parametrize(
    ("tokens", "code", "message"),
    [
        (["nubmers", "day.ndjson"], 2, 'did you mean "numbers"?'),
        (["numbers", "dya.ndjson"], 2, 'there is no file dya.ndjson; did you mean "day.ndjson"?'),
        (["numbers", "day.ndjson", "day.txt"], 2, "day.txt: its suffix tells no format"),
        (["numbers", "bad.parquet"], 1, "bad.parquet cannot be read as parquet"),
        (["numbers", "day.ndjson", "--format", "xml"], 2, 'Choose from: "ndjson", "csv", "parquet", "arrow"'),
    ],
)
def test_what_cannot_be_appended_is_told_and_nothing_was(
    run: Run, numbers: Topic, tokens: list[str], code: int, message: str
) -> None:
    Path("day.ndjson").write_bytes(ndjson(ROWS))
    Path("day.txt").write_text("odd", encoding="utf-8")
    Path("bad.parquet").write_bytes(b"no Parquet at all")
    before = values()
    given, out, err = run("append", *tokens)
    assert (given, out) == (code, "")
    assert message in err
    assert "pyarrow" not in err, "the place is the user's, or none"
    assert values() == before


def test_bytes_on_the_standard_input_that_cannot_be_read_are_told(
    run: Run, numbers: Topic, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"no Parquet at all")
    code, _, err = run("append", "numbers", "--format", "parquet")
    assert code == 1
    assert "thalweg: the standard input cannot be read as parquet" in err


def test_a_person_at_a_terminal_is_told_what_is_wanted(
    run: Run, numbers: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    main_side, other = os.openpty()
    with open(main_side, "rb", buffering=0), open(other, encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        code, _, err = run("append", "numbers")
    assert code == 2
    assert "no rows are given: name files, or pipe them in" in err


# ---------------------------------------------------------------------- processes of their own


class Lines:
    """A process whose output lines are taken as they come."""

    def __init__(self, *tokens: str, stdin: int = subprocess.DEVNULL) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "thalweg", "topic", *tokens],
            text=True,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until(self, count: int) -> list[str]:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.lines) < count:
            assert self.process.poll() is None
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.01)
        return self.lines

    def ended(self, number: signal.Signals | None = None) -> tuple[int, str]:
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        error = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return code, error


def test_the_last_rows_are_printed_with_their_place_and_key(run: Run, numbers: Topic) -> None:
    assert run("tail", "numbers", "-n", "2") == (
        0,
        'numbers:0:1 a {"k":"a","n":2}\nnumbers:0:2 a {"k":"a","n":null}\nnumbers:1:0 b {"k":"b","n":10}\n',
        "",
    )
    _, out, _ = run("tail", "numbers", "--count", "1", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"topic": "numbers", "partition": 0, "offset": 2, "row": {"k": "a", "n": None}},
        {"topic": "numbers", "partition": 1, "offset": 0, "row": {"k": "b", "n": 10}},
    ]
    assert run("tail", "numbers", "-n", "0") == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_tail_follows_what_another_process_appends(numbers: Topic, number: signal.Signals) -> None:
    following = Lines("tail", "numbers", "-n", "1", "-f")
    assert following.until(2) == ['numbers:0:2 a {"k":"a","n":null}', 'numbers:1:0 b {"k":"b","n":10}']
    numbers.append([{"k": "b", "n": 11}], 1)
    assert following.until(3)[2] == 'numbers:1:1 b {"k":"b","n":11}'
    numbers.append([{"k": "a", "n": 3}], 0)
    assert following.until(4)[3] == 'numbers:0:3 a {"k":"a","n":3}'
    assert following.ended(number) == (0, "")


def test_lines_on_a_pipe_are_appended_as_they_come(numbers: Topic) -> None:
    appending = Lines("append", "numbers", stdin=subprocess.PIPE)
    pipe = appending.process.stdin
    assert pipe is not None
    before = len(values())
    for count in (1, 2):
        pipe.write(json.dumps({"k": "a", "n": 100 + count}) + '\n{"k": "a", "n"')
        pipe.flush()
        deadline = time.monotonic() + PATIENCE_S
        while len(values()) < before + (1 if count == 1 else 3):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        pipe.write(": 7}\n")
    pipe.close()
    assert appending.ended() == (0, "numbers: 4 rows appended\n")
    assert values()[3:7] == [101, 7, 102, 7]


def test_a_field_that_the_topic_lacks_refuses_its_row(run: Run, numbers: Topic, stdin: Callable[[bytes], None]) -> None:
    lines = b'{"k": "a", "n": 4}\n{"k": "b", "m": 5}\n'
    Path("day.ndjson").write_bytes(lines)
    code, _, told = run("append", "numbers", "day.ndjson")
    assert (code, "day.ndjson:2: unknown field 'm'; there are: k, n" in told) == (1, True)
    stdin(lines)
    code, _, told = run("append", "numbers")
    assert (code, "stdin:2" in told) == (1, True)
    assert sorted(n for n in values() if n is not None) == [1, 2, 4, 4, 10]


@pytest.mark.parametrize("format_", ["csv", "parquet", "arrow"])
def test_a_column_that_the_topic_lacks_refuses_the_file(run: Run, numbers: Topic, format_: str) -> None:
    Path(f"day.{format_}").write_bytes(encoded(format_, ROWS.append_column("m", pa.array([1, 2]))))
    code, _, told = run("append", "numbers", f"day.{format_}")
    assert (code, 'there is a column "m", and the topic has none of that name' in told) == (2, True)
    assert values() == [1, 2, None, 10]
