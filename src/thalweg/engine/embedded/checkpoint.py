"""Checkpoints: the state of a run between two steps, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa

from thalweg.columnar.frames import to_frame
from thalweg.core.instants import Reached, goes_on
from thalweg.core.outage import Retrying
from thalweg.engine.embedded import ledger
from thalweg.engine.embedded.intake import Intake
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.posting import OutboxDelivery
from thalweg.engine.embedded.stage import Stage
from thalweg.engine.embedded.stored_view import views_of
from thalweg.plan.saved import SavedStep
from thalweg.state.files import Stored
from thalweg.state.outbox import Owed
from thalweg.state.store import Start, StateStore

_PIECE_BYTES: Final = 16 * 2**20

_COUNTS = (
    "rows_in",
    "pairs",
    "passed",
    "filtered",
    "late",
    "rejected",
    "absorbed",
    "released",
    "held",
    "rows_out",
    "redriven",
    "carried",
)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a checkpoint is made.

    Attributes:
        epoch: Its epoch.
        time_us: The wall clock, in microseconds since 1970.
        sealed: Whether the input is complete.
    """

    epoch: int
    time_us: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """The state of a run between two steps. Frames never change, so it can be written while the run goes on.

    Attributes:
        body: What the manifest says, but for the files of the frames.
        frames: The frames of each stage, by its fingerprint and their names.
        outputs: By output: the last epoch that had rows for it, and what of them it has not confirmed.
    """

    body: dict[str, Any]
    frames: Mapping[str, Mapping[str, pl.DataFrame]]
    outputs: Mapping[str, tuple[int, Sequence[Owed]]]


