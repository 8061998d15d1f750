"""CloudEvents in JSON, taken apart: attributes, data and extensions side by side.

Events are read all at once where none needs a closer look; else one by one, as strictly as rows are, which is the
definition of what the fast way may accept.

Source: CloudEvents 1.0.2 and its JSON binding.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from thalweg.columnar.bodies import elements, too_deep
from thalweg.columnar.decoded import is_utf8
from thalweg.columnar.json_lines import bare
from thalweg.columnar.json_rows import JsonFault, is_object, read_value
from thalweg.columnar.json_shape import colons_after_quotes

ATTRIBUTES: Final = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
"""The attributes that have columns."""

NAMES: Final = ("specversion", *ATTRIBUTES)
"""All that the specification names."""

_KNOWN: Final = frozenset((*NAMES, "data"))
_JSON_TYPES: Final = ("application/json", "text/json")
_SPACE: Final = (b" ", b"\t", b"\r", b"\n")
_SPACED_COLON: Final = re.compile(rb'"[ \t\r\n]+:')
_Text: TypeAlias = str | msgspec.UnsetType | None
_ABSENT: Final = msgspec.Raw(b"")


class _Event(msgspec.Struct, gc=False):
    specversion: _Text = msgspec.UNSET
    id: _Text = msgspec.UNSET
    source: _Text = msgspec.UNSET
    type: _Text = msgspec.UNSET
    subject: _Text = msgspec.UNSET
    time: _Text = msgspec.UNSET
    datacontenttype: _Text = msgspec.UNSET
    dataschema: _Text = msgspec.UNSET
    data: msgspec.Raw = _ABSENT


@dataclass(frozen=True, slots=True)
class EventParts:
    """One event: its attributes, its data as JSON text or as bytes, its extensions as JSON text of an object."""

    attributes: Mapping[str, str | None]
    data: bytes | None = None
    data_bytes: bytes | None = None
    extensions: str | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """Events side by side: what each has, None where it has not; and those that are none.

    Attributes:
        attributes: By name.
        data: JSON texts.
        data_bytes: What was sent as bytes.
        extensions: JSON texts of an object.
        faults: By the event's index.
    """

    attributes: Mapping[str, list[str | None]]
    data: list[bytes | None]
    data_bytes: list[bytes | None]
    extensions: list[str | None]
    faults: dict[int, JsonFault] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> Events:
        """Return none."""
        return cls({name: [] for name in NAMES}, [], [], [])

    def add(self, event: EventParts) -> None:
        """Add one."""
        for name, values in self.attributes.items():
            values.append(event.attributes.get(name))
        self.data.append(event.data)
        self.data_bytes.append(event.data_bytes)
        self.extensions.append(event.extensions)

    def add_fault(self, fault: JsonFault) -> None:
        """Note that the next one is at fault."""
        self.faults[len(self.data)] = fault
        self.add(EventParts({}))


_EVENTS: Final = msgspec.json.Decoder(list[_Event])
_MEMBERS: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_MEMBERS_OF_ONE: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_events(text: bytes, most: int, depth: int) -> Events:
    r"""Return the events of a JSON array, or the single one of an object.

    Args:
        text: The message.
        most: How many there may be.
        depth: How deep data may be nested; where the events were read at once it was not looked at.

    Raises:
        UnreadableError: It is no JSON array or object.
        TooManyRowsError: There are more.

    Example:
        >>> events = read_events(b'{"specversion": "1.0", "id": "a", "data": [1], "key": "k"}', 1, 64)
        >>> events.attributes["id"], events.data, events.extensions
        (['a'], [b'[1]'], ['{"key":"k"}'])
    """
    return _at_once(text) or _one_by_one(elements(text, most), depth)


def is_json(content_type: str) -> bool:
    """Return whether a media type is JSON.

    Example:
        >>> is_json("application/vnd.shop+json; charset=utf-8"), is_json("text/plain")
        (True, False)
    """
    media = content_type.partition(";")[0].strip().lower()
    return media in _JSON_TYPES or media.endswith("+json")


def _at_once(text: bytes) -> Events | None:
    """Read all events if none needs a closer look, else return None."""
    if not is_utf8(text):
        return None
    is_batch = bare(text)[:1] == b"["
    whole = text if is_batch else b"[" + text + b"]"
    try:
        found = _EVENTS.decode(whole)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    count = len(found)
    if not count:
        return Events.empty()
    if not is_batch and count > 1:
        return None
    # Spelled out, because an attribute whose name is known is read five times as fast.
    columns: dict[str, list[_Text]] = {
        "specversion": [event.specversion for event in found],
        "id": [event.id for event in found],
        "source": [event.source for event in found],
        "type": [event.type for event in found],
        "subject": [event.subject for event in found],
        "time": [event.time for event in found],
        "datacontenttype": [event.datacontenttype for event in found],
        "dataschema": [event.dataschema for event in found],
    }
    joined = b"\n".join([event.data for event in found])
    if b"\n" in text:  # in the data newlines stand between tokens only
        joined = b"\n".join([bytes(event.data).replace(b"\n", b" ") for event in found])
    texts = joined.split(b"\n")
    members = count - texts.count(b"")
    attributes: dict[str, list[str | None]] = {}
    for name, values in columns.items():
        absent = 0 if all(values) else values.count(msgspec.UNSET)
        members += count - absent
        # Most attributes are there always or never.
        attributes[name] = [None] * count if absent == count else _without_unset(values) if absent else values  # type: ignore[assignment]  # none of them is UNSET
    seen = _members(text, joined)
    extensions: list[str | None] = [None] * count
    if seen != members:
        others = _extensions(whole) if seen is not None else None
        if others is None or members + others[1] != seen:
            return None
        extensions = others[0]
    data: list[bytes | None] = texts  # type: ignore[assignment]  # the list is of this function alone
    if b"" in texts or b"null" in texts:
        data = [None if one in (b"", b"null") else one for one in texts]
    return Events(attributes, data, [None] * count, extensions)


def _without_unset(values: list[_Text]) -> list[str | None]:
    return [None if value is msgspec.UNSET else value for value in values]


def _members(text: bytes, data: bytes) -> int | None:
    """Return how many members events have outside their data; None where that cannot be told by counting.

    A name ends in a quote and a colon. A text in which that stands escaped makes the count too high, so that it differs
    from the number of members that were read, as it does where a name stands twice; then a slower reader decides. A
    space between the two would make it too low, and is looked for.
    """
    if any(space in text and space + b":" in text for space in _SPACE) and _SPACED_COLON.search(text):
        return None
    return colons_after_quotes(text) - colons_after_quotes(data)


def _extensions(whole: bytes) -> tuple[list[str | None], int] | None:
    """Return the extensions of events as JSON texts, and their number; None where one needs a closer look."""
    try:
        found = _MEMBERS.decode(whole)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    texts: list[str | None] = []
    count = 0
    for members in found:
        others = {name: bytes(members[name]) for name in members.keys() - _KNOWN}
        count += len(others)
        if "data_base64" in others or not all(map(_is_plain, others.values())):
            return None
        texts.append(_as_text({name: members[name] for name in others if others[name] != b"null"}))
    return texts, count


def _is_plain(value: bytes) -> bool:
    """Return whether a JSON value is neither a list nor an object, nor a text that may have half a surrogate pair."""
    return value[:1] not in (b"{", b"[") and b"\\u" not in value


def _as_text(extensions: Mapping[str, msgspec.Raw]) -> str | None:
    return msgspec.json.encode(extensions, order="sorted").decode() if extensions else None


def _one_by_one(cut: Sequence[bytes], depth: int) -> Events:
    events = Events.empty()
    deep = set(too_deep(cut, depth + 1))  # the event itself is around its data
    for row, text in enumerate(cut):
        try:
            if row in deep:
                raise JsonFault(f"nested more than {depth} deep", "data")
            events.add(_parts(text))
        except JsonFault as fault:
            events.add_fault(fault)
    return events


def _parts(text: bytes) -> EventParts:
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
        if name in NAMES:
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
        raws = _MEMBERS_OF_ONE.decode(text)
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
    return EventParts(attributes, data, data_bytes, _as_text({name: raws[name] for name in extensions}))


def _whole_text(value: str | None, name: str) -> str | None:
    try:
        return value if value is None or value.encode() is not None else None
    except UnicodeEncodeError as error:
        raise JsonFault("half a surrogate pair is no character", name[:80]) from error


def _from_base64(value: Any) -> bytes:  # any JSON
    if type(value) is not str:
        raise JsonFault("takes base64 text", "data_base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise JsonFault("is not base64", "data_base64") from error
