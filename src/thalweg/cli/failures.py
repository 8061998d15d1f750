"""What goes wrong becomes one message on standard error, and an exit code."""

from __future__ import annotations

import inspect
import io
import json
import linecache
import os
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from thalweg.cli.program import LoadError
from thalweg.core.errors import Place, PlanError, StateError, ThalwegError, user_place
from thalweg.core.signals import AT_ONCE

FAILED: Final = 1
"""The exit code of a run that failed."""
WRONG: Final = 2
"""The exit code of a command or program that is wrong."""

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_LIBRARIES: Final = tuple(
    Path(path).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_path(name))
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told of an error.

    Attributes:
        kind: The error's type.
        message: What is wrong, what was allowed, what to do.
        place: The line of the program that it is about.
        trace: The frames that help, where the message alone does not.
        code: The exit code.
    """

    kind: str
    message: str
    place: Place | None
    trace: str | None
    code: int

    def text(self) -> str:
        """Return it for people: the line of the program first, as compilers do."""
        if self.trace is not None:
            return f"{self.message}\n{self.trace}"
        if self.place is None:
            return f"thalweg: {self.message}"
        line = linecache.getline(self.place.file, self.place.line).strip()
        return f"{_short(self.place.file)}:{self.place.line}: {self.message}" + (f"\n    {line}" if line else "")

    def as_json(self) -> str:
        """Return it for machines: one JSON object on one line."""
        return json.dumps(
            {
                "error": self.kind,
                "message": self.message,
                "file": None if self.place is None else self.place.file,
                "line": None if self.place is None else self.place.line,
                "traceback": self.trace,
                "exit_code": self.code,
            }
        )


def guarded(command: Callable[..., Any], bound: inspect.BoundArguments, *, as_json: bool, stopped: int = FAILED) -> int:
    """Call a command; tell what goes wrong, and return the exit code: the command's own, else 0.

    Args:
        command: What to call.
        bound: Its arguments.
        as_json: Whether machines read the output.
        stopped: The exit code when a signal comes while no run is on.
    """
    _make_printable(as_json)
    # An error's place may be a line of what called the command line: that is no line of the program.
    caller = user_place()
    try:
        with _ended_by_signals(stopped):
            code = command(*bound.args, **bound.kwargs)
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
    except BrokenPipeError:
        # Who read the output went away; at exit the interpreter would try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return told(Failure("Interrupted", AT_ONCE, None, None, FAILED), as_json)
    except Exception as error:
        return told(failure_of(error, caller), as_json)


def failure_of(error: Exception, caller: Place | None = None) -> Failure:
    """Return what to tell of an error.

    Args:
        error: What was raised.
        caller: The line that called the command line, which is not a part of the program.
    """
    if isinstance(error, LoadError):
        if isinstance(error.cause, ThalwegError):
            return failure_of(error.cause, caller)
        message = f"{_short(str(error.path))} raised {type(error.cause).__name__} while it was loaded:"
        place = _place_in(error.cause, caller)
        return Failure(type(error.cause).__name__, message, place, program_trace(error.cause, error.path), WRONG)
    if not isinstance(error, ThalwegError):
        message = f"the run failed with an error that Thalweg did not expect: {type(error).__name__}: {error}"
        return Failure(type(error).__name__, message, None, "".join(traceback.format_exception(error)).rstrip(), FAILED)
    message = error.message if isinstance(error, PlanError) else str(error)
    if isinstance(error, StateError):
        message = message.replace("data=", "--data").replace("allow_state_loss=True", "--allow-state-loss")
    place = error.place if isinstance(error, PlanError) else _place_in(error, caller)
    if place is not None and caller is not None and place.file == caller.file:
        place = None
    return Failure(type(error).__name__, message, place, None, WRONG if isinstance(error, PlanError) else FAILED)


def program_trace(error: BaseException, program: Path) -> str:
    """Return an error's trace with the frames of the user's own files only."""
    whole = traceback.TracebackException.from_exception(error)
    _keep_own_frames(whole, program)
    return "".join(whole.format()).rstrip()


def _keep_own_frames(trace: traceback.TracebackException, program: Path) -> None:
    own = [frame for frame in trace.stack if is_own(frame.filename, program)]
    trace.stack = traceback.StackSummary.from_list(own)
    related = (trace.__cause__, trace.__context__, *(trace.exceptions or () if hasattr(trace, "exceptions") else ()))
    for other in related:
        if other is not None:
            _keep_own_frames(other, program)


def is_own(file: str, program: Path | None = None) -> bool:
    """Return whether a file is the user's: not of this package, the standard library or what is installed."""
    # Generated code, and the C extensions' own sources, which are not there.
    if file.startswith("<") or file.endswith((".pyx", ".pxi")):
        return False
    path = Path(file).resolve()
    if program is not None and path == program.resolve():
        return True
    return not any(path.is_relative_to(folder) for folder in (_PACKAGE, *_LIBRARIES))


def _place_in(error: BaseException, caller: Place | None) -> Place | None:
    """Return the innermost line of the user's files that an error, or what caused it, passed through."""
    cause: BaseException | None = error
    found = None
    while cause is not None:
        for file, line in _lines(cause.__traceback__):
            if is_own(file) and (caller is None or file != caller.file):
                found = Place(file, line)
        cause = cause.__cause__
    return found


def _lines(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _make_printable(as_json: bool) -> None:
    """Let every character be printed: JSON is UTF-8, and for people a stream shows what it lacks as ``?``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8") if as_json else stream.reconfigure(errors="replace")


def told(failure: Failure, as_json: bool) -> int:
    """Print a failure on standard error; return its exit code."""
    print(failure.as_json() if as_json else failure.text(), file=sys.stderr)
    return failure.code


def _short(file: str) -> str:
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else file


@contextmanager
def _ended_by_signals(code: int) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the process quietly while no run is on; a run has its own way to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(code)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
