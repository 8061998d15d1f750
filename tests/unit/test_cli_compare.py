"""``thalweg compare`` through the command line: what it reads, what it says, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import thalweg as tw
from thalweg import col
from thalweg.cli import main
from thalweg.connect import memory, view
from thalweg.log import Log

OLD = [{"page": "/a", "n": 1, "mean": 1.0}, {"page": "/b", "n": 2, "mean": 2.5}, {"page": "/c", "n": 3, "mean": None}]
NEW = [{"page": "/a", "n": 1, "mean": 1.0}, {"page": "/b", "n": 5, "mean": 2.5}, {"page": "/d", "n": 4, "mean": 0.5}]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*tokens: str) -> tuple[int, str, str]:
        code = main(["compare", *tokens])
        return code, *capsys.readouterr()

    return call


def write(path: str, rows: list[dict[str, Any]]) -> None:
    file = Path(path)
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":
        lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
        file.write_text("\n".join([",".join(rows[0]), *lines, ""]))
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("one", ["a.ndjson", "a.csv", "a.parquet", "a/part-1.ndjson"])
@pytest.mark.parametrize("other", ["b.ndjson", "b.csv", "b.parquet"])
def test_the_same_rows_are_the_same_in_every_format(run: Run, one: str, other: str) -> None:
    write(one, OLD)
    write(other, OLD[::-1])
    assert run(one if "/" not in one else "a", other) == (0, "the same 3 rows\n", "")


def test_whole_rows_that_only_one_has_are_shown(run: Run) -> None:
    write("a.ndjson", [*OLD, OLD[0]])
    write("b.parquet", NEW)
    assert run("a.ndjson", "b.parquet") == (
        1,
        """\
a.ndjson: 4, b.parquet: 3 rows; 1 equal

only in a.ndjson: 3
page  n  mean
────  ─  ────
/a    1   1.0
/b    2   2.5
/c    3  null

only in b.parquet: 2
page  n  mean
────  ─  ────
/b    5   2.5
/d    4   0.5
""",
        "",
    )


def test_rows_of_a_key_are_compared_column_by_column(run: Run) -> None:
    write("a.ndjson", OLD)
    write("b.ndjson", NEW)
    assert run("a.ndjson", "b.ndjson", "--key", "page") == (
        1,
        """\
a.ndjson: 3, b.ndjson: 3 rows; 1 equal by page

changed: 1 (n 1)
page  n
────  ─────
/b    2 → 5

only in a.ndjson: 1
page  n  mean
────  ─  ────
/c    3  null

