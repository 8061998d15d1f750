"""Every error that Thalweg raises on purpose.

The tree::

    ThalwegError
    ├── PlanError (ValueError)        a mistake in the program, found while it is built
    │   └── UnsupportedError          right, but not on this engine
    ├── SourceError (OSError)         a source cannot be opened or read
    ├── SinkError (OSError)           a sink cannot be opened or written
    │   └── SinkUnavailable           it takes nothing for now; the same is tried again later
    ├── LogError (OSError)            the embedded log refuses, or cannot do, what was asked of it
    │   ├── LogDamaged                stored bytes are not what was written
    │   ├── RowsRefused               rows do not fit their topic
    │   ├── SchemaChange              a topic's schema cannot become the one that was given
    │   ├── WriterPoisoned            a write or sync failed before; the topic must be opened anew
    │   ├── OffsetGone                rows that were trimmed or have outlived their retention
    │   └── NoSpace                   the disk is full
    ├── StateError (RuntimeError)     saved state is missing, locked, damaged or of another program
    ├── FunctionError (RuntimeError)  a function of the user's failed, and no single row is at fault
    ├── StoppedError                  a run was stopped before its end, or could not stop in time
    ├── LedgerError (RuntimeError)    rows went in that did not come out: a fault in Thalweg
    └── CheckError (AssertionError)   two ways of running a pipeline gave different results
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_PROGRAMS = str(Path(_PACKAGE) / "demo")


def of_package(file: str) -> bool:
    """Tell whether a file is the package's own; its demonstrations are programs like a user's."""
    return file.startswith(_PACKAGE) and not file.startswith(_PROGRAMS)


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the user's program."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def user_place() -> Place | None:
    """Return the innermost line on the call stack that is not Thalweg's own."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        # Generated __init__ methods and C callbacks have no file of their own.
        if not of_package(file) and not file.startswith("<"):
            return Place(file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]  # the last frame's f_back is None
    return None


def near(name: str, allowed: Iterable[str]) -> str:
    """Return the end of a message: the names close to a wrong one, or all that is allowed.

    Example:
        >>> near("prise", ["price", "user"])
        'did you mean "price"?'
        >>> near("zzz", ["price", "user"])
        'there are: price, user'
    """
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(f'"{c}"' for c in close) + "?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:20])
    return f"there are: {shown}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def short(value: object) -> str:
    """Return what a message calls a value that a program gave: short values as written, others by their type.

    Example:
        >>> short(3), short([object()])
        ('3', 'a list')
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


class ThalwegError(Exception):
    """Base of every error that Thalweg raises on purpose."""


class PlanError(ThalwegError, ValueError):
    """A mistake in the program, raised where the stream is built.

    Args:
        message: What is wrong, what was allowed, what to do.
        place: The line of the program; the caller's by default.
    """

    def __init__(self, message: str, *, place: Place | None = None) -> None:
        self.message = message
        self.place = place or user_place()
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} ({self.place})" if self.place else self.message


class UnsupportedError(PlanError):
    """The program is right, but the engine cannot run a part of it."""


class SourceError(ThalwegError, OSError):
    """A source cannot be opened or read."""


class SinkError(ThalwegError, OSError):
    """A sink cannot be opened or written."""


class SinkUnavailable(SinkError):
    """A sink takes nothing for now: what it was given is given to it again, until it takes it.

    Sinks raise it, and functions of ``call``, where a later try may work.
    """


class LogError(ThalwegError, OSError):
    """The embedded log refuses, or cannot do, what was asked of it."""


class LogDamaged(LogError):
    """Stored bytes are not what was written; nothing was cut or skipped.

    Attributes:
        path: The file.
        position: The byte at which the damage was found.
        offset: The first offset that cannot be read, where it is known.
    """

    def __init__(self, path: Path, position: int, offset: int | None, what: str) -> None:
        self.path = path
        self.position = position
        self.offset = offset
        at = "" if offset is None else f", offset {offset}"
        super().__init__(
            f"{path} is damaged at byte {position}{at}: {what}; nothing was changed: restore the file from a copy, or "
            "read the rows before it, and trim the topic past it to go on without the rest"
        )


class RowsRefused(LogError):
    """Rows do not fit their topic; none of the call's rows was appended.

    Attributes:
        row: The index of the first row at fault, where one is.
        column: Its column, where one is at fault.
        reason: What is wrong with it and what was allowed.
    """

    def __init__(self, reason: str, *, row: int | None = None, column: str | None = None) -> None:
        self.reason = reason
        self.row = row
        self.column = column
        where = [f"row {row}"] if row is not None else []
        where += [f'column "{column}"'] if column is not None else []
        super().__init__(f"{', '.join(where) or 'the rows'}: {reason}; none of the rows was appended")


class SchemaChange(LogError):
    """A topic's schema cannot become the one that was given."""


class WriterPoisoned(LogError):
    """A write or sync failed, so what is on disk is not known; open the topic anew, which recovers it."""


class OffsetGone(LogError):
    """Rows that were trimmed or have outlived their retention."""


class NoSpace(LogError):
    """The disk is full; nothing was appended, and appends go on as soon as there is space."""


class StateError(ThalwegError, RuntimeError):
    """Saved state is missing, locked, damaged or of another program."""


class FunctionError(ThalwegError, RuntimeError):
    """A function of the user's failed where no single row is at fault, so that none could be rejected."""


class StoppedError(ThalwegError):
    """A run was stopped: a batch before its end, which has written nothing; or another that did not end in time."""


class LedgerError(ThalwegError, RuntimeError):
    """Rows went into an operator that neither came out nor are held: a fault in Thalweg."""


class CheckError(ThalwegError, AssertionError):
    """Two ways of running a pipeline gave different results."""
