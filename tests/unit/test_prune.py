"""Which columns of a step's rows can be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import thalweg as tw
from thalweg import col, count
from thalweg.columnar.decode_table import WholeRows, may_be_left_out
from thalweg.connect import call, memory, view
from thalweg.connect._files_found import Found
from thalweg.connect._files_read import OpenFiles
from thalweg.core.ports import SourceBatch
from thalweg.core.schema import schema_of
from thalweg.plan import nodes as n
from thalweg.plan.expr import Expr
from thalweg.plan.fingerprint import fingerprints, state_fingerprints
from thalweg.plan.prune import Needed, all_columns, join_columns, needed_columns

SCHEMA = pa.schema(
    {"k": pa.int64(), "x": pa.float64(), "n": pa.int64(), "s": pa.string(), "ts": pa.timestamp("us", tz="UTC")}
)
ALL = frozenset(SCHEMA.names)


def rows(app: tw.App, **how: Any) -> tw.Stream:
    return app.read(memory([[]]), schema=SCHEMA, **how)


def of_the_read(stream: tw.Stream, app: tw.App) -> Needed:
    stream.write(view("v"))
    (read,) = (node for node in app.plan.nodes() if isinstance(node, n.Read))
    return needed_columns(app.plan)[read]


def test_what_is_written_needs_all() -> None:
    app = tw.App("a")
    assert of_the_read(rows(app), app).columns == ALL


def test_a_selection_needs_what_its_visible_columns_are_made_of() -> None:
    app = tw.App("a")
    made = rows(app).with_columns(y=col("x") * 2.0, z=col("s").str.to_lowercase()).select("k", "y")
    assert of_the_read(made, app).columns == {"k", "x"}


def test_a_filter_needs_its_condition_too() -> None:
    app = tw.App("a")
    assert of_the_read(rows(app).filter(col("s") == "a").select("k"), app).columns == {"k", "s"}


@pytest.mark.parametrize("raising", [col("n") * 2, col("s").cast(int), col("n").abs()])
def test_an_expression_that_may_raise_needs_the_row_whole(raising: Expr) -> None:
    app = tw.App("a")
    assert of_the_read(rows(app).with_columns(y=raising).select("k"), app).columns == ALL


def test_an_aggregate_needs_keys_and_arguments() -> None:
    app = tw.App("a")
    assert of_the_read(rows(app).group_by("k").agg(m=col("x").max()), app) == Needed(
        frozenset({"k", "x"}), frozenset({"k", "x"})
    )


@pytest.mark.parametrize("ordered", [col("x").first(), col("x").arg_max(by="n"), col("x").mode(), col("x").collect()])
def test_an_aggregate_that_breaks_ties_needs_all(ordered: Expr) -> None:
    app = tw.App("a")
    assert of_the_read(rows(app).group_by("k").agg(m=ordered), app).columns == ALL


def test_a_window_needs_the_row_whole_only_where_it_may_be_late() -> None:
    app = tw.App("a")
    assert of_the_read(rows(app, time="ts").group_by("k").window("1m").agg(n=count()), app) == Needed(
        frozenset({"k"}), ALL
    )


def test_rows_that_are_only_counted_have_one_column() -> None:
    app = tw.App("a")
    assert of_the_read(rows(app).agg(n=count()), app).columns == {"k"}


def _first_by_key(stream: tw.Stream) -> tw.Stream:
    return stream.top_k(1, by="x", per="k").select("k")


def _by_function(stream: tw.Stream) -> tw.Stream:
    return stream.map(dict, schema=SCHEMA).select("k")


@pytest.mark.parametrize("build", [_first_by_key, _by_function])
def test_top_k_and_user_code_need_all(build: Callable[[tw.Stream], tw.Stream]) -> None:
    app = tw.App("a")
    assert of_the_read(build(rows(app)), app).columns == ALL


def joined(changing: bool) -> tuple[n.Plan, n.Join]:
    app = tw.App("a")
    right = rows(app).group_by("k", "s").agg(x=col("x").max()) if changing else rows(app)
    rows(app).join(right, on="k").select("n", "x_right").write(call(print))
    (join,) = (node for node in app.plan.nodes() if isinstance(node, n.Join))
    return app.plan, join


def test_a_join_keeps_keys_and_what_can_be_seen() -> None:
    plan, join = joined(changing=False)
    assert join_columns(join, needed_columns(plan)[join]) == (("k", "n"), ("k", "x"))


def test_a_join_with_a_changing_table_keeps_all() -> None:
    plan, join = joined(changing=True)
    assert join_columns(join, needed_columns(plan)[join]) == (SCHEMA_NAMES, ("k", "s", "x"))


SCHEMA_NAMES = tuple(SCHEMA.names)


def test_a_state_that_keeps_fewer_columns_has_another_name_and_the_same_each_time() -> None:
    (plan, join), (again, same) = joined(changing=False), joined(changing=False)
    names = state_fingerprints(plan, needed_columns(plan))
    assert names[join] == state_fingerprints(again, needed_columns(again))[same] != fingerprints(plan)[join]
    assert state_fingerprints(plan, all_columns(plan)) == fingerprints(plan)


def test_only_columns_that_can_reject_nothing_are_left_unread(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"a": [1], "b": [2], "c": ["x"], "d": pa.array([3], pa.int32())}), path)
    kinds = [("a", pa.int64(), True), ("b", pa.int64(), False), ("c", pa.string(), True), ("d", pa.int64(), True)]
    schema = schema_of(pa.schema([pa.field(*kind) for kind in kinds]))
    assert may_be_left_out(path, schema, {"a"}) == ("c",)
    assert may_be_left_out(path, schema, {"elsewhere"}) == ()


def test_rows_are_read_again_from_a_file_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(10), "b": range(10)}), path, row_group_size=4)
    whole = WholeRows(str(path), ["a", "b"])
    path.unlink()
    assert whole.read(3, 3).to_pydict() == {"a": [3, 4, 5], "b": [3, 4, 5]}


def test_a_file_of_which_rows_were_asked_for_whole_is_read_whole_from_there_on(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(70_000), "b": range(70_000)}), path)
    found = [Found("a.parquet", str(path), "parquet", None)]
    schema = schema_of(pa.schema({"a": pa.int64(), "b": pa.int64()}))
    reader = OpenFiles(lambda: found, schema, False, str(path), wanted=frozenset("a")).reader("files", None)
    first = reader.read(70_000, 0)
    assert isinstance(first, SourceBatch) and first.whole is not None
    assert (first.data.schema.names, first.left_out) == (["a"], ("b",))
    assert first.whole().slice(7, 1).to_pydict() == {"a": [7], "b": [7]}
    second = reader.read(70_000, 0)
    assert isinstance(second, SourceBatch)
    assert (second.data.schema.names, second.left_out) == (["a", "b"], ())
    assert second.data["b"][0].as_py() == first.data.num_rows
    reader.close()
