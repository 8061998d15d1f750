"""Frames of state in a form that Arrow files can hold, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.partial import Partial

_WIDE = ":int128"


def portable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with 128-bit integers, which Arrow lacks, as text."""
    wide = [name for name, kind in frame.schema.items() if kind == pl.Int128]
    return (
        frame.with_columns(pl.col(wide).cast(pl.String)).rename({name: name + _WIDE for name in wide})
        if wide
        else frame
    )


def restored(frame: pl.DataFrame) -> pl.DataFrame:
    """Undo ``portable``."""
    wide = [name for name in frame.columns if name.endswith(_WIDE)]
    names = {name: name.removesuffix(_WIDE) for name in wide}
    return frame.with_columns(pl.col(wide).cast(pl.Int128)).rename(names) if wide else frame


def in_tiers(frames: Iterable[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return frames laid together so that each has at least twice the rows of the next.

    Done again when some were added, most of the rows are in the same objects as before: a checkpoint writes those that
    are not, and over time each row is written a logarithmic number of times.
    """
    tiers: list[pl.DataFrame] = []
    for frame in frames:
        tiers.append(frame)
        while len(tiers) > 1 and tiers[-2].height < 2 * tiers[-1].height:
            tiers[-2:] = [stacked(tiers[-2:]).rechunk()]
    return tiers


def save_frames(name: str, frames: Iterable[pl.DataFrame]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Give frames as named ones; one that Arrow files can hold is the same object as before."""
    for number, frame in enumerate(frames):
        yield f"{name}/{number}", portable(frame)


def load_frames(name: str, frames: Mapping[str, pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the frames that were given under this name, in their order."""
    numbers = sorted(int(key.split("/")[-1]) for key in frames if key.startswith(f"{name}/"))
    return [restored(frames[f"{name}/{number}"]) for number in numbers]


def save_partial(name: str, partial: Partial) -> Iterator[tuple[str, pl.DataFrame]]:
    """Give a partial as named frames."""
    yield f"{name}/main", portable(partial.main)
    bounds = {"number": list(partial.bounds), "bound": [float(bound) for bound in partial.bounds.values()]}
    yield f"{name}/bounds", pl.DataFrame(bounds, schema={"number": pl.Int64, "bound": pl.Float64})
    for number, side in partial.sides.items():
        yield f"{name}/side{number}", portable(side)


def load_partial(name: str, frames: Mapping[str, pl.DataFrame]) -> Partial:
    """Return the partial that was given as frames of this name."""
    bounds = frames[f"{name}/bounds"]
    prefix = f"{name}/side"
    return Partial(
        restored(frames[f"{name}/main"]),
        {int(key.removeprefix(prefix)): restored(f) for key, f in frames.items() if key.startswith(prefix)},
        dict(zip(bounds["number"].to_list(), bounds["bound"].to_list(), strict=True)),
    )
