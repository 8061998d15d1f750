"""``thalweg checkpoint …``: the checkpoints of an app, as their manifests and files say, also while it runs."""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from thalweg.cli.faults import Where
from thalweg.cli.program import load
from thalweg.cli.results import json_line
from thalweg.cli.tables import table_lines
from thalweg.core.errors import PlanError, StateError, near
from thalweg.state import manifests
from thalweg.state.files import Stored, read_table, writing
from thalweg.state.manifests import Kept

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be exported.

    Attributes:
        step: Of which step.
        folder: Where to.
        format: In which format.
    """

    step: str
    folder: Path
    format: Literal["parquet", "arrow"] = "parquet"


def found(app: str, data: Path | None) -> Where:
    """Return where the state of an app is, which is given by its name or its program.

    Raises:
        PlanError: There is no such program.
    """
    program = app.partition(":")[0].endswith(".py")
    return Where(load(app).name if program else app, data)


def show_list(where: Where, *, json: bool) -> None:
    """Print the checkpoints that are kept.

    Raises:
        PlanError: There is none.
    """
    rows = [_listed(checkpoint) for checkpoint in _kept(where)]
    if json:
        for row in rows:
            print(json_line(row))
    else:
        _print([row | {"positions": _positions(row["positions"])} for row in rows])


def show(where: Where, epoch: int | None, *, json: bool) -> None:
    """Print what a checkpoint holds.

    Raises:
        PlanError: There is no such checkpoint.
        StateError: Its manifest is damaged.
    """
    checkpoint = _chosen(where, epoch)
    body = _body(checkpoint)
    steps, reads, outputs = list(_steps(checkpoint, body)), list(_reads(body)), list(_outputs(body))
    if json:
        print(json_line(_listed(checkpoint) | {"steps": steps, "reads": reads, "outputs": outputs}))
        return
    sealed = ", sealed: its input is complete" if body["sealed"] else ""
    print(f"epoch {checkpoint.epoch}, {_time(body['time_us'])}{sealed}")
    for rows in (steps, reads, outputs):
        if rows:
            print()
            _print([row | ({"position": _position(row["position"])} if "position" in row else {}) for row in rows])


def verify(where: Where, *, json: bool) -> None:
    """Look at every byte of every checkpoint that is kept, and print what is wrong.

    Raises:
        PlanError: There is none.
        StateError: Something is damaged.
    """
    damaged = []
    for checkpoint in _kept(where):
        damage = manifests.damage_of(where.data_path, checkpoint)
        if damage:
            damaged.append(checkpoint.epoch)
        if json:
            print(json_line({"epoch": checkpoint.epoch, "whole": not damage, "damage": damage}))
        else:
            files = len(checkpoint.files)
            print(f"epoch {checkpoint.epoch}: {'damaged' if damage else f'whole, {files} files'}")
            for line in damage:
                print(f"  {line}")
    sys.stdout.flush()
    if damaged:
        these = ", ".join(map(str, damaged))
        raise StateError(
            f"{where.data_path} has damaged checkpoints: {these}; if {damaged[0]} is the newest, "
            f"{manifests.ways_out(where.data_path, damaged[0])}"
        )


def export(where: Where, epoch: int | None, wanted: Wanted) -> None:
    """Write the state of a step as files of tables.

    Raises:
        PlanError: There is no such checkpoint, or no such step in it.
        StateError: A file is damaged, or cannot be written.
    """
    checkpoint = _chosen(where, epoch)
    stages = _body(checkpoint)["stages"].values()
    steps = [stage["step"] for stage in stages]
    if wanted.step not in steps:
        raise PlanError(
            f'the checkpoint of epoch {checkpoint.epoch} has no step "{wanted.step}"; {near(wanted.step, steps)}'
        )
    rows, count = 0, 0
    for stage in stages:
        if stage["step"] == wanted.step:
            for key, (file, sha256) in stage["frames"].items():
                table = read_table(where.data_path, Stored(file, sha256))
                _write(table, wanted, f"{_NOT_IN_NAMES.sub('-', key)}.{wanted.format}")
                rows, count = rows + table.num_rows, count + 1
    print(f"{rows:,} rows in {count} files in {wanted.folder}", file=sys.stderr)


def _write(table: pa.Table, wanted: Wanted, name: str) -> None:
    path = wanted.folder / name
    with writing(path):
        wanted.folder.mkdir(parents=True, exist_ok=True)
        if wanted.format == "parquet":
            pq.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)


def _kept(where: Where) -> list[Kept]:
    kept = manifests.kept(where.data_path)
    if not kept:
        raise where.without_checkpoint()
    return kept


def _chosen(where: Where, epoch: int | None) -> Kept:
    kept = _kept(where)
    if epoch is None:
        return kept[0]
    for checkpoint in kept:
        if checkpoint.epoch == epoch:
            return checkpoint
    there = ", ".join(str(checkpoint.epoch) for checkpoint in kept)
    raise PlanError(f"{where.data_path} keeps no checkpoint of epoch {epoch}; there are {there}")


def _body(checkpoint: Kept) -> Mapping[str, Any]:
    if checkpoint.body is None:
        assert checkpoint.error is not None, "a manifest that is not read has a reason"
        raise checkpoint.error
    return checkpoint.body


def _listed(checkpoint: Kept) -> dict[str, Any]:
    body = checkpoint.body
    return {
        "epoch": checkpoint.epoch,
        "time": "damaged" if body is None else _time(body["time_us"]),
        "files": len(checkpoint.files),
        "bytes": sum(stored.size_bytes for stored in checkpoint.files),
        "positions": {} if body is None else {read["step"]: _places(read) for read in body["reads"].values()},
    }


def _places(read: Mapping[str, Any]) -> dict[str, Any]:
    return {name: position for name, position, *_ in read["partitions"]}


def _positions(reads: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(
        f"{step} {', '.join(f'{name}: {_position(place)}' for name, place in places.items())}"
        for step, places in reads.items()
    )


def _position(place: Any) -> str:  # a JSON value
    """Return a position for people: of its parts those that say something."""
    if isinstance(place, dict):
        parts = ((name, part if isinstance(part, str) else json_line(part)) for name, part in place.items() if part)
        return " ".join(f"{name} {part}" for name, part in parts)
    return json_line(place)


def _steps(checkpoint: Kept, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    files = {stored.file: stored for stored in checkpoint.files}
    for stage in body["stages"].values():
        stored = [files[file] for file, _ in stage["frames"].values()]
        yield {
            "step": stage["step"],
            "rows": sum(each.rows for each in stored),
            "bytes": sum(each.size_bytes for each in stored),
            "frames": len(stored),
            "watermark": _mark(stage["watermark"]),
        }


def _reads(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for read in body["reads"].values():
        for name, position, running_max, *_ in read["partitions"]:
            greatest = None if running_max is None else _mark(running_max)
            yield {"read": read["step"], "partition": name, "position": position, "greatest time": greatest}


def _outputs(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, (last, owed) in body["outputs"].items():
        yield {"output": name, "last epoch": last, "owed epochs": len(owed), "owed rows": sum(each[4] for each in owed)}


def _mark(us: int) -> str | None:
    """Return an event time as text; None before the first and after the last there can be."""
    return _time(us) if -(2**62) < us < 2**62 else None


def _time(us: int) -> str:
    try:
        return (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=us)).isoformat(" ", "milliseconds") + "Z"
    except OverflowError:
        return f"{us} µs"


def _print(rows: list[dict[str, Any]]) -> None:
    for line in table_lines(pa.Table.from_pylist(rows)):
        print(line)
