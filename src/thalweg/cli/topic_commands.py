"""``thalweg topic …`` and ``thalweg errors …``: their options, and what ``--help`` says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter, validators

from thalweg.core import places

_COUNT = validators.Number(gte=0)

LogPath = Annotated[Path, Parameter(name="--log", help="The log's folder.")]
Json = Annotated[bool, Parameter(help="One JSON object a line.", show_default=False)]
Partition = Annotated[int, Parameter(help="Which partition.", validator=_COUNT)]


def topic_commands() -> cyclopts.App:
    """Return the parser of ``thalweg topic``."""
    app = cyclopts.App(
        name="topic",
        help="Make, fill, read and cut the topics of the embedded log.",
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
    )
    for command, examples in (
        (create, ("thalweg topic create clicks --schema clicks.py:Click --partitions 4 --key user",)),
        (list_, ("thalweg topic list",)),
        (describe, ("thalweg topic describe clicks",)),
        (evolve, ("thalweg topic evolve clicks --schema clicks.py:Click --dry-run",)),
        (append, ("thalweg topic append clicks day.ndjson", "cat day.ndjson | thalweg topic append clicks")),
        (read, ("thalweg topic read clicks --offset 100 --limit 10",)),
        (tail, ("thalweg topic tail clicks -f",)),
        (trim, ("thalweg topic trim clicks --before 7d",)),
        (verify, ("thalweg topic verify",)),
        (delete, ("thalweg topic delete clicks --yes",)),
    ):
        epilogue = "\n".join(["Examples:", "", *(f"  {line}" for line in examples)])
        app.command(command, name=command.__name__.rstrip("_"), help_epilogue=epilogue)
    return app


def create(
    name: str,
    /,
    *,
    schema: Annotated[
        str | None,
        Parameter(help="FILE.py:CLASS, or a data file that has the columns; events as CloudEvents has them otherwise."),
    ] = None,
    partitions: Annotated[int, Parameter(help="How many.", validator=validators.Number(gte=1))] = 1,
    key: Annotated[
        str | None, Parameter(help="The column that decides the partition; rows of a key stay in order.")
    ] = None,
    time: Annotated[str | None, Parameter(help="The column of event times.")] = None,
    id: Annotated[str | None, Parameter(help="The column of event ids: a repeated one is dropped.")] = None,
    id_within: Annotated[str, Parameter(help="For how long a repeated id is dropped.")] = "10m",
    retention: Annotated[str | None, Parameter(help="How long rows are kept, as 7d; for ever otherwise.")] = None,
    retention_bytes: Annotated[int | None, Parameter(help="How many bytes a partition keeps.")] = None,
    compact: Annotated[
        bool, Parameter(help="Keep the last row of each key only, in all but the newest part.", show_default=False)
    ] = False,
    drift: Annotated[
        Literal["refuse", "reject", "widen"],
        Parameter(
            help="What becomes of rows that do not fit: their append is refused; they alone are rejected, and kept "
            "in NAME.rejected; or added columns and wider types change the topic."
        ),
    ] = "refuse",
    log: LogPath = places.LOG,
) -> None:
    """Make a topic."""
    from thalweg.cli import topics

    topics.create(
        log,
        topics.NewTopic(name, schema, partitions, key, time, id, id_within, retention, retention_bytes, compact, drift),
    )


def list_(*, json: Json = False, log: LogPath = places.LOG) -> None:
    """Print the topics."""
    from thalweg.cli import topics

    topics.show_list(log, json=json)


def describe(name: str, /, *, json: Json = False, log: LogPath = places.LOG) -> None:
    """Print a topic's columns, options and partitions."""
    from thalweg.cli import topics

    topics.describe(log, name, json=json)


def evolve(
    name: str,
    /,
    *,
    schema: Annotated[str, Parameter(help="FILE.py:CLASS, or a data file that has the columns: all of them.")],
    dry_run: Annotated[bool, Parameter(help="Say what would change, and change nothing.", show_default=False)] = False,
    log: LogPath = places.LOG,
) -> None:
    """Change a topic's columns: add some that may be null, widen types, allow nulls. Stored rows stay readable."""
    from thalweg.cli import topics

    topics.evolve(log, name, schema, dry_run=dry_run)


def append(
    name: str,
    paths: tuple[Path, ...] = (),
    /,
    *,
    format: Annotated[
        Literal["ndjson", "csv", "parquet", "arrow"] | None,
        Parameter(help="The format; by default what a file's suffix says, and of the standard input ndjson."),
    ] = None,
    log: LogPath = places.LOG,
) -> None:
    """Append the rows of files, or of the standard input. Durable when it ends; rows that do not fit are told.

    NDJSON on the standard input is appended as it comes in.
    """
    from thalweg.cli import topics

    topics.append(log, name, paths, format)


def read(
    name: str,
    /,
    *,
    partition: Partition = 0,
    offset: Annotated[int | None, Parameter(help="The first row's; the first there is otherwise.")] = None,
    limit: Annotated[int, Parameter(help="The most rows.", validator=_COUNT)] = 20,
    json: Json = False,
    log: LogPath = places.LOG,
) -> None:
    """Print rows of a partition."""
    from thalweg.cli import topics

    topics.read(log, name, partition, offset, limit, json=json)


def tail(
    name: str,
    /,
    *,
    count: Annotated[int, Parameter(name=["-n", "--count"], help="Of each partition.", validator=_COUNT)] = 10,
    follow: Annotated[
        bool, Parameter(name=["-f", "--follow"], help="Go on with new rows.", show_default=False)
    ] = False,
    json: Json = False,
    log: LogPath = places.LOG,
) -> None:
    """Print the last rows as topic:partition:offset, key and row."""
    from thalweg.cli import topics

    topics.tail(log, name, count, follow=follow, json=json)


def trim(
    name: str,
    /,
    *,
    before: Annotated[str, Parameter(help="The first offset to keep, or an age: 7d forgets what is older.")],
    partition: Annotated[
        int | None, Parameter(help="Which partition; for an age all of them otherwise.", validator=_COUNT)
    ] = None,
    log: LogPath = places.LOG,
) -> None:
    """Forget the older rows of a topic."""
    from thalweg.cli import topics

    topics.trim(log, name, partition, before)


def verify(names: tuple[str, ...] = (), /, *, log: LogPath = places.LOG) -> None:
    """Check every byte of topics, of all by default; print each damage with its place."""
    from thalweg.cli import topics

    topics.verify(log, names)


def delete(
    name: str,
    /,
    *,
    yes: Annotated[bool, Parameter(help="Do it.", show_default=False)] = False,
    log: LogPath = places.LOG,
) -> None:
    """Delete a topic with all of its rows."""
    from thalweg.cli import topics

    topics.delete(log, name, yes=yes)
