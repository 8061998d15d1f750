"""A view as the last checkpoint has it, read without the program, also while a run is on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import to_frame
from thalweg.core.errors import PlanError, StateError, near
from thalweg.engine.embedded.arrangement import stacked
from thalweg.engine.embedded.outputs import ViewOutlet
from thalweg.engine.embedded.rows import WEIGHT, copies
from thalweg.engine.embedded.stage import Stage
from thalweg.engine.embedded.stored import restored
from thalweg.engine.embedded.weighted import added_up
from thalweg.state.files import read_checked
from thalweg.state.manifests import read_manifest


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view's rows in a state directory.

    Attributes:
        rows: Its rows; None while it has none, and so no columns that are known.
        key: The columns that name a row.
    """

    rows: pa.Table | None
    key: tuple[str, ...]


def views_of(stages: Iterable[Stage], prints: Mapping[int, str]) -> dict[str, Any]:  # a JSON object
    """Return what a manifest says of views, so that they are found by name: the step of each, and its key."""
    views = ((stage.view, prints[id(stage.entry)]) for stage in stages if isinstance(stage, ViewOutlet))
    return {view.name: {"step": step, "key": list(view.key or ())} for view, step in views}


def stored_view(directory: Path, name: str) -> StoredView:
    """Return a view of the last checkpoint of a state directory.

    Raises:
        PlanError: There is no checkpoint, or it has no such view.
        StateError: The state is damaged.
    """
    seen = -1
    while True:
        body = read_manifest(directory)
        if body is None:
            raise PlanError(f"there is no checkpoint in {directory}; run the app first")
        views = body.get("views", {})
        if name not in views:
            raise PlanError(f'the state in {directory} has no view "{name}"; {near(name, views)}')
        step, key = views[name]["step"], tuple(views[name]["key"])
        try:
            named = body["stages"][step]["frames"].values()
            frames = [restored(to_frame(read_checked(directory / file, sha256))) for file, sha256 in named]
        except FileNotFoundError as error:
            # A run that is on may have made the next checkpoint meanwhile, and removed what it does not name.
            if body["epoch"] == seen:
                raise StateError(f"the state file {error.filename} is missing; restore it from a copy") from error
            seen = int(body["epoch"])
            continue
        except StateError as error:
            raise StateError(f"{error}; restore it from a copy") from error
        return StoredView(_table(frames), key)


def _table(frames: list[pl.DataFrame]) -> pa.Table | None:
    if not frames:
        return None
    frame = stacked(frames)
    if WEIGHT in frame.columns:
        frame = copies(added_up(frame).filter(pl.col(WEIGHT) > 0))
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
