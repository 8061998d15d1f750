"""CloudEvents 1.0 to rows: structured, batched and binary, for topics of events and for topics of their own columns.

All events of a message are parsed at once; only where that finds something odd (extensions, a name that may
stand twice, a wrong type) are they taken apart one by one, as strictly as rows are.

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

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import msgspec
import pyarrow as pa

from thalweg.columnar.bodies import (
    Body,
    Bounds,
    RefusedRow,
    RowsDecoder,
    TooManyRowsError,
    UnreadableError,
    elements,
    fill,
    too_deep,
    without_column,
)
from thalweg.columnar.conform import Conformer
from thalweg.columnar.decoded import is_utf8
from thalweg.columnar.json_lines import bare
from thalweg.columnar.json_rows import JsonFault, is_object, read_value
from thalweg.columnar.json_shape import elements_at_most
from thalweg.columnar.text import parse
from thalweg.core.event import EVENT_SCHEMA
from thalweg.core.schema import TIMESTAMP, Field, Schema

_SPEC_VERSION: Final = "1.0"
_REQUIRED: Final = ("id", "source", "type")
_ATTRIBUTES: Final = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
_FILLED: Final = {"id": pa.string(), "source": pa.string(), "type": pa.string(), "subject": pa.string()}
_FILLED_TYPES: Final = {**_FILLED, "time": TIMESTAMP}
_NAMES: Final = ("specversion", *_ATTRIBUTES)
_SPACE: Final = b" \t\r\n"
_JSON_TYPES: Final = ("application/json", "text/json")


_Text: TypeAlias = str | msgspec.UnsetType | None


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event without extensions."""

    specversion: _Text = msgspec.UNSET
    id: _Text = msgspec.UNSET
    source: _Text = msgspec.UNSET
    type: _Text = msgspec.UNSET
    subject: _Text = msgspec.UNSET
    time: _Text = msgspec.UNSET
    datacontenttype: _Text = msgspec.UNSET
    dataschema: _Text = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class _Events:
    """Events side by side: what each has, None where it has not; and those that are none.

    Attributes:
        attributes: By name.
        data: JSON texts.
        data_bytes: What was sent as bytes.
        extensions: JSON texts of an object.
        faults: By the event's index.
    """

    attributes: dict[str, list[str | None]]
    data: list[bytes | None]
    data_bytes: list[bytes | None]
    extensions: list[str | None]
    faults: dict[int, JsonFault] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> _Events:
        """Return none."""
        return cls({name: [] for name in _NAMES}, [], [], [])

    def add(self, event: _Parts | None) -> None:
        """Add one; None holds the place of one that is at fault."""
        for name, values in self.attributes.items():
            values.append(event.attributes.get(name) if event else None)
        self.data.append(event.data if event else None)
        self.data_bytes.append(event.data_bytes if event else None)
        self.extensions.append(event.extensions if event else None)


@dataclass(frozen=True, slots=True)
class _Parts:
    attributes: Mapping[str, str | None]
    data: bytes | None = None
    data_bytes: bytes | None = None
    extensions: str | None = None


_FAST: Final = msgspec.json.Decoder(list[_Event])
_RAW_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


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

    def __init__(self, schema: Schema, bounds: Bounds = Bounds()) -> None:  # noqa: B008  # it is frozen
        self._bounds = bounds
        self._schema = schema
        self._is_events = schema == EVENT_SCHEMA
        self._filled = tuple(f.name for f in schema if _FILLED_TYPES.get(f.name) == f.type)
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
        known = {name: value for name, value in found.items() if name in _NAMES}
        if content_type is not None:
            known["datacontenttype"] = content_type
        others = {name: value for name, value in found.items() if name not in _NAMES}
        extensions = msgspec.json.encode(others, order="sorted").decode() if others else None
        events = _Events.empty()
        try:
            parts = _Parts(known, extensions=extensions)
            if data and (content_type is None or is_json(content_type)):
                read_value(data)
                parts = _Parts(known, bare(data).replace(b"\n", b" "), None, extensions)
            elif data:
                parts = _Parts(known, None, data, extensions)
            events.add(parts)
        except JsonFault as fault:
            events.add(None)
            events.faults[0] = JsonFault(f"the data is {fault.reason}", "data")
        return self._rows(events)

    def _decode(self, text: bytes, most: int) -> Body:
        if most > 1 and not elements_at_most(text, most):
            raise TooManyRowsError(f"more than {most} events")
        return self._rows(_at_once(text) or self._one_by_one(elements(text, most)))

    def _one_by_one(self, cut: Sequence[bytes]) -> _Events:
        events = _Events.empty()
        deep = set(too_deep(cut, self._bounds.depth))
        for row, text in enumerate(cut):
            try:
                if row in deep:
                    raise JsonFault(f"nested more than {self._bounds.depth} deep")
                events.add(_parts(text))
            except JsonFault as fault:
                events.add(None)
                events.faults[row] = fault
        return events

    def _rows(self, events: _Events) -> Body:
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

    def _as_events(self, events: _Events, times: pa.Array, count: int) -> pa.RecordBatch:
        for row in too_deep([text or b"" for text in events.data], self._bounds.depth):
            events.faults.setdefault(row, JsonFault(f"nested more than {self._bounds.depth} deep", "data"))
        columns: dict[str, pa.Array] = {name: pa.array(events.attributes[name], pa.string()) for name in _ATTRIBUTES}
        columns["time"] = times
        columns["data"] = pa.array(events.data, pa.binary()).cast(pa.string())
        columns["data_bytes"] = pa.array(events.data_bytes, pa.binary())
        columns["extensions"] = pa.array(events.extensions, pa.string())
        return pa.RecordBatch.from_arrays([columns[name] for name in EVENT_SCHEMA.names], schema=EVENT_SCHEMA.arrow)

    def _as_own_rows(self, events: _Events, times: pa.Array, count: int) -> tuple[pa.RecordBatch, Sequence[int]]:
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


