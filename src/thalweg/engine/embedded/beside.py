"""Sinks and sources of a version: written beside the first version's places, read from the time it begins at."""

from __future__ import annotations

import pyarrow as pa

from thalweg.core.ports import Json, Sink, SinkWriter, Source, Versioned, WriteRequest
from thalweg.core.version import FIRST
from thalweg.engine.contract import RunOptions
from thalweg.engine.versioned import timed


def open_version(sink: Sink, version: str, request: WriteRequest, *, beside: bool) -> SinkWriter:
    """Open a sink where a version writes.

    Args:
        sink: The program's.
        version: The version.
        request: What it is about to get.
        beside: Whether another version is the current one: what has no place of its own for it, such as a function,
            gets nothing, as the current one serves it.

    Raises:
        SinkError: It cannot be opened.
    """
    if isinstance(sink, Versioned):
        return (sink if version == FIRST else sink.beside(version)).open(request)
    return _Withheld() if beside else sink.open(request)


def first_position(source: Source, partition: str, options: RunOptions, epoch: int) -> Json:
    """Return where a partition is read from that no checkpoint has.

    Raises:
        UnsupportedError: It is to be read from a time on, and the source does not know when its rows came.
    """
    # A partition that is discovered after the first checkpoint came later than any start.
    if options.start_us is None or epoch:
        return None
    return timed(source).position_at(partition, options.start_us)


class _Withheld:
    """Takes the rows of a sink that another version serves."""

    def write(self, rows: pa.Table) -> None:
        """The current version has them, or will have them."""

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is held."""