class Checkpoints:
    """Writes and reads the checkpoints of one app.

    Args:
        directory: Where they are.
        prints: The fingerprint of each stage's and read's node, by ledger entry.
        room: How a full disk is waited for; None: not at all.
        program: The steps of the program, to know what has become of them when the program is another one.
        reached: Is told how far a checkpoint is.

    Attributes:
        store: The files.
        redriven: Up to which offset the rows that are sent again were taken.
    """

    def __init__(
        self,
        directory: Path,
        prints: Mapping[int, str],
        program: Sequence[SavedStep],
        room: Retrying | None = None,
        reached: Reached = goes_on,
    ) -> None:
        self.store = self._store = StateStore(directory, room, reached)
        self._prints = prints
        self._program = program
        self._written: dict[int, tuple[pl.DataFrame, Stored]] = {}
        """The frames of the last checkpoint, by ``id``: one that is still there is not written again."""
        self._read: dict[int, Stored] = {}
        """The frames that a stage was given to restore."""
        self._number = 0
        self._outputs: dict[str, tuple[int, Sequence[Owed]]] = {}
        self.redriven = 0

    @property
    def directory(self) -> Path:
        """Where they are."""
        return self._store.directory

    def start(self) -> Start:
        """Note that a run starts on this state."""
        return self._store.start()

    @property
    def outputs(self) -> Mapping[str, tuple[int, Sequence[Owed]]]:
        """By output: the last epoch that had rows for it, and what of them it has not confirmed."""
        return self._outputs

    def cut(
        self,
        at: Moment,
        stages: Sequence[Stage],
        intakes: Sequence[Intake],
        deliveries: Mapping[str, OutboxDelivery],
        entries: Sequence[Entry],
    ) -> Cut:
        """Return the state as it is now, to be written."""
        body: dict[str, Any] = {"epoch": at.epoch, "time_us": at.time_us, "sealed": at.sealed}
        body |= {"stages": {}, "reads": {}, "redriven": self.redriven}
        frames: dict[str, dict[str, pl.DataFrame]] = {}
        for stage in stages:
            name = self._prints[id(stage.entry)]
            frames[name] = dict(stage.snapshot())
            body["stages"][name] = {
                "step": stage.entry.step,
                "counts": counts_of(stage.entry),
                "watermark": stage.watermark,
            }
        for intake in intakes:
            body["reads"][self._prints[id(intake.entry)]] = {
                "step": intake.entry.step,
                "counts": counts_of(intake.entry),
                "watermark": intake.last_watermark,
                "exceptions": [asdict(e) for e in intake.exceptions],
                "partitions": intake.saved(),
            }
        body["views"] = views_of(stages, self._prints)
        body["program"] = [step.as_json() for step in self._program]
        body["ledger"] = ledger.table(entries).to_pylist()
        # An output of an earlier program keeps what it is owed until the program has it again.
        outputs = self._outputs | {name: (each.last, each.owed()) for name, each in deliveries.items()}
        body["outputs"] = {name: [last, [each.as_json() for each in owed]] for name, (last, owed) in outputs.items()}
        return Cut(body, frames, outputs)

    def write(self, cut: Cut) -> None:
        """Write a checkpoint and commit it; only frames that are new since the last are written. From any thread.

        Raises:
            StateError: It cannot be written.
        """
        body, kept = cut.body, dict[int, tuple[pl.DataFrame, Stored]]()
        for name, frames in cut.frames.items():
            names: dict[str, list[str]] = {}
            for key, frame in frames.items():
                _, stored = kept.get(id(frame)) or self._written.get(id(frame)) or self._new(frame, body["epoch"])
                kept[id(frame)] = (frame, stored)
                names[key] = [stored.file, stored.sha256]
            body["stages"][name]["frames"] = names
        owed = [each.stored for _, each_owed in cut.outputs.values() for each in each_owed]
        self._store.commit(body, [*(stored for _, stored in kept.values()), *owed])
        self._written = kept
        self._outputs = dict(cut.outputs)

    def load(self, recover_from: int | None = None) -> dict[str, Any] | None:
        """Return what a checkpoint says, the last by default; None if there is none.

        Raises:
            StateError: It is damaged, of a later version, or not kept.
        """
        body = self._store.load(recover_from)
        if body is not None:
            self._outputs = {
                name: (last, [Owed.from_json(each) for each in owed]) for name, (last, owed) in body["outputs"].items()
            }
            self.redriven = int(body["redriven"])
        return body

    def restore_stage(self, stage: Stage, saved: Mapping[str, Any]) -> None:
        """Give an operator the state that a checkpoint says it had.

        Raises:
            StateError: A file is missing or damaged.
        """
        frames = {key: self._frame(Stored(file, digest)) for key, (file, digest) in saved["frames"].items()}
        stage.restore(dict(frames))  # the frames themselves are held, so that no other object has the id of one
        for _, frame in stage.snapshot():
            if id(frame) in self._read:
                self._written[id(frame)] = (frame, self._read[id(frame)])
        self._read.clear()
        stage.watermark = saved["watermark"]
        restore_counts(stage.entry, saved["counts"])

    def forget_later(self) -> None:
        """Remove the checkpoints after the one that was restored."""
        self._store.forget_later()

    def close(self) -> None:
        """Unlock the directory."""
        self._store.close()

    def _new(self, frame: pl.DataFrame, epoch: int) -> tuple[pl.DataFrame, Stored]:
        self._number += 1
        return frame, self._store.write(f"files/{epoch:08d}-{self._number:06d}.arrow", _pieces(frame))

    def _frame(self, stored: Stored) -> pl.DataFrame:
        frame = to_frame(self._store.read(stored))
        self._read[id(frame)] = stored
        return frame


def _pieces(frame: pl.DataFrame) -> Iterator[pa.Table]:
    """Give a frame as Arrow tables of some MiB each, which hold its own bytes and no others'."""
    rows = max(frame.height * _PIECE_BYTES // max(int(frame.estimated_size()), 1), 1)
    for start in range(0, max(frame.height, 1), rows):
        # Text in the newest layout refers to whatever text it was once cut from, and that would be written with it.
        yield frame[start : start + rows].to_arrow(compat_level=pl.CompatLevel.oldest())


def counts_of(entry: Entry) -> dict[str, int]:
    """Return the counts of a ledger entry by name."""
    return {name: getattr(entry, name) for name in _COUNTS}


def restore_counts(entry: Entry, counts: Mapping[str, int]) -> None:
    """Give a ledger entry the counts of a checkpoint."""
    for name, value in counts.items():
        setattr(entry, name, value)
