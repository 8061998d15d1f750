"""``thalweg topic …``, through the real command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from thalweg.cli import main
from thalweg.core.clock import SystemClock
from thalweg.log import Log, Topic

PROGRAM = """
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import pyarrow as pa
from annotated_types import Ge


@dataclass
class Hit:
    user: str
    ms: Annotated[int, Ge(0)] | None
    ts: datetime


arrow = pa.schema([("a", pa.int64())])
number = 3
"""
NUMBERS = pa.schema([pa.field("k", pa.string(), nullable=False), ("n", pa.int64())])
LOG = Path(".thalweg/log")
PATIENCE_S = 30.0


class Run(Protocol):
    def __call__(self, *tokens: str) -> tuple[int, str, str]: ...


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hits.py").write_text(PROGRAM, encoding="utf-8")
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


# ---------------------------------------------------------------------- create


def test_a_topic_is_made_of_a_class(run: Run) -> None:
    code, out, err = run("create", "hits", "--schema", "hits.py:Hit", "--partitions", "3", "--key", "user")
    assert (code, out) == (0, "")
    assert err == "hits: user: string not null, ms: int64, ts: timestamp[us, tz=UTC] not null\n"
    made = Log(LOG).topic("hits")
    assert (made.options.partitions, made.options.key) == (3, "user")
    assert [str(rule) for rule in made.schema["ms"].rules] == ["≥ 0"]


def test_a_topic_is_made_of_an_arrow_schema_a_data_file_or_cloudevents(run: Run) -> None:
    Path("day.ndjson").write_text('{"a": 1, "b": "x"}\n', encoding="utf-8")
    assert run("create", "one", "--schema", "hits.py:arrow")[0] == 0
    assert run("create", "two", "--schema", "day.ndjson")[0] == 0
    assert run("create", "three")[0] == 0
    assert Log(LOG).topic("one").schema.names == ("a",)
    assert Log(LOG).topic("two").schema.names == ("a", "b")
    assert Log(LOG).topic("three").schema.names[:3] == ("id", "source", "type")


def test_every_option_of_create_is_taken(run: Run) -> None:
    options = "--key user --time ts --id user --id-within 1h --retention 7d --retention-bytes 1000 --compact"
    assert run("create", "hits", "--schema", "hits.py:Hit", "--log", "other", *options.split())[0] == 0
    made = Log("other").topic("hits").options
    assert (made.key, made.time, made.id, made.id_within_us) == ("user", "ts", "user", 3_600_000_000)
    assert (made.retention_us, made.retention_bytes, made.compact) == (7 * 86_400_000_000, 1000, True)
    code, out, _ = run("describe", "hits", "--log", "other")
    assert code == 0
    for line in ("key user", "time ts", "id_within 1h", "retention 1w", "retention_bytes 1000", "compact"):
        assert f"\n  {line}\n" in out


def test_making_the_same_topic_again_changes_nothing(run: Run) -> None:
    for _ in range(2):
        assert run("create", "hits", "--schema", "hits.py:Hit")[0] == 0
    code, _, err = run("create", "hits", "--schema", "hits.py:Hit", "--partitions", "2")
    assert code == 1
    assert 'the topic "hits" is there already, and differs: partitions is 1, not 2' in err


@pytest.mark.parametrize(
    ("tokens", "code", "message"),
    [
        (["a/b"], 1, "'a/b' cannot be a topic's name; allowed: a letter or digit"),
        (["x", "--schema", "hits.py:Hitt"], 2, 'has no class or Arrow schema "Hitt"; did you mean "Hit"?'),
        (["x", "--schema", "hits.py:number"], 2, 'no class or Arrow schema "number"'),
        (["x", "--schema", "hits.py"], 2, "name the class in it, as in hits.py:Click"),
        (["x", "--schema", "hit.py:Hit"], 2, 'there is no file hit.py; did you mean "hits.py"?'),
        (["x", "--schema", "none.csv"], 2, "there is no file none.csv; "),
        (["x", "--key", "usr"], 1, 'key="usr" is not a column of the topic'),
        (["x", "--retention", "soon"], 1, 'retention is "soon", which is not a duration'),
        (["x", "--partitions", "0"], 2, 'Invalid value "0" for --partitions'),
        (["x", "--partitions", "5000"], 1, "allowed: a whole number from 1 to 1,024"),
        (["x", "--compact"], 1, "compact=True keeps the last row of each key"),
        ([], 2, "thalweg topic --help"),
    ],
)
def test_a_topic_that_cannot_be_made_is_told(run: Run, tokens: list[str], code: int, message: str) -> None:
    given, out, err = run("create", *tokens)
    assert (given, out) == (code, "")
    assert message in err
    assert Log(LOG).topics() == []


# ---------------------------------------------------------------------- list, describe, read


def test_the_list_has_a_line_for_each_topic(run: Run, numbers: Topic) -> None:
    Log(LOG).create("empty", NUMBERS)
    code, out, err = run("list")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[2:]] == [["empty", "1", "0"], ["numbers", "2", "4"]]
    code, out, _ = run("list", "--json")
    assert [json.loads(line) | {"bytes": 0} for line in out.splitlines()] == [
        {"topic": "empty", "partitions": 1, "rows": 0, "bytes": 0},
        {"topic": "numbers", "partitions": 2, "rows": 4, "bytes": 0},
    ]


def test_an_empty_list_says_how_to_make_a_topic(run: Run) -> None:
    code, out, err = run("list")
    assert (code, out) == (0, "")
    assert err == "no topics in .thalweg/log; make one: thalweg topic create NAME\n"
    assert run("list", "--json") == (0, "", "")
    assert not Path(".thalweg").exists(), "looking makes nothing"


def test_a_topic_is_described(run: Run, numbers: Topic) -> None:
    code, out, err = run("describe", "numbers")
    assert (code, err) == (0, "")
    assert out.startswith("numbers: 4 rows, ")
    assert "\n  key k\n  k: string not null\n  n: int64\n" in out
    assert [line.split()[:3] for line in out.splitlines()[-2:]] == [["0", "0", "3"], ["1", "0", "1"]]


def test_a_topic_is_described_for_machines(run: Run, numbers: Topic) -> None:
    found = json.loads(run("describe", "numbers", "--json")[1])
    assert found["columns"][0] == {"name": "k", "type": "string", "null": False, "rules": []}
    assert (found["topic"], found["rows"], found["key"], found["retention"]) == ("numbers", 4, "k", None)
    assert [(p["partition"], p["start"], p["end"]) for p in found["partitions"]] == [(0, 0, 3), (1, 0, 1)]


def test_rows_are_read_from_an_offset(run: Run, numbers: Topic) -> None:
    assert run("read", "numbers", "--offset", "1", "--limit", "1") == (0, "k  n\n─  ─\na  2\n", "")
    code, out, _ = run("read", "numbers", "--json")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (
        0,
        [{"k": "a", "n": 1}, {"k": "a", "n": 2}, {"k": "a", "n": None}],
    )
    assert json.loads(run("read", "numbers", "--partition", "1", "--json")[1]) == {"k": "b", "n": 10}
    assert run("read", "numbers", "--offset", "3") == (0, "k  n\n─  ─\n", ""), "past the end there is nothing"
    numbers.trim(2)
    assert json.loads(run("read", "numbers", "--json")[1]) == {"k": "a", "n": None}, "from the start by default"


@pytest.mark.parametrize(
    ("tokens", "code", "kind", "message"),
    [
        (["read", "number"], 2, "PlanError", 'there is no topic "number" in .thalweg/log; did you mean "numbers"?'),
        (["read", "numbers", "--partition", "2"], 2, "PlanError", "has the partitions 0 to 1, and no 2"),
        (["read", "numbers", "--offset", "0"], 1, "OffsetGone", "is gone: the first that may be read is 1"),
        (["read", "numbers", "--limit", "-1"], 2, "CommandError", "--limit"),
        (["describe", "nubmers"], 2, "PlanError", 'did you mean "numbers"?'),
        (["tail", "zzz"], 2, "PlanError", "there are: numbers"),
        (["list", "numbers"], 2, "CommandError", "numbers"),
        (["reed", "numbers"], 2, "CommandError", "thalweg topic --help"),
    ],
)
def test_mistakes_have_a_code_and_for_machines_an_object(
    run: Run, numbers: Topic, tokens: list[str], code: int, kind: str, message: str
) -> None:
    numbers.trim(1)
    given, out, err = run(*tokens)
    assert (given, out) == (code, "")
    assert message in err
    given, out, err = run(*tokens, "--json")
    found = json.loads(err)
    assert (given, out, found["exit_code"], found["error"]) == (code, "", code, kind)
    assert message in found["message"]


# ---------------------------------------------------------------------- trim, verify, delete


def test_rows_below_an_offset_are_trimmed(run: Run, numbers: Topic) -> None:
    assert run("trim", "numbers", "--before", "2", "--partition", "0") == (0, "", "numbers[0] now starts at offset 2\n")
    assert values() == [None, 10]


class Then(SystemClock):
    """The clock of some days ago."""

    def __init__(self, days: int) -> None:
        self._before_us = days * 86_400_000_000

    def now_us(self) -> int:
        return super().now_us() - self._before_us


@pytest.mark.parametrize(("partition", "kept"), [(None, [3, 3]), (0, [3, 1, 2, 3]), (1, [1, 2, 3, 3])])
def test_rows_older_than_an_age_are_trimmed(run: Run, partition: int | None, kept: list[int]) -> None:
    Log(LOG).create("numbers", NUMBERS, partitions=2)
    for n, days in enumerate((10, 8, 1), 1):
        with Log(LOG, clock=Then(days)) as log:
            for number in (0, 1):
                log.topic("numbers").append([{"k": "a", "n": n}], number)
    where = [] if partition is None else ["--partition", str(partition)]
    code, _, err = run("trim", "numbers", "--before", "7d", *where)
    trimmed = (0, 1) if partition is None else (partition,)
    assert (code, err) == (0, "".join(f"numbers[{number}] now starts at offset 2\n" for number in trimmed))
    assert values() == kept


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["--before", "2"], "numbers has 2 partitions, each with offsets of its own; --partition N"),
        (["--before", "2", "--partition", "2"], "has the partitions 0 to 1, and no 2"),
        (["--before", "yesterday"], '--before is "yesterday", which is not a duration; allowed'),
        (["--before", "²"], "--before"),
        ([], "--before"),
    ],
)
def test_what_cannot_be_trimmed_is_told(run: Run, numbers: Topic, tokens: list[str], message: str) -> None:
    code, out, err = run("trim", "numbers", *tokens)
    assert (code, out) == (2, "")
    assert message in err
    assert len(values()) == 4


def harm(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_whole_topics_are_verified(run: Run, numbers: Topic) -> None:
    Log(LOG).create("more", NUMBERS)
    assert run("verify") == (0, "", "more: all is as it was written\nnumbers: all is as it was written\n")
    assert run("verify", "more") == (0, "", "more: all is as it was written\n")


def test_each_damage_is_named_and_sound_topics_are_told_apart(run: Run, numbers: Topic) -> None:
    Log(LOG).create("more", NUMBERS)
    segments = sorted((LOG / "numbers").rglob("*.seg"))
    for segment in segments:
        harm(segment, -70)
    code, out, err = run("verify")
    assert code == 1
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(segment) for segment in segments]
    assert "offsets from 0" in out
    assert "more: all is as it was written\n" in err
    assert "thalweg: 2 damaged places; restore the files from a copy, or trim the topic behind them" in err
    code, out, err = run("verify", "more")
    assert (code, out) == (0, "")


def test_damaged_metadata_does_not_hide_the_damage_of_other_topics(run: Run, numbers: Topic) -> None:
    Log(LOG).create("first", NUMBERS)
    harm(LOG / "first" / "topic.json", 20)
    (segment,) = (LOG / "numbers" / "0000").glob("*.seg")
    harm(segment, -70)
    code, out, err = run("verify")
    assert code == 1
    assert "topic.json" in out
    assert str(segment) in out
    assert "2 damaged places" in err


def test_a_damaged_topic_does_not_keep_the_others_from_the_list(run: Run, numbers: Topic) -> None:
    Log(LOG).create("first", NUMBERS)
    harm(LOG / "first" / "topic.json", 20)
    code, out, err = run("list", "--json")
    assert code == 1
    assert [json.loads(line)["topic"] for line in out.splitlines()] == ["numbers"]
    assert str(LOG / "first" / "topic.json") in err


def test_nothing_is_looked_at_where_a_topic_is_not_there(run: Run, numbers: Topic) -> None:
    code, out, err = run("verify", "numbers", "nubmers")
    assert (code, out) == (2, "")
    assert err == 'thalweg: there is no topic "nubmers" in .thalweg/log; did you mean "numbers"?\n'


def test_a_topic_is_deleted_only_where_that_is_confirmed(run: Run, numbers: Topic) -> None:
    code, out, err = run("delete", "numbers")
    assert (code, out) == (2, "")
    assert "this deletes 4 rows of numbers for ever; say so: thalweg topic delete numbers --yes" in err
    assert len(values()) == 4
    assert run("delete", "numbers", "--yes") == (0, "", "numbers is deleted\n")
    assert Log(LOG).topics() == []
    assert run("delete", "numbers", "--yes")[0] == 2


@pytest.mark.parametrize(
    "command", ["create", "list", "describe", "append", "read", "tail", "trim", "verify", "delete"]
)
def test_the_help_of_each_command_has_an_example(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"thalweg topic {command}" in out.partition("Examples:")[2]
