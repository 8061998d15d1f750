"""Topics as the server holds them: one open handle each, with decoders for its schema, renewed when the topic changes.

What appends or reads is called by worker threads: it waits for the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pyarrow as pa

from thalweg.columnar.bodies import Body, RowsDecoder, TooManyRowsError, UnknownColumnError, UnreadableError
from thalweg.columnar.decode_events import EventDecoder
from thalweg.core.errors import LogDamaged, LogError, NoSpace, OffsetGone, RowsRefused, WriterPoisoned
from thalweg.log import Log, Topic
from thalweg.log.appended import Appended, RejectedRow
from thalweg.log.metadata import FILE as METADATA
from thalweg.log.options import NAME
from thalweg.serve.answers import RefusedError
from thalweg.serve.inflate import inflated
from thalweg.serve.limits import Limits


class Form(Enum):
    """What a body may be, by its media type."""

    EVENT = "application/cloudevents+json"
    EVENTS = "application/cloudevents-batch+json"
    LINES = "application/x-ndjson"
    ARRAY = "application/json"
    ARROW = "application/vnd.apache.arrow.stream"
    BINARY = "any media type, with ce- headers"


@dataclass(frozen=True, slots=True)
class Sent:
    """A body as it was sent.

    Attributes:
        form: What it is.
        body: Its bytes.
        codec: What it is packed with.
        content_type: Its media type, with parameters.
        attributes: The ``ce-`` headers of a binary event, without ``ce-``.
    """

    form: Form
    body: bytes
    codec: str | None = None
    content_type: str | None = None
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a body: the HTTP status and the answer."""

    status: int
    answer: dict[str, Any]  # JSON


class Door:
    """One topic, open.

    Attributes:
        topic: Its handle.
        version: What differs when the topic was changed.
        users: How many threads are in it; ``Doors`` counts them.
        is_retired: Whether it is to be closed when the last of them leaves: a file closed under a thread that
            appends could be another file by the time it writes.
    """

    def __init__(self, topic: Topic, limits: Limits, version: tuple[int, int]) -> None:
        self.topic = topic
        self.version = version
        self.users = 0
        self.is_retired = False
        self._limits = limits
        self._rows = RowsDecoder(topic.schema, limits.bounds)
        self._events = EventDecoder(topic.schema, limits.bounds)

    @property
    def is_plain(self) -> bool:
        """Whether the topic takes every row that has its columns: none can be a repeat, or be rejected by the topic."""
        return self.topic.options.id is None and self.topic.options.drift != "reject"

    def take(self, sent: Sent) -> Taken:
        """Decode a body and append what is good of it; durable when it returns.

        Raises:
            RefusedError: Nothing of it was taken.
            LogError: The log cannot take it.
        """
        body = self.decode(sent)
        return taken(body, *self._append(body)) if body.rows.num_rows else taken(body)

    def decode(self, sent: Sent) -> Body:
        """Decode a body.

        Raises:
            RefusedError: Too little of it is good, so that nothing is to be taken.
        """
        body = self._decoded(sent)
        rejected = _rejected(body)
        if len(rejected) > self._limits.rejected:
            raise RefusedError(
                422,
                "too_many_rejected",
                f"{len(rejected)} of {body.total} rows cannot be taken, more than {self._limits.rejected}, so none "
                "was; the first ones are listed",
                more=_outcome(0, 0, rejected[:100], []),
            )
        if rejected and not body.rows.num_rows:
            raise RefusedError(
                422, "all_rejected", "no row of the body can be taken", more=_outcome(0, 0, rejected, [])
            )
        return body

    def _decoded(self, sent: Sent) -> Body:
        text = inflated(sent.body, sent.codec, self._limits) if sent.codec else sent.body
        if not text and sent.form is not Form.BINARY:
            raise RefusedError(400, "empty", "the body is empty; send at least one event")
        try:
            match sent.form:
                case Form.EVENT:
                    return self._events.structured(text)
                case Form.EVENTS:
                    return self._events.batch(text)
                case Form.LINES:
                    return self._rows.lines(text)
                case Form.ARRAY:
                    return self._rows.array(text)
                case Form.ARROW:
                    return self._rows.arrow(text)
                case Form.BINARY:
                    return self._events.binary(sent.attributes or {}, sent.content_type, text)
        except UnreadableError as error:
            raise RefusedError(400, "unreadable", f"the body is not {sent.form.value}: {error}") from error
        except UnknownColumnError as error:
            at = {"row": None, "column": error.column, "reason": str(error)}
            message = f'no row can be taken: column "{error.column}": {error}'
            raise RefusedError(422, "unknown_column", message, more=_outcome(0, 0, [at], [])) from error
        except TooManyRowsError as error:
            raise RefusedError(
                413, "too_many_rows", f"{error}; send it in parts", more={"limit": self._limits.rows}
            ) from error

    def _append(self, body: Body) -> tuple[Sequence[Appended], int, Sequence[RejectedRow]]:
        """Append rows; return what became durable, how many were there already, and what the topic's policy rejects."""
        rows = pa.Table.from_batches([body.rows])
        if self.is_plain:
            return self.topic.append(rows), 0, ()
        result = self.topic.append_unique(rows)
        return result.appended, len(result.duplicates), result.rejected


