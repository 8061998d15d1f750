"""What the server shows of a topic: its description, and its rows in the form that the client accepts."""

from __future__ import annotations

import io
from typing import Any, Final

import pyarrow as pa

from thalweg.columnar.encode import write_rows
from thalweg.log import Topic
from thalweg.serve.answers import JSON, RefusedError
from thalweg.serve.limits import Limits

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
FORMS: Final = (JSON, NDJSON, CSV, ARROW)
"""The media types in which rows are given, the first where the client does not mind."""

_MOST_OFFSET: Final = 2**63 - 1


def chosen(accept: str | None) -> str:
    """Return the media type that a client likes best of ``FORMS``.

    Raises:
        RefusedError: It accepts none of them.

    Example:
        >>> chosen("text/html, text/*;q=0.8, application/json;q=0.5")
        'text/csv'
    """
    best, liked = "", 0.0
    for part in (accept or "*/*").split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name == "q":
                weight = float(value) if value.replace(".", "", 1).isdigit() and value.isascii() else 0.0
        group = media.removesuffix("*")
        form = next((f for f in FORMS if f == media or media == "*/*" or (media != group and f.startswith(group))), "")
        if form and weight > liked:
            best, liked = form, weight
    if not best:
        raise RefusedError(406, "not_acceptable", f"rows are given as {', '.join(FORMS)}; name one of them in Accept")
    return best


def described(topic: Topic) -> dict[str, Any]:
    """Return what a topic is, as JSON."""
    options = topic.options
    partitions = [{"partition": p, "start": topic.start(p), "end": topic.end(p)} for p in range(options.partitions)]
    return {
        "name": topic.name,
        "schema": [
            {"name": f.name, "type": str(f.type), "nullable": f.nullable, "rules": [str(rule) for rule in f.rules]}
            for f in topic.schema
        ],
        "key": options.key,
        "time": options.time,
        "id": options.id,
        "rows": sum(part["end"] - part["start"] for part in partitions),
        "partitions": partitions,
    }


def rows_of(
    topic: Topic, partition: int, offset: int | None, limit: int, form: str, limits: Limits
) -> tuple[bytes, dict[str, str]]:
    """Return rows of a partition as bytes of a media type, and the headers that say where they end.

    Raises:
        RefusedError: There is no such partition.
        OffsetGone: The offset is below the start.
    """
    count = topic.options.partitions
    if partition >= count:
        raise RefusedError(404, "unknown_partition", f'the topic "{topic.name}" has partitions 0 to {count - 1}')
    first = topic.start(partition) if offset is None else offset
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    with topic.reader(partition, first) as reader:
        while rows < limit and size < limits.inflated_bytes and (batch := reader.read(limit - rows, 0.0)) is not None:
            batches.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
        after = max(reader.offset, first)
    schema = batches[0].schema if batches else topic.schema.arrow
    table = pa.Table.from_batches(batches, schema)
    end = topic.end(partition)
    headers = {"Thalweg-Offset": str(first), "Thalweg-Next-Offset": str(after), "Thalweg-End": str(end)}
    if form == ARROW:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_table(table)
        return sink.getvalue(), headers
    file = io.BytesIO()
    write_rows(file, [table], schema, "csv" if form == CSV else "ndjson")
    if form != JSON:
        return file.getvalue(), headers
    head = (
        f'{{"topic":"{topic.name}","partition":{partition},"offset":{first},"next_offset":{after},"end":{end},"rows":['
    )
    return head.encode() + file.getvalue().rstrip(b"\n").replace(b"\n", b",") + b"]}", headers


def whole_number(given: str | None, name: str, otherwise: int | None, most: int = _MOST_OFFSET) -> int | None:
    """Return a number from a query.

    Raises:
        RefusedError: It is none, or out of bounds.
    """
    if given is None:
        return otherwise
    if given.isascii() and given.isdigit() and len(given) <= 19 and int(given) <= most:
        return int(given)
    raise RefusedError(400, "bad_parameter", f"{name}={given[:40]!r}; allowed: a whole number from 0 to {most}")
