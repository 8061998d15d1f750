"""A view as the last checkpoint has it, read without the program, also while a run is on."""

from __future__ import annotations

import hashlib
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
            frames = [restored(_frame(directory, *named)) for named in body["stages"][step]["frames"].values()]
        except FileNotFoundError as error:
            # A run that is on may have made the next checkpoint meanwhile, and removed what it does not name.
            if body["epoch"] == seen:
                raise StateError(f"the state file {error.filename} is missing; restore it from a copy") from error
            seen = int(body["epoch"])
            continue
        return StoredView(_table(frames), key)


def _table(frames: list[pl.DataFrame]) -> pa.Table | None:
    if not frames:
        return None
    frame = stacked(frames)
    if WEIGHT in frame.columns:
        names = [column for column in frame.columns if column != WEIGHT]
        net = frame.group_by(names).agg(pl.col(WEIGHT).sum())
        frame = copies(net.filter(pl.col(WEIGHT) > 0)).select(names)
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _frame(directory: Path, file: str, sha256: str) -> pl.DataFrame:
    path = directory / file
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StateError(f"the state file {path} is damaged: its checksum is wrong; restore it from a copy")
    with pa.ipc.open_file(pa.BufferReader(data)) as reader:
        return to_frame(reader.read_all())
