"""Checkpoints: the state of a run between two steps, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from thalweg.columnar.frames import to_frame
from thalweg.core.errors import StateError
from thalweg.core.instants import Reached, goes_on
from thalweg.engine.contract import TimeException
from thalweg.engine.embedded import ledger
from thalweg.engine.embedded.delivery import OutboxDelivery
from thalweg.engine.embedded.intake import PARTITION, Intake
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.stage import Stage
from thalweg.state.outbox import Owed
from thalweg.state.store import Start, StateStore, Stored

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
)


class Checkpoints:
    """Writes and reads the checkpoints of one app.

    Args:
        directory: Where they are.
        prints: The fingerprint of each stage's and read's node, by ledger entry.
        reached: Is told how far a checkpoint is.

    Attributes:
        redriven: Up to which offset the rows that are sent again were taken.
    """

    def __init__(self, directory: Path, prints: Mapping[int, str], reached: Reached = goes_on) -> None:
        self._store = StateStore(directory, reached)
        self._prints = prints
        self._written: dict[str, tuple[pl.DataFrame, Stored]] = {}
        self._number = 0
        self._outputs: dict[str, tuple[int, Sequence[Owed]]] = {}
        self.redriven = 0

    def start(self) -> Start:
        """Note that a run starts on this state."""
        return self._store.start()

    @property
    def outputs(self) -> Mapping[str, tuple[int, Sequence[Owed]]]:
        """By output: the last epoch that had rows for it, and what of them it has not confirmed."""
        return self._outputs

    def save(
        self,
        epoch: int,
        stages: Sequence[Stage],
        intakes: Sequence[Intake],
        deliveries: Mapping[str, OutboxDelivery],
        entries: Sequence[Entry],
        *,
        sealed: bool,
    ) -> None:
        """Write a checkpoint; only frames that are new since the last are written."""
        files: dict[str, Stored] = {}
        kept: dict[str, tuple[pl.DataFrame, Stored]] = {}
        body: dict[str, Any] = {"epoch": epoch, "sealed": sealed, "stages": {}, "reads": {}, "redriven": self.redriven}
        for stage in stages:
            name = self._prints[id(stage.entry)]
            names: dict[str, list[str]] = {}
            for key, frame in stage.snapshot():
                stored = self._stored(f"{name}/{key}", frame, epoch)
                kept[f"{name}/{key}"] = (frame, stored)
                files[stored.file] = stored
                names[key] = [stored.file, stored.sha256]
            body["stages"][name] = {"frames": names, "counts": _counts(stage.entry), "watermark": stage.watermark}
        for intake in intakes:
            body["reads"][self._prints[id(intake.entry)]] = {
                "counts": _counts(intake.entry),
                "watermark": intake.last_watermark,
                "exceptions": [asdict(e) for e in intake.exceptions],
                "partitions": [
                    [p.name, p.position, p.running_max, p.floor, p.why, p.rows, p.idle or p.slept, p.done]
                    for p in intake.partitions.values()
                    if p.name != PARTITION
                ],
            }
        body["ledger"] = ledger.table(entries).to_pylist()
        # An output of an earlier program keeps what it is owed until the program has it again.
        outputs = self._outputs | {name: (each.last, each.owed()) for name, each in deliveries.items()}
        body["outputs"] = {name: [last, [each.as_json() for each in owed]] for name, (last, owed) in outputs.items()}
        self._store.commit(body, files)
        self._written = kept
        self._store.remove(_files(self._outputs) - _files(outputs))
        self._outputs = outputs

    def load(self, stages: Sequence[Stage], intakes: Sequence[Intake]) -> tuple[int, bool]:
        """Restore the last checkpoint; return its epoch (0: there is none) and whether it is sealed.

        Raises:
            StateError: It is damaged, or of another program.
        """
        body = self._store.load()
        if body is not None:
            self._outputs = {
                name: (last, [Owed.from_json(each) for each in owed]) for name, (last, owed) in body["outputs"].items()
            }
        self._store.sweep("outbox", _files(self._outputs))  # what a run that died was writing
        if body is None:
            return 0, False
        self.redriven = int(body["redriven"])
        known = {self._prints[id(stage.entry)] for stage in stages}
        known |= {self._prints[id(intake.entry)] for intake in intakes}
        saved = set(body["stages"]) | set(body["reads"])
        if known != saved:
            raise StateError(
                f"the state in {self._store.directory} is of another version of this program: {len(saved - known)} of "
                f"its {len(saved)} steps have changed. Run the program that made it, or start anew: name another "
                "directory with data=, or delete this one"
            )
        for stage in stages:
            entry = body["stages"][self._prints[id(stage.entry)]]
            frames = {
                key: to_frame(self._store.read(Stored(file, digest))) for key, (file, digest) in entry["frames"].items()
            }
            stage.restore(frames)
            stage.watermark = entry["watermark"]
            _restore_counts(stage.entry, entry["counts"])
        for intake in intakes:
            saved_read = body["reads"][self._prints[id(intake.entry)]]
            _restore_counts(intake.entry, saved_read["counts"])
            intake.restore(
                saved_read["watermark"],
                [TimeException(**e) for e in saved_read["exceptions"]],
                saved_read["partitions"],
            )
        return int(body["epoch"]), bool(body["sealed"])

    def close(self) -> None:
        """Unlock the directory."""
        self._store.close()

    def _stored(self, key: str, frame: pl.DataFrame, epoch: int) -> Stored:
        before = self._written.get(key)
        if before is not None and before[0] is frame:
            return before[1]
        self._number += 1
        table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
        return self._store.write(f"files/{epoch:08d}-{self._number:06d}.arrow", table)


def _files(outputs: Mapping[str, tuple[int, Sequence[Owed]]]) -> set[str]:
    return {each.stored.file for _, owed in outputs.values() for each in owed}


def _counts(entry: Entry) -> dict[str, int]:
    return {name: getattr(entry, name) for name in _COUNTS}


def _restore_counts(entry: Entry, counts: Mapping[str, int]) -> None:
    for name, value in counts.items():
        setattr(entry, name, value)


def prints_of(entries: Iterable[tuple[Entry, str]]) -> dict[int, str]:
    """Return fingerprints by ledger entry."""
    return {id(entry): fingerprint for entry, fingerprint in entries}
