"""Checkpoints: the state of a run between two steps, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from thalweg.columnar.frames import to_frame
from thalweg.engine.embedded import ledger
from thalweg.engine.embedded.delivery import OutboxDelivery
from thalweg.engine.embedded.intake import Intake
from thalweg.engine.embedded.ledger import Entry
from thalweg.engine.embedded.stage import Stage
from thalweg.engine.embedded.stored_view import views_of
from thalweg.plan.saved import SavedStep
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
    "carried",
)


class Checkpoints:
    """Writes and reads the checkpoints of one app.

    Args:
        directory: Where they are.
        prints: The fingerprint of each stage's and read's node, by ledger entry.
        program: The steps of the program, to know what has become of them when the program is another one.

    Attributes:
        redriven: Up to which offset the rows that are sent again were taken.
    """

    def __init__(self, directory: Path, prints: Mapping[int, str], program: Sequence[SavedStep]) -> None:
        self._store = StateStore(directory)
        self._prints = prints
        self._program = program
        self._written: dict[str, tuple[pl.DataFrame, Stored]] = {}
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
            body["stages"][name] = {"frames": names, "counts": counts_of(stage.entry), "watermark": stage.watermark}
        for intake in intakes:
            body["reads"][self._prints[id(intake.entry)]] = {
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
        self._store.commit(body, files)
        self._written = kept
        self._store.remove(_files(self._outputs) - _files(outputs))
        self._outputs = outputs

    def load(self) -> dict[str, Any] | None:
        """Return what the last checkpoint says; None if there is none.

        Raises:
            StateError: It is damaged, or of a later version.
        """
        body = self._store.load()
        if body is not None:
            self._outputs = {
                name: (last, [Owed.from_json(each) for each in owed]) for name, (last, owed) in body["outputs"].items()
            }
            self.redriven = int(body["redriven"])
        self._store.sweep("outbox", _files(self._outputs))  # what a run that died was writing
        return body

    def restore_stage(self, stage: Stage, saved: Mapping[str, Any]) -> None:
        """Give an operator the state that a checkpoint says it had.

        Raises:
            StateError: A file is missing or damaged.
        """
        stage.restore(
            {key: to_frame(self._store.read(Stored(file, digest))) for key, (file, digest) in saved["frames"].items()}
        )
        stage.watermark = saved["watermark"]
        restore_counts(stage.entry, saved["counts"])

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


def counts_of(entry: Entry) -> dict[str, int]:
    """Return the counts of a ledger entry by name."""
    return {name: getattr(entry, name) for name in _COUNTS}


def restore_counts(entry: Entry, counts: Mapping[str, int]) -> None:
    """Give a ledger entry the counts of a checkpoint."""
    for name, value in counts.items():
        setattr(entry, name, value)
