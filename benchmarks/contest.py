"""Contestants take turns: what slows the machine for a while slows them all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

import polars as pl
import pyarrow as pa

from benchmarks.outcome import Comparison, WrongAnswerError


class Contestant(Protocol):
    """A way to compute an answer."""

    def run(self) -> None:
        """Compute it; this is what is timed."""
        ...

    def answer(self) -> pl.DataFrame:
        """Give the rows that were computed, and forget them; not timed.

        Raises:
            WrongAnswerError: They were not computed in the way that is measured.
        """
        ...


class OneShot:
    """A query over the whole input at once.

    Args:
        compute: Computes a frame or an Arrow table.
        shown: Gives the frame the columns of the expected one.
    """

    def __init__(
        self,
        compute: Callable[[], pl.DataFrame | pa.Table],
        shown: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
    ) -> None:
        self._compute = compute
        self._shown = shown
        self._computed: pl.DataFrame | pa.Table | None = None

    def run(self) -> None:
        self._computed = self._compute()

    def answer(self) -> pl.DataFrame:
        computed, self._computed = self._computed, None
        if computed is None:
            raise WrongAnswerError("the query was not run")
        frame = computed if isinstance(computed, pl.DataFrame) else pl.from_arrow(computed)
        assert isinstance(frame, pl.DataFrame)
        return self._shown(frame)


def polars_engines(query: pl.LazyFrame) -> dict[str, Contestant]:
    """Return a query as one contestant for each of Polars' engines."""

    def on(engine: Literal["in-memory", "streaming"]) -> Contestant:
        return OneShot(lambda: query.collect(engine=engine))

    return {"polars in-memory": on("in-memory"), "polars streaming": on("streaming")}


def take_turns(
    contestants: Mapping[str, Contestant], rounds: int, expected: pl.DataFrame
) -> dict[str, tuple[float, ...]]:
    """Return the seconds of each contestant in each round, after one round that is not timed.

    Every answer is checked, also the untimed ones. Every other round goes the other way round, so that none
    always runs after the same neighbour.

    Raises:
        WrongAnswerError: A contestant's rows are not the expected ones.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        names = list(contestants)
        for name in names if number % 2 == 0 else reversed(names):
            gc.collect()
            start = time.perf_counter()
            contestants[name].run()
            took = time.perf_counter() - start
            check_same(contestants[name].answer(), expected, name)
            if number:
                seconds[name].append(took)
    return {name: tuple(taken) for name, taken in seconds.items()}


def compared(
    name: str,
    rows: int,
    own_s: tuple[float, ...],
    references_s: Mapping[str, tuple[float, ...]],
    target: float,
    note: str = "",
) -> Comparison:
    """Return the comparison with the reference that was the fastest in the middle of its rounds."""
    best = min(references_s, key=lambda reference: statistics.median(references_s[reference]))
    return Comparison(name, rows, own_s, best, references_s[best], target, note)


def chosen(seconds: Mapping[str, tuple[float, ...]], names: Iterable[str]) -> dict[str, tuple[float, ...]]:
    """Return the seconds of some contestants."""
    return {name: seconds[name] for name in names}


def check_same(given: pl.DataFrame, expected: pl.DataFrame, name: str) -> None:
    """Check that two frames hold the same rows, in whatever order.

    Raises:
        WrongAnswerError: They don't; the message shows a row of each side that the other lacks.
    """
    same = given.select(expected.columns).cast(dict(expected.schema))  # type: ignore[arg-type]  # names to types
    if same.height == expected.height and _digest(same) == _digest(expected):
        return
    more = same.join(expected, on=expected.columns, how="anti", nulls_equal=True)
    less = expected.join(same, on=expected.columns, how="anti", nulls_equal=True)
    raise WrongAnswerError(
        f"{name} gave {same.height} rows where {expected.height} are right; {more.height} are wrong, such as "
        f"{more.head(1).rows()}, and {less.height} are missing, such as {less.head(1).rows()}"
    )


def _digest(frame: pl.DataFrame) -> int:
    """Return a number that every row takes part in, and no row's place: their hashes' sum modulo 2⁶⁴."""
    return int(frame.hash_rows().sum())
