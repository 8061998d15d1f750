"""The log: a directory of topics."""

from __future__ import annotations

import datetime as dt
import secrets
from pathlib import Path

from thalweg.core import places
from thalweg.core.clock import Clock, SystemClock
from thalweg.core.duration import duration_us
from thalweg.core.envelope import ERROR_SCHEMA
from thalweg.core.errors import LogDamaged, LogError, PlanError, near
from thalweg.core.event import EVENT_SCHEMA
from thalweg.core.schema import Schema, schema_of
from thalweg.log import disk
from thalweg.log.metadata import FILE as METADATA
from thalweg.log.metadata import Metadata, read_metadata
from thalweg.log.options import NAME, Drift, TopicOptions, check_name, check_options, rejected_name
from thalweg.log.places import delete_topic, is_deleted, make_topic, sweep
from thalweg.log.refused import told
from thalweg.log.topic import Topic
from thalweg.log.topic_reader import Wakes
from thalweg.log.upkeep import Maintained


class Log:
    """A directory of topics. Nothing is made or opened before it is needed; any number of processes may use it at once.

    Args:
        path: The directory.
        clock: Gives the times of appends.
        upkeep: Whether retention, sealing and compaction happen by themselves after appends; ``maintain`` does them in
            any case.

    Example:
        >>> import tempfile
        >>> with Log(tempfile.mkdtemp()) as log:
        ...     _ = log.create("clicks").append([{"id": "1", "source": "/web", "type": "click"}])
        ...     log.topics(), log.topic("clicks").end()
        (['clicks'], 1)
    """

    def __init__(self, path: str | Path = places.LOG, *, clock: Clock | None = None, upkeep: bool = True) -> None:
        self.path = Path(path)
        self._clock: Clock = clock or SystemClock()
        self._upkeep = upkeep
        self._wakes = Wakes()
        self._open: list[Topic] = []

    def create(
        self,
        name: str,
        schema: object = None,
        partitions: int = 1,
        key: str | None = None,
        *,
        time: str | None = None,
        id: str | None = None,
        id_within: str | dt.timedelta = "10m",
        retention: str | dt.timedelta | None = None,
        retention_bytes: int | None = None,
        compact: bool = False,
        segment_bytes: int = 64 * 2**20,
        drift: Drift = "refuse",
    ) -> Topic:
        """Create a topic, or return the one that is there if it is the same, or has evolved from it.

        Args:
            name: Its name: a letter or digit, then letters, digits and ``_ . -``.
            schema: Anything that describes a schema; None: that of CloudEvents (``core.event.EVENT_SCHEMA``).
            partitions: How many.
            key: The column that decides the partition; rows of one key keep their order.
            time: The column of event times.
            id: The column of event ids: an append drops rows whose id was appended within ``id_within``.
            id_within: For how long a repeated id is dropped.
            retention: For how long rows are kept; None: for ever.
            retention_bytes: How many bytes a partition keeps; None: all.
            compact: Whether sealed segments keep the last row of each key only.
            segment_bytes: The length at which a new segment is begun.
            drift: What becomes of an append whose rows do not fit the topic's columns. ``refuse``: none of them is
                appended. ``reject``: those that fit are; the others are kept in the topic ``<name>.rejected``, with
                their reasons. ``widen``: columns that are added and wider types change the topic; the rest is refused.

        Raises:
            LogError: It cannot be, or is there with another schema or other options.
        """
        check_name(name)
        try:
            columns = schema_of(EVENT_SCHEMA if schema is None else schema)
            options = TopicOptions(
                partitions=partitions,
                key=key,
                time="time" if schema is None and time is None else time,
                id=id,
                id_within_us=duration_us(id_within, "id_within"),
                retention_us=None if retention is None else duration_us(retention, "retention"),
                retention_bytes=retention_bytes,
                compact=compact,
                segment_bytes=segment_bytes,
                drift=drift,
            )
        except PlanError as error:
            raise LogError(f'the topic "{name}" cannot be created: {error.message}') from error
        check_options(options, columns)
        if drift == "reject":
            self._rejected(name)  # first, so that there is a place for what is rejected as soon as there is a topic
        if _is_topic(self.path / name):
            self._secure(name)
        else:
            self._make(Metadata(name, secrets.randbits(64), options, (columns,)))
        topic = self.topic(name)
        _check_same(topic, options, columns)
        return topic

    def topic(self, name: str) -> Topic:
        """Return a new handle of a topic.

        Raises:
            LogError: There is none of the name.
            LogDamaged: Its metadata is not what was written.
        """
        check_name(name)
        try:
            metadata = read_metadata(self.path / name)
            if is_deleted(self.path / name):
                delete_topic(self.path / name)  # who began it has died
                raise FileNotFoundError
        except (FileNotFoundError, NotADirectoryError) as error:
            if (self.path / name / "0000").is_dir():  # a topic is made, and removed, as a whole
                raise LogDamaged(self.path / name / METADATA, 0, None, "the file is missing") from error
            raise LogError(f'there is no topic "{name}" in {self.path}; {near(name, self.topics())}') from error
        topic = Topic(self.path / name, metadata, self._clock, self._wakes, self._rejected, upkeep=self._upkeep)
        self._open.append(topic)
        return topic

    def topics(self) -> list[str]:
        """Return the names of the topics, sorted."""
        if not self.path.is_dir():
            return []
        return sorted(path.name for path in self.path.iterdir() if NAME.fullmatch(path.name) and _is_topic(path))

    def delete(self, name: str) -> None:
        """Delete a topic: who has it open can neither append nor read from here on.

        Raises:
            LogError: There is none of the name (and none comes back), or the disk refused; deleting again finishes it.
            NoSpace: The disk is full.
        """
        check_name(name)
        if not (self.path / name).is_dir():
            if self.path.is_dir():
                with told(f'deleting the topic "{name}" in {self.path}'):
                    disk.sync_directory(self.path)  # who deleted it may have been refused before that was durable
            raise LogError(f'there is no topic "{name}" in {self.path}; {near(name, self.topics())}')
        with told(f'deleting the topic "{name}" in {self.path}'):
            delete_topic(self.path / name)

    def maintain(self) -> dict[str, Maintained]:
        """Do upkeep of all topics now, as ``Topic.maintain`` does; who serves topics that get no appends calls it.

        Returns:
            What was done, by topic.

        Raises:
            LogError: Upkeep of some topic failed; that of the others is done.
        """
        done: dict[str, Maintained] = {}
        failed: list[LogError] = []
        for name in self.topics():
            try:
                topic = Topic(
                    self.path / name,
                    read_metadata(self.path / name),
                    self._clock,
                    self._wakes,
                    self._rejected,
                    upkeep=False,
                )
            except FileNotFoundError:
                continue  # deleted just now
            except LogError as error:
                failed.append(error)
                continue
            try:
                done[name] = topic.maintain()
            except LogError as error:
                if name in self.topics():
                    failed.append(error)
            finally:
                topic.close()
        if failed:
            raise LogError("; ".join(map(str, failed))) from failed[0]
        return done

    def close(self) -> None:
        """Close the files of all handles that came from here."""
        for topic in self._open:
            topic.close()
        self._open = []

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rejected(self, topic: str) -> Topic:
        """Return the topic of a topic's rejected rows, which is made where there is none."""
        return self.create(rejected_name(topic), ERROR_SCHEMA, time="time")

    def _make(self, metadata: Metadata) -> None:
        with told(f'creating the topic "{metadata.name}" in {self.path}'):
            self._make_own_directory()
            if is_deleted(self.path / metadata.name):
                delete_topic(self.path / metadata.name)  # who began it has died
            sweep(self.path)
            make_topic(self.path, metadata)

    def _secure(self, name: str) -> None:
        # Who made it may have died, or been refused, before its name was on the medium.
        with told(f'creating the topic "{name}" in {self.path}'):
            disk.sync_directory(self.path)
            disk.sync_directory(self.path.parent)

    def _make_own_directory(self) -> None:
        missing = []
        path = self.path
        while not path.exists():
            missing.append(path)
            path = path.parent
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            disk.sync_directory(path.parent)


def _is_topic(path: Path) -> bool:
    return (path / METADATA).exists() and not is_deleted(path)


def _check_same(topic: Topic, options: TopicOptions, schema: Schema) -> None:
    differences = [
        f"{name} is {getattr(topic.options, name)!r}, not {getattr(options, name)!r}"
        for name in TopicOptions.__slots__
        if getattr(topic.options, name) != getattr(options, name)
    ]
    if schema not in topic.history:
        differences.append(f"its columns are ({topic.schema}), not ({schema})")
    if differences:
        raise LogError(
            f'the topic "{topic.name}" is there already, and differs: {"; ".join(differences)}; open it with '
            "log.topic(…), change its columns with evolve(…), or choose another name"
        )