class Doors:
    """The topics of a log, opened when they are first asked for.

    Args:
        log: The log.
        limits: How large bodies may be.
    """

    def __init__(self, log: Log, limits: Limits) -> None:
        self.log = log
        self._limits = limits
        self._lock = threading.Lock()
        self._doors: dict[str, Door] = {}

    def take(self, name: str, sent: Sent) -> Taken:
        """Append a body to a topic.

        Raises:
            RefusedError: It was not taken, and why.
        """
        with self.entered(name) as door:
            return door.take(sent)

    def see(self, name: str, look: Callable[[Topic], Any]) -> Any:  # whatever is looked for
        """Look at a topic.

        Raises:
            RefusedError: There is none, or what is asked of it is not there.
        """
        with self.entered(name) as door:
            return look(door.topic)

    @contextmanager
    def entered(self, name: str) -> Iterator[Door]:
        """Give a topic's door, which stays open meanwhile.

        Raises:
            RefusedError: There is none, or what was done with it failed.
        """
        door = self._enter(name)
        try:
            yield door
        except RowsRefused as error:
            at = {"row": error.row, "column": error.column, "reason": error.reason}
            raise RefusedError(422, "refused", str(error), more=_outcome(0, 0, [at], [])) from error
        except NoSpace as error:
            raise RefusedError(507, "no_space", str(error), {"Retry-After": "10"}) from error
        except OffsetGone as error:
            raise RefusedError(410, "offset_gone", str(error)) from error
        except WriterPoisoned as error:
            self._retire(name, door)
            message = f"{error}; whether the rows are there is not known: send them again with the same ids"
            raise RefusedError(503, "write_failed", message, {"Retry-After": "1"}) from error
        except LogDamaged as error:
            raise RefusedError(503, "damaged", str(error)) from error
        except LogError as error:
            self._retire(name, door)
            self._leave(self._enter(name))  # if it was deleted meanwhile, this says so
            raise RefusedError(503, "log_failed", str(error), {"Retry-After": "1"}) from error
        finally:
            self._leave(door)

    @contextmanager
    def kept(self, door: Door) -> Iterator[None]:
        """Keep a door open, for one who goes on when those who entered it have left."""
        with self._lock:
            door.users += 1
        try:
            yield
        finally:
            self._leave(door)

    def _enter(self, name: str) -> Door:
        """Return the door of a topic as it is now, with one more user."""
        if not NAME.fullmatch(name):
            raise RefusedError(404, "unknown_topic", "a topic's name is a letter or digit, then letters, digits, _ . -")
        try:
            found = (self.log.path / name / METADATA).stat()
            version = (found.st_mtime_ns, found.st_ino)
            with self._lock:
                door = self._doors.get(name)
                if door is None or door.version != version:
                    opened = Door(self.log.topic(name), self._limits, version)
                    self._retire_locked(name)
                    self._doors[name] = door = opened
                door.users += 1
                return door
        except LogDamaged as error:
            raise RefusedError(503, "damaged", str(error)) from error
        except (FileNotFoundError, NotADirectoryError, LogError) as error:
            self._retire(name)  # or the files of a deleted topic would keep their space
            raise RefusedError(404, "unknown_topic", self._near(name)) from error

    def _leave(self, door: Door) -> None:
        with self._lock:
            door.users -= 1
            if door.is_retired and not door.users:
                door.topic.close()

    def _retire(self, name: str, only: Door | None = None) -> None:
        """Take a topic's door away, or only a certain one if it is still there."""
        with self._lock:
            if only is None or self._doors.get(name) is only:
                self._retire_locked(name)

    def _retire_locked(self, name: str) -> None:
        door = self._doors.pop(name, None)
        if door is not None:
            door.is_retired = True
            if not door.users:
                door.topic.close()

    def _near(self, name: str) -> str:
        try:
            self.log.topic(name)
        except LogError as error:
            where = f" in {self.log.path}"
            return str(error).replace(where, "")  # where the log lies is nobody's business
        return f'the topic "{name}" was changed just now; ask again'


def taken(
    body: Body, appended: Sequence[Appended] = (), duplicates: int = 0, more: Sequence[RejectedRow] = ()
) -> Taken:
    """Say what became of a body.

    Args:
        body: The body.
        appended: What of its good rows became durable.
        duplicates: How many of them were there already.
        more: Which of them the topic's policy rejects.
    """
    rejected = _rejected(body)
    if more:
        origins = body.origins()
        rejected += [{"row": origins[bad.row], "column": bad.column, "reason": bad.reason} for bad in more]
    offsets = [part._asdict() for part in appended]
    count = sum(part["count"] for part in offsets)
    return Taken(207 if rejected else 200, _outcome(count, duplicates, rejected, offsets))


def _rejected(body: Body) -> list[dict[str, Any]]:
    return [{"row": bad.row, "column": bad.column, "reason": bad.reason} for bad in body.refused]


def _outcome(
    appended: int, duplicates: int, rejected: list[dict[str, Any]], offsets: list[dict[str, int]]
) -> dict[str, Any]:
    return {"appended": appended, "duplicates": duplicates, "rejected": rejected, "offsets": offsets}
