"""Keyed rows in runs: what is looked up is what was inserted last, whatever the hashes."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.shares import share
from thalweg.engine.embedded import arrangement as module
from thalweg.engine.embedded.arrangement import Arrangement, stacked

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


def plain(found: pl.DataFrame | None) -> list[tuple[Any, ...]]:
    rows = [] if found is None else found.select("k", "name", "v").rows()
    return sorted(rows, key=repr)


@pytest.fixture(autouse=True, params=[0, 4, None], ids=["in runs", "soon in runs", "plain"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rows be kept in sorted runs from the beginning, soon, or (being few) not at all."""
    if request.param is not None:
        monkeypatch.setattr(module, "FEW_ROWS", request.param)


@pytest.fixture(params=["real hashes", "few hashes", "one hash"])
def hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes keys collide: two keys that share a hash are still two keys."""
    modulo = {"real hashes": None, "few hashes": 3, "one hash": 1}[request.param]
    real = module._hashes
    if modulo is not None:
        monkeypatch.setattr(module, "_hashes", lambda frame, names: real(frame, names) % modulo)
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
        assert plain(made.all()) == sorted(kept, key=repr)
        assert plain(made.lookup(keys(wanted))) == sorted((row for row in kept if row[0] in wanted), key=repr)

    holds()


@pytest.mark.usefixtures("hashes")
def test_one_row_per_key_is_replaced_as_a_whole() -> None:
    made = Arrangement(["k"])
    for value in range(40):
        made.insert(frame({(value % 4, "x"): value}))
    assert plain(made.all()) == [(0, "x", 36), (1, "x", 37), (2, "x", 38), (3, "x", 39)]


@pytest.mark.usefixtures("hashes")
def test_keys_that_are_not_there_are_not_found() -> None:
    made = Arrangement(["k"])
    assert made.lookup(keys([1])) is None
    assert made.all() is None
    made.insert(frame({(1, "x"): 1, (None, "x"): 2}))
    assert made.lookup(keys([2, 3])) is None
    assert plain(made.lookup(keys([None, 5]))) == [(None, "x", 2)]


def test_runs_stay_few() -> None:
    made = Arrangement(["k"], None)
    for value in range(256):
        made.insert(frame({(value, "x"): value}))
        assert len(made._runs) <= 9  # their sizes at least double, so their number is logarithmic
    assert len(plain(made.all())) == 256


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
    assert sorted(found.get_column("v").to_list()) == [1, 2, 3]


def test_stacking_widens_a_column_that_grew() -> None:
    narrow = pl.DataFrame({"k": [1], "s": pl.Series([5], dtype=pl.Int64)})
    wide = pl.DataFrame({"k": [2], "s": pl.Series([2**80], dtype=pl.Int128)})
    both = stacked([narrow, wide])
    assert both.schema["s"] == pl.Int128
    assert both.get_column("s").to_list() == [5, 2**80]