def is_json(content_type: str) -> bool:
    """Return whether a media type is JSON.

    Example:
        >>> is_json("application/vnd.shop+json; charset=utf-8"), is_json("text/plain")
        (True, False)
    """
    media = content_type.partition(";")[0].strip().lower()
    return media in _JSON_TYPES or media.endswith("+json")


def _at_once(text: bytes) -> _Events | None:
    """Read all events if none needs a closer look, else return None."""
    if not is_utf8(text):
        return None
    whole = text if bare(text)[:1] == b"[" else b"[" + text + b"]"
    try:
        found = _FAST.decode(whole)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    columns = {name: [getattr(event, name) for event in found] for name in _NAMES}
    raws = [event.data for event in found]
    members = sum(len(values) - values.count(msgspec.UNSET) for values in columns.values())
    data = [None if raw is msgspec.UNSET else bytes(raw) for raw in raws]
    members += len(data) - data.count(None)
    if not _has_members(whole, b"\n".join([raw for raw in data if raw is not None]), members):
        return None
    if b"\n" in text:
        data = [raw if raw is None else raw.replace(b"\n", b" ") for raw in data]
    none: list[Any] = [None] * len(found)
    attributes = {
        name: [None if value is msgspec.UNSET else value for value in values] if msgspec.UNSET in values else values
        for name, values in columns.items()
    }
    return _Events(attributes, [None if raw == b"null" else raw for raw in data], none, none)


def _has_members(text: bytes, data: bytes, members: int) -> bool:
    """Return whether events have exactly so many members outside their data: then no name stands twice.

    A name ends in a quote and a colon. A text in which that stands escaped, or a space between the two, makes the
    count differ or is looked for; the answer is then False, and a slower reader decides.
    """
    if text.count(b'":') - data.count(b'":') != members:
        return False
    return not any(b'"' + bytes([space]) in text and _spaced(text, space) for space in _SPACE)


def _spaced(text: bytes, space: int) -> bool:
    """Return whether a colon may stand behind a quote and spaces of which this is the first."""
    start = text.find(b'"' + bytes([space]))
    while start >= 0:
        after = start + 1
        while text[after : after + 1] in (b" ", b"\t", b"\r", b"\n"):
            after += 1
        if text[after : after + 1] == b":":
            return True
        start = text.find(b'"' + bytes([space]), after)
    return False


def _parts(text: bytes) -> _Parts:
    """Take one event apart.

    Raises:
        JsonFault: It is none.
    """
    members = read_value(text)
    if not is_object(members):
        raise JsonFault("an event is a JSON object")
    seen: set[str] = set()
    attributes: dict[str, str | None] = {}
    extensions: list[str] = []
    for name, value in members:
        if name in seen:
            raise JsonFault(f'the name "{name:.80}" stands twice in one object', name[:80])
        seen.add(name)
        if name in _NAMES:
            # Numbers are read as text of a class of their own.
            if value is not None and type(value) is not str:
                raise JsonFault("takes text", name)
            attributes[name] = _whole_text(value, name)
        elif name not in ("data", "data_base64") and value is not None:
            if is_object(value) or isinstance(value, list):
                raise JsonFault("an extension is text, a number or a boolean", name[:80])
            if type(value) is str:
                _whole_text(value, name)
            extensions.append(_whole_text(name, name) or "")
    try:
        raws = _RAW_MEMBERS.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise JsonFault(f"not valid JSON: {error}") from error
    data = bytes(raws["data"]) if "data" in raws and raws["data"] != msgspec.Raw(b"null") else None
    data_bytes = None
    if "data_base64" in seen:
        sent = next(value for name, value in members if name == "data_base64")
        if data is not None:
            raise JsonFault('an event has "data" or "data_base64", not both', "data_base64")
        data_bytes = None if sent is None else _from_base64(sent)
        if data_bytes is not None and is_json(attributes.get("datacontenttype") or "application/json"):
            read_value(data_bytes)
            data, data_bytes = bare(data_bytes).replace(b"\n", b" "), None
    chosen = {name: raws[name] for name in sorted(extensions)}
    return _Parts(attributes, data, data_bytes, msgspec.json.encode(chosen).decode() if chosen else None)


def _whole_text(value: str | None, name: str) -> str | None:
    try:
        return value if value is None or value.encode() is not None else None
    except UnicodeEncodeError as error:
        raise JsonFault("half a surrogate pair is no character", name[:80]) from error


def _from_base64(value: Any) -> bytes:
    if type(value) is not str:
        raise JsonFault("takes base64 text", "data_base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise JsonFault("is not base64", "data_base64") from error


def _check_attributes(events: _Events) -> None:
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
