"""Keyed rows in runs: what is looked up is what was inserted last, whatever the hashes."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.shares import share
from thalweg.engine.embedded import arrangement as module
from thalweg.engine.embedded import hashed_runs
from thalweg.engine.embedded.arrangement import Arrangement, Counted, Found, stacked

KEY = st.one_of(st.none(), st.integers(0, 30))
BATCH = st.dictionaries(st.tuples(KEY, st.sampled_from(["x", "y"])), st.integers(0, 99), max_size=12)
"""Values by (key, name)."""
SCHEMA: dict[str, Any] = {"k": pl.Int64, "name": pl.String, "v": pl.Int64}
Pairs = dict[tuple[int | None, str], int]


def frame(batch: Pairs) -> pl.DataFrame:
    rows = [(key, name, value) for (key, name), value in batch.items()]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def keys(wanted: list[int | None]) -> pl.DataFrame:
    return pl.DataFrame({"k": pl.Series(wanted, dtype=pl.Int64)})


def plain(found: Found | None) -> list[tuple[Any, ...]]:
    rows = [] if found is None else found.rows.select("k", "name", "v").rows()
    return sorted(rows, key=repr)


def everything(made: Arrangement) -> list[tuple[Any, ...]]:
    return plain(made.lookup(keys([None, *range(256)])))


def again(made: Arrangement, identity: tuple[str, ...] | None) -> Arrangement:
    """Another arrangement, of the frames of this one."""
    other = Arrangement(["k"], identity)
    other.restore(made.frames())
    return other


@pytest.fixture(autouse=True, params=[0, 4, None], ids=["in runs", "soon in runs", "plain"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """Let rows be kept in sorted runs from the beginning, soon, or (being few) not at all."""
    if request.param is not None:
        monkeypatch.setattr(module, "FEW_ROWS", request.param)
    return None if request.param is None else int(request.param)


@pytest.fixture(params=["real hashes", "few hashes", "one hash"])
def hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes keys collide: two keys that share a hash are still two keys."""
    modulo = {"real hashes": None, "few hashes": 3, "one hash": 1}[request.param]
    real = hashed_runs._hashes
    if modulo is not None:
        monkeypatch.setattr(hashed_runs, "_hashes", lambda keys: real(keys) % modulo)
    return str(request.param)


@pytest.mark.usefixtures("hashes")
@pytest.mark.parametrize("identity", [("name",), None], ids=["replaced", "added"])
def test_a_lookup_gives_the_current_rows(identity: tuple[str, ...] | None) -> None:
    @share(0.3)
    @given(st.lists(BATCH, max_size=10), st.lists(KEY, unique=True, max_size=12))
    def holds(batches: list[Pairs], wanted: list[int | None]) -> None:
        made = Arrangement(["k"], identity)
        current: Pairs = {}
        every: list[tuple[Any, ...]] = []
        for batch in batches:
            made.insert(frame(batch))
            current |= batch
            every += [(key, name, value) for (key, name), value in batch.items()]
        kept = every if identity is None else [(key, name, value) for (key, name), value in current.items()]
        assert plain(made.lookup(keys(wanted))) == sorted((row for row in kept if row[0] in wanted), key=repr)
        assert everything(made) == sorted(kept, key=repr)
        made = again(made, identity)
        assert everything(made) == sorted(kept, key=repr)
        assert plain(made.lookup(keys(wanted))) == sorted((row for row in kept if row[0] in wanted), key=repr)

    holds()


@pytest.mark.usefixtures("hashes")
def test_one_row_per_key_is_replaced_as_a_whole() -> None:
    made = Arrangement(["k"])
    for value in range(40):
        made.insert(frame({(value % 4, "x"): value}))
    assert everything(made) == [(0, "x", 36), (1, "x", 37), (2, "x", 38), (3, "x", 39)]


@pytest.mark.usefixtures("hashes")
def test_keys_that_are_not_there_are_not_found() -> None:
    made = Arrangement(["k"])
    assert made.lookup(keys([1])) is None
    assert made.frames() == []
    made.insert(frame({(1, "x"): 1, (None, "x"): 2}))
    assert made.lookup(keys([2, 3])) is None
    assert plain(made.lookup(keys([None, 5]))) == [(None, "x", 2)]


def test_runs_stay_few() -> None:
    made = Arrangement(["k"], None)
    for value in range(256):
        made.insert(frame({(value, "x"): value}))
        assert len(made._runs) <= 9  # their sizes at least double, so their number is logarithmic
    assert len(everything(made)) == 256


def test_inserting_nothing_makes_no_run() -> None:
    made = Arrangement(["k"])
    made.insert(frame({}))
    assert made._runs == []