only in b.ndjson: 1
page  n  mean
────  ─  ────
/d    4   0.5
""",
        "",
    )


def test_machines_get_the_differences_and_the_counts(run: Run) -> None:
    write("a.ndjson", OLD)
    write("b.ndjson", NEW)
    code, out, err = run("a.ndjson", "b.ndjson", "--key", "page", "--json")
    objects = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (1, "")
    assert objects[:3] == [
        {"changed": {"page": "/b"}, "columns": {"n": [2, 5]}},
        {"only_in": "a.ndjson", "row": OLD[2]},
        {"only_in": "b.ndjson", "row": NEW[2]},
    ]
    counts = objects[3]["comparison"]
    assert (counts["rows"], counts["equal"], counts["changed"], counts["same"]) == ([3, 3], 1, 1, False)
    assert (counts["only_in_a"], counts["only_in_b"], counts["changed_columns"]) == (1, 1, {"n": 1})


def test_a_limit_bounds_what_is_shown(run: Run) -> None:
    write("a.ndjson", [{"n": n} for n in range(20)])
    write("b.ndjson", [{"n": 100}])
    _, out, _ = run("a.ndjson", "b.ndjson", "--limit", "2")
    assert out.splitlines()[2:] == [
        "only in a.ndjson: 20",
        "n",
        "─",
        "0",
        "1",
        "… and 18 more; --limit shows them",
        "",
        "only in b.ndjson: 1",
        "  n",
        "───",
        "100",
    ]


def test_a_tolerance_is_for_floats(run: Run) -> None:
    write("a.ndjson", [{"n": 1, "f": 1.0}])
    write("b.ndjson", [{"n": 1, "f": 1.0000001}])
    assert run("a.ndjson", "b.ndjson")[0] == 1
    assert run("a.ndjson", "b.ndjson", "--tolerance", "1e-6")[0] == 0
    assert run("a.ndjson", "b.ndjson", "--tolerance", "1e-6", "--key", "n")[0] == 0


def test_columns_that_only_one_has_are_a_difference(run: Run) -> None:
    write("a.ndjson", [{"n": 1, "x": 1, "t": "word"}])
    write("b.ndjson", [{"n": 1, "y": 1, "t": 7}])
    assert run("a.ndjson", "b.ndjson") == (
        1,
        "columns only in a.ndjson: x\ncolumns only in b.ndjson: y\n"
        "column t cannot be compared: string in a.ndjson, int64 in b.ndjson\nthe same 1 row in the other columns\n",
        "",
    )


def test_a_topic_and_text_are_compared_in_the_types_of_the_topic(run: Run) -> None:
    log = Log(".thalweg/log")
    schema = pa.schema([("page", pa.string()), ("n", pa.int32()), ("mean", pa.float32())])
    log.create("counts", schema=schema, partitions=3, key="page").append(OLD)
    write("a.csv", OLD)
    assert run("a.csv", "topic:counts") == (0, "the same 3 rows\n", "")
    assert run("topic:counts", "a.csv", "--key", "page")[0] == 0
    assert (
        run("topic:count", "a.csv")
        == (
            2,
            "",
            'thalweg: there is no topic "count" in .thalweg/log; did you mean "counts"?\n',
        )
        or "did you mean" in run("topic:count", "a.csv")[2]
    )


def kept(name: str, rows: list[dict[str, Any]], **given: Any) -> None:
    app = tw.App(name)
    app.read(memory(rows)).group_by("page").agg(n=col("n").sum(), mean=col("mean").mean()).write(view("pages"))
    app.run(until="caught-up", quiet=True, **given)


def test_views_are_compared_by_their_key(run: Run) -> None:
    kept("old", OLD)
    kept("new", NEW, data="state/new")
    _, out, _ = run("view:old/pages", "view:state/new/pages")
    assert out.startswith("view:old/pages: 3, view:state/new/pages: 3 rows; 1 equal by page\n\nchanged: 1 (n 1)\n")
    assert run("view:old/pages", "view:old/pages") == (0, "the same 3 rows by page\n", "")


def test_an_output_without_rows_has_the_columns_of_the_other(run: Run) -> None:
    Path("empty").mkdir()
    write("a.ndjson", OLD)
    Path("none.ndjson").touch()
    for nothing in ("empty", "none.ndjson"):
        code, out, _ = run(nothing, "a.ndjson", "--key", "page")
        assert (code, out.splitlines()[0]) == (1, f"{nothing}: 0, a.ndjson: 3 rows; 0 equal by page")
    assert run("empty", "none.ndjson") == (0, "the same 0 rows\n", "")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["a.ndjson", "c.ndjson"], "there is no c.ndjson to compare;"),
        (["a.ndjson", "bad.ndjson"], "bad.ndjson cannot be compared: bad.ndjson:2: "),
        (["a.ndjson", "mixed"], "mixed cannot be compared: mixed holds files of several formats"),
        (["a.ndjson", "topic:none"], 'there is no topic "none" in .thalweg/log'),
        (["a.ndjson", "view:pages"], "view:pages names no view; allowed: view:APP/NAME"),
        (["a.ndjson", "view:app/pages"], "there is no checkpoint in .thalweg/apps/app; run the app first"),
        (["a.ndjson", "a.ndjson", "--key", "pages"], 'the key "pages" is no column of both;'),
        (["a.ndjson", "twice.ndjson", "--key", "page"], "the key page names several rows of the second: 1 more rows"),
        (["a.ndjson", "other.ndjson"], "a.ndjson and other.ndjson have no column in common: page, n, mean; x"),
    ],
)
def test_what_cannot_be_compared_is_told_and_ends_with_2(run: Run, tokens: list[str], message: str) -> None:
    write("a.ndjson", OLD)
    write("twice.ndjson", [*OLD, OLD[0]])
    write("other.ndjson", [{"x": 1}])
    Path("bad.ndjson").write_text('{"page": "/a"}\nnone\n')
    for suffix in ("csv", "parquet"):
        write(f"mixed/a.{suffix}", OLD)
    code, out, err = run(*tokens)
    assert (code, out) == (2, "")
    assert err.startswith(f"thalweg: {message}")
