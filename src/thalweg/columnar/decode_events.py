"""CloudEvents 1.0 to rows: structured, batched and binary, for topics of events and for topics of their own columns.

======================  ====================================================================================
topic                   an event becomes
======================  ====================================================================================
``EVENT_SCHEMA``        its attributes, its data as JSON text or as bytes, its extensions as one JSON object
columns of its own      its data, an object of these columns; a column that is called as an attribute
                        (``id, source, type, subject``: text; ``time``: timestamp) and that the data lacks is
                        filled from the attribute
======================  ====================================================================================

Source: CloudEvents 1.0.2 and its JSON and HTTP bindings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import msgspec
import pyarrow as pa

from thalweg.columnar.bodies import (
    Body,
    BodyBounds,
    RefusedRow,
    RowsDecoder,
    TooManyRowsError,
    UnreadableError,
    fill,
    too_deep,
    without_column,
)
from thalweg.columnar.conform import Conformer
from thalweg.columnar.json_lines import bare
from thalweg.columnar.json_rows import JsonFault, read_value
from thalweg.columnar.json_shape import elements_at_most
from thalweg.columnar.read_events import ATTRIBUTES, NAMES, EventParts, Events, is_json, read_events
from thalweg.columnar.text import parse
from thalweg.core.event import EVENT_SCHEMA
from thalweg.core.schema import TIMESTAMP, Field, Schema

_SPEC_VERSION: Final = "1.0"
_REQUIRED: Final = ("id", "source", "type")
_FILLED: Final = {name: pa.string() for name in ("id", "source", "type", "subject")} | {"time": TIMESTAMP}


class EventDecoder:
    r"""Decodes messages of CloudEvents to the rows of a topic.

    Args:
        schema: The topic's.
        bounds: How large a message may be.

    Example:
        >>> decoder = EventDecoder(Schema((Field("id", pa.string(), False), Field("n", pa.int64()))))
        >>> body = decoder.structured(
        ...     b'{"specversion": "1.0", "id": "a", "source": "/x", "type": "t", "data": {"n": 5}}'
        ... )
        >>> body.rows.to_pylist()
        [{'id': 'a', 'n': 5}]
    """

    def __init__(self, schema: Schema, bounds: BodyBounds = BodyBounds()) -> None:  # noqa: B008  # it is frozen
        self._bounds = bounds
        self._schema = schema
        self._is_events = schema == EVENT_SCHEMA
        self._filled = tuple(f.name for f in schema if _FILLED.get(f.name) == f.type)
        # Nulls and rules are looked at when the attributes are in their columns.
        loose = Schema(tuple(Field(f.name, f.type) for f in schema))
        self._data = RowsDecoder(loose, bounds)
        self._conformer = Conformer(schema)

    def structured(self, text: bytes) -> Body:
        """Decode one event (``application/cloudevents+json``).

        Raises:
            UnreadableError: It is no JSON object.
        """
        if bare(text)[:1] != b"{":
            raise UnreadableError("an event is a JSON object")
        return self._decode(text, 1)

    def batch(self, text: bytes) -> Body:
        """Decode an array of events (``application/cloudevents-batch+json``).

        Raises:
            UnreadableError: It is no JSON array.
            TooManyRowsError: It has more elements than are allowed.
        """
        if bare(text)[:1] != b"[":
            raise UnreadableError("a batch of events is a JSON array")
        return self._decode(text, self._bounds.rows)

    def binary(self, headers: Mapping[str, str], content_type: str | None, data: bytes) -> Body:
        """Decode an event whose attributes are headers and whose data is the body.

        Args:
            headers: Those that start with ``ce-``, without it, as they were sent.
            content_type: The body's: the attribute ``datacontenttype``.
            data: The body.
        """
        found = {name: unquote(value.strip().strip('"')) for name, value in headers.items()}
        known = {name: value for name, value in found.items() if name in NAMES}
        if content_type is not None:
            known["datacontenttype"] = content_type
        others = {name: value for name, value in found.items() if name not in NAMES}
        extensions = msgspec.json.encode(others, order="sorted").decode() if others else None
        events = Events.empty()
        try:
            parts = EventParts(known, extensions=extensions)
            if data and (content_type is None or is_json(content_type)):
                read_value(data)
                parts = EventParts(known, bare(data).replace(b"\n", b" "), None, extensions)
            elif data:
                parts = EventParts(known, None, data, extensions)
            events.add(parts)
        except JsonFault as fault:
            events.add_fault(JsonFault(f"the data is {fault.reason}", "data"))
        return self._rows(events)

    def _decode(self, text: bytes, most: int) -> Body:
        if most > 1 and not elements_at_most(text, most):
            raise TooManyRowsError(f"more than {most} events")
        return self._rows(read_events(text, most, self._bounds.depth))

    def _rows(self, events: Events) -> Body:
        faults = events.faults
        count = len(events.data)
        _check_attributes(events)
        times, failed = parse(pa.array(events.attributes["time"], pa.string()), TIMESTAMP)
        if failed is not None:
            for row, wrong in enumerate(failed.to_pylist()):
                if wrong:
                    given = events.attributes["time"][row]
                    faults.setdefault(row, JsonFault(f"takes a timestamp (RFC 3339), this is {given!r:.80}", "time"))
        if self._is_events:
            batch = self._as_events(events, times, count)
            at: Sequence[int] = range(count)
        else:
            batch, at = self._as_own_rows(events, times, count)
        if faults:
            keep = [place for place, row in enumerate(at) if row not in faults]
            batch, at = batch.take(pa.array(keep, pa.int64())), [at[place] for place in keep]
        conformed = self._conformer.conform(batch)
        for bad in conformed.bad:
            faults[at[bad.row]] = JsonFault(bad.reason, bad.column)
        refused = tuple(
            RefusedRow(row, faults[row].column, without_column(faults[row].reason, faults[row].column))
            for row in sorted(faults)
        )
        return Body(conformed.data, count, refused)

    def _as_events(self, events: Events, times: pa.Array, count: int) -> pa.RecordBatch:
        for row in too_deep([text or b"" for text in events.data], self._bounds.depth):
            events.faults.setdefault(row, JsonFault(f"nested more than {self._bounds.depth} deep", "data"))
        columns: dict[str, pa.Array] = {name: pa.array(events.attributes[name], pa.string()) for name in ATTRIBUTES}
        columns["time"] = times
        columns["data"] = pa.array(events.data, pa.binary()).cast(pa.string())
        columns["data_bytes"] = pa.array(events.data_bytes, pa.binary())
        columns["extensions"] = pa.array(events.extensions, pa.string())
        return pa.RecordBatch.from_arrays([columns[name] for name in EVENT_SCHEMA.names], schema=EVENT_SCHEMA.arrow)

    def _as_own_rows(self, events: Events, times: pa.Array, count: int) -> tuple[pa.RecordBatch, Sequence[int]]:
        texts = [text for text in events.data if text is not None]
        at: Sequence[int] = range(count)
        if len(texts) < count:
            at = [row for row, text in enumerate(events.data) if text is not None]
            for row in set(range(count)).difference(at, events.faults):
                what = "it is sent as bytes" if events.data_bytes[row] is not None else "the event has none"
                events.faults[row] = JsonFault(f"takes an object of the topic's columns; {what}", "data")
        body = self._data.texts(texts)
        for bad in body.refused:
            name = f"data.{bad.column}" if bad.column else "data"
            events.faults.setdefault(at[bad.row], JsonFault(bad.reason, name))
        batch = body.rows
        origins = [at[place] for place in body.origins()] if body.refused else at
        for name in self._filled:
            given = times if name == "time" else pa.array(events.attributes[name], pa.string())
            if len(origins) < count:
                given = given.take(pa.array(origins, pa.int64()))
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, batch.schema.field(place), fill(batch.column(place), given))
        return batch, origins


def _check_attributes(events: Events) -> None:
    """Note the events whose required attributes are missing or empty, or that are of another version."""
    versions = events.attributes["specversion"]
    if versions.count(_SPEC_VERSION) != len(versions):
        for row, version in enumerate(versions):
            if version != _SPEC_VERSION and row not in events.faults:
                what = "it is missing" if version is None else f"this is {version!r:.80}"
                events.faults[row] = JsonFault(f'takes "{_SPEC_VERSION}"; {what}', "specversion")
    for name in _REQUIRED:
        values = events.attributes[name]
        if not all(values):
            for row, value in enumerate(values):
                if not value:
                    events.faults.setdefault(row, JsonFault("an event must have it, and not empty", name))