def test_keys_of_several_columns_and_floats_are_found() -> None:
    made = Arrangement(["a", "b"])
    rows = pl.DataFrame({"a": ["x", "x", None], "b": [1.0, float("nan"), None], "v": [1, 2, 3]})
    made.insert(rows)
    found = made.lookup(rows.select("a", "b"))
    assert found is not None
    assert sorted(found.rows.get_column("v").to_list()) == [1, 2, 3]


def test_stacking_widens_a_column_that_grew() -> None:
    narrow = pl.DataFrame({"k": [1], "s": pl.Series([5], dtype=pl.Int64)})
    wide = pl.DataFrame({"k": [2], "s": pl.Series([2**80], dtype=pl.Int128)})
    both = stacked([narrow, wide])
    assert both.schema["s"] == pl.Int128
    assert both.get_column("s").to_list() == [5, 2**80]


@pytest.mark.usefixtures("hashes")
def test_rows_are_replaced_by_where_they_were_found() -> None:
    made = Arrangement(["k"])
    made.insert(frame({(key, "x"): key for key in range(6)}))
    for value in (10, 20):
        wanted = keys([1, 4, 7])
        made.insert(frame({(key, "x"): value for key in (1, 4, 7)}), made.lookup(wanted))
        current = {key: value if key in (1, 4, 7) else key for key in (0, 1, 2, 3, 4, 5, 7)}
        assert everything(made) == [(key, "x", number) for key, number in current.items()]


def test_what_was_found_is_not_taken_for_the_place_in_rows_that_changed_since() -> None:
    made = Arrangement(["k"])
    made.insert(frame({(1, "x"): 1, (2, "x"): 2}))
    found = made.lookup(keys([1]))
    made.insert(frame({(3, "x"): 3, (2, "x"): 5}))
    made.insert(frame({(1, "x"): 9}), found)
    assert everything(made) == [(1, "x", 9), (2, "x", 5), (3, "x", 3)]


@pytest.mark.usefixtures("hashes")
@share(0.1)
@given(
    st.lists(st.dictionaries(st.integers(0, 30), st.integers(1, 9), min_size=1, max_size=12), max_size=10),
    st.integers(-1, 31),
)
def test_rows_are_counted_without_being_merged_and_dropped_by_a_column(
    batches: list[dict[int, int]], limit: int
) -> None:
    made = Arrangement(["k"], counted=Counted("n", "added"))
    totals: dict[int, int] = {}
    for batch in batches:
        totals |= {key: totals.get(key, 0) + added for key, added in batch.items()}
        rows = {"k": list(batch), "n": [totals[key] for key in batch], "added": list(batch.values())}
        made.insert(pl.DataFrame(rows, schema={"k": pl.Int64, "n": pl.Int64, "added": pl.Int64}))
        assert made.total() == sum(totals.values())
    made.drop_up_to("k", limit)
    left = {key: total for key, total in totals.items() if key > limit}
    assert made.total() == sum(left.values())
    found = made.lookup(keys(list(range(31))))
    assert (sorted(found.rows.select("k", "n").rows()) if found is not None else []) == sorted(left.items())


def test_a_frame_that_did_not_change_is_the_same_frame_for_the_next_checkpoint(few: int | None) -> None:
    made = Arrangement(["k"])
    made.insert(frame({(key, "x"): key for key in range(100)}))
    first = made.frames()
    made.insert(frame({(1, "x"): 2}))
    if few is not None:
        assert made.frames()[0] is first[0]
        assert len(made.frames()) == 2
    else:
        assert len(made.frames()) == 1


def test_keys_that_no_row_has_are_told(few: int | None) -> None:
    made = Arrangement(["k"], identity=None)
    assert made.missing(keys([1, 2])).get_column("k").to_list() == [1, 2]
    made.insert(frame({(key, "x"): key for key in range(100)}))
    made.insert(frame({(200, "x"): 0}))
    assert sorted(made.missing(keys([5, 99, 100, 200, 201])).get_column("k").to_list()) == [100, 201]
    assert made.missing(keys(list(range(101)))).get_column("k").to_list() == [100]


def test_a_table_of_which_much_is_replaced_at_once_is_a_plain_frame_until_little_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FEW_ROWS", 0)
    monkeypatch.setattr(module, "MANY_ROWS", 10)
    made = Arrangement(["k"])
    made.insert(frame({(key, "x"): key for key in range(100)}))
    made.insert(frame({(key, "x"): -key for key in range(50)}))
    assert [part.height for part in made.frames()] == [100]
    made.insert(frame({(7, "x"): 700}))
    assert [part.height for part in made.frames()] == [100, 1]
    found = made.lookup(keys([7, 8, 60]))
    assert found is not None
    assert sorted(row[-1] for row in found.rows.rows()) == [-8, 60, 700]
    many = made.lookup(keys(list(range(100))))
    assert many is not None
    assert many.rows.height == 100
